"""Bars that no symbol has inside a day that has some, where such bars usually are.

A pause at noon, or of a future at five, is no hole. A time of day is usual where most of the days around have a bar at it; the
days around, for clocks are put forward and back. Not here: days without any bar, bars that one symbol lacks (`market_days`).
"""

from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tft_pipeline.domain.intervals import BAR_LENGTHS, Interval
from tft_pipeline.domain.plausibility import Finding

AROUND_DAYS = 10
"""Days before and after that say which times of day are usual."""
USUAL = 0.5
"""Share of these days."""


def holes_inside_days(stamps: pl.Series, interval: Interval, *, zone: str, never_closes: bool) -> list[Finding]:
    """One finding about all such bars; none of daily bars.

    Args:
        stamps: closes of all symbols, UTC; repeated or not.
        zone: of days and times of day.
        never_closes: a hole may reach over midnight.
    """
    if interval == "1d":
        return []
    length = BAR_LENGTHS[interval]
    times = stamps.unique().sort()
    days, _ = _places(times, zone, length)
    n = (times.diff().dt.total_microseconds() // (length // timedelta(microseconds=1)) - 1).fill_null(0).to_numpy()
    same_day = np.concatenate([[False], days[1:] == days[:-1]])
    lacking = _usual_bars(times, np.where(same_day | never_closes, np.maximum(n, 0), 0), zone, length)
    if not lacking.any():
        return []
    worst = int(lacking.argmax())
    at = times[worst]
    return [
        Finding(
            "missing",
            None,
            at,
            int(lacking.sum()),
            f"{int(lacking.sum())} bars of {interval} that no symbol has lie inside trading days, where most days have them, "
            f"most in a row {lacking[worst]} before {at:%Y-%m-%d %H:%M}: the return behind such a hole spans it as if it "
            "were one bar; fetch them again, or leave it so if the market was halted",
        )
    ]


def _usual_bars(times: pl.Series, n: NDArray[np.int64], zone: str, length: timedelta) -> NDArray[np.int64]:
    """How many of the n bars that lack before each time usually stand; (N,) of (N,)."""
    days, slots = _places(times, zone, length)
    known = np.unique(days)
    there = np.zeros((len(known), int(slots.max()) + 1), dtype=np.int64)
    there[np.searchsorted(known, days), slots] = 1
    sums = np.concatenate([np.zeros((1, there.shape[1]), dtype=np.int64), there.cumsum(axis=0)])
    rows = np.arange(len(known))
    first, last = np.maximum(rows - AROUND_DAYS, 0), np.minimum(rows + AROUND_DAYS + 1, len(known))
    usual = (sums[last] - sums[first]) >= USUAL * (last - first)[:, None]
    behind = np.repeat(np.arange(len(n)), n)
    if not len(behind):
        return np.zeros(len(n), dtype=np.int64)
    back = np.arange(len(behind)) - np.repeat(np.cumsum(n) - n, n) + 1
    absent = times.to_physical().to_numpy()[behind] - back * (length // timedelta(microseconds=1))
    day, slot = _places(pl.Series(absent).cast(times.dtype), zone, length)
    held = slot < usual.shape[1]
    row = np.minimum(np.searchsorted(known, day), len(known) - 1)
    counted = held & usual[row, np.where(held, slot, 0)]
    return np.bincount(behind, weights=counted, minlength=len(n)).astype(np.int64)


def _places(times: pl.Series, zone: str, length: timedelta) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Day, and number of the bar within it, of each close; one at midnight ends the day before."""
    local = (times.dt.convert_time_zone(zone) - timedelta(microseconds=1)).dt.replace_time_zone(None)
    since = local.dt.cast_time_unit("us").to_physical().to_numpy()
    a_day = timedelta(days=1) // timedelta(microseconds=1)
    return since // a_day, since % a_day // (length // timedelta(microseconds=1))
