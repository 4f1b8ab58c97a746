"""Times that are a date alone: 00:00 in UTC or in the data's time zone. The one place that says what such a time can mean.

A bar that is stamped so closes, by the convention of `bars`, when its day begins. Two things must not be read that way:
when something was published (a date names a whole day, and the value came out during it), and the bar of another market (a
candle dated D is over when D ends). Not here: what is refused with which error (`bars`, `tables`), joins.
"""

from collections.abc import Iterator
from datetime import time

import numpy as np
import polars as pl
from numpy.typing import NDArray

DATE_TEXT = r"^\d{4}-?\d{2}-?\d{2}$"
_TOO_EARLY = (
    "a value would be used from the midnight before its publication on, up to a day too early; write the time of publication, "
    "or, if only the day is known, its end: 23:59:59"
)


def stamped_with_their_date(times: pl.Series, timezone: str | None) -> bool:
    """Whether all times are midnights of one zone, UTC or `timezone`; nulls aside.

    Args:
        times: Datetime with time zone.
    """
    known = times.drop_nulls()
    return any(bool(_at_midnight(known, zone).all()) for zone in _zones(timezone))


def known_since(stamps: NDArray[np.datetime64], timezone: str | None) -> NDArray[np.datetime64]:
    """When a day's bar is over: the end of its day where it is stamped with its date alone, else its stamp.

    The day is that of the zone in which the stamp is 00:00, so it has 23 or 25 hours where clocks change. Each value is a
    function of its own stamp.

    Args:
        stamps: UTC, microseconds, without a zone.
    """
    times = pl.Series(stamps).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    since = times
    for zone in _zones(timezone):
        since = _end_of_day(times, zone).zip_with(_at_midnight(times, zone), since)
    return since.dt.replace_time_zone(None).to_numpy()


def refusal_of_dates(given: pl.Series) -> str:
    """Why a column of publications, as it came, holds dates and not times; empty when it may hold times.

    A date names a whole day. Read as its midnight, a value would be used from the beginning of the day on which it came out,
    up to 24 hours early. That this day is later than the one a row speaks of does not mend it: a release dated Friday came out
    on Friday afternoon. See `refusal_of_midnights` for dates that were written as times.
    """
    if given.dtype == pl.Date and given.len() > given.null_count():
        return f"available_at holds dates without a time of day (first {given.drop_nulls()[0]}): {_TOO_EARLY}"
    if given.dtype == pl.String and (dates := given.filter(given.str.contains(DATE_TEXT))).len():
        return f"available_at holds dates without a time of day (first {dates[0]}): {_TOO_EARLY}"
    return ""


def refusal_of_midnights(available_at: pl.Series, timestamp: pl.Series, timezone: str | None) -> str:
    """Why a column of publication times holds dates; empty when it holds times.

    Every value 00:00 of one zone, UTC or `timezone`: dates that a library wrote as times. One such column is taken all the
    same: every value is the midnight that ends the very day its row speaks of. That is how "at the end of the day" is
    written, no bar of that day uses it, and dates of publication are not like that: they skip weekends, and are the same
    day or days later.

    Args:
        available_at, timestamp: when something was published and what it speaks of, as UTC.
    """
    known = available_at.is_not_null() & timestamp.is_not_null()
    available_at, timestamp = available_at.filter(known), timestamp.filter(known)
    for zone in _zones(timezone) if len(available_at) else ():
        other = available_at != _end_of_day(timestamp, zone)
        if _at_midnight(available_at, zone).all() and other.any():
            first = available_at.filter(other)[0].isoformat()
            return (
                f"available_at is 00:00 {zone} in all {len(available_at)} rows (such as {first}): these are dates without "
                f"a time of day, and {_TOO_EARLY}"
            )
    return ""


def _zones(timezone: str | None) -> Iterator[str]:
    yield "UTC"
    if timezone not in (None, "UTC"):
        yield str(timezone)


def _at_midnight(times: pl.Series, zone: str) -> pl.Series:
    return times.dt.convert_time_zone(zone).dt.time() == time(0)


def _end_of_day(times: pl.Series, zone: str) -> pl.Series:
    """The first instant of the next day in a zone, as UTC."""
    days = times.dt.convert_time_zone(zone).dt.date()
    begins, ends = (
        day.cast(pl.Datetime("us")).dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        for day in (days, days.dt.offset_by("1d"))
    )
    # where clocks skip midnight, the next day begins when the old clock would have shown it
    skipped = begins.dt.convert_time_zone("UTC").dt.offset_by("24h")
    return ends.dt.convert_time_zone("UTC").zip_with(ends.is_not_null(), skipped)
