import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.targets import build_targets
from tft_pipeline_tests.builders import FEATURES, MIN_HISTORY, ragged_bars, small, toy_features, toy_panel
from tft_pipeline_tests.conftest import random_bars

ARRAYS = ("values", "observed", "next_return", "volatility", "label", "close")


def frames(bars: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    bars = bars.sort("symbol", "timestamp")
    return toy_features(bars), build_targets(
        bars, horizon=1, volatility_span=20, bars_per_year=252.0, market_symbol=None
    )


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


def test_frames_of_different_snapshots_are_refused():
    features, targets = frames(random_bars(60))
    with pytest.raises(ValueError, match=r"features \(239 rows\) and targets \(240 rows\) differ.*materialise"):
        build_panel(features.head(239), targets, names=FEATURES, min_history=1)
    moved = features.with_columns(pl.col("timestamp").dt.offset_by("1h"))
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
