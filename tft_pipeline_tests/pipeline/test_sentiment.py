"""A probability that comes with the source: past every model, into the folds' predictions and the blend."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.experiment_features import catalogue_of
from tft_pipeline.domain.findings import EnsembleWeights, LeakageAudit
from tft_pipeline.domain.reports import FeatureCatalogue, FoldPlanReport
from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.fold_bundles import FoldBundle, read_fold_bundle
from tft_pipeline_tests.builders import small
from tft_pipeline_tests.conftest import Workbench, write_experiment
from tft_pipeline_tests.pipeline.test_definitions import code_versions

COLUMN = {"ensemble.sentiment_column": "mood"}


def give(bench: Workbench, mood: np.ndarray | None = None) -> pl.DataFrame:
    """Bars with a column of probabilities, and an experiment that names it."""
    bars = pl.read_parquet(bench.folder / "bars.parquet").drop("mood", strict=False)
    values = np.random.default_rng(0).uniform(0.0, 1.0, bars.height) if mood is None else mood
    bars = bars.with_columns(mood=pl.Series(values))
    bars.write_parquet(bench.folder / "bars.parquet")
    write_experiment(bench.folder, COLUMN)
    return bars


def made(bench: Workbench, asset: str, partition: str | None = None) -> dict[str, Any]:
    return materialise_asset(bench.file, asset, partition=partition, downstream=False, report=bench.lines.append)


def record(bench: Workbench, asset: str, kind: Any) -> Any:
    return kind.model_validate_json((bench.artifact(asset) / "report.json").read_text())


def bundles(bench: Workbench) -> dict[str, FoldBundle]:
    return {
        fold: read_fold_bundle(read_artifact(bench.layout.artifact("small", "production_fold", fold)))
        for fold in bench.folds()
    }


def test_the_column_flows_past_the_models_into_predictions_blend_and_file(finished: Workbench) -> None:
    before = bundles(finished)
    give(finished)
    first, second, last = finished.folds()
    stamps = before[second].predictions["timestamp"]
    bars = pl.read_parquet(finished.folder / "bars.parquet")
    hole = (pl.col("symbol") == "BBB") & (pl.col("timestamp") == stamps[9])  # one value of the second fold is missing
    bars = bars.with_columns(mood=pl.when(~hole).then(pl.col("mood")))
    bars.write_parquet(finished.folder / "bars.parquet")
    for asset in ("snapshot", "feature_catalogue", "production_plan"):
        assert made(finished, asset)["failed"] == []
    for fold in (first, second, last):
        assert made(finished, "production_fold", fold)["failed"] == []
    for asset in ("ensemble_weights", "leakage_audit"):
        assert made(finished, asset)["failed"] == []

    catalogue = record(finished, "feature_catalogue", FeatureCatalogue)
    plan = record(finished, "production_plan", FoldPlanReport)
    assert "mood" not in catalogue.names
    assert all("mood" not in spec.features and spec.sentiment[0] == "mood" for spec in plan.specs)
    told = {(row["timestamp"], row["symbol"]): row["mood"] for row in bars.iter_rows(named=True)}
    for fold, bundle in bundles(finished).items():
        old = before[fold].predictions
        assert bundle.predictions.drop("sentiment_probability").equals(old)  # the models saw nothing of it
        for stamp, symbol, value in bundle.predictions.select(
            "timestamp", "symbol", "sentiment_probability"
        ).iter_rows():
            assert value == told[stamp, symbol], (fold, stamp, symbol)
    assert bundles(finished)[second].predictions["sentiment_probability"].null_count() == 1

    found = record(finished, "ensemble_weights", EnsembleWeights)
    assert found.available == {"lgbm": True, "tft": True, "sentiment": True}
    assert found.missing == {"lgbm": 0, "tft": 0, "sentiment": 1}
    assert (
        found.n["fitted_bars"] == found.n["scored_bars"] // 2
    )  # the weights come from the newest fold, which all three share
    assert all(
        "sentiment" not in row["log_loss_by_source"] for row in found.folds
    )  # the second had a hole, the third follows it
    assert json.loads(finished.layout.ensemble("small").read_text()) == found.model_dump(mode="json")

    rows = {row["guard"]: row for row in record(finished, "leakage_audit", LeakageAudit).rows}
    assert rows["predictions_know_the_past_only"]["state"] == "held"
    assert any("mood" in row["detail"] and row["state"] == "not_verifiable" for row in rows.values())

    changed = bars.with_columns(mood=1.0 - pl.col("mood"))
    changed.write_parquet(finished.folder / "bars.parquet")
    assert made(finished, "snapshot")["failed"] == []
    (failed,) = made(finished, "production_fold", last)["failed"]
    assert "'mood' of the stored snapshot is not what the plan was made on" in failed["reason"]
    assert "materialise the fold plan again" in failed["reason"]


def test_values_that_are_no_probabilities_stop_the_run_at_the_catalogue(workbench: Callable[..., Workbench]) -> None:
    bench = workbench()
    give(bench, np.full(1680, 1.5))
    assert made(bench, "snapshot")["failed"] == []
    (failed,) = made(bench, "feature_catalogue")["failed"]
    assert "ensemble.sentiment_column 'mood' is outside [0, 1] in 1680 of 1680 rows" in failed["reason"]


def test_the_column_is_no_feature_and_other_columns_of_the_source_still_are() -> None:
    columns = ("timestamp", "symbol", "close", "mood", "news")
    assert catalogue_of(small(), columns).user_columns == ("mood", "news")
    assert catalogue_of(small(COLUMN), columns).user_columns == ("news",)
    with pytest.raises(ValueError, match=r"ensemble\.sentiment_column 'mood' is no column .*there are news"):
        catalogue_of(small(COLUMN), ("timestamp", "symbol", "close", "news"))


def test_naming_a_column_outdates_the_catalogue_and_the_plan(workbench: Callable[..., Workbench]) -> None:
    bench = workbench()
    before = code_versions(bench.definitions)
    write_experiment(bench.folder, COLUMN)
    after = code_versions(bench.definitions)
    assert {key.split("/")[1] for key in before if before[key] != after[key]} == {
        "feature_catalogue", "production_plan", "report",
    }  # fmt: skip
