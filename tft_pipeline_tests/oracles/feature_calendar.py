"""Oracles of group cal: what Python's own calendar says about a bar's timestamp and the one before it."""

import calendar
import math
from collections.abc import Callable
from datetime import date, timedelta

from tft_pipeline_tests.oracles.feature_bars import Oracle, OracleBars, OraclePanel, Value, own


def cycle(_panel: OraclePanel, bars: OracleBars, row: int, of: str, wave: Callable) -> Value:
    time = bars.times[row]
    quarter = [date(time.year, 3 * ((time.month - 1) // 3) + m, 1) for m in (1, 2, 3)]
    turn = {
        "weekday": time.weekday() / 7,
        "month": (time.month - 1) / 12,
        "minute": (60 * time.hour + time.minute) / 1440,
        "hour": time.minute / 60,
        "day": (time.day - 1) / calendar.monthrange(time.year, time.month)[1],
        "quarter": (time.date() - quarter[0]).days / sum(calendar.monthrange(d.year, d.month)[1] for d in quarter),
    }[of]
    return wave(2 * math.pi * turn)


def turn_of_month(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    day = bars.times[row].date()
    first = day.replace(day=1)
    days = [first + timedelta(days=j) for j in range(calendar.monthrange(day.year, day.month)[1])]
    weekdays = [d for d in days if d.weekday() < 5]
    return float(sum(d <= day for d in weekdays) <= 3 or not any(d > day for d in weekdays))


def turn_of(panel: OraclePanel, bars: OracleBars, row: int, last_months: tuple[int, ...]) -> Value:
    """The turn of the month around the end of one of the given months."""
    time = bars.times[row]
    month_that_ends = time.month if time.day > 15 else (time.month - 2) % 12 + 1
    return turn_of_month(panel, bars, row) if month_that_ends in last_months else 0.0


def week_of_month(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return float(math.ceil(bars.times[row].day / 7) - 1)


def expiry_week(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    day = bars.times[row].date()
    month = (date(day.year, day.month, d) for d in range(1, 29))
    third_friday = [d for d in month if d.weekday() == 4][2]
    return float(day.weekday() < 5 and day.isocalendar()[:2] == third_friday.isocalendar()[:2])


def gap(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return None if row < 1 else math.log((bars.times[row] - bars.times[row - 1]).total_seconds() / 86_400)


def new_week(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    if row < 1:
        return None
    now, before = (bars.times[j].isocalendar()[:2] for j in (row, row - 1))
    return float(now != before)


CALENDAR_ORACLES: dict[str, Oracle] = {
    **{
        f"cal_{of}_{wave.__name__}": own(cycle, of=of, wave=wave)
        for of in ("weekday", "month", "minute", "hour", "day", "quarter")
        for wave in (math.sin, math.cos)
    },
    "cal_turn_of_month": own(turn_of_month),
    "cal_turn_of_quarter": own(turn_of, last_months=(3, 6, 9, 12)),
    "cal_turn_of_year": own(turn_of, last_months=(12,)),
    "cal_week_of_month": own(week_of_month),
    "cal_expiry_week": own(expiry_week),
    "cal_gap": own(gap),
    "cal_new_week": own(new_week),
}
