"""The page of every asset and fold of a finished run shows a picture or a table, and every check its value and its limit."""

import base64
from typing import Any

import dagster as dg
import pytest

from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline_tests.conftest import Workbench

MOST_OF_A_PICTURE, MOST_OF_A_PAGE = 60_000, 250_000
"""Bytes of a PNG, and characters of everything that the event log stores of one materialisation."""
OUTSIDE = {"bars"}
"""Observed, never made."""


def pages(bench: Workbench) -> dict[tuple[str, str | None], dict[str, Any]]:
    """Metadata of the newest materialisation of every asset and partition."""
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    with bench.instance() as instance:
        for key in instance.all_asset_keys():
            for record in instance.fetch_materializations(key, limit=1000).records:  # newest first
                made = record.asset_materialization
                assert made is not None
                found.setdefault((key.path[-1], made.partition), dict(made.metadata))
    return found


def png_sizes(metadata: dict[str, Any]) -> list[int]:
    texts = [str(value.value) for value in metadata.values() if isinstance(value, dg.MarkdownMetadataValue)]
    return [len(base64.b64decode(text.split("base64,")[1].rstrip(")"))) for text in texts if "data:image/png" in text]


def tables(metadata: dict[str, Any]) -> list[dg.TableMetadataValue]:
    return [value for value in metadata.values() if isinstance(value, dg.TableMetadataValue) and value.records]


def test_every_asset_and_every_fold_shows_a_picture_or_a_table_and_no_page_is_large(finished: Workbench) -> None:
    shown = pages(finished)
    assets = {asset.key.path[-1] for asset in finished.definitions.resolve_all_asset_specs()}
    on_request = {"drift_night", "purge_comparison"}
    assert {name for name, _ in shown} == assets - OUTSIDE - on_request
    for phase in ("exploration", "production"):
        for name in (f"{phase}_fold", f"{phase}_spec"):
            assert {partition for one, partition in shown if one == name} == set(finished.folds(phase))
    bare = [page for page, metadata in shown.items() if not png_sizes(metadata) and not tables(metadata)]
    assert bare == []
    for page, metadata in shown.items():
        assert max(png_sizes(metadata), default=0) < MOST_OF_A_PICTURE, page
        whole = sum(len(dg.serialize_value(value)) for value in metadata.values())
        assert whole < MOST_OF_A_PAGE, (page, whole)


@pytest.mark.parametrize(
    ("asset", "names"),
    [
        ("snapshot", {"sources", "symbols", "coverage", "prices", "gaps"}),
        ("feature_catalogue", {"groups", "features", "left_out", "picture"}),
        ("features", {"missing", "picture"}),
        ("targets", {"symbols", "labels", "share_up"}),
        ("prefiltered_features", {"dropped", "counts"}),
        ("exploration_plan", {"folds", "picture"}),
        ("exploration_fold", {"picture", "seeds"}),
        ("selected_features", {"weights", "stability", "weights_by_fold", "features"}),
        ("tuned_hyperparameters", {"history", "slice", "parallel_coordinates", "importances", "trials"}),
        ("production_plan", {"folds", "picture"}),
        ("production_fold", {"picture", "parts"}),
        ("leakage_audit", {"guards", "picture"}),
        ("oos_portfolio", {"equity", "by_fold", "folds"}),
        ("oos_performance", {"picture", "by_fold", "reliability", "statistics", "folds", "symbols"}),
        ("latency_benchmark", {"picture", "forms", "limit_ms"}),
        ("drift_report", {"picture", "features", "psi_over_time"}),
        ("ensemble_weights", {"picture", "reliability", "folds"}),
        ("model_card", {"headline", "reasons", "picture"}),
        ("release", {"gates", "performance_targets", "picture"}),
        ("report", {"headline", "picture", "open", "size_bytes"}),
    ],
)
def test_an_asset_shows_what_the_page_about_the_ui_promises(finished: Workbench, asset: str, names: set[str]) -> None:
    for (name, partition), metadata in pages(finished).items():
        if name == asset:
            assert names <= set(metadata), (partition, names - set(metadata))


def test_every_check_shows_a_value_a_limit_and_a_sentence(finished: Workbench) -> None:
    with finished.instance() as instance:
        keys = [key for checks in finished.definitions.asset_checks or () for key in checks.check_keys]
        gates = [spec.key for asset in finished.definitions.assets or () for spec in getattr(asset, "check_specs", ())]
        assert keys
        assert gates
        for key in {*keys, *gates}:
            record = instance.get_latest_asset_check_evaluation_record(key)
            assert record is not None, key
            assert record.event is not None
            evaluation = record.event.asset_check_evaluation
            assert evaluation is not None
            assert {"value", "limit", "finding"} <= set(evaluation.metadata), key
            assert " " in str(evaluation.metadata["finding"].value), key


def test_a_night_stands_beside_the_nights_before_it(finished: Workbench) -> None:
    for day in ("2021-08-05", "2021-08-06", "2021-08-10"):
        done = materialise_asset(
            finished.file, "drift_night", partition=day, downstream=False, report=finished.lines.append
        )
        assert not done["failed"], done
    metadata = pages(finished)["drift_night", "2021-08-10"]
    rows = [dict(record.data) for record in metadata["nights"].records]
    assert [row["day"] for row in rows] == ["2021-08-05", "2021-08-06", "2021-08-10"]
    psi = [row.data["psi"] for row in metadata["features"].records]
    assert rows[-1]["psi"] == max(psi)
    assert max(png_sizes(metadata)) < MOST_OF_A_PICTURE
