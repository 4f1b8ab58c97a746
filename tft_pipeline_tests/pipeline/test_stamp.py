"""A source that stamps bars with their openings gives what the same bars stamped with their closes give."""

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.checked_bars import checked_bars
from tft_pipeline.domain.data_section import DataSection
from tft_pipeline.domain.experiment_features import catalogue_of
from tft_pipeline.pipeline.assets.audit import published_rows
from tft_pipeline.pipeline.assets.exploration import exploration_specs
from tft_pipeline.pipeline.assets.features import computed_features, computed_targets
from tft_pipeline.pipeline.assets.snapshot import taken_bars
from tft_pipeline.pipeline.panels import panel_of
from tft_pipeline.storage.snapshots import Snapshot
from tft_pipeline_tests.conftest import Workbench, random_bars, write_experiment

HOUR = timedelta(hours=1)
FIRST = datetime(2021, 1, 1, 1, tzinfo=UTC)
HOURLY: dict[str, Any] = {
    "data.interval": "1h",
    "data.bars_per_year": 8760,
    "periods.production_start": "2021-01-14",
}
RECORDED = Path(os.environ.get("TFT_RECORDED_MINUTES", "no such file"))


def hourly(n: int = 420, symbols: tuple[str, ...] = ("AAA", "BBB")) -> pl.DataFrame:
    """Bars stamped with their closes."""
    stamps = [FIRST + k * HOUR for k in range(n)]
    return random_bars(n, symbols).with_columns(timestamp=pl.Series(stamps * len(symbols)))


