"""What an investor would have lived through: growth, drawdowns, months, wins and losses of a series of net returns.

Returns are compounded: equity is the product of 1 + r, from 1 before the first bar. A bar that returns -1 or less is ruin:
equity is 0 from there on, and no later return brings it back. Not here: whether any of it is more than luck (`sharpe`).

Axes: n bars of the series, A bars a year.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.sharpe import annualise


def track_record(net: np.ndarray, *, bars_per_year: float) -> dict[str, Any]:
    """Figures of a track record; None what is undefined for the series.

        equity_t = prod_{k <= t} max(1 + r_k, 0),  peak_t = max(1, max_{k <= t} equity_k)
        sortino  = mean(r) / sqrt(mean(min(r, 0)^2)) * sqrt(A)                                target 0, divisor n

    Args:
        net: (n,) return of each bar, in time order; 0.01 is one percent.
        bars_per_year: A.
    Returns:
        n,
        total_return: equity at the end - 1,
        return_annual: (1 + total_return)^(A / n) - 1, geometric; infinite where that is beyond a float, as few bars of
            luck are when A is large,
        volatility_annual: std (ddof 1) * sqrt(A); None for one bar,
        max_drawdown: largest 1 - equity / peak, not negative,
        max_drawdown_bars: longest run of bars below the peak, the one that has not ended included,
        calmar: return_annual / max_drawdown; None without a drawdown,
        sortino_annual: None without a loss,
        hit_rate: share of bars with r > 0 among those with r != 0; None where all are 0,
        best_bar, worst_bar: largest and smallest r,
        average_win, average_loss: mean of the r above and of the r below 0, the latter negative; None without one,
        profit_factor: sum of wins / |sum of losses|; None without a loss,
        ruin_bar: place of the first bar with r <= -1, from 0; None without ruin.
    Raises:
        ValueError: no return, one that is not finite, bars_per_year that is not positive.
    Source: Young (1991), Futures magazine, for Calmar, here over all bars; Sortino & van der Meer (1991), JPM 17(4).
    """
    if not bars_per_year > 0.0:
        raise ValueError(f"bars_per_year {bars_per_year} is not positive: there is no year to express a return in")
    r = _finite(net)
    equity, under = _equity(r), drawdowns(r)
    deepest = float(under.max())
    wins, losses = r[r > 0.0], r[r < 0.0]
    with np.errstate(over="ignore", divide="ignore"):
        # by the logarithm: a power of a total close to 0 would lose its digits; log(0) is ruin
        growth = float(np.expm1(np.log(equity[-1]) * (bars_per_year / r.size)))
    downside = math.sqrt(float(np.square(losses).sum()) / r.size)
    ruined = np.flatnonzero(r <= -1.0)
    return {
        "n": int(r.size),
        "total_return": float(equity[-1]) - 1.0,
        "return_annual": growth,
        "volatility_annual": annualise(float(r.std(ddof=1)), bars_per_year) if r.size > 1 else None,
        "max_drawdown": deepest,
        "max_drawdown_bars": _longest_run(under > 0.0),
        "calmar": growth / deepest if deepest > 0.0 else None,
        "sortino_annual": annualise(float(r.mean()) / downside, bars_per_year) if downside > 0.0 else None,
        "hit_rate": wins.size / (wins.size + losses.size) if wins.size + losses.size else None,
        "best_bar": float(r.max()),
        "worst_bar": float(r.min()),
        "average_win": float(wins.mean()) if wins.size else None,
        "average_loss": float(losses.mean()) if losses.size else None,
        "profit_factor": float(wins.sum() / -losses.sum()) if losses.size else None,
        "ruin_bar": int(ruined[0]) if ruined.size else None,
    }


def drawdowns(net: np.ndarray) -> np.ndarray:
    """(n,) 1 - equity / peak, in [0, 1]; the capital before the first bar is the first peak. Raises like `track_record`."""
    equity = _equity(_finite(net))
    return 1.0 - equity / np.maximum(np.maximum.accumulate(equity), 1.0)


def monthly_returns(timestamps: Sequence[datetime] | pl.Series, net: np.ndarray) -> list[dict[str, Any]]:
    """Compounded return of each calendar month that has a bar, in the time zone of the timestamps; in time order.

    The months' growth factors multiply to that of the series.

    Returns:
        One row a month: year, month, net_return; None in the months after the one of ruin, when nothing was left to earn on.
    Raises:
        ValueError: as many timestamps as returns are needed, in time order; and what `track_record` refuses.
    """
    r, stamps = _finite(net), pl.Series("timestamp", timestamps)
    if len(stamps) != r.size:
        raise ValueError(f"{len(stamps)} timestamps and {r.size} returns: which month a return belongs to is unknown")
    if not stamps.is_sorted():
        raise ValueError("the timestamps are not in time order: sort the series, equity would end elsewhere on the way")
    frame = pl.DataFrame({"year": stamps.dt.year(), "month": stamps.dt.month(), "equity": _equity(r)})
    ends = frame.group_by("year", "month", maintain_order=True).agg(pl.col("equity").last())
    rows, before = [], 1.0
    for year, month, after in ends.iter_rows():
        rows.append({"year": year, "month": month, "net_return": after / before - 1.0 if before > 0.0 else None})
        before = after
    return rows


def _finite(net: np.ndarray) -> np.ndarray:
    r = np.asarray(net, dtype=np.float64)
    if r.ndim != 1 or not r.size:
        raise ValueError(f"returns have shape {r.shape}: expected one series with at least one bar")
    if not np.isfinite(r).all():
        raise ValueError(
            f"{int((~np.isfinite(r)).sum())} of {r.size} returns are not finite: equity is unknown from the first one on; "
            "drop bars without a portfolio first"
        )
    return r


def _equity(r: np.ndarray) -> np.ndarray:
    """(n,) capital after each bar, 1 before the first."""
    return np.cumprod(np.maximum(1.0 + r, 0.0))


def _longest_run(flags: np.ndarray) -> int:
    """Most True in a row."""
    ends = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return int((ends[1::2] - ends[::2]).max(initial=0))
