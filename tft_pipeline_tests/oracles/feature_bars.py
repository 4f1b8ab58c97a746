"""Bars as plain lists, and the loops the feature oracles share: means, deviations, weighted sums."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache

FLAT = 1e-12
Value = float | None


@dataclass(frozen=True, eq=False)
class OracleBars:
    """One symbol as lists; None is a missing value."""

    times: list[datetime]
    close: list[float]
    open: list[Value] = field(default_factory=list)
    high: list[Value] = field(default_factory=list)
    low: list[Value] = field(default_factory=list)
    volume: list[Value] = field(default_factory=list)
    others: dict[str, list[Value]] = field(default_factory=dict)

    def row_at(self, time: datetime) -> int | None:
        return _rows_by_time(self).get(time)


@dataclass(frozen=True, eq=False)
class OraclePanel:
    symbols: dict[str, OracleBars]
    market: OracleBars
    bars_per_year: float


@cache
def _rows_by_time(bars: OracleBars) -> dict[datetime, int]:
    return {time: row for row, time in enumerate(bars.times)}


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def sd(values: list[float]) -> float:
    m = mean(values)
    return math.sqrt(math.fsum((v - m) ** 2 for v in values) / (len(values) - 1))


def over(a: Value, b: Value, floor: float = 0.0) -> Value:
    return None if a is None or b is None or abs(b) <= floor else a / b


def log(value: Value) -> Value:
    return None if value is None or value <= 0 else math.log(value)


def last(values: list, row: int, n: int) -> list | None:
    """The n values up to `row`, or None if there are fewer or one of them is missing."""
    part = values[max(row - n + 1, 0) : row + 1]
    return None if len(part) < n or any(v is None for v in part) else part


@cache
def log_returns(bars: OracleBars) -> list[Value]:
    return [None] + [math.log(b) - math.log(a) for a, b in zip(bars.close, bars.close[1:], strict=False)]


@cache
def changes(bars: OracleBars) -> list[Value]:
    return [None] + [b - a for a, b in zip(bars.close, bars.close[1:], strict=False)]


@cache
def ewm_sd(bars: OracleBars, row: int, span: int) -> Value:
    if row < span:
        return None
    keep = 1 - 2 / (span + 1)
    pairs = [(keep ** (row - j), log_returns(bars)[j]) for j in range(1, row + 1)]
    total = math.fsum(w for w, _ in pairs)
    m = math.fsum(w * r for w, r in pairs) / total
    variance = math.fsum(w * (r - m) ** 2 for w, r in pairs) / total
    return math.sqrt(variance * total**2 / (total**2 - math.fsum(w * w for w, _ in pairs)))


def change_over(bars: OracleBars, row: int, k: int) -> Value:
    return None if row < k else math.log(bars.close[row] / bars.close[row - k])


def per_sigma(bars: OracleBars, row: int, value: Value, k: int) -> Value:
    sigma = ewm_sd(bars, row, 60)
    return None if sigma is None else over(value, sigma * math.sqrt(k), FLAT)


@cache
def return_sd(bars: OracleBars, row: int, n: int) -> Value:
    part = last(log_returns(bars), row, n)
    return None if part is None else sd(part)


def pearson(pairs: list[tuple[float, float]]) -> Value:
    mx, my = mean([x for x, _ in pairs]), mean([y for _, y in pairs])
    sxx = math.fsum((x - mx) ** 2 for x, _ in pairs)
    syy = math.fsum((y - my) ** 2 for _, y in pairs)
    if min(sxx, syy) <= len(pairs) * FLAT**2:
        return None
    return math.fsum((x - mx) * (y - my) for x, y in pairs) / math.sqrt(sxx * syy)


def weighted(values: list[Value], span: int) -> list[Value]:
    """EWM means of span `span` with explicit weights that sum to one, from `span` known values on."""
    keep = [(1 - 2 / (span + 1)) ** age for age in range(len(values))]
    known: list[float] = []
    out: list[Value] = []
    for value in values:
        known += [] if value is None else [value]
        n = len(known)
        enough = value is not None and n >= span
        out.append(
            math.fsum(w * v for w, v in zip(keep, reversed(known), strict=False)) / math.fsum(keep[:n])
            if enough
            else None
        )
    return out


Formula = Callable[..., Value]
Oracle = Callable[["OraclePanel", str, int], Value]


def own(formula: Formula, **given: object) -> Oracle:
    """An oracle over the bars of the symbol asked for."""
    return lambda panel, symbol, row: formula(panel, panel.symbols[symbol], row, **given)
