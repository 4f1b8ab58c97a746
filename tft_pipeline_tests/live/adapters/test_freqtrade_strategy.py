"""Signals through freqtrade's own backtest: what it buys, when, at which price, and what that earns.

Slow: each of its backtests takes seconds.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tft_pipeline.live.adapters.freqtrade_strategy import FreqtradeTerms, strategy_of_signals
from tft_pipeline.live.replayed_signals import signal_table
from tft_pipeline.live.strategy import TFTStrategy
from tft_pipeline_tests.live.adapters.offline_freqtrade import FIRST_DEALT, START, N, backtested, candles
from tft_pipeline_tests.live.test_strategy import signal

pytest.importorskip(
    "freqtrade", reason="freqtrade is not installed: pip install 'tft-pipeline[freqtrade]' in a venv of its own"
)
pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)
PAIRS = {"BTC/USDT:USDT": "BTC", "ETH/USDT:USDT": "ETH"}
FRAMES = {pair: candles(seed) for seed, pair in enumerate(PAIRS)}
WALLET = 10_000.0


def fractions(seed: int = 0, *, lasts: int = 8) -> np.ndarray:
    """(N, 2) positions that stand for some hours; some of them flat."""
    rng = np.random.default_rng(seed)
    steps = rng.uniform(-0.9, 0.9, (N // lasts + 1, 2)) * (rng.random((N // lasts + 1, 2)) < 0.8)
    return np.repeat(steps, lasts, axis=0)[:N]


def table_of(positions: np.ndarray) -> pl.DataFrame:
    """Signals of the candles' closes; a volatility at the target, so that a weight is its position."""
    made, known = [], {}
    for k in range(N):
        close = START.to_pydatetime() + (k + 1) * HOUR
        for s, symbol in enumerate(PAIRS.values()):
            times = {"ts": close, "valid_from": close, "valid_until": close + HOUR}
            made.append(signal(symbol, float(positions[k, s]), **times))
            known[close, symbol] = 0.15
    return signal_table(made, known)


STRATEGY = TFTStrategy(symbols=("BTC", "ETH"), target_volatility=0.15)


def run(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    positions: np.ndarray,
    *,
    strategy: TFTStrategy = STRATEGY,
    terms: dict[str, Any] | None = None,
    futures: bool = True,
    fee: float = 0.0,
    seen: list[pl.DataFrame] | None = None,
) -> pd.DataFrame:
    """Trades of freqtrade's backtest; the table of signals is made from no more than the candles' times."""

    def signals(bars: pl.DataFrame) -> pl.DataFrame:
        if seen is not None:
            seen.append(bars)
        return table_of(positions)

    pairs = {pair if futures else pair.split(":")[0]: symbol for pair, symbol in PAIRS.items()}
    given = {"timeframe": "1h", "pairs": pairs, "startup_candles": FIRST_DEALT, "can_short": futures} | (terms or {})
    base = strategy_of_signals(signals, strategy, FreqtradeTerms(**given))
    frames = {pair if futures else pair.split(":")[0]: frame for pair, frame in FRAMES.items()}
    stats, _ = backtested(monkeypatch, folder, frames, base, futures=futures, wallet=WALLET, fee=fee)
    return pd.DataFrame(stats["trades"])


def opens(pair: str) -> np.ndarray:
    return FRAMES[pair]["open"].to_numpy()


def runs_of(signs: np.ndarray) -> list[tuple[int, int, float]]:
    """(first candle, candle it is left at, sign): where a pair is held, acting one candle after each signal."""
    found, start = [], None
    acting = [0.0, *signs[:-1]]
    for k in range(FIRST_DEALT + 1, N):
        last = k == N - 1
        if start is not None and (last or acting[k] != acting[start]):
            found.append((start, k, acting[start]))
            start = None
        if start is None and acting[k] != 0.0 and not last:
            start = k
    return found


