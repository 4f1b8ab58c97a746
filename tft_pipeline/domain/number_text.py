"""Numbers that came as text: thousands separators, decimal commas, signs of currencies, words for nothing.

Not here: what the pipeline accepts (`bars`), which is numbers alone.
"""

import re
from dataclasses import dataclass
from typing import Literal

import polars as pl

Style = Literal["plain", "thousands", "decimal_comma", "either", "no_number"]
NOTHING = ("", "-", "--", "n/a", "na", "nan", "null", "none", "#n/a", ".")
"""What is written where there is no value, in lower case."""
_SIGNS = re.compile(r"[$€£¥%\s\u00a0\u202f'’]")
_POINT = re.compile(r"^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$")
_THOUSANDS = re.compile(r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?$")
_COMMA = re.compile(r"^[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+),\d+$")
_DOTTED = re.compile(r"^[+-]?[1-9]\d{0,2}(\.\d{3}){2,}$")
_GROUPED = re.compile(r"^[+-]?[1-9]\d{0,2}(\.\d{3})+$")
_ONE_GROUP = re.compile(r"^[+-]?[1-9]\d{0,2},\d{3}$")


@dataclass(frozen=True, slots=True)
class NumberForm:
    """How a column of text writes its numbers.

    Attributes:
        style: plain: with a point; either: 1,234 alone, which is two numbers; no_number: some value is none.
        example: the value that shows it.
        missing: values that mean nothing.
    """

    style: Style
    example: str
    missing: int

    def sentence(self, name: str) -> str:
        """What is wrong with a column, and what to do."""
        what = {
            "plain": f"{name} is text that holds numbers (such as {self.example!r}): write numbers alone",
            "thousands": f"{name} is text with thousands separators (such as {self.example!r}): write numbers without them",
            "decimal_comma": f"{name} is text with decimal commas (such as {self.example!r}): write a decimal point",
            "either": f"{name} is text such as {self.example!r}, which is two numbers: write a decimal point and no separators",
            "no_number": f"{name} is text (such as {self.example!r}): correct these values, or drop the column",
        }[self.style]
        return what + (f"; {self.missing} of the values say nothing (blank, n/a, -)" if self.missing else "")


def number_form(column: pl.Series) -> NumberForm:
    """How a column of text writes numbers."""
    values = [str(value) for value in column.drop_nulls().unique(maintain_order=True)]
    empty = column.is_null() | column.str.strip_chars().str.to_lowercase().is_in(list(NOTHING))
    given = [(value, _SIGNS.sub("", value)) for value in values if value.strip().lower() not in NOTHING]
    missing = int(empty.sum())
    strange = next((value for value, bare in given if not _is_number(bare)), None)
    if strange is not None or not given:
        return NumberForm("no_number", "" if strange is None else strange, missing)
    comma = next(
        (value for value, bare in given if (_COMMA.match(bare) and not _ONE_GROUP.match(bare)) or _DOTTED.match(bare)),
        None,
    )
    point = next((value for value, bare in given if "." in bare and _POINT.match(bare)), None)
    groups = next((value for value, bare in given if _THOUSANDS.match(bare)), None)
    grouped = any(_THOUSANDS.match(bare) and ("." in bare or bare.count(",") > 1) for _, bare in given)
    if comma is not None and (point is not None or grouped):
        return NumberForm("no_number", comma, missing)
    if comma is not None:
        return NumberForm("decimal_comma", comma, missing)
    if groups is None:
        return NumberForm("plain", given[0][0], missing)
    return NumberForm("thousands" if point is not None or grouped else "either", groups, missing)


def without_points(column: pl.Series) -> pl.Series | None:
    """Numbers such as 454.780 of a file that writes decimal commas: its points group thousands.

    Returns:
        Text without them; as it is where no point can be one that groups; None where some can and others cannot.
    """
    text = column.str.replace_all(_SIGNS.pattern, "")
    text = text.set(text.str.to_lowercase().is_in(list(NOTHING)), None)
    known = text.drop_nulls()
    pointed = known.filter(known.str.contains(".", literal=True))
    groups = pointed.str.contains(_GROUPED.pattern)
    if not groups.any():
        return text
    whole = bool(groups.all()) and not bool(known.str.contains(r"\d{4}|,").any())
    return text.str.replace_all(".", "", literal=True) if whole else None


def _is_number(bare: str) -> bool:
    return any(pattern.match(bare) for pattern in (_POINT, _THOUSANDS, _COMMA, _DOTTED))


def parsed_numbers(column: pl.Series, form: NumberForm) -> pl.Series:
    """The column as Float64; what means nothing is null.

    Raises:
        ValueError: it cannot be read as one style.
    """
    if form.style in ("either", "no_number"):
        raise ValueError(form.sentence(column.name))
    text = column.str.replace_all(_SIGNS.pattern, "")
    text = text.set(text.str.to_lowercase().is_in(list(NOTHING)), None)
    if form.style == "thousands":
        text = text.str.replace_all(",", "", literal=True)
    if form.style == "decimal_comma":
        text = text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    return text.cast(pl.Float64)
