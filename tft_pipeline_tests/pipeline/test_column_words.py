"""Every column of the bars, features and targets has a description on its asset's page."""

from collections.abc import Callable

import dagster as dg
import polars as pl

from tft_pipeline.domain.features.catalogue import catalogue
from tft_pipeline.domain.minutes import MINUTE_COLUMNS
from tft_pipeline.pipeline.column_words import WORDS, YOURS, words_of_bars
from tft_pipeline.pipeline.commands import run_experiment
from tft_pipeline_tests.conftest import Workbench, random_bars


def columns(bench: Workbench, asset: str) -> dict[str, str | None]:
    """Column -> description, as the page of the asset shows it."""
    with bench.instance() as instance:
        event = instance.get_latest_materialization_event(bench.graph.key(asset))
    assert event is not None
    assert event.asset_materialization is not None
    schema = event.asset_materialization.metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchemaMetadataValue)
    return {column.name: column.description for column in schema.schema.columns}


def test_bars_features_and_targets_say_what_each_column_is(workbench: Callable[..., Workbench]) -> None:
    bench = workbench(random_bars().with_columns(mood=pl.col("close") / 2))
    assert not run_experiment(bench.file, resume=False, until="targets", report=bench.lines.append)["failed"]
    bars, features = columns(bench, "snapshot"), columns(bench, "features")
    assert bars["mood"] == features["mood"] == YOURS
    assert bars["close"] == "last price of the bar"
    formulas = {feature.name: feature.formula for feature in catalogue()}
    built = formulas.keys() & features.keys()
    assert len(built) > 5
    for name in built:
        assert str(features[name]).startswith(f"{formulas[name]} ["), name
    for asset, found in (("snapshot", bars), ("features", features), ("targets", columns(bench, "targets"))):
        assert [name for name, words in found.items() if not words] == [], asset


def test_columns_of_joined_minutes_and_of_predictions_have_words_too() -> None:
    words = words_of_bars(tuple(MINUTE_COLUMNS))
    assert all(len(words[name]) > len("of the bar's minutes: ") for name in MINUTE_COLUMNS)
    assert {"fold", "raw_position", "mean", "scale", "probability", "lightgbm_probability"} <= WORDS.keys()
