"""The times of a stranger's file, from text, numbers or dates to UTC, and what was taken for what.

Not here: ways of writing times (`domain.time_text`), other steps of the copy (`conversion`).
"""

from datetime import UTC, datetime, time, timedelta

import polars as pl

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.time_text import DateOrder, TimeForm, order_pattern, parsed_times, placed, time_form

PLACED = "times without a zone were placed in "
"""How the change begins that tells of an assumed zone."""


def times_parsed(column: pl.Series, timezone: str | None, dates: DateOrder | None) -> tuple[pl.Series, list[str]]:
    """Times in UTC, and a sentence a change.

    Args:
        timezone: of times without one; dates without a time of day stay the dates they are, at 00:00 UTC.
        dates: which number of 03/04/2023 is the day.
    Raises:
        BarsError: times without a zone and no `timezone`, years to come, another type.
        ValueError: see `parsed_times` and `placed`.
    """
    changes, times = [], column
    if column.dtype == pl.String or column.dtype.is_integer():
        form = time_form(column)
        times = parsed_times(column, form, dates)
        _refuse_years_to_come(times, form, dates)
        if form.form != "aware":
            how = form.form.replace("_", " ") + (f" in {form.unit}" if form.unit else "")
            changes.append(f"times: {how}, {form.example!r} reads as {_first_like(column, times, form.example)}")
    elif column.dtype == pl.Date:
        times = column.cast(pl.Datetime("us"))
    if not isinstance(times.dtype, pl.Datetime):
        raise BarsError(f"timestamp has type {column.dtype}, which is no time")
    if times.dtype.time_zone is None:
        if timezone is None:
            raise BarsError(
                f"the times have no time zone (first {times[0]}): say which with --timezone, such as --timezone UTC or "
                "--timezone America/New_York; daily bars that carry a date alone are best placed in UTC"
            )
        if timezone != "UTC" and bool((times.drop_nulls().dt.time() == time(0)).all()):
            placed(times + timedelta(hours=12), timezone)  # refuses what is no zone; clocks change at night
            times = times.dt.replace_time_zone("UTC")
            changes.append(
                f"dates without a time of day were placed at 00:00 UTC, not {timezone}, so that each keeps its day"
            )
        else:
            times = placed(times, timezone)
            changes.append(f"{PLACED}{timezone}")
    return times.dt.convert_time_zone("UTC").dt.cast_time_unit("us").alias("timestamp"), changes


def _refuse_years_to_come(times: pl.Series, form: TimeForm, dates: DateOrder | None) -> None:
    """Two digits of a year that read as one after now are of the century before."""
    pattern = order_pattern(form, dates) if form.form == "either" and dates else form.pattern
    short = pattern is not None and "%y" in pattern
    latest = times.dt.replace_time_zone(None).max()
    if short and isinstance(latest, datetime) and latest > datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1):
        raise BarsError(
            f"the years have two digits, and some read as years to come ({latest:%Y-%m-%d} from text such as "
            f"{form.example!r}): write four digits"
        )


def _first_like(column: pl.Series, times: pl.Series, example: str) -> str:
    where = (column.cast(pl.String).str.strip_chars() == example.strip()).arg_max() or 0
    return str(times[where])
