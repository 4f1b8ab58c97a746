from typing import Any

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.backtest import BASELINES, backtest, break_even_bps
from tft_pipeline.domain.sections import PositionSection
from tft_pipeline_tests.conftest import business_days
from tft_pipeline_tests.oracles.portfolio import book, held_positions

N_BARS, N_SYMBOLS = 60, 3
STAMPS = business_days(N_BARS)
SYMBOLS = ("A", "B", "C")


def predictions(seed: int = 0, *, fold_length: int = 20, absent: float = 0.0, unknown: float = 0.0) -> pl.DataFrame:
    """One row a symbol and bar; some rows absent, some without a known next return."""
    rng = np.random.default_rng(seed)
    n = N_BARS * N_SYMBOLS
    frame = pl.DataFrame(
        {
            "timestamp": [stamp for stamp in STAMPS for _ in SYMBOLS],
            "symbol": list(SYMBOLS) * N_BARS,
            "fold": [f"f{t // fold_length}" for t in range(N_BARS) for _ in SYMBOLS],
            "raw_position": rng.uniform(-1, 1, n),
            "momentum_position": rng.choice([-1.0, 0.0, 1.0], n),
            "next_return": rng.normal(0.001, 0.01, n),
            "volatility": rng.uniform(0.1, 0.4, n),
        }
    )
    hidden = pl.Series(rng.random(n) < unknown)
    frame = frame.with_columns(next_return=pl.when(~hidden).then(pl.col("next_return")).otherwise(float("nan")))
    return frame.filter(pl.Series(rng.random(n) >= absent))


def position(**values: float) -> PositionSection:
    return PositionSection(**values)  # type: ignore[arg-type]


def grid(frame: pl.DataFrame, column: str) -> np.ndarray:
    """(symbols, bars) over the bars that have a row."""
    calendar = sorted(set(frame["timestamp"]))
    out = np.full((N_SYMBOLS, len(calendar)), np.nan)
    for row in frame.iter_rows(named=True):
        out[SYMBOLS.index(row["symbol"]), calendar.index(row["timestamp"])] = row[column]
    return out


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gaps", [(0.0, 0.0), (0.3, 0.0), (0.2, 0.2)])
def test_the_series_equals_a_loop_over_symbols_and_bars(seed, gaps):
    frame = predictions(seed, absent=gaps[0], unknown=gaps[1])
    knobs = position(max_position=0.8, position_smooth=0.6, cost_bps=7.0)
    found = backtest(frame.sample(fraction=1.0, shuffle=True, seed=seed), knobs, target_volatility=0.15)

    held = held_positions(grid(frame, "raw_position"), 0.8, 0.6, [0.0] * 3)
    volatility, next_return = grid(frame, "volatility"), grid(frame, "next_return")
    present = np.isfinite(volatility)
    models = {
        "": (held, 7.0, 0),
        "twice": (held, 14.0, 0),
        "late": (held, 7.0, 1),
        "long_only": (present.astype(float), 7.0, 0),
        "momentum": (np.nan_to_num(grid(frame, "momentum_position")), 7.0, 0),
    }
    loops = {
        name: np.array(book(z, volatility, next_return, 0.15, [cost] * 3, [0.0] * 3, delay))
        for name, (z, cost, delay) in models.items()
    }
    kept = loops[""][:, 3] > 0
    calendar = sorted(set(frame["timestamp"]))
    assert found["timestamp"].to_list() == [stamp for stamp, here in zip(calendar, kept, strict=True) if here]

    def net(name: str) -> np.ndarray:
        return (loops[name][:, 0] - loops[name][:, 1])[kept]

    np.testing.assert_allclose(found["gross"], loops[""][kept, 0], atol=1e-14)
    np.testing.assert_allclose(found["cost"], loops[""][kept, 1], atol=1e-14)
    np.testing.assert_allclose(found["turnover"], loops[""][kept, 2], atol=1e-13)
    np.testing.assert_allclose(found["net"], net(""), atol=1e-14)
    np.testing.assert_array_equal(found["n_symbols"], loops[""][kept, 3])
    np.testing.assert_allclose(found["net_at_2x_cost"], net("twice"), atol=1e-14)
    np.testing.assert_allclose(found["net_one_bar_late"], net("late"), atol=1e-14)
    for name in BASELINES:
        np.testing.assert_allclose(found[f"{name}_gross"], loops[name][kept, 0], atol=1e-14)
        np.testing.assert_allclose(found[f"{name}_net"], net(name), atol=1e-14)


