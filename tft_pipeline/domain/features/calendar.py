"""Group `cal`: what the date and time of a bar alone tell. UTC; no holiday table, no other bar is read.

On daily bars the minute of the day is constant; the prefilter drops it there.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import Array

FIRST_WEEKDAYS = 3


def weekday(history: History) -> NDArray[np.int64]:
    """0 = Monday ... 6 = Sunday."""
    days: NDArray[np.int64] = history.timestamps.astype("datetime64[D]").astype(np.int64)
    return (days + 3) % 7  # day 0, 1970-01-01, was a Thursday


def month(history: History) -> NDArray[np.int64]:
    """0 = January ... 11 = December."""
    months: NDArray[np.int64] = history.timestamps.astype("datetime64[M]").astype(np.int64)
    return months % 12


def minute(history: History) -> NDArray[np.int64]:
    """Minute of the UTC day, 0 ... 1439."""
    minutes: NDArray[np.int64] = history.timestamps.astype("datetime64[m]").astype(np.int64)
    return minutes % 1440


_CYCLES = {"weekday": (weekday, 7), "month": (month, 12), "minute": (minute, 1440)}
_WAVES = {"sin": np.sin, "cos": np.cos}


def cycle(history: History, *, of: str, wave: str) -> Array:
    """sin or cos of 2 pi position / period; read from a table, so a value does not depend on the array's length."""
    position, period = _CYCLES[of]
    table: Array = _WAVES[wave](2.0 * np.pi * np.arange(period) / period)
    return table[position(history)]


def turn_of_month(history: History) -> Array:
    """1 on the first three weekdays of a calendar month and from its last weekday on, else 0.

    Weekdays are Monday to Friday; a weekend bar belongs to the weekday before it, and to the new month if there is
    none. Source: Lakonishok & Smidt (1988), RFS 1(4): the last and the first three trading days.
    """
    day = history.timestamps.astype("datetime64[D]")
    start = history.timestamps.astype("datetime64[M]").astype("datetime64[D]")
    end = (history.timestamps.astype("datetime64[M]") + 1).astype("datetime64[D]")
    weekdays_so_far = np.busday_count(start, day + 1)
    weekdays_left = np.busday_count(day + 1, end)
    return ((weekdays_so_far <= FIRST_WEEKDAYS) | (weekdays_left == 0)).astype(np.float64)


CALENDAR = (
    *(
        Feature(
            name=f"cal_{of}_{wave}",
            formula=f"{wave}(2 pi {of} / {period})",
            lookback=1,
            inputs=(),
            source=PerSymbol(partial(cycle, of=of, wave=wave)),
        )
        for of, (_, period) in _CYCLES.items()
        for wave in _WAVES
    ),
    Feature(
        name="cal_turn_of_month",
        formula="1 on the first three weekdays of a month and from its last weekday on, else 0",
        lookback=1,
        inputs=(),
        source=PerSymbol(turn_of_month),
    ),
)