def account(wanted: np.ndarray, *, least: float, fee: float = 0.0) -> float:
    """Money at the end: each pair follows its fraction of what is free and staked, at opens, one after another."""
    money, held, paid = WALLET, np.zeros(2), np.zeros(2)  # realised, amount, price paid on average
    for k in range(FIRST_DEALT + 1, N):
        for s, pair in enumerate(PAIRS):
            price, aim = opens(pair)[k], 0.0 if k == N - 1 else wanted[k - 1, s]
            if held[s] != 0.0 and np.sign(aim) != np.sign(held[s]):
                money += held[s] * (price - paid[s]) - fee * abs(held[s]) * price
                held[s] = 0.0
            change = aim * money / price - held[s]
            if held[s] == 0.0 and aim != 0.0:
                held[s], paid[s] = change, price
                money -= fee * abs(change) * price
            elif abs(change) * price / money > least and aim != 0.0:
                if np.sign(change) == np.sign(held[s]):
                    paid[s] = (paid[s] * held[s] + price * change) / (held[s] + change)
                else:
                    money += -change * (price - paid[s])
                held[s] += change
                money -= fee * abs(change) * price
    return money


def times(trades: pd.DataFrame, pair: str) -> list[tuple[int, int, float]]:
    mine = trades[trades["pair"] == pair].sort_values("open_date")
    hour = [((mine[name] - START) / HOUR).astype(int) for name in ("open_date", "close_date")]
    return list(zip(*hour, np.where(mine["is_short"], -1.0, 1.0), strict=True))


