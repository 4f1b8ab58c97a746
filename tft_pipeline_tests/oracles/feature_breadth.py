"""Oracles that are the same for all symbols of a bar: the group `brd`."""

import math
import statistics
from collections.abc import Callable
from datetime import datetime
from functools import cache

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    OracleBars,
    OraclePanel,
    Value,
    last,
    log_returns,
    mean,
    over,
    return_sd,
    sd,
)


def same_bar(panel: OraclePanel, time: datetime) -> list[tuple[str, OracleBars, int]]:
    rows = [(name, bars, bars.row_at(time)) for name, bars in panel.symbols.items()]
    return [each for each in rows if each[2] is not None]


def at_time(formula: Callable, **given: object) -> Callable[[OraclePanel, str, int], Value]:
    return lambda panel, symbol, row: formula(panel, panel.symbols[symbol].times[row], **given)


@cache
def share(panel: OraclePanel, time: datetime, vote: Callable, n: int) -> Value:
    votes = [vote(bars, row, n) for _, bars, row in same_bar(panel, time)]
    known = [v for v in votes if v is not None]
    return None if len(known) < 2 else mean(known)


def above_average(bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else float(part[-1] > statistics.mean(part))


def at_high(bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else float(all(part[-1] >= price for price in part))


def at_low(bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else float(all(part[-1] <= price for price in part))


def rise(bars: OracleBars, row: int, n: int) -> Value:
    return None if row < n else float(bars.close[row] > bars.close[row - n])


def deep(bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else float(part[-1] < 0.9 * max(part))


@cache
def calendar(panel: OraclePanel) -> list[datetime]:
    return sorted({time for bars in panel.symbols.values() for time in bars.times})


@cache
def moves(panel: OraclePanel, time: datetime) -> list[float]:
    return [log_returns(bars)[row] for _, bars, row in same_bar(panel, time) if row]


@cache
def advance(panel: OraclePanel, time: datetime) -> Value:
    found = moves(panel, time)
    return None if len(found) < 2 else (sum(r > 0 for r in found) - sum(r < 0 for r in found)) / len(found)


@cache
def dispersion(panel: OraclePanel, time: datetime) -> Value:
    return None if len(moves(panel, time)) < 2 else sd(moves(panel, time))


def skewness(panel: OraclePanel, time: datetime) -> Value:
    found = moves(panel, time)
    if len(found) < 3:
        return None
    deviations = [r - mean(found) for r in found]
    spread = math.sqrt(mean([d * d for d in deviations]))
    return None if spread <= FLAT else mean([d**3 for d in deviations]) / spread**3


def _recent(panel: OraclePanel, time: datetime, of: Callable, n: int) -> list[float] | None:
    """Known values of the last n calendar bars, oldest first."""
    here = calendar(panel).index(time)
    if here < n:
        return None
    return [v for v in (of(panel, t) for t in calendar(panel)[here - n + 1 : here + 1]) if v is not None]


def mean_advance(panel: OraclePanel, time: datetime, n: int) -> Value:
    part = _recent(panel, time, advance, n)
    return None if part is None or len(part) < n / 2 else mean(part)


def dispersion_zscore(panel: OraclePanel, time: datetime, n: int) -> Value:
    part = _recent(panel, time, dispersion, n)
    if part is None or len(part) < n // 2 or dispersion(panel, time) is None:
        return None
    return over(part[-1] - mean(part), sd(part), FLAT)


def _fading_mean(values: list[float], span: int) -> Value:
    if len(values) < span:
        return None
    weights = [(1 - 2 / (span + 1)) ** age for age in range(len(values))]
    return math.fsum(w * v for w, v in zip(weights, reversed(values), strict=True)) / math.fsum(weights)


@cache
def mcclellan(panel: OraclePanel, time: datetime) -> Value:
    known = [advance(panel, t) for t in calendar(panel) if t <= time and advance(panel, t) is not None]
    slow = _fading_mean(known, 39)
    return None if slow is None or advance(panel, time) is None else _fading_mean(known, 19) - slow


@cache
def correlation_proxy(panel: OraclePanel, time: datetime, n: int) -> Value:
    times = calendar(panel)
    here = times.index(time)
    if here < n - 1:
        return None
    recent = [moves(panel, each) for each in times[here - n + 1 : here + 1]]
    pooled = [mean(m) for m in recent if len(m) >= 2]
    spreads = [return_sd(bars, row, n) for _, bars, row in same_bar(panel, time)]
    variances = [s**2 for s in spreads if s is not None]
    if len(pooled) < n // 2 or len(variances) < 2 or mean(variances) <= FLAT**2:
        return None
    count = len(variances)
    return (sd(pooled) ** 2 / mean(variances) - 1 / count) / (1 - 1 / count)


def mean_volatility(panel: OraclePanel, time: datetime, n: int) -> Value:
    spreads = [return_sd(bars, row, n) for _, bars, row in same_bar(panel, time)]
    known = [s for s in spreads if s is not None]
    return None if len(known) < 2 else mean(known) * math.sqrt(panel.bars_per_year)


BREADTH_ORACLES: dict[str, Callable[[OraclePanel, str, int], Value]] = {
    **{f"brd_above_sma_{n}": at_time(share, vote=above_average, n=n) for n in (20, 50, 100, 200)},
    **{f"brd_at_high_{n}": at_time(share, vote=at_high, n=n) for n in (21, 63, 252)},
    **{f"brd_at_low_{n}": at_time(share, vote=at_low, n=n) for n in (21, 63, 252)},
    **{f"brd_rise_{n}": at_time(share, vote=rise, n=n) for n in (21, 63, 252)},
    "brd_deep_252": at_time(share, vote=deep, n=252),
    "brd_advance": at_time(advance),
    **{f"brd_advance_{n}": at_time(mean_advance, n=n) for n in (5, 21, 63)},
    "brd_mcclellan_19_39": at_time(mcclellan),
    "brd_dispersion": at_time(dispersion),
    **{f"brd_dispersion_z_{n}": at_time(dispersion_zscore, n=n) for n in (63, 252)},
    "brd_skew": at_time(skewness),
    **{f"brd_correlation_{n}": at_time(correlation_proxy, n=n) for n in (21, 63, 126)},
    "brd_vol_21": at_time(mean_volatility, n=21),
}
