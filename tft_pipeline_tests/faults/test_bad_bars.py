"""Bars that are wrong in the whole graph: prices that stand still are an error by name, and the order of rows says nothing."""

from collections.abc import Callable

import polars as pl
import pytest

from tft_pipeline.pipeline.commands import run_experiment
from tft_pipeline_tests.conftest import Workbench, random_bars, small_experiment

pytestmark = pytest.mark.slow
WRITTEN = ("features", "targets", "feature_catalogue")


@pytest.mark.fault("bad_bars")
@pytest.mark.parametrize(
    "close",
    [
        pytest.param(pl.lit(100.0), id="constant"),
        pytest.param((0.001 * pl.int_range(pl.len()).over("symbol")).exp(), id="the_same_share_each_bar"),
    ],
)
def test_prices_that_do_not_move_have_nothing_to_learn_and_the_error_says_so(
    close: pl.Expr, workbench: Callable[..., Workbench]
) -> None:
    bench = workbench(random_bars().with_columns(close=close))
    (failed,) = bench.run()["failed"]
    assert failed["asset"] == "small/prefiltered_features"
    assert "no price moves other than by the same share each bar" in failed["reason"]


@pytest.mark.fault("bad_bars")
def test_shuffled_bars_give_the_same_files_to_the_byte(workbench: Callable[..., Workbench]) -> None:
    bench = workbench()

    def computed() -> dict[str, str]:
        result = run_experiment(bench.file, resume=False, until="targets", report=bench.lines.append)
        assert not result["failed"], result
        found = {asset: bench.artifact(asset).name for asset in WRITTEN}  # named by the hash of their bytes
        return found | {"snapshot": (bench.artifact("snapshot") / "bars.parquet").read_bytes().hex()}

    sorted_bars = computed()
    shuffled = random_bars().sample(fraction=1.0, shuffle=True, seed=7)
    assert not shuffled.equals(random_bars())
    small_experiment(bench.folder, shuffled)
    assert computed() == sorted_bars
    small_experiment(bench.folder, random_bars(seed=1))
    assert computed() != sorted_bars, "other bars give other files"