@pytest.mark.parametrize("smooth", [0.0, 0.9])
def test_where_folds_begin_changes_nothing(smooth):
    knobs = position(position_smooth=smooth)
    whole = backtest(predictions(fold_length=60), knobs, target_volatility=0.15)
    cut = backtest(predictions(fold_length=7), knobs, target_volatility=0.15)
    assert whole.drop("fold").equals(cut.drop("fold"))
    assert cut["fold"].to_list() == [f"f{t // 7}" for t in range(60)]


def test_a_position_that_stays_the_same_across_a_fold_start_is_no_turnover():
    steady = predictions().with_columns(raw_position=pl.lit(0.5), volatility=pl.lit(0.3))
    found = backtest(steady, position(position_smooth=0.8), target_volatility=0.15)
    first_fold, starts = found["turnover"][:20], found["turnover"][20:].to_numpy()
    assert float(first_fold[0]) > 0.0
    assert starts.max() < 0.5 * 0.15 / 0.3 * 0.8**20
    flat = backtest(steady, position(), target_volatility=0.15)
    assert flat["turnover"].to_list() == pytest.approx([0.25] + [0.0] * 59, abs=1e-15)


def test_the_smoothed_position_at_a_fold_start_continues_from_the_fold_before():
    frame = predictions()
    changed = frame.with_columns(
        raw_position=pl.when(pl.col("timestamp") == STAMPS[19]).then(-pl.col("raw_position")).otherwise("raw_position")
    )
    knobs = position(position_smooth=0.9)
    first, second = (backtest(f, knobs, target_volatility=0.15)["gross"] for f in (frame, changed))
    assert (first[:19] == second[:19]).all()
    assert (first[20:40] != second[20:40]).all()


def test_a_bar_that_two_folds_score_is_refused_with_its_symbol_and_time():
    twice = pl.concat([predictions(), predictions().slice(31, 1).with_columns(fold=pl.lit("other"))])
    with pytest.raises(ValueError, match=r"B at 2020-01-15 00:00:00\+00:00 is scored by several folds"):
        backtest(twice, position(), target_volatility=0.15)


def test_later_bars_change_no_earlier_return():
    frame = predictions(absent=0.2)
    early = frame.filter(pl.col("timestamp") <= STAMPS[30])
    knobs = position(position_smooth=0.5)
    whole, part = (backtest(f, knobs, target_volatility=0.15) for f in (frame, early))
    assert whole.head(30).equals(part.head(30))


def test_costs_and_knobs_move_what_they_should():
    frame = predictions()
    free = backtest(frame, position(cost_bps=0.0), target_volatility=0.15)
    dear = backtest(frame, position(cost_bps=20.0), target_volatility=0.15)
    assert (free["net"] == free["gross"]).all()
    assert (dear["gross"] == free["gross"]).all()
    np.testing.assert_allclose(dear["cost"], free["turnover"] * 20e-4, atol=1e-15)
    smooth = backtest(frame, position(position_smooth=0.9), target_volatility=0.15)
    assert smooth["turnover"].mean() < 0.3 * free["turnover"].mean()  # type: ignore[operator]


def test_bars_at_which_nothing_can_be_held_are_left_out():
    frame = predictions()
    blind = pl.when(pl.col("timestamp").is_in(STAMPS[10:12])).then(float("nan")).otherwise(pl.col("next_return"))
    found = backtest(frame.with_columns(next_return=blind), position(), target_volatility=0.15)
    assert found["timestamp"].to_list() == STAMPS[:10] + STAMPS[12:]
    assert found.select(pl.exclude("timestamp", "fold").is_finite().all()).row(0) == (True,) * 11


def test_at_the_break_even_cost_the_mean_net_return_is_zero():
    profitable = predictions().with_columns(raw_position=pl.col("next_return").sign() * 0.5)
    bps = break_even_bps(backtest(profitable, position(), target_volatility=0.15))
    assert bps is not None
    assert bps > 5.0
    found = backtest(profitable, position(cost_bps=bps), target_volatility=0.15)
    assert abs(float(found["net"].mean())) < 1e-12  # type: ignore[arg-type]


def test_there_is_no_break_even_cost_without_trades():
    still = predictions().with_columns(raw_position=pl.lit(0.0))
    assert break_even_bps(backtest(still, position(), target_volatility=0.15)) is None


def test_a_null_next_return_is_unknown_and_not_zero():
    frame: Any = predictions(unknown=0.2)
    nulls = frame.with_columns(pl.col("next_return").fill_nan(None))
    assert backtest(nulls, position(), target_volatility=0.15).equals(
        backtest(frame, position(), target_volatility=0.15)
    )
