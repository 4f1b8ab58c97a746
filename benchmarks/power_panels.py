"""Panels with a known truth for `power.py`: returns that nothing predicts, and returns that follow one column.

A panel is a function of its seed alone. Not here: what the pipeline makes of it.
"""

from datetime import UTC, date, datetime
from typing import Literal

import numpy as np
import polars as pl

Kind = Literal["noise", "planted"]

N_SYMBOLS = 10
BARS_PER_YEAR = 252
RESEARCH_BARS, PRODUCTION_BARS = 1_764, 2_016
"""Seven years to choose in, eight to be judged on."""
FIRST_DAY = "2000-01-03"
PERSISTENCE = 0.97
COMMON_SHARE = 0.3
"""Of a symbol's variance that is the market's."""
DAILY_VOLATILITY = (0.008, 0.02)
TAIL_FREEDOM = 5
NOISE_COLUMNS = 5
ORACLE_SHARPE = 3.0
MOST_COEFFICIENT = 0.5


def trading_days(n: int) -> np.ndarray:
    """n weekdays from `FIRST_DAY`."""
    return np.busday_offset(FIRST_DAY, np.arange(n), roll="forward").astype("datetime64[D]")


def production_start() -> date:
    """The first scored day."""
    return trading_days(RESEARCH_BARS + 1)[-1].astype(date)


def panel(kind: Kind, seed: int) -> pl.DataFrame:
    """Closes of all symbols, the column `x_signal` and `NOISE_COLUMNS` columns of the same make that mean nothing.

        x_t = rho x_{t-1} + sqrt(1 - rho^2) e_t,    r_{t+1} = s (sqrt(1 - c^2) u_{t+1} + c x_t)

    u has fat tails and a common part; s is the symbol's daily volatility. In a planted panel c is such that holding x, cut to
    [-1, 1] and scaled by volatility, has a gross Sharpe ratio of `ORACLE_SHARPE` a year over the production period. In a noise
    panel c is 0, and `x_signal` is one more column that means nothing.
    """
    rng = np.random.default_rng([20261122, seed])
    n = RESEARCH_BARS + PRODUCTION_BARS + 1
    shape = (n, N_SYMBOLS)
    own, common = (rng.standard_t(TAIL_FREEDOM, size) for size in (shape, (n, 1)))
    shocks = (np.sqrt(1.0 - COMMON_SHARE) * own + np.sqrt(COMMON_SHARE) * common) / np.sqrt(
        TAIL_FREEDOM / (TAIL_FREEDOM - 2)
    )
    volatility = rng.uniform(*DAILY_VOLATILITY, N_SYMBOLS)
    columns = _slow(rng.standard_normal((NOISE_COLUMNS + 1, *shape)))
    coefficient = 0.0 if kind == "noise" else _coefficient(shocks, columns[0])
    returns = volatility * _scores(shocks, columns[0], coefficient)
    closes = 100.0 * np.exp(np.cumsum(np.log1p(np.clip(returns, -0.5, 0.5)), axis=0))
    stamps = [datetime.fromisoformat(str(day)).replace(tzinfo=UTC) for day in trading_days(n)]
    names = ("x_signal", *(f"noise_{k}" for k in range(NOISE_COLUMNS)))
    frames = [
        pl.DataFrame(
            {
                "timestamp": stamps,
                "symbol": f"S{s:02d}",
                "close": closes[:, s],
                **{name: columns[k, :, s] for k, name in enumerate(names)},
            }
        )
        for s in range(N_SYMBOLS)
    ]
    return pl.concat(frames)


def oracle_sharpe(shocks: np.ndarray, signal: np.ndarray, coefficient: float) -> float:
    """Gross annual Sharpe ratio over the production period of holding the signal itself."""
    held = np.clip(signal[:-1], -1.0, 1.0)
    earned = (held * _scores(shocks, signal, coefficient)[1:]).mean(axis=1)[-PRODUCTION_BARS:]
    return float(earned.mean() / earned.std(ddof=1) * np.sqrt(BARS_PER_YEAR))


def _scores(shocks: np.ndarray, signal: np.ndarray, coefficient: float) -> np.ndarray:
    """(n, S) returns in units of their volatility."""
    known = np.vstack([np.zeros((1, signal.shape[1])), signal[:-1]])
    return np.sqrt(1.0 - coefficient**2) * shocks + coefficient * known


def _coefficient(shocks: np.ndarray, signal: np.ndarray) -> float:
    """c by bisection; the oracle's Sharpe ratio rises with it."""
    low, high = 0.0, MOST_COEFFICIENT
    for _ in range(50):
        middle = (low + high) / 2.0
        low, high = (middle, high) if oracle_sharpe(shocks, signal, middle) < ORACLE_SHARPE else (low, middle)
    return high


def _slow(noise: np.ndarray) -> np.ndarray:
    """(K, n, S) of independent steps to first-order autoregressions of unit variance."""
    out = noise.copy()
    for t in range(1, noise.shape[1]):
        out[:, t] = PERSISTENCE * out[:, t - 1] + np.sqrt(1.0 - PERSISTENCE**2) * noise[:, t]
    return out
