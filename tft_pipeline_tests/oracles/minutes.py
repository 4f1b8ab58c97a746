"""Slow readings of the raw minute columns: one bar at a time, plain loops over its minutes, no code shared with the package.

`MINUTE_ORACLES[column](minutes)` is the value of one bar, or None for null; `minutes` are its rows in order of time.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

Value = float | None


@dataclass(frozen=True)
class Minute:
    """One row of the source."""

    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


Rows = list[Minute]


def in_bar(rows: Rows, before: datetime | None, close: datetime) -> Rows:
    """Minutes of one symbol that close after the bar before and not after this one."""
    if before is None:
        return []
    return sorted((row for row in rows if before < row.time <= close), key=lambda row: row.time)


def elapsed(rows: Rows) -> list[float]:
    return [(row.time - rows[0].time).total_seconds() / 60 + 1 for row in rows]


def returns(rows: Rows) -> list[float]:
    return [math.log(b.close / a.close) if a.close != b.close else 0.0 for a, b in itertools.pairwise(rows)]


def over(a: float, b: float) -> Value:
    return a / b if b > 0 else None


def moved(rows: Rows) -> list[float] | None:
    """Returns that differ, ten at least."""
    r = returns(rows)
    return r if len(r) >= 10 and max(r) - min(r) > 1e-11 else None


def variation(rows: Rows) -> Value:
    return math.fsum(r * r for r in returns(rows)) if len(rows) > 1 else None


def one_sided(sign: int) -> Callable[[Rows], Value]:
    return lambda rows: math.fsum(r * r for r in returns(rows) if r * sign > 0) if len(rows) > 1 else None


def blocks_of_five(rows: Rows) -> Value:
    ends: dict[int, float] = {}
    for row, e in zip(rows, elapsed(rows), strict=True):
        ends[math.ceil(e / 5)] = row.close
    closes = [ends[block] for block in sorted(ends)]
    if len(closes) < 2:
        return None
    return math.fsum(math.log(b / a) ** 2 for a, b in itertools.pairwise(closes))


def bipower(rows: Rows) -> Value:
    r = returns(rows)
    if len(r) < 2:
        return None
    return math.pi / 2 * len(r) / (len(r) - 1) * math.fsum(abs(a) * abs(b) for a, b in itertools.pairwise(r))


def shape(power: int) -> Callable[[Rows], Value]:
    def at(rows: Rows) -> Value:
        r = returns(rows)
        total = math.fsum(x * x for x in r)
        if len(r) < 10 or total <= 1e-24:
            return None
        return len(r) ** (power / 2 - 1) * math.fsum(x**power for x in r) / total ** (power / 2)

    return at


def opening(rows: Rows) -> tuple[float, float] | None:
    if elapsed(rows)[-1] < 30:
        return None
    early = [row for row, e in zip(rows, elapsed(rows), strict=True) if e <= 30]
    return max(row.high for row in early), min(row.low for row in early)


def orb_width(rows: Rows) -> Value:
    found = opening(rows)
    return None if found is None else (found[0] - found[1]) / rows[0].open


def orb_break(rows: Rows) -> Value:
    found = opening(rows)
    return None if found is None else over(rows[-1].close - sum(found) / 2, found[0] - found[1])


def session_return(rows: Rows) -> Value:
    return math.log(rows[-1].close / rows[0].open)


def first_half_hour(rows: Rows) -> Value:
    if elapsed(rows)[-1] < 30:
        return None
    reached = [row.close for row, e in zip(rows, elapsed(rows), strict=True) if e <= 30]
    return math.log(reached[-1] / rows[0].open)


def last_half_hour(rows: Rows) -> Value:
    e = elapsed(rows)
    before = [row.close for row, at in zip(rows, e, strict=True) if at <= e[-1] - 30]
    return math.log(rows[-1].close / before[-1]) if before else None


def vwap_gap(rows: Rows) -> Value:
    volume = math.fsum(row.volume for row in rows)
    if volume == 0:
        return None
    return math.log(rows[-1].close / (math.fsum(row.close * row.volume for row in rows) / volume))


def range_position(rows: Rows) -> Value:
    high, low = max(row.high for row in rows), min(row.low for row in rows)
    return over(rows[-1].close - low, high - low)


def largest_move(rows: Rows) -> Value:
    return max(abs(r) for r in returns(rows)) if len(rows) > 1 else None


def idle_share(rows: Rows) -> Value:
    return 1 - sum(row.volume > 0 for row in rows) / elapsed(rows)[-1]


def time_of(side: str) -> Callable[[Rows], Value]:
    def at(rows: Rows) -> Value:
        values = [getattr(row, side) for row in rows]
        e = elapsed(rows)
        return over(e[values.index(max(values) if side == "high" else min(values))] - 1, e[-1] - 1)

    return at


def efficiency(rows: Rows) -> Value:
    way = math.fsum(abs(r) for r in returns(rows))
    return abs(math.log(rows[-1].close / rows[0].close)) / way if way > 1e-12 else None


def signs(rows: Rows) -> list[int]:
    """One a return, by the tick rule."""
    found: list[int] = []
    for r in returns(rows):
        found.append((r > 0) - (r < 0) or (found[-1] if found else 0))
    return found


def imbalance(rows: Rows, *, last: float = math.inf) -> Value:
    e = elapsed(rows)
    chosen = [
        (sign, row.volume) for sign, row, at in zip(signs(rows), rows[1:], e[1:], strict=True) if at > e[-1] - last
    ]
    return over(math.fsum(s * v for s, v in chosen), math.fsum(v for _, v in chosen))


def amihud(rows: Rows) -> Value:
    found = [abs(r) / (row.close * row.volume) for r, row in zip(returns(rows), rows[1:], strict=True) if row.volume]
    return 1e6 * math.fsum(found) / len(found) if found else None


def lagged(r: list[float]) -> float:
    mean = math.fsum(r) / len(r)
    return math.fsum((a - mean) * (b - mean) for a, b in itertools.pairwise(r))


def roll_spread(rows: Rows) -> Value:
    r = returns(rows)
    return 2 * math.sqrt(max(-lagged(r) / (len(r) - 1), 0)) if len(r) >= 10 else None


def autocorrelation(rows: Rows) -> Value:
    r = moved(rows)
    if r is None:
        return None
    mean = math.fsum(r) / len(r)
    return lagged(r) / math.fsum((x - mean) ** 2 for x in r)


def variance_ratio(rows: Rows) -> Value:
    r = moved(rows)
    if r is None:
        return None
    m, mean = len(r), math.fsum(r) / len(r)
    five = [math.log(rows[i].close / rows[i - 5].close) - 5 * mean for i in range(5, len(rows))]
    long = math.fsum(x * x for x in five) / (5 * (m - 4) * (1 - 5 / m))
    return long / (math.fsum((x - mean) ** 2 for x in r) / (m - 1))


def slope(x: list[float], y: list[float], *, correlation: bool) -> Value:
    mx, my = math.fsum(x) / len(x), math.fsum(y) / len(y)
    sxx, syy = math.fsum((a - mx) ** 2 for a in x), math.fsum((b - my) ** 2 for b in y)
    sxy = math.fsum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    if sxx <= 1e-20 * math.fsum(a * a for a in x) or (correlation and syy <= 1e-20 * math.fsum(b * b for b in y)):
        return None
    return sxy / (math.sqrt(sxx * syy) if correlation else sxx)


def kyle_lambda(rows: Rows) -> Value:
    r = returns(rows)
    if len(r) < 10:
        return None
    x = [s * math.sqrt(row.close * row.volume) for s, row in zip(signs(rows), rows[1:], strict=True)]
    found = slope(x, r, correlation=False)
    return None if found is None else 1000 * found


def concentration(rows: Rows) -> Value:
    total = math.fsum(row.volume for row in rows)
    return math.fsum((row.volume / total) ** 2 for row in rows) if total else None


def volume_share(*, early: bool) -> Callable[[Rows], Value]:
    def at(rows: Rows) -> Value:
        e = elapsed(rows)
        total = math.fsum(row.volume for row in rows)
        if e[-1] < 30 or total == 0:
            return None
        return (
            math.fsum(row.volume for row, x in zip(rows, e, strict=True) if (x <= 30 if early else x > e[-1] - 30))
            / total
        )

    return at


def volume_move(rows: Rows) -> Value:
    r = returns(rows)
    return slope([row.volume for row in rows[1:]], [abs(x) for x in r], correlation=True) if len(r) >= 10 else None


def still_share(rows: Rows) -> Value:
    r = returns(rows)
    return sum(x == 0 for x in r) / len(r) if r else None


def sign_persistence(rows: Rows) -> Value:
    s = signs(rows)
    return sum(a * b for a, b in itertools.pairwise(s)) / (len(s) - 1) if len(s) >= 10 else None


MINUTE_ORACLES: dict[str, Callable[[Rows], Value]] = {
    "minute_orb_width": orb_width,
    "minute_orb_break": orb_break,
    "minute_variation_1": variation,
    "minute_variation_5": blocks_of_five,
    "minute_bipower": bipower,
    "minute_variation_up": one_sided(1),
    "minute_variation_down": one_sided(-1),
    "minute_skew": shape(3),
    "minute_kurtosis": shape(4),
    "minute_return": session_return,
    "minute_first_half_hour": first_half_hour,
    "minute_last_half_hour": last_half_hour,
    "minute_vwap_gap": vwap_gap,
    "minute_range_position": range_position,
    "minute_largest_move": largest_move,
    "minute_count": lambda rows: float(len(rows)),
    "minute_idle_share": idle_share,
    "minute_high_time": time_of("high"),
    "minute_low_time": time_of("low"),
    "minute_efficiency": efficiency,
    "minute_signed_volume": imbalance,
    "minute_order_imbalance": lambda rows: imbalance(rows, last=60),
    "minute_amihud": amihud,
    "minute_roll_spread": roll_spread,
    "minute_autocorrelation": autocorrelation,
    "minute_variance_ratio": variance_ratio,
    "minute_kyle_lambda": kyle_lambda,
    "minute_volume_concentration": concentration,
    "minute_opening_volume": volume_share(early=True),
    "minute_closing_volume": volume_share(early=False),
    "minute_volume_move_correlation": volume_move,
    "minute_still_share": still_share,
    "minute_sign_persistence": sign_persistence,
}
