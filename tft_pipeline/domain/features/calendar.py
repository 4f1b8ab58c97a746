"""Group `cal`: what the date and time of a bar tell, in data.timezone, UTC without one; no holiday table.

A bar that is stamped with its date in Berlin lies on the day before in UTC; its weekday is Berlin's. On daily bars the minute
of the day is constant; the prefilter drops it there. More of the group: `calendar_turns`.
"""

from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import Array

ZONE = "in data.timezone, UTC without one"
"""Ends the formula of each feature that reads a clock or a calendar."""
FIRST_WEEKDAYS = 3
LONGEST_QUARTER = 92


def weekday(history: History) -> NDArray[np.int64]:
    """0 = Monday ... 6 = Sunday."""
    days: NDArray[np.int64] = history.local_times.astype("datetime64[D]").astype(np.int64)
    return (days + 3) % 7  # day 0, 1970-01-01, was a Thursday


def month(history: History) -> NDArray[np.int64]:
    """0 = January ... 11 = December."""
    months: NDArray[np.int64] = history.local_times.astype("datetime64[M]").astype(np.int64)
    return months % 12


def minute(history: History) -> NDArray[np.int64]:
    """Minute of the day, 0 ... 1439."""
    minutes: NDArray[np.int64] = history.local_times.astype("datetime64[m]").astype(np.int64)
    return minutes % 1440


def minute_of_hour(history: History) -> NDArray[np.int64]:
    """0 ... 59."""
    return minute(history) % 60


_CYCLES = {
    "weekday": (weekday, 7),
    "month": (month, 12),
    "minute": (minute, 1440),
    "hour": (minute_of_hour, 60),
}
_WAVES = {"sin": np.sin, "cos": np.cos}
_MONTHS = {"day": 1, "quarter": 3}
_POSITIONS = {
    "weekday": "weekday (Monday 0)",
    "month": "month (January 0)",
    "minute": "minute of the day",
    "hour": "minute of the hour",
}


def cycle(history: History, *, of: str, wave: str) -> Array:
    """sin or cos of 2 pi position / period; read from a table, so a value does not depend on the array's length."""
    position, period = _CYCLES[of]
    table: Array = _WAVES[wave](2.0 * np.pi * np.arange(period) / period)
    found: Array = table[position(history)]
    return found


def day_cycle(history: History, *, months: int, wave: str) -> Array:
    """sin or cos of 2 pi day / days of the calendar month, or of the quarter (`months` 3); its first day is 0."""
    number = history.local_times.astype("datetime64[M]").astype(np.int64) // months * months
    start = number.astype("datetime64[M]").astype("datetime64[D]")
    end = (number + months).astype("datetime64[M]").astype("datetime64[D]")
    day = (history.local_times.astype("datetime64[D]") - start).astype(np.int64)
    length = (end - start).astype(np.int64)
    found: Array = _day_table(wave)[length, day]
    return found


@cache
def _day_table(wave: str) -> Array:
    """Row n, column d: the wave at 2 pi d / n."""
    days, lengths = np.arange(LONGEST_QUARTER), np.arange(LONGEST_QUARTER + 1)
    table: Array = _WAVES[wave](2.0 * np.pi * days[None, :] / np.maximum(lengths, 1)[:, None])
    return table


def turn_of_month(history: History) -> Array:
    """1 on the first three weekdays of a calendar month and from its last weekday on, else 0.

    Weekdays are Monday to Friday; a weekend bar belongs to the weekday before it, and to the new month if there is
    none. Source: Lakonishok & Smidt (1988), RFS 1(4): the last and the first three trading days.
    """
    day = history.local_times.astype("datetime64[D]")
    start = history.local_times.astype("datetime64[M]").astype("datetime64[D]")
    end = (history.local_times.astype("datetime64[M]") + 1).astype("datetime64[D]")
    weekdays_so_far = np.busday_count(start, day + 1)
    weekdays_left = np.busday_count(day + 1, end)
    found: Array = ((weekdays_so_far <= FIRST_WEEKDAYS) | (weekdays_left == 0)).astype(np.float64)
    return found


CALENDAR = (
    *(
        Feature(
            name=f"cal_{of}_{wave}",
            formula=f"{wave}(2 pi {_POSITIONS[of]} / {period}), {ZONE}",
            lookback=1,
            inputs=(),
            source=PerSymbol(partial(cycle, of=of, wave=wave)),
            units="sine of the cycle" if wave == "sin" else "cosine of the cycle",
            version="2",
        )
        for of, (_, period) in _CYCLES.items()
        for wave in _WAVES
    ),
    *(
        Feature(
            name=f"cal_{of}_{wave}",
            formula=f"{wave}(2 pi d / n), d days since the first of the {of.replace('day', 'month')}, n its days; {ZONE}",
            lookback=1,
            inputs=(),
            source=PerSymbol(partial(day_cycle, months=months, wave=wave)),
            units="sine of the cycle" if wave == "sin" else "cosine of the cycle",
            version="2",
        )
        for of, months in _MONTHS.items()
        for wave in _WAVES
    ),
    Feature(
        name="cal_turn_of_month",
        formula=f"1 on the first three weekdays of a month and from its last weekday on, else 0; {ZONE}",
        lookback=1,
        inputs=(),
        source=PerSymbol(turn_of_month),
        units="0 or 1",
        version="2",
    ),
)
