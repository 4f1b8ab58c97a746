"""Oracles over volume, open, high and low of one symbol, and over its timestamps."""

import calendar
import math
from collections.abc import Callable
from datetime import timedelta

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    OracleBars,
    OraclePanel,
    Value,
    last,
    log,
    log_returns,
    mean,
    over,
    per_sigma,
    sd,
)


def _z_of_last(values: list[Value], row: int, n: int) -> Value:
    part = last(values, row, n)
    return None if part is None else over(part[-1] - mean(part), sd(part), FLAT)


def _value_traded(bars: OracleBars) -> list[Value]:
    return [None if v is None else c * v for c, v in zip(bars.close, bars.volume, strict=True)]


def volume_z(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    return _z_of_last([None if v is None else math.log(1 + v) for v in bars.volume], row, n)


def value_z(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return _z_of_last([None if v is None else math.log(1 + v) for v in _value_traded(bars)], row, 63)


def turnover(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    short, long = last(bars.volume, row, 5), last(bars.volume, row, 63)
    return None if short is None or long is None else log(over(mean(short), mean(long)))


def illiquidity(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    moves, value = last(log_returns(bars), row, 21), last(_value_traded(bars), row, 21)
    return None if moves is None or value is None else log(over(math.fsum(map(abs, moves)), math.fsum(value)))


def flow(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    moves, volume = last(log_returns(bars), row, 21), last(bars.volume, row, 21)
    if moves is None or volume is None:
        return None
    signed = [math.copysign(v, r) if r else 0.0 for r, v in zip(moves, volume, strict=True)]
    return over(math.fsum(signed), math.fsum(volume))


def _log_gap(bars: OracleBars, a: str, b: str, row: int, back: int = 0) -> Value:
    """ln(a_row / b_{row - back})."""
    if row < back:
        return None
    top, bottom = getattr(bars, a)[row], getattr(bars, b)[row - back]
    return None if top is None or bottom is None else math.log(top / bottom)


def _gaps(bars: OracleBars, row: int, a: str, b: str, back: int = 0) -> list[float] | None:
    part = [_log_gap(bars, a, b, j, back) for j in range(max(row - 20, 0), row + 1)]
    return None if len(part) < 21 or None in part else part


def parkinson(panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    spans = _gaps(bars, row, "high", "low")
    if spans is None:
        return None
    return math.sqrt(panel.bars_per_year * mean([s * s for s in spans]) / (4 * math.log(2)))


def garman_klass(panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    spans, bodies = _gaps(bars, row, "high", "low"), _gaps(bars, row, "close", "open")
    if spans is None or bodies is None:
        return None
    terms = [s * s / 2 - (2 * math.log(2) - 1) * b * b for s, b in zip(spans, bodies, strict=True)]
    return math.sqrt(panel.bars_per_year * mean(terms))


def yang_zhang(panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    night, body = _gaps(bars, row, "open", "close", 1), _gaps(bars, row, "close", "open")
    hc, ho = _gaps(bars, row, "high", "close"), _gaps(bars, row, "high", "open")
    lc, lo = _gaps(bars, row, "low", "close"), _gaps(bars, row, "low", "open")
    if None in (night, body, hc, ho, lc, lo):
        return None
    k = 0.34 / (1.34 + 22 / 20)
    rs = mean([a * b + c * d for a, b, c, d in zip(hc, ho, lc, lo, strict=True)])
    return math.sqrt(panel.bars_per_year * (sd(night) ** 2 + k * sd(body) ** 2 + (1 - k) * rs))


def relative_range(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    spans = _gaps(bars, row, "high", "low")
    return None if spans is None else over(spans[-1], mean(spans))


def intrabar(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return per_sigma(bars, row, _log_gap(bars, "close", "open", row), 1)


def overnight(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return per_sigma(bars, row, _log_gap(bars, "open", "close", row, 1), 1)


def close_location(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    high, low = bars.high[row], bars.low[row]
    return None if high is None or low is None else over(bars.close[row] - low, high - low)


def raw(_panel: OraclePanel, bars: OracleBars, row: int, name: str) -> Value:
    return getattr(bars, name)[row]


def cycle(_panel: OraclePanel, bars: OracleBars, row: int, of: str, wave: Callable) -> Value:
    time = bars.times[row]
    turn = {
        "weekday": time.weekday() / 7,
        "month": (time.month - 1) / 12,
        "minute": (60 * time.hour + time.minute) / 1440,
    }[of]
    return wave(2 * math.pi * turn)


def turn_of_month(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    day = bars.times[row].date()
    first = day.replace(day=1)
    days = [first + timedelta(days=j) for j in range(calendar.monthrange(day.year, day.month)[1])]
    weekdays = [d for d in days if d.weekday() < 5]
    return float(sum(d <= day for d in weekdays) <= 3 or not any(d > day for d in weekdays))
