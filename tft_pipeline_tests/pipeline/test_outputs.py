"""What assets show in the UI, through real materialisation."""

import json
from collections.abc import Callable

import polars as pl
import pytest

from tft_pipeline.pipeline.commands import materialise_asset
from tft_pipeline.pipeline.outputs import table
from tft_pipeline_tests.conftest import Workbench, random_bars

OWN = 'mood<script>"'


def test_a_table_without_rows_is_one_without_columns() -> None:
    assert table([]).records == []
    assert table([]).schema.columns == []
    assert [column.name for column in table([{"a": 1}]).schema.columns] == ["a"]


def test_columns_of_the_user_alone_are_features_enough(workbench: Callable[..., Workbench]) -> None:
    bars = random_bars().with_columns(pl.col("close").pct_change().over("symbol").fill_null(0.0).alias(OWN))
    bench = workbench(bars, {"features": {"groups": []}})
    for asset in ("snapshot", "feature_catalogue"):
        done = materialise_asset(bench.file, asset, partition=None, downstream=False, report=print)
        assert done["failed"] == [], done
    record = json.loads((bench.artifact("feature_catalogue") / "report.json").read_text())
    assert record["used"] == []
    assert record["user_columns"] == [OWN]


@pytest.mark.slow
def test_a_run_with_a_column_of_any_name_ends_with_a_verdict(workbench: Callable[..., Workbench]) -> None:
    steps = pl.col("close").pct_change().over("symbol").fill_null(0.0)
    bars = random_bars().with_columns(steps.alias(OWN), (steps * steps).alias("a, b: [c]"), steps.abs().alias("b{c}_x"))
    bench = workbench(bars, {"features": {"groups": []}, "pruning": {"min_features": 2}})
    assert bench.run()["failed"] == []
    page = (bench.artifact("report") / "report.html").read_text()
    assert "mood<script>" not in page
