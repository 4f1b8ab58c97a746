"""The snapshot's check on bars that look wrong: it warns in the UI and in a run's lines, and stops nothing."""

from collections.abc import Callable

import dagster as dg
import polars as pl

from tft_pipeline.pipeline.assets.plausible import MOST_TOLD
from tft_pipeline.pipeline.commands import run_experiment
from tft_pipeline_tests.conftest import Workbench, random_bars


def with_ticks(n: int) -> pl.DataFrame:
    bars = random_bars()
    stamps = bars["timestamp"].unique().sort()[50 : 50 + 10 * n : 10]
    there = (pl.col("symbol") == "BBB") & pl.col("timestamp").is_in(stamps.implode())
    return bars.with_columns(close=pl.when(there).then(10 * pl.col("close")).otherwise("close"))


def evaluated(bench: Workbench) -> dg.AssetCheckEvaluation:
    with bench.instance() as instance:
        key = dg.AssetCheckKey(bench.graph.key("snapshot"), "bars_look_plausible")
        record = instance.get_latest_asset_check_evaluation_record(key)
    assert record is not None
    assert record.event is not None
    found = record.event.asset_check_evaluation
    assert found is not None
    return found


def test_bars_that_look_wrong_warn_in_the_lines_of_a_run_and_on_the_page_of_the_snapshot(
    workbench: Callable[..., Workbench],
) -> None:
    bench = workbench(with_ticks(MOST_TOLD + 2))
    answer = run_experiment(bench.file, resume=False, until="snapshot", report=bench.lines.append)
    assert not answer["failed"]
    warned = [line for line in bench.lines if line.startswith("  warning: ")]
    assert len(warned) == MOST_TOLD + 1
    assert "BBB closes at" in warned[0]
    assert "2 more findings: see the check bars_look_plausible" in warned[-1]
    found = evaluated(bench)
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
    rows = found.metadata["findings"].value.records  # type: ignore[union-attr]
    assert [row.data["kind"] for row in rows] == ["tick"] * (MOST_TOLD + 2)


def test_honest_bars_pass_and_a_resumed_run_does_not_stumble_over_a_warning(
    workbench: Callable[..., Workbench],
) -> None:
    bench = workbench()
    run_experiment(bench.file, resume=False, until="snapshot", report=bench.lines.append)
    assert evaluated(bench).passed
    assert not any("warning" in line for line in bench.lines)
    doubted = workbench(with_ticks(1))
    for resume in (False, True):
        assert not run_experiment(doubted.file, resume=resume, until="feature_catalogue", report=doubted.lines.append)[
            "failed"
        ]
    assert "feature_catalogue: current" in doubted.lines


def test_bars_are_stored_as_they_came_whatever_the_check_says(workbench: Callable[..., Workbench]) -> None:
    bars = with_ticks(1)
    bench = workbench(bars)
    run_experiment(bench.file, resume=False, until="snapshot", report=bench.lines.append)
    stored = pl.read_parquet(bench.artifact("snapshot") / "bars.parquet")
    assert stored.sort("symbol", "timestamp")["close"].equals(bars.sort("symbol", "timestamp")["close"])
