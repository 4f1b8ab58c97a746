"""Times as strangers write them: which form a column of text or whole numbers has, and what it would read as.

Nothing is guessed silently: 03/04/2023 is two dates until somebody says which. Not here: what the pipeline accepts (`bars`).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

Form = Literal[
    "aware",
    "naive",
    "mixed",
    "day_first",
    "month_first",
    "either",
    "named_month",
    "year_first",
    "epoch",
    "compact",
    "unreadable",
]
DateOrder = Literal["day-first", "month-first"]
UNITS: dict[str, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UNIT_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
RUN_TOGETHER = r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])([0-5]\d){0,2}$"
"""2022010309, 202201030930 and 20220103093000: a column of nothing else is no epoch, though some of it would read as one."""
FIRST_YEAR, LAST_YEAR = 1900, 2100
"""Years that a market's bar can be of; a number that is a time in a unit is within them in that unit alone."""
ISO = r"^\s*\d{4}-?\d{2}-?\d{2}"
OFFSET = r"(Z|UTC|GMT|[+-]\d{2}:?\d{2}|:\d{2}(\.\d+)?\s*[+-]\d{2})\s*$"
"""A zone at the end of a time; two digits alone are one behind a time of day only, else the day of a date."""
_CLOCK = r"(?:[ T,]+(\d{1,2}:\d{2})(:\d{2})?(?:\s*([AaPp][Mm]))?)?\s*$"
NUMERIC = re.compile(r"^\s*(\d{1,2})([/.\-])(\d{1,2})\2(\d{4}|\d{2})" + _CLOCK)
YEAR_FIRST = re.compile(r"^\s*\d{4}([/.\-])\d{1,2}\1\d{1,2}" + _CLOCK)
NAMED = (
    "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%d-%b-%y", "%d %b %Y %H:%M:%S", "%d.%m.%Y %H:%M:%S.%3f",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TimeForm:
    """How a column writes its times.

    Attributes:
        form: see `Form`; either: every date reads both day first and month first.
        example: the value that shows it.
        unit: of an epoch: s, ms, us or ns.
        pattern: of other text, as strftime writes it; None where each form has its own way.
        sentence: what was found, and what to do; empty of aware times.
    """

    form: Form
    example: str
    sentence: str = ""
    unit: str | None = None
    pattern: str | None = None


def time_form(column: pl.Series) -> TimeForm:
    """The form of a column of text or whole numbers.

    Args:
        column: String or integers, at least one value.
    """
    known = column.drop_nulls()
    name = column.name
    if known.is_empty():
        return TimeForm("unreadable", "", f"{name} has no value")
    if known.dtype.is_numeric():
        return _number(known, name)
    first = str(known[0])
    if bool(known.str.contains(r"^\s*\d{9,19}(\.0*)?\s*$").all()):
        return _number(_whole(known).cast(pl.Int64), name)
    if bool(known.str.contains(r"^\s*\d{8}\s*$").all()):
        return _number(known.str.strip_chars().cast(pl.Int64), name)
    if bool(known.str.contains(ISO).all()):
        aware = known.str.contains(OFFSET)
        if aware.all():
            return TimeForm("aware", first)
        if aware.any():
            naive = str(known.filter(~aware)[0])
            return TimeForm("mixed", naive, f"{name} mixes time zones: {naive!r} has no offset and others have")
        said = f"{name} has no time zone ({first!r}): say which with data.timezone, or write an offset into each"
        return TimeForm("naive", first, said)
    parts = [NUMERIC.match(str(value)) for value in known.unique(maintain_order=True)]
    if all(parts):
        return _numeric_dates([match for match in parts if match], name)
    if match := YEAR_FIRST.match(first):
        mark, pattern = match[1], f"%Y{match[1]}%m{match[1]}%d{_clock(match[2], match[3], match[4])}"
        if known.str.to_datetime(pattern, strict=False).null_count() == 0:
            said = f"{name} is written with {mark!r} ({first!r}): write year-month-day"
            return TimeForm("year_first", first, said, pattern=pattern)
    for pattern in NAMED:
        if known.str.to_datetime(pattern, strict=False).null_count() == 0:
            return TimeForm(
                "named_month", first, f"{name} is not ISO 8601 ({first!r}): write year-month-day", pattern=pattern
            )
    strange = known.filter(~known.str.contains(ISO))
    return TimeForm(
        "unreadable",
        str(strange[0]),
        f"{name} holds {str(strange[0])!r}, which is no time: write year-month-day, or remove it",
    )


def _whole(text: pl.Series) -> pl.Series:
    """Whole numbers as text, without the point and zeros that tables of floats write behind them."""
    return text.str.strip_chars().str.replace(r"\.0*$", "")


def _number(known: pl.Series, name: str) -> TimeForm:
    value = int(known[0])
    run_together = bool(known.cast(pl.String).str.contains(RUN_TOGETHER).all())
    known = known.cast(pl.Float64)  # a narrow type holds no limit of an epoch to compare with
    if bool(known.is_between(FIRST_YEAR * 10_000, LAST_YEAR * 10_000).all()):
        return TimeForm(
            "compact", str(value), f"{name} holds dates as numbers ({value}): write {_dashes(value)}", pattern="%Y%m%d"
        )
    if run_together:
        said = f"{name} holds date and time run together ({value}): write {_with_clock(str(value))}"
        return TimeForm("unreadable", str(value), said)
    for unit, a_second in UNITS.items():
        if _is_epoch(known, a_second):
            read = datetime.fromtimestamp(value / a_second, UTC)
            return TimeForm(
                "epoch",
                str(value),
                f"{name} holds whole numbers ({value}), which read as {UNIT_WORDS[unit]} since 1970 are "
                f"{read:%Y-%m-%dT%H:%M:%SZ}: write them so",
                unit=unit,
            )
    return TimeForm("unreadable", str(value), f"{name} holds {value}, which is no time in any unit since 1970")


def _dashes(value: int) -> str:
    text = str(value)
    return f"{text[:4]}-{text[4:6]}-{text[6:]}"


def _with_clock(digits: str) -> str:
    clock = ":".join(part for part in (digits[8:10], digits[10:12] or "00", digits[12:]) if part)
    return f"{_dashes(int(digits[:8]))}T{clock}"


def _is_epoch(known: pl.Series, a_second: int) -> bool:
    """Whether all numbers are times from 1973 to `LAST_YEAR` in a unit: thousandfold apart, no number is one in two."""
    first, last = 100_000_000, int(datetime(LAST_YEAR, 1, 1, tzinfo=UTC).timestamp())
    return bool((known // a_second).is_between(first, last).all())


def _numeric_dates(parts: list[re.Match[str]], name: str) -> TimeForm:
    """Text such as 03/04/2023: a number above 12 says which of the two is the day."""
    above = [next((m for m in parts if int(m[group]) > 12), None) for group in (1, 3)]
    match = parts[0]
    mark, year = match[2], "%Y" if len(match[4]) == 4 else "%y"
    clock = _clock(match[5], match[6], match[7])
    day_first, month_first = (f"{order}{mark}{year}{clock}" for order in (f"%d{mark}%m", f"%m{mark}%d"))
    text = match[0].strip()
    if above[0] and above[1]:
        return TimeForm(
            "unreadable",
            above[1][0],
            f"{name} holds both {above[0][0].strip()!r} and {above[1][0].strip()!r}: days and months are exchanged in some "
            "rows; write year-month-day",
        )
    if above[0]:
        said = f"{name} is written day first ({above[0][0].strip()!r}): write year-month-day"
        return TimeForm("day_first", above[0][0].strip(), said, pattern=day_first)
    if above[1]:
        said = f"{name} is written month first ({above[1][0].strip()!r}): write year-month-day"
        return TimeForm("month_first", above[1][0].strip(), said, pattern=month_first)
    return TimeForm(
        "either",
        text,
        f"{name} holds {text!r}, which is two dates, and no row has a number above 12 that tells: write year-month-day",
    )


def _clock(minutes: str | None, seconds: str | None, half: str | None) -> str:
    """The time of day as strftime writes it; half: AM or PM."""
    if minutes is None:
        return ""
    hour = "%H" if half is None else "%I"
    return f" {hour}:%M" + ("" if seconds is None else ":%S") + ("" if half is None else " %p")


def order_pattern(form: TimeForm, order: DateOrder) -> str:
    """The pattern of an `either` column once somebody said which number is the day."""
    match = NUMERIC.match(form.example)
    assert match is not None
    return _with_order(match, order)


def _with_order(match: re.Match[str], order: DateOrder) -> str:
    mark, year = match[2], "%Y" if len(match[4]) == 4 else "%y"
    clock = _clock(match[5], match[6], match[7])
    parts = ("%d", "%m") if order == "day-first" else ("%m", "%d")
    return f"{parts[0]}{mark}{parts[1]}{mark}{year}{clock}"


def parsed_times(column: pl.Series, form: TimeForm, order: DateOrder | None) -> pl.Series:
    """The column as datetimes, with a zone where the text or the unit has one, else without.

    Raises:
        ValueError: the form cannot be read, or is `either` and no order was said, or the order contradicts the dates.
    """
    if form.form in ("unreadable", "mixed"):
        raise ValueError(form.sentence)
    if form.form == "either" and order is None:
        raise ValueError(f"{form.sentence}; or say --dates day-first or --dates month-first")
    said = {"day_first": "day-first", "month_first": "month-first"}.get(form.form)
    if order is not None and said is not None and order != said:
        raise ValueError(
            f"--dates is {order} and {form.example!r} shows that dates are written {said}; drop the option"
        )
    text = column if column.dtype == pl.String else column.cast(pl.String)
    text = text.str.strip_chars()
    try:
        if form.form == "epoch":
            numbers = _whole(text).cast(pl.Int64)
            per_us = UNITS[form.unit or "s"]
            micro = numbers * (1_000_000 // per_us) if per_us <= 1_000_000 else numbers // (per_us // 1_000_000)
            return micro.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias(column.name)
        if form.form == "aware":
            plain = text.str.replace(r"\s*(UTC|GMT)$", "Z")
            return plain.str.to_datetime(time_unit="us", time_zone="UTC", strict=True)
        if form.form == "naive":
            return text.str.to_datetime(time_unit="us", strict=True)
        pattern = order_pattern(form, order) if form.form == "either" and order else form.pattern
        assert pattern is not None
        return text.str.to_datetime(pattern, time_unit="us", strict=True)
    except pl.exceptions.PolarsError as error:
        how = form.form.replace("_", " ")
        raise ValueError(
            f"{column.name} cannot be read as {how} times such as {form.example!r} throughout: "
            f"{_first_other(text, form, order)!r} is none; write all of them alike"
        ) from error


def _first_other(text: pl.Series, form: TimeForm, order: DateOrder | None) -> str:
    """The first value that a form does not read."""
    pattern = order_pattern(form, order) if form.form == "either" and order else form.pattern
    try:
        read = text.str.to_datetime(pattern, strict=False, time_zone="UTC" if form.form == "aware" else None)
    except pl.exceptions.PolarsError:  # no form at all, so that the first value is as strange as any
        return form.example
    strange = text.filter(read.is_null() & text.is_not_null())
    return str(strange[0] if len(strange) else form.example)


def placed(times: pl.Series, timezone: str) -> pl.Series:
    """Times without a zone as those of a zone.

    Raises:
        ValueError: it is no zone, or clocks that are put forward or back there leave out a time or show it twice.
    """
    try:
        return times.dt.replace_time_zone(timezone)
    except pl.exceptions.PolarsError as error:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{timezone!r} is no time zone, such as America/New_York") from error
    sure = times.dt.replace_time_zone(timezone, non_existent="null", ambiguous="null")
    strange = times.filter(sure.is_null() & times.is_not_null())
    skipped = strange.dt.replace_time_zone(timezone, non_existent="null", ambiguous="earliest").is_null()
    if skipped.any():
        absent = strange.filter(skipped)
        raise ValueError(
            f"{times.name} holds {absent[0]} ({len(absent)} like it), which does not exist in {timezone}, for clocks are put "
            "forward over it: the times are of another zone, such as UTC"
        )
    raise ValueError(
        f"{times.name}: the hour {strange[0]:%H:00} of {strange[0]:%Y-%m-%d} occurs twice in {timezone}, {len(strange)} "
        "row" + "s" * (len(strange) > 1) + " in such hours: export the times in UTC or with offsets"
    )


def in_repeated_hour(local: pl.Series) -> pl.Series:
    """Whether times without a zone stand where Europe and America put clocks back: 01:00 to 02:59 of the last Sunday of October
    or the first of November.
    """
    day, month = local.dt.day(), local.dt.month()
    autumn = ((month == 10) & (day > 24)) | ((month == 11) & (day < 8))
    return autumn & (local.dt.weekday() == 7) & local.dt.hour().is_in([1, 2])
