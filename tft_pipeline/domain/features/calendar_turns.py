"""Group `cal`, the days on which many trade for reasons of the calendar, and the time since the bar before.

Days are those of data.timezone, UTC without one. Weekdays are Monday to Friday, holidays too: there is no table of them. Only
the bar's own timestamp and the one before it are read. Not here: cycles and the turn of the month (`calendar`).
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tft_pipeline.domain.features.calendar import ZONE, turn_of_month, weekday
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import Array

FRIDAY = 4
DAY_MICROSECONDS = 86_400 * 1_000_000
_MONTHS = {"quarter": 3, "year": 12}


def turn_of(history: History, *, months: int) -> Array:
    """`turn_of_month` where the month that ends or begins there is the last or first of a quarter (3) or year (12)."""
    number = history.local_times.astype("datetime64[M]").astype(np.int64) % months
    day = _days(history)
    start = history.local_times.astype("datetime64[M]").astype("datetime64[D]")
    late = (day - start).astype(np.int64) >= 15
    edge = np.where(late, number == months - 1, number == 0)
    found: Array = turn_of_month(history) * edge
    return found


def week_of_month(history: History) -> Array:
    """(day of the month - 1) // 7: 0 in the first seven days ... 4 from the 29th on."""
    start = history.local_times.astype("datetime64[M]").astype("datetime64[D]")
    found: Array = ((_days(history) - start).astype(np.int64) // 7).astype(np.float64)
    return found


def expiry_week(history: History) -> Array:
    """1 from Monday to Friday of the week that holds the third Friday of the month, else 0.

    Options on stocks expire on that Friday. Source: Stivers & Sun (2013), J. Banking & Finance 37(11).
    """
    to_friday = FRIDAY - weekday(history)
    friday = _days(history) + to_friday
    of_month = (friday - friday.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64) + 1
    found: Array = ((to_friday >= 0) & (of_month >= 15) & (of_month <= 21)).astype(np.float64)
    return found


def days_since_bar(history: History) -> Array:
    """ln(hours between the bar before and this one / 24): 0 after a day, ln 3 after a weekend, in every zone."""
    gap = np.diff(history.timestamps.astype("datetime64[us]").astype(np.int64)) / DAY_MICROSECONDS
    return np.concatenate(([np.nan], np.log(gap)))


def new_week(history: History) -> Array:
    """1 on the first bar of a week that begins on Monday, else 0."""
    monday = _days(history).astype(np.int64) - weekday(history)
    return np.concatenate(([np.nan], (np.diff(monday) > 0).astype(np.float64)))


def _days(history: History) -> NDArray[np.datetime64]:
    return history.local_times.astype("datetime64[D]")


CALENDAR_TURNS = (
    *(
        Feature(
            name=f"cal_turn_of_{of}",
            formula=f"cal_turn_of_month at the end and at the start of a {of}, else 0; {ZONE}",
            lookback=1,
            inputs=(),
            source=PerSymbol(partial(turn_of, months=months)),
            units="0 or 1",
            version="2",
        )
        for of, months in _MONTHS.items()
    ),
    Feature(
        name="cal_week_of_month",
        formula=f"(day of the month - 1) // 7, {ZONE}",
        lookback=1,
        inputs=(),
        source=PerSymbol(week_of_month),
        units="weeks",
        version="2",
    ),
    Feature(
        name="cal_expiry_week",
        formula=f"1 from Monday to Friday of the week of the month's third Friday, else 0; {ZONE}",
        lookback=1,
        inputs=(),
        source=PerSymbol(expiry_week),
        units="0 or 1",
        version="2",
    ),
    Feature(
        name="cal_gap",
        formula="ln(hours since the bar before / 24)",
        lookback=2,
        inputs=(),
        source=PerSymbol(days_since_bar),
        units="log days",
    ),
    Feature(
        name="cal_new_week",
        formula=f"1 on the first bar of a week from Monday on, else 0; {ZONE}",
        lookback=2,
        inputs=(),
        source=PerSymbol(new_week),
        units="0 or 1",
        version="2",
    ),
)
