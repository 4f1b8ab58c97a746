"""Dates and times of day in two columns, as trading terminals write them, made into one. Not here: reading it (`time_text`)."""

import polars as pl

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.source_columns import plain

DATES, TIMES = ("date", "day", "tradedate"), ("time", "timeofday")
BARE = r"^\s*(\d{8}|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4})\s*$"
CLOCK = r"^\s*(\d{1,6}|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[AaPp][Mm])?)\s*$"


def date_and_time(frame: pl.DataFrame) -> tuple[str, str] | None:
    """The columns of dates alone and of times of day; None unless there are both."""
    days = [name for name in frame.columns if plain(name) in DATES and _all_like(frame[name], BARE)]
    times = [name for name in frame.columns if plain(name) in TIMES and _all_like(frame[name], CLOCK)]
    return (days[0], times[0]) if days and times else None


def _all_like(column: pl.Series, pattern: str) -> bool:
    if not (column.dtype == pl.String or column.dtype.is_integer()):
        return False
    known = column.cast(pl.String).drop_nulls()
    return len(known) > 0 and bool(known.str.contains(pattern).all())


def doubt_of_hours(times: pl.Series) -> str | None:
    """Why times of day of one or two digits cannot be read: hours or minutes. None where they can; midnights are both."""
    clock = times.cast(pl.String).str.strip_chars()
    digits = clock.filter(clock.str.contains(r"^\d+$"))
    short = digits.filter(~digits.str.contains(r"^0+$"))
    if not len(short) or int(digits.str.len_chars().max()) > 2:  # type: ignore[arg-type]
        return None
    return f"{times.name} holds {short[0]}: hours or minutes? write 09:00"


def joined(days: pl.Series, times: pl.Series) -> pl.Series:
    """Text of both, named like the days: 2023-01-02 09:30; 93000 and 0930 are times of day too.

    Raises:
        BarsError: see `doubt_of_hours`.
    """
    if (doubt := doubt_of_hours(times)) is not None:
        raise BarsError(doubt)
    day = days.cast(pl.String).str.strip_chars().str.replace(r"^(\d{4})(\d{2})(\d{2})$", "$1-$2-$3")
    clock = times.cast(pl.String).str.strip_chars()
    digits = clock.str.contains(r"^\d+$")
    width = 4 if int(clock.filter(digits).str.len_chars().max() or 0) <= 4 else 6  # type: ignore[arg-type]
    written = clock.str.zfill(width).str.replace(r"^(\d{2})(\d{2})(\d{2})?$", "$1:$2:$3").str.strip_chars_end(":")
    clock = clock.zip_with(~digits, written)
    return (day + " " + clock).alias(days.name)