def opened(bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_columns(pl.col("timestamp") - HOUR)


def with_features(bars: pl.DataFrame) -> pl.DataFrame:
    """A column of the user's own, published ten minutes after the bar closed."""
    return bars.with_columns(
        mood=np.arange(bars.height, dtype=np.float64), available_at=pl.col("timestamp") + timedelta(minutes=10)
    )


def test_labels_and_folds_are_those_of_the_same_bars_stamped_with_their_closes(
    workbench: Callable[..., Workbench],
) -> None:
    found = []
    for bars, stamp in ((hourly(), "close"), (opened(hourly()), "open")):
        bench = workbench(bars, {**HOURLY, "data.stamp": stamp, "data.end": date(2021, 1, 17), "name": f"by_{stamp}"})
        graph = bench.graph
        taken = taken_bars(graph.file).bars
        targets = computed_targets(graph.experiment, taken)
        catalogue = catalogue_of(graph.experiment, taken.columns)
        features = computed_features(graph.experiment, taken, catalogue)
        panel = panel_of(features.lazy(), targets, catalogue, catalogue.names)
        specs = exploration_specs(panel, graph.experiment, min_history=catalogue.max_lookback)
        found.append((taken, targets, features, specs))
    closes, openings = found
    assert closes[0]["timestamp"].max() == datetime(2021, 1, 17, 23, tzinfo=UTC)  # data.end cuts by closes too
    for by_close, by_opening in zip(closes[:3], openings[:3], strict=True):
        assert by_opening.equals(by_close)
    assert openings[3] == closes[3]
    assert len(closes[3]) == 2


def test_openings_that_are_taken_for_closes_are_another_snapshot(workbench: Callable[..., Workbench]) -> None:
    bench = workbench(opened(hourly()), HOURLY)
    wrong = taken_bars(bench.graph.file)
    write_experiment(bench.folder, {**HOURLY, "data.stamp": "open"})
    right = taken_bars(bench.graph.file)
    assert right.bars.equals(hourly())
    assert (right.bars["timestamp"] - wrong.bars["timestamp"]).unique().to_list() == [HOUR]
    assert (wrong.source["stamp"], right.source["stamp"]) == ("close", "open")
    assert computed_targets(bench.graph.experiment, right.bars).height == hourly().height


def test_publications_are_not_moved_with_the_stamps(workbench: Callable[..., Workbench]) -> None:
    closes = with_features(hourly())
    bench = workbench(closes, HOURLY)
    by_close = taken_bars(bench.graph.file).bars
    openings = closes.with_columns(pl.col("timestamp") - HOUR)  # available_at stays
    openings.write_parquet(bench.folder / "bars.parquet")
    write_experiment(bench.folder, {**HOURLY, "data.stamp": "open"})
    by_open = taken_bars(bench.graph.file).bars
    assert by_open.equals(by_close)
    # a value that is out ten minutes after the close is the next bar's
    first = by_open.filter(pl.col("symbol") == "AAA")["mood"].to_list()[:3]
    assert first == [None, 0.0, 1.0]


def test_guards_that_read_the_source_again_add_the_interval_too(workbench: Callable[..., Workbench]) -> None:
    bench = workbench(opened(with_features(hourly())), {**HOURLY, "data.stamp": "open"})
    taken = taken_bars(bench.graph.file)
    read = published_rows(bench.graph, Snapshot(bars=taken.bars, manifest={"source": taken.source}))
    assert read is not None
    assert read().select("timestamp", "symbol", "close").equals(taken.bars.select("timestamp", "symbol", "close"))


def test_an_interval_that_the_bars_have_not_is_refused_where_it_is_added(workbench: Callable[..., Workbench]) -> None:
    bench = workbench(opened(hourly()), {**HOURLY, "data.stamp": "open", "data.interval": "15m"})
    with pytest.raises(BarsError, match=r"data\.stamp is open, which adds data\.interval .* stand 1:00:00 apart"):
        taken_bars(bench.graph.file)


@pytest.mark.parametrize(("stated", "bars_per_year"), [("15m", 35_040), ("1d", 252)])
def test_bars_of_another_interval_than_stated_are_refused_before_anything_is_annualised(
    stated: str, bars_per_year: int, workbench: Callable[..., Workbench]
) -> None:
    bench = workbench(hourly(), {**HOURLY, "data.interval": stated, "data.bars_per_year": bars_per_year})
    with pytest.raises(
        BarsError, match=rf"data\.interval is {stated} and .* stand 1:00:00 apart .*; state interval 1h"
    ):
        taken_bars(bench.graph.file)


def test_a_market_that_is_not_traded_may_have_bars_of_another_length_and_hides_nothing() -> None:
    daily = pl.datetime_range(datetime(2023, 1, 2, tzinfo=UTC), datetime(2023, 12, 1, tzinfo=UTC), "1d", eager=True)
    hours = pl.datetime_range(daily[0], daily[-1], "1h", eager=True)
    frame = pl.concat(
        pl.DataFrame({"timestamp": stamps, "symbol": symbol, "close": 1.0})
        for symbol, stamps in (("AAA", daily), ("BBB", daily), ("BTC", hours))
    )
    given = {"source": "b", "interval": "1d", "bars_per_year": 252.0, "min_bars": 10, "cross_markets": {"btc": "BTC"}}
    assert checked_bars(DataSection(**given), frame).height == frame.height
    with pytest.raises(BarsError, match=r"stand 1 day, 0:00:00 apart most often: .*; state interval 1d"):
        checked_bars(DataSection(**given | {"interval": "1h"}), frame)


def test_one_symbol_of_longer_bars_is_refused_where_the_interval_is_added(workbench: Callable[..., Workbench]) -> None:
    """Its bars would count as known three hours before they closed, and the hours of the others hide it."""
    bars = opened(hourly())
    longer = (pl.col("symbol") == "AAA") | (pl.col("timestamp").dt.hour() % 4 == 0)
    bench = workbench(bars.filter(longer), {**HOURLY, "data.stamp": "open", "data.min_bars": 50})
    with pytest.raises(BarsError, match=r"bars of BBB stand 4:00:00 apart most often: .* known before it closed"):
        taken_bars(bench.graph.file)


@pytest.mark.skipif(not RECORDED.is_file(), reason="TFT_RECORDED_MINUTES names no file")
def test_recorded_minutes_are_stamped_with_their_openings(workbench: Callable[..., Workbench]) -> None:
    bench = workbench(
        None,
        {"data.interval": "1m", "data.bars_per_year": 525600, "data.stamp": "open", "data.source": str(RECORDED)}
        | {"periods.production_start": "2023-03-15"},
    )
    found = taken_bars(bench.graph.file).bars
    assert found["timestamp"].min() == datetime(2023, 3, 1, 0, 1, tzinfo=UTC)
    assert found["timestamp"].max() == datetime(2023, 3, 22, tzinfo=UTC)
