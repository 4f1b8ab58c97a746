"""A whole run of a small experiment: what it leaves behind is complete, traceable and blind to the future."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.findings import OosPerformance, ReleaseRecord
from tft_pipeline.domain.planning import split_periods
from tft_pipeline.domain.reports import FeatureCatalogue, FoldPlanReport, TunedHyperparameters
from tft_pipeline.pipeline.io_managers import FRAME_FILE, REPORT_FILE
from tft_pipeline.pipeline.panels import panel_of
from tft_pipeline.storage.artifacts import IntegrityError, read_artifact, read_version
from tft_pipeline.storage.deployments import linked_release
from tft_pipeline.storage.fold_bundles import read_fold_bundle
from tft_pipeline_tests.conftest import Workbench, random_bars


def report(bench: Workbench, asset: str) -> dict:
    return json.loads((bench.artifact(asset) / REPORT_FILE).read_text())


def test_the_run_ends_with_a_release_that_holds_the_newest_folds_weights(finished: Workbench) -> None:
    record = ReleaseRecord.model_validate(report(finished, "release"))
    released, card = read_version(Path(record.path)), read_card(finished)
    newest = finished.folds()[-1]
    bundle = read_artifact(finished.layout.artifact("small", "production_fold", newest))
    assert {name: released.files[name] for name in bundle.files} == bundle.files
    assert released.files == record.files
    assert (card["verdict"], card["status"]) == ("NO-GO", "candidate")


def test_a_run_whose_gates_say_no_makes_nothing_live_and_says_which(finished: Workbench) -> None:
    record = ReleaseRecord.model_validate(report(finished, "release"))
    models = finished.layout.models("small")
    failed = [row["name"] for row in record.gates if row["verdict"] == "fail"]
    assert "latency_p95" in failed
    assert (record.live, record.deployed) == (False, None)
    assert record.note == f"a candidate: {len(failed)} gate(s) say no: {', '.join(failed)}"
    assert linked_release(models) is None
    assert not list(models.glob("best_tft*"))
    deployment = record.targets[-1]
    assert (deployment["value"], deployment["passed"]) == ("not deployed", None)
    assert record.note in deployment["detail"]


def read_card(bench: Workbench) -> dict:
    return json.loads(Path(report(bench, "release")["card_path"]).read_text())


def test_training_states_are_gone_when_their_folds_are_done(finished: Workbench) -> None:
    states = finished.layout.training_state("small", "production", "f").parent
    assert states.is_dir()
    assert list(states.iterdir()) == []


def test_the_cards_figures_are_those_of_the_assets(finished: Workbench) -> None:
    card = read_card(finished)
    performance = OosPerformance.model_validate(report(finished, "oos_performance"))
    tuned = TunedHyperparameters.model_validate(report(finished, "tuned_hyperparameters"))
    latency = report(finished, "latency_benchmark")
    assert card["metrics"]["sharpe"]["net"] == json.loads(json.dumps(performance.net))
    assert card["metrics"]["sharpe"]["value"] == performance.net["sharpe_annual"]
    assert card["train"]["hp_source"]["value"] == tuned.best_sharpe_annual
    assert card["latency_ms"]["p95"] == latency["latency_ms"]["p95"]
    assert card["architecture"]["features"] == report(finished, "selected_features")["features"]
    assert card["train"]["snapshot_id"] == finished.artifact("snapshot").name


def test_the_card_holds_the_keys_of_the_guides_example_at_their_places(finished: Workbench) -> None:
    card = read_card(finished)
    example = {
        "": ("version", "model_name", "created_at", "train", "metrics", "latency_ms", "architecture", "inference"),
        "train": ("snapshot_id", "range", "rows", "class_balance"),
        "metrics": ("accuracy", "val_loss"),
        "latency_ms": ("mean", "p50", "p95", "p99"),
        "architecture": ("seq_len", "hidden_size", "total_params", "features"),
        "inference": ("device", "threads", "warmup_n"),
    }
    for section, keys in example.items():
        part = card if not section else card[section]
        assert set(keys) <= set(part), section
    assert set(card["train"]["class_balance"]) == {"pos", "neg"}
    assert sum(card["train"]["class_balance"].values()) == card["train"]["rows"]


def test_each_out_of_sample_bar_is_scored_once_and_the_folds_tile_the_production_period(finished: Workbench) -> None:
    plan = FoldPlanReport.model_validate(report(finished, "production_plan"))
    rows = [
        read_fold_bundle(read_artifact(finished.layout.artifact("small", "production_fold", spec.key))).predictions
        for spec in plan.specs
    ]
    everything = pl.concat(rows)
    assert not everything.select("timestamp", "symbol").is_duplicated().any()
    for spec, frame in zip(plan.specs, rows, strict=True):
        assert frame["timestamp"].min().isoformat() == spec.dates["test"]["first"]
        assert frame["timestamp"].max().isoformat() == spec.dates["test"]["last"]
    calendar = pl.read_parquet(finished.artifact("targets") / FRAME_FILE)["timestamp"].unique().sort()
    inside = calendar.filter(calendar.is_between(everything["timestamp"].min(), everything["timestamp"].max()))
    assert inside.to_list() == everything["timestamp"].unique().sort().to_list()


def test_every_asset_carries_its_content_as_data_version_and_a_picture(finished: Workbench) -> None:
    with finished.instance() as instance:
        for key in instance.all_asset_keys():
            records = instance.fetch_materializations(key, limit=1).records
            if not records or key.path[-1].endswith("_spec") or key.path[-1] == "bars":
                continue
            materialisation = records[0].asset_materialization
            assert materialisation is not None
            version = materialisation.tags["dagster/data_version"]
            assert materialisation.metadata["content_sha256"].value.startswith(version), key
            assert "sha256" in materialisation.metadata, key
            pictures = [value for value in materialisation.metadata.values() if "data:image/png" in str(value.value)]
            assert pictures, key


def test_research_assets_do_not_depend_on_the_production_period(
    finished: Workbench, workbench: Callable[..., Workbench]
) -> None:
    catalogue = FeatureCatalogue.model_validate(report(finished, "feature_catalogue"))
    features = pl.scan_parquet(finished.artifact("features") / FRAME_FILE)
    targets = pl.read_parquet(finished.artifact("targets") / FRAME_FILE)
    panel = panel_of(features, targets, catalogue, catalogue.names)
    periods = split_periods(panel, finished.graph.experiment)
    start = panel.calendar[periods.production_start]
    noise = np.random.default_rng(5)
    other = random_bars().with_columns(
        close=pl.when(pl.col("timestamp") >= start)
        .then(pl.col("close") * pl.Series(np.exp(noise.normal(0, 0.1, random_bars().height))))
        .otherwise(pl.col("close"))
    )
    research = ("prefiltered_features", "exploration_fold", "selected_features", "tuned_hyperparameters")
    expected = {asset: _research_content(finished, asset) for asset in research}
    before = (finished.artifact("oos_portfolio") / FRAME_FILE).read_bytes()
    perturbed = workbench(bars=other)
    assert not perturbed.run()["failed"]
    assert {asset: _research_content(perturbed, asset) for asset in research} == expected
    assert (perturbed.artifact("oos_portfolio") / FRAME_FILE).read_bytes() != before


def _research_content(bench: Workbench, asset: str) -> object:
    volatile = {"seconds", "study", "snapshot_id"}
    if asset == "exploration_fold":
        folder = bench.layout.artifact("small", asset)
        texts = {path.name: json.loads((path / "current" / REPORT_FILE).read_text()) for path in folder.iterdir()}
        return {key: {k: v for k, v in value.items() if k not in volatile} for key, value in texts.items()}
    return {key: value for key, value in report(bench, asset).items() if key not in volatile}


@pytest.mark.fault("flipped_byte")
def test_a_flipped_byte_in_a_stored_fold_is_refused_before_it_is_parsed(finished: Workbench) -> None:
    path = finished.artifact("production_fold", finished.folds()[0]) / "weights.safetensors"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match=r"weights\.safetensors: SHA-256 is \w+, the manifest says \w+"):
        read_artifact(finished.layout.artifact("small", "production_fold", finished.folds()[0]))


def test_the_same_run_again_finds_the_same_content(finished: Workbench) -> None:
    before = _contents(finished)
    assert not finished.run()["failed"]
    after = _contents(finished)
    for names_a_version in ("release/None", "report/None"):  # which is a new one each time
        assert after.pop(names_a_version) != before.pop(names_a_version)
    assert after == before
    performance = OosPerformance.model_validate(report(finished, "oos_performance"))
    assert performance.looks == 1


def _contents(bench: Workbench) -> dict[str, str]:
    found = {}
    with bench.instance() as instance:
        for key in instance.all_asset_keys():
            for record in instance.fetch_materializations(key, limit=50).records[::-1]:
                materialisation = record.asset_materialization
                assert materialisation is not None
                name = f"{key.path[-1]}/{materialisation.partition}"
                found[name] = (materialisation.tags or {}).get("dagster/data_version", "")
    return found
