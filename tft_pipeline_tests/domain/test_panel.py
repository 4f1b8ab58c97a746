from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.panel import Panel, build_panel, rows_a_block
from tft_pipeline.domain.targets import build_targets
from tft_pipeline_tests.builders import FEATURES, MIN_HISTORY, ragged_bars, small, toy_features, toy_panel
from tft_pipeline_tests.conftest import random_bars
from tft_pipeline_tests.oracles.peak_memory import MEASURABLE, measured

ARRAYS = ("values", "observed", "next_return", "volatility", "label", "close")


def frames(bars: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    bars = bars.sort("symbol", "timestamp")
    return toy_features(bars), build_targets(bars, horizon=1, volatility_span=20, bars_per_year=252.0, untraded=())


def test_every_value_of_the_long_frames_stands_at_its_symbol_and_bar_and_nothing_else_does():
    features, targets = frames(ragged_bars())
    panel = build_panel(features, targets, names=FEATURES, min_history=MIN_HISTORY)
    at = {stamp: k for k, stamp in enumerate(panel.calendar)}
    who = {symbol: k for k, symbol in enumerate(panel.symbols)}
    filled = np.zeros(panel.close.shape, dtype=bool)
    for row in features.join(targets, on=["timestamp", "symbol"]).iter_rows(named=True):
        s, t = who[row["symbol"]], at[row["timestamp"]]
        filled[s, t] = True
        for v, name in enumerate(FEATURES):
            np.testing.assert_equal(panel.values[s, t, v], np.float32(np.nan if row[name] is None else row[name]))
        for name in ("next_return", "volatility", "label", "close"):
            np.testing.assert_equal(getattr(panel, name)[s, t], np.nan if row[name] is None else row[name])
    assert np.isnan(panel.values[~filled]).all()
    assert np.isnan(panel.close[~filled]).all()
    assert not panel.observed[~filled].any()
    assert filled.sum() == features.height < filled.size
    assert panel.values.dtype == np.float32


def test_the_grid_is_sorted_whatever_the_order_of_the_rows():
    features, targets = frames(ragged_bars())
    panel = build_panel(features, targets, names=FEATURES, min_history=MIN_HISTORY)
    mixed = build_panel(
        features.sample(fraction=1.0, shuffle=True, seed=1),
        targets.sample(fraction=1.0, shuffle=True, seed=2),
        names=FEATURES,
        min_history=MIN_HISTORY,
    )
    assert panel.symbols == ("AAA", "BBB", "CCC", "DDD")
    assert list(panel.calendar) == sorted(panel.calendar)
    assert (mixed.calendar, mixed.symbols) == (panel.calendar, panel.symbols)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(mixed, name), getattr(panel, name))


def test_a_symbol_is_observed_from_its_own_bar_number_min_history_on():
    panel = toy_panel(ragged_bars(), small())
    present = np.isfinite(panel.close)
    for s in range(4):
        bars = np.flatnonzero(present[s])
        assert not panel.observed[s, bars[: MIN_HISTORY - 1]].any()
        assert panel.observed[s, bars[MIN_HISTORY - 1 :]].all()
    assert np.flatnonzero(panel.observed[0])[0] == 40 + MIN_HISTORY - 1


def test_a_bar_is_scored_when_it_is_observed_and_its_outcome_and_risk_are_known():
    panel = toy_panel(ragged_bars(), small())
    for s in range(4):
        for t in range(panel.n_bars):
            known = all(np.isfinite(getattr(panel, name)[s, t]) for name in ("next_return", "volatility", "label"))
            assert panel.scored[s, t] == (panel.observed[s, t] and known)
    assert not panel.scored[:, -1].any()
    assert panel.scored[:, 300].sum() == 3


