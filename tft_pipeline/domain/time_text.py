"""Times as strangers write them: which form a column of text or whole numbers has, and what it would read as.

Nothing is guessed silently: 03/04/2023 is two dates until somebody says which. Not here: what the pipeline accepts (`bars`).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import polars as pl

Form = Literal[
    "aware", "naive", "mixed", "day_first", "month_first", "either", "named_month", "epoch", "compact", "unreadable"
]
DateOrder = Literal["day-first", "month-first"]
UNITS: dict[str, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UNIT_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
FIRST_YEAR, LAST_YEAR = 1900, 2100
"""Years that a market's bar can be of; a number that is a time in a unit is within them in that unit alone."""
ISO = r"^\s*\d{4}-?\d{2}-?\d{2}"
OFFSET = r"(Z|UTC|GMT|[+-]\d{2}:?\d{2})\s*$"
NUMERIC = re.compile(r"^\s*(\d{1,2})([/.\-])(\d{1,2})\2(\d{4}|\d{2})(?:[ T,]+(\d{1,2}:\d{2})(:\d{2})?)?\s*$")
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
    if bool(known.str.contains(r"^\s*\d{9,19}\s*$").all()):
        return _number(known.str.strip_chars().cast(pl.Int64), name)
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


def _number(known: pl.Series, name: str) -> TimeForm:
    value = int(known[0])
    if bool(known.is_between(FIRST_YEAR * 10_000, LAST_YEAR * 10_000).all()):
        return TimeForm(
            "compact", str(value), f"{name} holds dates as numbers ({value}): write {_dashes(value)}", pattern="%Y%m%d"
        )
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


def _is_epoch(known: pl.Series, a_second: int) -> bool:
    """Whether all numbers are times from 1973 to `LAST_YEAR` in a unit: thousandfold apart, no number is one in two."""
    first, last = 100_000_000, int(datetime(LAST_YEAR, 1, 1, tzinfo=UTC).timestamp())
    return bool((known // a_second).is_between(first, last).all())


def _numeric_dates(parts: list[re.Match[str]], name: str) -> TimeForm:
    """Text such as 03/04/2023: a number above 12 says which of the two is the day."""
    above = [next((m for m in parts if int(m[group]) > 12), None) for group in (1, 3)]
    match = parts[0]
    mark, year = match[2], "%Y" if len(match[4]) == 4 else "%y"
    clock = "" if match[5] is None else (" %H:%M" if match[6] is None else " %H:%M:%S")
    day_first, month_first = (f"{order}{mark}{year}{clock}" for order in (f"%d{mark}%m", f"%m{mark}%d"))
    text = match[0].strip()
    if above[0] and above[1]:
        return TimeForm(
            "unreadable",
            above[1][0],
            f"{name} holds both {above[0][0].strip()!r} and {above[1][0].strip()!r}: days and months are exchanged in some "
            "rows; "
            "write year-month-day",
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


def order_pattern(form: TimeForm, order: DateOrder) -> str:
    """The pattern of an `either` column once somebody said which number is the day."""
    match = NUMERIC.match(form.example)
    assert match is not None
    return _with_order(match, order)


def _with_order(match: re.Match[str], order: DateOrder) -> str:
    mark, year = match[2], "%Y" if len(match[4]) == 4 else "%y"
    clock = "" if match[5] is None else (" %H:%M" if match[6] is None else " %H:%M:%S")
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
            numbers = text.cast(pl.Int64)
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
        if "%H" in pattern:
            return text.str.to_datetime(pattern, time_unit="us", strict=True)
        return text.str.to_date(pattern, strict=True).cast(pl.Datetime("us"))
    except pl.exceptions.PolarsError as error:
        raise ValueError(
            f"{column.name} cannot be read as {form.form} times such as {form.example!r}: {error}"
        ) from error
