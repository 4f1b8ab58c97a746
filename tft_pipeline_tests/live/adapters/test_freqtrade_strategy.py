"""Signals through freqtrade's own backtest: what it buys, when, at which price, and what that earns."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tft_pipeline.live.adapters.freqtrade_strategy import FreqtradeTerms, strategy_of_signals
from tft_pipeline.live.replayed_signals import signal_table
from tft_pipeline.live.strategy import TFTStrategy
from tft_pipeline_tests.live.adapters.offline_freqtrade import FIRST_DEALT, N, START, backtested, candles
from tft_pipeline_tests.live.test_strategy import signal

pytest.importorskip(
    "freqtrade", reason="freqtrade is not installed: pip install 'tft-pipeline[freqtrade]' in a venv of its own"
)

HOUR = timedelta(hours=1)
PAIRS = {"BTC/USDT:USDT": "BTC", "ETH/USDT:USDT": "ETH"}
FRAMES = {pair: candles(seed) for seed, pair in enumerate(PAIRS)}
WALLET = 10_000.0
FILE = """
from tft_pipeline_tests.live.adapters import test_freqtrade_strategy as made
class Released(made.BASE):
    pass
"""
BASE: Any = None
"""What the strategy file of the running test derives from."""


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
    monkeypatch.setattr(
        __import__(__name__, fromlist=["BASE"]), "BASE", strategy_of_signals(signals, strategy, FreqtradeTerms(**given))
    )
    import sys

    monkeypatch.setitem(sys.modules, "tft_pipeline_tests.live.adapters.test_freqtrade_strategy", sys.modules[__name__])
    frames = {pair if futures else pair.split(":")[0]: frame for pair, frame in FRAMES.items()}
    stats, _ = backtested(monkeypatch, folder, frames, FILE, futures=futures, wallet=WALLET, fee=fee)
    return pd.DataFrame(stats["trades"])


def test_try(monkeypatch, tmp_path):
    trades = run(monkeypatch, tmp_path, fractions())
    print(trades[["pair","open_date","close_date","open_rate","close_rate","stake_amount","amount","leverage","is_short","exit_reason","profit_abs"]].to_string())
    assert False
