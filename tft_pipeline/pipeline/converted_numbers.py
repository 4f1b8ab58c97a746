"""The columns of a stranger's file that hold numbers, from text to numbers, and what was taken for what.

Not here: ways of writing one column (`domain.number_text`), other steps of the copy (`conversion`).
"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.number_text import NumberForm, number_form, parsed_numbers, without_points
from tft_pipeline.domain.source_columns import source_columns

FIELDS = ("open", "high", "low", "close", "volume")


def numbers_parsed(frame: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Text columns that hold numbers as numbers, and a sentence a change; times, symbols and other text stay.

    Raises:
        BarsError: a name is two things, a column of prices holds something else, or two columns write numbers in two ways.
        ValueError: see `parsed_numbers`.
    """
    texts = [name for name in frame.columns if frame.schema[name] == pl.String]
    forms = {name: number_form(frame[name]) for name in texts if not _is_plain(frame[name])}
    columns = source_columns({name: _kind(frame[name], forms.get(name)) for name in frame.columns})
    if columns.shape == "either":
        raise BarsError(f"{path}: {columns.sentence}")
    keys = {columns.renaming.get(name, name): name for name in frame.columns}
    kept = {keys.get("timestamp"), keys.get("symbol")} if columns.shape != "wide" else {keys.get("timestamp")}
    comma = next((name for name, form in forms.items() if name not in kept and form.style == "decimal_comma"), None)
    changes = []
    for name in (one for one in texts if one not in kept):
        form = forms.get(name)
        if comma is not None and (form is None or form.style in ("plain", "thousands")):
            frame, more = _beside_commas(frame, name, comma)
            changes += more
            continue
        if comma is not None and form is not None and form.style == "either":  # 100,346 in a file that writes 1.000,5
            form = replace(form, style="decimal_comma")
        if form is None:
            frame = frame.with_columns(frame[name].str.strip_chars().cast(pl.Float64))
            continue
        if form.style == "no_number" and form.missing == frame.height and columns.renaming.get(name, name) != "close":
            frame = frame.drop(name)
            changes.append(f"dropped {name!r}, which is blank")
            continue
        wanted = columns.renaming.get(name, name) in FIELDS or columns.shape == "wide"
        if form.style == "no_number" and not wanted:
            continue
        frame = frame.with_columns(parsed_numbers(frame[name], form))
        changes.append(f"{name}: {form.style.replace('_', ' ')} text such as {form.example!r} to numbers")
    return frame, changes


def _is_plain(column: pl.Series) -> bool:
    """Whether text is numbers as they are written everywhere, and nothing else."""
    return column.str.strip_chars().cast(pl.Float64, strict=False).null_count() == column.null_count() < len(column)


def _kind(column: pl.Series, form: NumberForm | None) -> pl.DataType:
    """What a column will be: a code is whole numbers, a price is not."""
    if column.dtype != pl.String:
        return column.dtype
    if form is not None:
        return pl.String() if form.style == "no_number" else pl.Float64()
    return pl.Float64() if bool(column.str.contains(".", literal=True).any()) else pl.Int64()


def _beside_commas(frame: pl.DataFrame, name: str, comma: str) -> tuple[pl.DataFrame, list[str]]:
    """Numbers without a decimal comma in a file where another column has some: a point groups thousands."""
    text, plain = frame[name], NumberForm("plain", "", 0)
    grouped = without_points(text)
    example = next((value for value in text.drop_nulls() if "." in value or "," in value), None)
    if grouped is None or bool(text.str.contains(",", literal=True).any()):
        raise BarsError(
            f"{comma} has decimal commas, and {name} is written otherwise (such as {example!r}), which could be two numbers: "
            "write a decimal point and no separators in both"
        )
    kept = bool(grouped.str.contains(".", literal=True).any()) or example is None
    said = f"{name}: points such as in {example!r} group thousands, for {comma} has decimal commas"
    return frame.with_columns(parsed_numbers(grouped, plain)), [] if kept else [said]
