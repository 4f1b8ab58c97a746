"""What the panels of the loop oracles do not hold: long runs of the index, bars on which hardly any symbol trades."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.features import build_features, resolve_features
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.market import limited_streak
from tft_pipeline_tests.oracles.feature_panels import BARS_PER_YEAR, INDEX, bars_of, clean_panel, stamps, walk


def build(bars: pl.DataFrame, *names: str) -> pl.DataFrame:
    chosen = resolve_features(bars.columns, groups=(), names=names, has_market=True)
    return build_features(bars, chosen, market_symbol=INDEX, bars_per_year=BARS_PER_YEAR)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_streak_is_counted_up_to_its_limit_and_starts_again_after_a_turn(sign: float) -> None:
    moves = sign * np.concatenate([np.ones(30), -np.ones(3), np.zeros(2), np.ones(4)])
    times = np.datetime64("2020-01-01", "us") + np.arange(40) * np.timedelta64(timedelta(days=1))
    close = 100.0 * np.exp(0.01 * np.concatenate([[0.0], np.cumsum(moves)]))
    close[34:36] = close[33]
    history = History(timestamps=times, close=close, bars_per_year=252.0)
    found = limited_streak(history, limit=21)
    assert np.isnan(found[:21]).all()
    assert found[21:31].tolist() == [sign * 21] * 10
    assert found[31:].tolist() == [-sign, -2 * sign, -3 * sign, 0.0, 0.0, sign, 2 * sign, 3 * sign, 4 * sign]


def test_bars_with_a_single_symbol_have_no_breadth_but_do_not_blank_the_windows_over_them() -> None:
    bars = clean_panel(200, symbols=4)
    lonely = (pl.col("timestamp").dt.weekday() > 5) & (pl.col("symbol") != "S0")
    frame = build(bars.filter(~lonely), "brd_advance", "brd_advance_21", "brd_dispersion", "brd_dispersion_z_63")
    frame = frame.filter(pl.col("symbol") == "S0").with_columns(weekend=pl.col("timestamp").dt.weekday() > 5)
    assert frame.filter("weekend")["brd_advance"].null_count() == frame["weekend"].sum()
    later = frame[70:]
    assert later["brd_advance_21"].null_count() == 0
    assert later.filter(~pl.col("weekend"))["brd_dispersion_z_63"].null_count() == 0
    assert later.filter("weekend")["brd_dispersion_z_63"].is_null().all()
    for row in (100, 141, 199):
        recent = frame["brd_advance"][row - 20 : row + 1].drop_nulls()
        assert len(recent) == 15
        assert frame["brd_advance_21"][row] == pytest.approx(recent.mean(), abs=1e-6)


def test_windows_with_less_than_half_of_their_bars_are_null() -> None:
    bars = clean_panel(200, symbols=3)
    lonely = (pl.col("timestamp").dt.weekday() > 2) & (pl.col("symbol") != "S0")
    frame = build(bars.filter(~lonely), "brd_advance_21", "brd_dispersion_z_63")
    assert frame["brd_advance_21"].is_null().all()
    assert frame["brd_dispersion_z_63"].is_null().all()


def test_two_symbols_have_a_dispersion_and_no_skew_and_copies_have_neither_skew_nor_rank() -> None:
    assert build(clean_panel(60, symbols=2), "brd_skew")["brd_skew"].null_count() == 120
    rng = np.random.default_rng(2)
    close = walk(rng, 60)
    copies = pl.concat([bars_of(name, stamps(60), close, rng) for name in ("A", "B", "C", INDEX)]).sort(
        "symbol", "timestamp"
    )
    frame = build(copies, "brd_skew", "brd_dispersion", "xs_ret_21").drop_nulls("xs_ret_21")
    assert frame["brd_skew"].is_null().all()
    assert frame["brd_dispersion"].to_list() == pytest.approx([0.0] * frame.height, abs=1e-15)
    assert set(frame["xs_ret_21"]) == {0.0}


def test_a_symbol_that_follows_the_index_a_day_later_has_a_lagged_beta_of_one_and_hardly_a_beta() -> None:
    rng = np.random.default_rng(4)
    moves = rng.normal(0.0, 0.01, 400)
    index, follower = (50.0 * np.exp(np.cumsum(part)) for part in (moves, np.concatenate([[0.0], moves[:-1]])))
    bars = pl.concat([bars_of(INDEX, stamps(400), index, rng), bars_of("S0", stamps(400), follower, rng)])
    last = build(bars, "beta_252", "beta_lagged_252", "corr_lagged_63", "corr_63").row(-1, named=True)
    assert last["beta_lagged_252"] == pytest.approx(1.0, abs=1e-5)
    assert last["corr_lagged_63"] == pytest.approx(1.0, abs=1e-5)
    assert abs(last["beta_252"]) < 0.2
    assert abs(last["corr_63"]) < 0.4


def test_a_symbol_that_is_twice_the_index_and_noise_shows_both() -> None:
    rng = np.random.default_rng(5)
    moves, noise = rng.normal(0.0, 0.01, 600), rng.normal(0.0, 0.005, 600)
    index, doubled = (50.0 * np.exp(np.cumsum(part)) for part in (moves, 2.0 * moves + noise))
    bars = pl.concat([bars_of(INDEX, stamps(600), index, rng), bars_of("S0", stamps(600), doubled, rng)])
    names = ("beta_252", "beta_downside_252", "beta_idio_vol_252", "beta_idio_share_252", "rs_vol_63")
    last = build(bars, *names).row(-1, named=True)
    assert last["beta_252"] == pytest.approx(2.0, abs=0.1)
    assert last["beta_downside_252"] == pytest.approx(2.0, abs=0.25)
    assert last["beta_idio_vol_252"] == pytest.approx(0.005 * np.sqrt(252), rel=0.15)
    assert last["beta_idio_share_252"] == pytest.approx(0.25 / 4.25, rel=0.35)
    assert last["rs_vol_63"] == pytest.approx(np.log(np.sqrt(4.25)), abs=0.1)