def wide_frames(n_symbols: int, n_bars: int, n_features: int) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Frames of more rows than one block, some of them and some values missing, features in an order of their own."""
    random = np.random.default_rng(0)
    stamps = pl.datetime_range(
        datetime(2020, 1, 1), datetime(2020, 1, 1) + timedelta(days=n_bars - 1), "1d", time_zone="UTC", eager=True
    )
    symbols = pl.DataFrame({"symbol": [f"S{s:02d}" for s in range(n_symbols)]})
    keys = pl.DataFrame({"timestamp": stamps}).join(symbols, how="cross")
    keys = keys.filter(pl.Series(random.random(keys.height) < 0.9))
    names = [f"f{v}" for v in range(n_features)]
    columns = [pl.Series(name, random.standard_normal(keys.height, dtype=np.float32)) for name in names]
    outcomes = [pl.Series(name, random.random(keys.height)) for name in ("next_return", "volatility", "label", "close")]
    features = keys.with_columns(columns).with_columns(pl.when(pl.col("f1") > -1.0).then(pl.col("f1")).alias("f1"))
    return features.sample(fraction=1.0, shuffle=True, seed=3), keys.with_columns(outcomes), names


def test_blocks_of_rows_give_the_grid_of_a_sorted_frame_a_column_at_a_time():
    features, targets, names = wide_frames(3, 120, 700)
    assert features.height > 3 * rows_a_block(700)
    panel = build_panel(features, targets, names=names[::-1], min_history=1)
    ordered = targets.select("timestamp", "symbol").join(features, on=["timestamp", "symbol"], maintain_order="left")
    bars = [panel.calendar.index(stamp) for stamp in ordered["timestamp"]]
    rows = [panel.symbols.index(symbol) for symbol in ordered["symbol"]]
    assert panel.features == tuple(names[::-1])
    for v, name in enumerate(panel.features):
        expected = np.full(panel.close.shape, np.nan, dtype=np.float32)
        expected[rows, bars] = ordered[name].fill_null(float("nan")).to_numpy()
        np.testing.assert_array_equal(panel.values[..., v], expected)
    assert np.isnan(panel.values[rows, bars, names[::-1].index("f1")]).sum() == features["f1"].null_count() > 0


def test_row_blocks_hold_every_bar_of_every_symbol_once():
    features, targets, names = wide_frames(3, 250, 600)
    panel = build_panel(features, targets, names=names, min_history=1)
    count = np.zeros(panel.observed.shape, dtype=int)
    sizes = []
    for s, bars in panel.row_blocks():
        count[s, bars] += 1
        sizes.append(bars.stop - bars.start)
    assert (count == 1).all()
    assert max(sizes) == rows_a_block(600) < panel.n_bars
    assert rows_a_block(1) == 1024
    assert rows_a_block(10**6) == 1


PANEL_PEAK = """
from tft_pipeline.domain.panel import build_panel
from tft_pipeline_tests.domain.test_panel import wide_frames

def share(S, N):
    features, targets, names = wide_frames(S, N, 73)
    return peak(lambda: build_panel(features, targets, names=names, min_history=5)) / (4 * 73 * S * N)

share(4, 300)  # loads what is loaded once
print(json.dumps({"built": share(40, 8_000)}))
"""


@pytest.mark.skipif(not MEASURABLE, reason="the peak is read from Linux's /proc")
def test_a_panel_takes_less_than_a_third_more_than_its_values():
    assert 0.9 < measured(PANEL_PEAK)["built"] <= 1.3


def test_frames_of_different_snapshots_are_refused():
    features, targets = frames(random_bars(60))
    with pytest.raises(ValueError, match=r"features \(239 rows\) and targets \(240 rows\) differ.*materialise"):
        build_panel(features.head(239), targets, names=FEATURES, min_history=1)
    moved = features.with_columns(pl.col("timestamp").dt.offset_by("1h"))
    renamed = features.with_columns(pl.col("symbol") + "X")
    swapped = features.with_columns(pl.col("symbol").replace({"AAA": "BBB"}))
    twice = pl.concat([features.head(239), features.head(1)])
    for other in (renamed, swapped, twice):
        with pytest.raises(ValueError, match="different snapshots"):
            build_panel(other, targets, names=FEATURES, min_history=1)
    with pytest.raises(ValueError, match="different snapshots"):
        build_panel(moved, targets, names=FEATURES, min_history=1)


def test_a_cut_shows_the_same_bars_without_copying_them():
    panel = toy_panel(ragged_bars(), small())
    cut = panel.between(100, 220)
    assert cut.calendar == panel.calendar[100:220]
    assert cut.n_bars == 120
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(cut, name), getattr(panel, name)[:, 100:220])
        assert np.shares_memory(getattr(cut, name), getattr(panel, name))


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 5), (6, 5), (0, 421), (420, 421)])
def test_a_cut_beyond_the_panel_is_refused(start, stop):
    with pytest.raises(ValueError, match=rf"bars {start}..{stop} are not inside the panel's 0..420"):
        toy_panel(ragged_bars(), small()).between(start, stop)


def test_features_are_taken_in_the_order_asked_for():
    panel = toy_panel(ragged_bars(), small())
    chosen = panel.with_features(("range_10", "past_return"))
    assert chosen.features == ("range_10", "past_return")
    np.testing.assert_array_equal(chosen.values[..., 0], panel.values[..., 2])
    np.testing.assert_array_equal(chosen.values[..., 1], panel.values[..., 0])
    with pytest.raises(ValueError, match=r"features \['absent'\] are not in the panel \(3 features\)"):
        panel.with_features(("past_return", "absent"))


def every_panel() -> dict[str, Panel]:
    panel = toy_panel(ragged_bars(), small())
    return {
        "built": panel,
        "cut": panel.between(3, 9),
        "chosen": panel.with_features(("mean_5",)),
        "listed": panel.between(0, 45).listed(),
    }


def test_only_symbols_with_an_observed_bar_are_listed():
    panel = toy_panel(ragged_bars(), small())
    early = panel.between(0, 45)
    found = early.listed()
    assert found.symbols == ("BBB", "CCC", "DDD")
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(early, name)[1:])
    assert panel.listed() is panel
    with pytest.raises(ValueError, match="no symbol of 4 is observed in these 10 bars"):
        panel.between(0, 10).listed()


@pytest.mark.parametrize("kind", ["built", "cut", "chosen", "listed"])
@pytest.mark.parametrize("name", ARRAYS)
def test_no_array_of_a_panel_can_be_written_to(kind, name):
    array = getattr(every_panel()[kind], name)
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0
