"""Reading anybody's series of returns: a CSV or Parquet file with one column of them. Not here: what is computed from it.

A CSV file may lack a header. Its cells are read as text, so that a cell that is no number is named and never turned into a
missing value on the way.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.experiment import ConfigurationError

SUFFIXES = (".csv", ".parquet")
MIN_RETURNS = 8
DECIMAL_COMMA = re.compile(rb"(?<=\d),(?=\d)")
SHOWN = 5
"""Rows that a message names."""
PRICE_LEVEL = 0.5
"""A mean above it in a column without a negative value is no mean of returns."""


@dataclass(frozen=True, kw_only=True)
class ReturnSeries:
    """Returns in the order of their bars.

    Attributes:
        column: name of their column; `column_1` and so on in a file without a header.
        values: (n,) float64, finite, above -1.
        first, last: timestamps as the file has them; None without a timestamp column.
        left_out: other columns that were not read.
        warnings: what is allowed but probably not meant.
    """

    column: str
    values: np.ndarray
    first: str | None
    last: str | None
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]


def read_returns(path: Path, *, column: str | None = None) -> ReturnSeries:
    """The one numeric column of a file, or the one that is named.

    Raises:
        ConfigurationError: no such file, a folder, or a file that cannot be read or has semicolons between its columns; no
            numeric column, or several and none named; a cell that is empty or no finite number; a return of -1 or less, or what
            looks like prices; fewer than 8 returns; timestamps that repeat or run backwards.
    """
    frame, first_row = _frame(path)
    numbers = [name for name in frame.columns if _is_numeric(frame[name])]
    chosen = _chosen(path, frame, numbers, column)
    values = _values(path, frame[chosen], first_row)
    warnings = _doubts(values)
    times = [name for name in frame.columns if name != chosen and _is_time(frame[name])][:1]
    left_out = tuple(name for name in frame.columns if name not in (chosen, *times))
    first, last = _ordered(path, frame[times[0]], first_row) if times else (None, None)
    if left_out and not times:
        warnings = (*warnings, "no column holds ISO timestamps, so the order of the rows is taken as it is")
    return ReturnSeries(column=chosen, values=values, first=first, last=last, left_out=left_out, warnings=warnings)


def _frame(path: Path) -> tuple[pl.DataFrame, int]:
    """The file and the number of its first row of data, as an editor counts lines; Parquet rows count from 1."""
    if path.is_dir():
        raise ConfigurationError(f"{path}: is a folder; name a .csv or .parquet file of returns in it")
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such file; name a .csv or .parquet file of returns")
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(f"{path}: expected one of {SUFFIXES}, found {path.suffix!r}; convert the file")
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path), 1
        _refuse_semicolons(path)
        raw = pl.read_csv(path, has_header=False, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    raw = raw.with_columns(pl.all().str.strip_chars().replace("", None))
    raw.columns = [f"column_{k}" for k in range(1, raw.width + 1)]
    written = raw.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    if not len(written):
        raise ConfigurationError(f"{path}: the file is empty; write one return a line")
    raw = raw.head(int(written[-1]) + 1)  # blank lines at the end say nothing
    top = raw.row(0)
    if any(_number_like(cell) or _time(cell) is not None for cell in top):
        return raw, 1
    if all(cell is None for cell in top):
        raise ConfigurationError(f"{path}: line 1 is empty; remove it, or write the names of the columns there")
    names = [cell or spare for cell, spare in zip(top, raw.columns, strict=True)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"{path}: column names {twice} occur more than once; rename them")
    raw.columns = names
    return raw.slice(1), 2


def _refuse_semicolons(path: Path) -> None:
    """Spreadsheets of many countries write `;` between columns and a comma in numbers: both would be misread."""
    with path.open("rb") as stream:
        top = stream.readline()
    if top.count(b";") > DECIMAL_COMMA.sub(b".", top).count(b","):
        raise ConfigurationError(
            f"{path}: line 1 has a semicolon between its columns; write commas between columns and points in numbers"
        )


def _number_like(cell: str | None) -> bool:
    """A number, with or without a percent sign; `1_0`, which Python reads as 10, is none."""
    text = (cell or "").removesuffix("%")
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _time(cell: str | None) -> datetime | None:
    """An ISO timestamp; a bare number is none."""
    if cell is None or _number_like(cell):
        return None
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        return None


def _is_numeric(column: pl.Series) -> bool:
    """Numbers, or text of which at least half is numbers: what else it holds is an error, not another kind of column."""
    if column.dtype.is_numeric():
        return True
    if column.dtype != pl.String:
        return False
    cells = column.drop_nulls()
    return 2 * sum(_number_like(cell) for cell in cells) >= max(len(cells), 1)


def _is_time(column: pl.Series) -> bool:
    if column.dtype in (pl.Date, pl.Datetime):
        return True
    cells = column.drop_nulls() if column.dtype == pl.String else pl.Series([], dtype=pl.String)
    return len(cells) > 0 and 2 * sum(_time(cell) is not None for cell in cells) >= len(cells)


def _chosen(path: Path, frame: pl.DataFrame, numbers: list[str], column: str | None) -> str:
    if column is not None:
        if column not in frame.columns:
            raise ConfigurationError(f"{path}: no column {column!r}; there are {', '.join(frame.columns)}")
        if column not in numbers:
            raise ConfigurationError(
                f"{path}: column {column!r} holds no numbers ({frame[column].dtype}); numeric ones: {numbers or 'none'}"
            )
        return column
    if not numbers:
        raise ConfigurationError(
            f"{path}: no numeric column among {', '.join(frame.columns)}; a CSV file has commas between its columns and points "
            "in its numbers"
        )
    if len(numbers) > 1:
        raise ConfigurationError(
            f"{path}: {len(numbers)} numeric columns ({', '.join(numbers)}); name the returns with --column {numbers[-1]}"
        )
    return numbers[0]


def _values(path: Path, column: pl.Series, first_row: int) -> np.ndarray:
    """(n,) float64; every cell a finite return above -1."""
    name = column.name
    if column.dtype == pl.String:
        percent = [row for row, cell in enumerate(column) if cell is not None and cell.endswith("%")]
        if percent:
            raise ConfigurationError(
                f"{path}: {name} has percent signs {_rows(percent, first_row)}; divide by 100 and write fractions: 0.01 is 1 %"
            )
        words = [row for row, cell in enumerate(column) if cell is not None and not _number_like(cell)]
        if words:
            raise ConfigurationError(
                f"{path}: {name} holds {column[words[0]]!r}, which is no number, {_rows(words, first_row)}; correct or remove "
                "those rows"
            )
        values = np.array([np.nan if cell is None else float(cell) for cell in column])
    else:
        values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    refuse_unusable(values, f"{path}: ", name, first_row)
    return np.asarray(values, dtype=np.float64)


def refuse_unusable(values: np.ndarray, where: str, name: str, first_row: int) -> None:
    """Stop at numbers (n,) that are no series of simple returns.

    Args:
        where: begins the message. name: of the column. first_row: how the first of them is counted.
    Raises:
        ConfigurationError: one that is not finite, or -1 or less; fewer than 8; what looks like prices.
    """
    bad = np.flatnonzero(~np.isfinite(values)).tolist()
    if bad:
        raise ConfigurationError(
            f"{where}{name} is empty or not finite {_rows(bad, first_row)}; a bar without a return breaks the series: remove "
            "those rows, or write 0 where nothing was held"
        )
    if values.size < MIN_RETURNS:
        raise ConfigurationError(f"{where}{values.size} return(s) in {name}; statistics need at least {MIN_RETURNS}")
    if (values >= 0.0).all() and float(values.mean()) > PRICE_LEVEL:
        raise ConfigurationError(
            f"{where}{name} is never negative and averages {values.mean():g}: these look like prices or an equity curve; give "
            "returns, price / previous price - 1"
        )
    ruin = np.flatnonzero(values <= -1.0).tolist()
    if ruin:
        raise ConfigurationError(
            f"{where}{name} is {values[ruin[0]]:g} {_rows(ruin, first_row)}; no simple return is -1 or less, all would be "
            "lost: divide percent by 100, turn log returns into exp(r) - 1"
        )


def _doubts(values: np.ndarray) -> tuple[str, ...]:
    """What returns can be, but seldom are."""
    high = int((values > 1.0).sum())
    if high:
        return (
            f"{high} return(s) are above 1, which is a gain of 100 % in one bar; if these are percent, divide by 100 (no ratio "
            "changes)",
        )
    return ()


def _ordered(path: Path, column: pl.Series, first_row: int) -> tuple[str, str]:
    """First and last timestamp of a column that rises all the way."""
    name = column.name
    moments: list[Any] = [_time(cell) for cell in column] if column.dtype == pl.String else column.to_list()
    absent = [row for row, moment in enumerate(moments) if moment is None]
    if absent:
        raise ConfigurationError(
            f"{path}: {name} is empty or no ISO timestamp {_rows(absent, first_row)}; returns need their order: correct those "
            "rows"
        )
    if len({isinstance(moment, datetime) and moment.tzinfo is not None for moment in moments}) > 1:
        raise ConfigurationError(f"{path}: some timestamps in {name} have a time zone and some have none; give all one")
    wrong = [row for row in range(1, len(moments)) if moments[row] <= moments[row - 1]]
    if wrong:
        row = wrong[0]
        fault = "repeats" if moments[row] == moments[row - 1] else "runs backwards"
        raise ConfigurationError(
            f"{path}: {name} {fault} at {column[row]} {_rows(wrong, first_row)}; a series of returns has one value a bar, in "
            "order: sort it, and add up symbols to one portfolio first"
        )
    return str(column[0]), str(column[-1])


def _rows(rows: list[int], first_row: int) -> str:
    """Rows as people count them."""
    shown = ", ".join(str(row + first_row) for row in rows[:SHOWN])
    more = "" if len(rows) <= SHOWN else f" and {len(rows) - SHOWN} more"
    return f"in row{'s' if len(rows) > 1 else ''} {shown}{more}"
