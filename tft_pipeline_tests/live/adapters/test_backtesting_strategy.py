"""Targets through the real backtesting.py: the equity it reports is that of our book, and no bar moves before its signal."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.portfolio import hold_book
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline.live.adapters.backtesting_strategy import candles, release_backtest, release_strategy

pytest.importorskip("backtesting", reason="backtesting.py is not installed: pip install 'tft-pipeline[adapters]'")

START, DAY, N = datetime(2026, 1, 5, 21, tzinfo=UTC), timedelta(days=1), 150
STAMPS = [START + k * DAY for k in range(N)]
CASH = 1e9
"""Enough for whole units of 100 to be fine: rounding one unit is 1e-7 of it."""


def bars(seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, N)))
    opening = np.r_[100.0, close[:-1]] * np.exp(rng.normal(0.0, 0.003, N))
    return pl.DataFrame(
        {
            "timestamp": STAMPS,
            "symbol": "AAA",
            "open": opening,
            "high": np.maximum(opening, close) * 1.001,
            "low": np.minimum(opening, close) * 0.999,
            "close": close,
            "volume": 1e6,
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )


def targets(seed: int = 1, *, largest: float = 1.4) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random(N) < 0.2, 0.0, rng.uniform(-largest, largest, N))
    return pl.DataFrame({"timestamp": bars()["timestamp"], "AAA": weights})


def equity(frame: pl.DataFrame, *, seed: int = 0, commission: float = 0.0, trade_on_close: bool = True) -> np.ndarray:
    done = release_backtest(
        frame, bars(seed), "AAA", cash=CASH, commission=commission, trade_on_close=trade_on_close
    ).run()
    return done["_equity_curve"]["Equity"].to_numpy()


def book_net(frame: pl.DataFrame, *, cost_bps: float = 0.0) -> np.ndarray:
    """Net return a bar of our book over the same bars, flat where the framework's loop trades nothing: first and last."""
    weights = frame["AAA"].to_numpy().copy()
    weights[[0, -2, -1]] = 0.0
    close = bars()["close"].to_numpy()
    following = np.append(close[1:] / close[:-1] - 1.0, np.nan)
    one = np.full((1, N), 0.15)
    book = hold_book(weights[None], one, following[None], target_volatility=0.15, terms=BookTerms(trading_bps=cost_bps))
    return book.net[0, :-1]


def test_without_costs_its_equity_is_that_of_our_book_to_rounding() -> None:
    found = equity(targets())
    expected = CASH * np.cumprod(np.r_[1.0, 1.0 + book_net(targets())])
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert abs(found[-1] / CASH - 1.0) > 0.01


def test_with_costs_it_differs_by_what_a_drifting_weight_pays_and_no_more() -> None:
    """5 bp: what is traded there includes the drift since the last bar, |w_t - drifted w_{t-1}| instead of |w_t - w_{t-1}|."""
    weights, cost = targets()["AAA"].to_numpy().copy(), 5e-4
    weights[[0, -2, -1]] = 0.0
    close = bars()["close"].to_numpy()
    following = close[1:] / close[:-1] - 1.0
    value, held, loop = 1.0, 0.0, [1.0]
    for t in range(N - 1):
        fee = cost * abs(weights[t] - held)
        grown = (1.0 - fee) + weights[t] * following[t]
        held = weights[t] * (1.0 + following[t]) / grown
        value *= grown
        loop.append(value)
    found = equity(targets(), commission=cost) / CASH
    # the last close pays for closing, and fees of a bar appear on the next one
    np.testing.assert_allclose(found[:-1], np.array(loop)[:-1], rtol=2e-4)
    ours = np.cumprod(np.r_[1.0, 1.0 + book_net(targets(), cost_bps=5.0)])
    np.testing.assert_allclose(found[:-1], ours[:-1], rtol=5e-4)
    free = equity(targets()) / CASH
    assert free[-2] / found[-2] - 1.0 > 0.02


def test_a_target_of_one_bar_changes_nothing_at_or_before_it() -> None:
    for trade_on_close in (True, False):
        plain = equity(targets(), trade_on_close=trade_on_close)
        for bar in (5, 70, N - 3):
            change = pl.when(pl.col("timestamp") == STAMPS[bar]).then(-pl.col("AAA") + 0.3).otherwise("AAA")
            moved = equity(targets().with_columns(AAA=change), trade_on_close=trade_on_close)
            assert (moved[: bar + 1] == plain[: bar + 1]).all()
            assert moved[bar + 1] != plain[bar + 1]


def test_by_default_orders_are_filled_at_the_next_open() -> None:
    frame = pl.DataFrame({"timestamp": bars()["timestamp"], "AAA": [0.0] * 10 + [0.5] * 10 + [0.0] * (N - 20)})
    done = release_backtest(frame, bars(), "AAA", cash=CASH).run()
    first = done["_trades"].sort_values("EntryTime").iloc[0]
    assert first["EntryTime"] == STAMPS[11].replace(tzinfo=None)
    assert first["EntryPrice"] == pytest.approx(bars()["open"][11])


def test_it_goes_long_short_and_flat_as_asked() -> None:
    frame = pl.DataFrame(
        {"timestamp": bars()["timestamp"], "AAA": [0.0] * 10 + [0.5] * 10 + [-0.5] * 10 + [0.0] * (N - 30)}
    )
    done = release_backtest(frame, bars(), "AAA", cash=CASH, trade_on_close=True).run()
    curve = done["_equity_curve"]["Equity"].to_numpy()
    moves = np.diff(curve / CASH).round(12) != 0.0
    assert moves[10:30].all()
    assert not moves[:10].any()
    assert not moves[30:].any()


def test_a_bar_without_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match="1 bars have no target, the first at 2026-01-08"):
        release_backtest(targets().filter(pl.col("timestamp") != STAMPS[3]), bars(), "AAA", cash=CASH).run()


def test_before_the_first_target_it_is_flat() -> None:
    frame = targets()
    late = pl.when(pl.col("timestamp") < STAMPS[40]).then(0.0).otherwise("AAA")
    cut = equity(frame.filter(pl.col("timestamp") >= STAMPS[40]))
    assert (cut == equity(frame.with_columns(AAA=late))).all()
    assert (cut[:41] == CASH).all()


def test_unknown_symbols_and_bars_without_opens_are_refused() -> None:
    with pytest.raises(ValueError, match="the targets have no BBB"):
        release_strategy(targets(), "BBB")
    with pytest.raises(ValueError, match=r"lack \['open'\]"):
        candles(bars().drop("open"), "AAA")
    with pytest.raises(ValueError, match="no row of BBB"):
        candles(bars(), "BBB")


def test_times_of_another_zone_find_their_targets() -> None:
    from backtesting import Backtest

    data = candles(bars(), "AAA").tz_localize("UTC").tz_convert("America/New_York")
    there = Backtest(
        data, release_strategy(targets(largest=0.5), "AAA"), cash=CASH, trade_on_close=True, finalize_trades=True
    ).run()
    here = release_backtest(targets(largest=0.5), bars(), "AAA", cash=CASH, trade_on_close=True)
    assert there["Equity Final [$]"] == pytest.approx(here.run()["Equity Final [$]"], rel=1e-9)