def orders(trades: pd.DataFrame) -> set[tuple[Any, ...]]:
    """Every fill: pair, candle, side, amount, price."""
    hour = 3_600_000
    return {
        (
            row.pair,
            (o["order_filled_timestamp"] - START.value // 10**6) // hour,
            o["ft_order_side"],
            o["amount"],
            o["safe_price"],
        )
        for row in trades.itertuples()
        for o in row.orders
    }


def money(trades: pd.DataFrame) -> float:
    """At the end, in wallets."""
    return 1.0 + float(trades["profit_abs"].sum()) / WALLET


def test_it_trades_when_the_signals_say_at_the_open_after_them_and_earns_that(monkeypatch, tmp_path) -> None:
    wanted = fractions() / 2
    trades = run(monkeypatch, tmp_path, fractions())
    for s, pair in enumerate(PAIRS):
        assert times(trades, pair) == runs_of(np.sign(wanted[:, s]))
    for pair, candle, _, _, price in orders(trades):
        assert price == pytest.approx(opens(pair)[candle], rel=1e-6)
    # amounts are cut to precision, and partial exits are booked a little otherwise
    assert money(trades) == pytest.approx(account(wanted, least=0.005) / WALLET, abs=1e-3)
    assert set(trades["leverage"]) == {1.0}


def test_it_earns_what_our_book_earns_from_open_to_open_but_for_open_profits(monkeypatch, tmp_path) -> None:
    """Its stakes are shares of what is free and staked, ours of the capital with open profits: half a percent here."""
    wanted = fractions(3) / 2
    trades = run(monkeypatch, tmp_path, fractions(3), terms={"least_change": 0.0})
    acting = wanted[FIRST_DEALT : N - 2]  # decided at the close of a candle, held from the next open to the one after
    moves = np.stack([opens(pair)[1:] / opens(pair)[:-1] - 1.0 for pair in PAIRS], axis=1)[FIRST_DEALT + 1 :]
    book = np.prod(1.0 + (acting * moves).sum(axis=1))
    assert abs(book - 1.0) > 0.02
    assert money(trades) == pytest.approx(book, abs=5e-3)


def test_fees_are_paid_on_what_is_traded(monkeypatch, tmp_path) -> None:
    wanted = fractions() / 2
    free = run(monkeypatch, tmp_path / "free", fractions())
    paid = run(monkeypatch, tmp_path / "paid", fractions(), fee=0.001)
    assert money(paid) == pytest.approx(account(wanted, least=0.005, fee=0.001) / WALLET, abs=2e-3)
    assert money(paid) < money(free) - 0.01


def test_a_signal_of_one_candle_changes_no_order_at_or_before_it(monkeypatch, tmp_path) -> None:
    plain = orders(run(monkeypatch, tmp_path / "plain", fractions()))
    for k in (60, 203):
        changed = fractions()
        changed[k:] = -0.5 * changed[k:] + 0.2
        moved = orders(run(monkeypatch, tmp_path / str(k), changed))
        assert {o for o in plain if o[1] <= k} == {o for o in moved if o[1] <= k}
        assert {o for o in plain if o[1] == k + 1} != {o for o in moved if o[1] == k + 1}


def test_a_signal_that_becomes_valid_late_is_not_used_before(monkeypatch, tmp_path) -> None:
    late = 3 * HOUR
    base_table = table_of

    def later(positions: np.ndarray) -> pl.DataFrame:
        return base_table(positions).with_columns(pl.col("valid_from") + late, pl.col("valid_until") + late)

    monkeypatch.setitem(globals(), "table_of", later)
    moved = run(monkeypatch, tmp_path, fractions())
    for pair in PAIRS:
        shifted = np.roll(np.sign(fractions()[:, list(PAIRS).index(pair)]), 3)
        assert times(moved, pair) == runs_of(shifted)


def test_in_spot_markets_it_holds_only_what_is_above_zero(monkeypatch, tmp_path) -> None:
    trades = run(monkeypatch, tmp_path, fractions(), futures=False)
    assert len(trades)
    assert not trades["is_short"].any()
    signs = np.maximum(np.sign(fractions()), 0.0)
    renamed = trades.assign(pair=trades["pair"] + ":USDT")
    for s, pair in enumerate(PAIRS):
        assert times(renamed, pair) == runs_of(signs[:, s])


def test_weights_above_one_are_held_with_leverage_and_within_the_wallet(monkeypatch, tmp_path) -> None:
    heavy = TFTStrategy(symbols=("BTC", "ETH"), target_volatility=0.6)
    positions = np.where(fractions(7) == 0.0, 0.0, np.sign(fractions(7)) * 0.5)
    trades = run(monkeypatch, tmp_path, positions, strategy=heavy)  # weights of 2, fractions of 1
    assert set(trades["leverage"]) == {2.0}
    first = trades.sort_values("open_date").iloc[0]
    assert first["orders"][0]["amount"] * first["orders"][0]["safe_price"] == pytest.approx(WALLET, rel=1e-6)
    assert money(trades) == pytest.approx(account(positions * 4 / 2, least=0.005) / WALLET, abs=1e-2)


@pytest.mark.parametrize("broken", [False, True])
def test_a_kill_switch_that_says_no_or_says_nothing_keeps_everything_flat(monkeypatch, tmp_path, broken: bool) -> None:
    def allowed(wanted: Any, held: Any) -> dict[str, float]:
        if broken:
            raise OSError("the folder of the kill switch is gone")
        return dict.fromkeys(wanted, 0.0)

    halted = TFTStrategy(symbols=STRATEGY.symbols, target_volatility=0.15, allowed=allowed)
    assert run(monkeypatch, tmp_path, fractions(), strategy=halted).empty


def test_a_kill_switch_tripped_between_closes_what_is_open_at_once(monkeypatch, tmp_path) -> None:
    asked: list[int] = []

    def allowed(wanted: Any, held: Any) -> dict[str, float]:
        asked.append(1)
        return dict(wanted) if len(asked) < 60 else dict.fromkeys(wanted, 0.0)

    tripped = TFTStrategy(symbols=STRATEGY.symbols, target_volatility=0.15, allowed=allowed)
    trades = run(monkeypatch, tmp_path, np.full((N, 2), 0.5), strategy=tripped)
    assert set(trades["exit_reason"]) == {"no target"}
    assert len(trades) == 2
    assert (trades["close_date"] < START + 100 * HOUR).all()


def test_signals_are_made_once_from_the_closes_of_all_pairs(monkeypatch, tmp_path) -> None:
    seen: list[pl.DataFrame] = []
    run(monkeypatch, tmp_path, fractions(), seen=seen)
    assert len(seen) == 1
    bars = seen[0]
    assert set(bars["symbol"]) == {"BTC", "ETH"}
    btc = bars.filter(pl.col("symbol") == "BTC")
    assert btc["timestamp"][0] == START.to_pydatetime() + HOUR
    np.testing.assert_array_equal(btc["close"].to_numpy(), FRAMES["BTC/USDT:USDT"]["close"].to_numpy())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pairs": {}}, "at least one"),
        ({"pairs": {"A/B": "X", "C/B": "X"}}, "a symbol of its own"),
        ({"least_change": 1.0}, "least_change"),
        ({"startup_candles": -1}, "startup_candles"),
    ],
)
def test_terms_that_cannot_be_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FreqtradeTerms(**{"timeframe": "1h", "pairs": PAIRS, "startup_candles": 1} | change)


def test_a_traded_symbol_without_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no pair for \['ETH'\]"):
        strategy_of_signals(
            lambda bars: bars, STRATEGY, FreqtradeTerms(timeframe="1h", pairs={"BTC/USDT": "BTC"}, startup_candles=1)
        )
