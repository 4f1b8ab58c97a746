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


def joined(days: pl.Series, times: pl.Series) -> pl.Series:
    """Text of both, named like the days: 2023-01-02 09:30; 93000 and 0930 are times of day too.

    Raises:
        BarsError: the times are 0 to 59 and no more: hours or minutes.
    """
    day = days.cast(pl.String).str.strip_chars().str.replace(r"^(\d{4})(\d{2})(\d{2})$", "$1-$2-$3")
    clock = times.cast(pl.String).str.strip_chars()
    digits = clock.str.contains(r"^\d+$")
    longest = int(clock.filter(digits).str.len_chars().max() or 0)  # type: ignore[arg-type]
    if longest <= 2 and len(short := clock.filter(digits & ~clock.str.contains(r"^0+$"))):
        raise BarsError(f"{times.name} holds {short[0]}: hours or minutes? write 09:00")
    width = 4 if longest <= 4 else 6
    written = clock.str.zfill(width).str.replace(r"^(\d{2})(\d{2})(\d{2})?$", "$1:$2:$3").str.strip_chars_end(":")
    clock = clock.zip_with(~digits, written)
    return (day + " " + clock).alias(days.name)
