"""Reading probabilities and labels that anybody computed: CSV or Parquet, keyed by symbol and timestamp, or row by row.

CSV cells are read as text, so that one that is no number is named and never turned into a missing value on the way. Not here:
what is computed from them.
"""

from pathlib import Path

import numpy as np
import polars as pl

from tft_pipeline.domain.bars import BarsError, utc_column
from tft_pipeline.domain.experiment import ConfigurationError

SUFFIXES = (".csv", ".parquet")
KEYS = ("timestamp", "symbol")
WHOLE = r"^\d+$"
"""Milliseconds since 1970, 20250131, or a count of bars: what orders rows and tells them apart is enough."""
LARGEST_WHOLE = 2**63 - 1


def read_keyed(path: Path, value: str) -> tuple[pl.DataFrame, str]:
    """timestamp, symbol and one column of numbers, in the order of the file, and how its timestamps are written.

    Args:
        value: name of the column of numbers; other columns are not read.
    Returns:
        the rows, timestamps in UTC or as whole numbers; `offset`, `naive` (taken as they stand) or `number`.
    Raises:
        ConfigurationError: a file that cannot be read or has no rows, a missing column, a key that is empty, is no time or
            occurs twice, a cell that is no finite number.
    """
    frame = _frame(path)
    absent = [name for name in (*KEYS, value) if name not in frame.columns]
    if absent:
        raise ConfigurationError(
            f"{path}: no column {', '.join(absent)}; expected symbol, timestamp, {value}, found {', '.join(frame.columns)}; "
            "rename them, or say --by-row where rows fit by their order"
        )
    for name in KEYS:
        if empty := frame[name].null_count():
            row = int(frame[name].is_null().arg_max() or 0)
            raise ConfigurationError(
                f"{path}: {name} is empty in {empty} of {frame.height} rows (first in row {row + 1}): a row needs its key"
            )
    times, kind = _times(path, frame["timestamp"])
    numbers = pl.Series(value, _numbers(path, frame[value]))
    keyed = pl.DataFrame([times, frame["symbol"].cast(pl.String), numbers])
    repeated = keyed.group_by(KEYS).len().filter(pl.col("len") > 1).sort(KEYS)
    if repeated.height:
        raise ConfigurationError(
            f"{path}: {repeated.height} keys occur more than once (first {said(repeated)}, {repeated['len'][0]} rows): which "
            "value counts cannot be known; keep one row a symbol and timestamp"
        )
    return keyed, kind


def read_rows(path: Path, value: str) -> np.ndarray:
    """(n,) numbers of the column of that name, or of the only column there is; a CSV of numbers alone needs no header.

    Raises:
        ConfigurationError: a file that cannot be read or has no rows, several columns of which none has that name, a cell that
            is no finite number.
    """
    frame = _frame(path)
    if frame.width == 1 and path.suffix.lower() == ".csv" and _is_number(frame.columns[0]):
        first = pl.Series(frame.columns, dtype=pl.String)
        frame = pl.DataFrame({value: pl.concat([first, frame.to_series()])})
    if value not in frame.columns and frame.width > 1:
        raise ConfigurationError(
            f"{path}: columns {', '.join(frame.columns)} and none is {value}: which is meant is unclear; name it so, or keep "
            "one column"
        )
    return _numbers(path, frame[value] if value in frame.columns else frame.to_series())


def said(rows: pl.DataFrame) -> str:
    """The first row's key in words."""
    stamp = rows["timestamp"][0]
    return f"{rows['symbol'][0]} {stamp if isinstance(stamp, int) else stamp.isoformat()}"


def _frame(path: Path) -> pl.DataFrame:
    if path.is_dir():
        raise ConfigurationError(f"{path}: is a folder; name a .csv or .parquet file in it")
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such file; name a .csv or .parquet file")
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigurationError(f"{path}: expected one of {SUFFIXES}, found {path.suffix!r}; convert the file")
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path)
        else:
            frame = pl.read_csv(path, infer_schema=False)
            frame = frame.with_columns(pl.all().str.strip_chars().replace("", None))
            frame.columns = [name.strip() for name in frame.columns]
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    alone = frame.width == 1 and _is_number(frame.columns[0])
    if frame.is_empty() and not alone:
        raise ConfigurationError(f"{path}: the file has no rows; write one a prediction")
    return frame


def _times(path: Path, column: pl.Series) -> tuple[pl.Series, str]:
    if column.dtype.is_integer() or (column.dtype == pl.String and column.str.contains(WHOLE).all()):
        numbers = column.cast(pl.Int64, strict=False)
        if beyond := numbers.null_count():
            row = int(numbers.is_null().arg_max() or 0)
            raise ConfigurationError(
                f"{path}: timestamp is a whole number beyond {LARGEST_WHOLE} in {beyond} of {len(column)} rows (first in row "
                f"{row + 1}: {column[row]}): rows could not be put in order; write milliseconds, or ISO 8601"
            )
        return numbers, "number"
    naive = not getattr(column.dtype, "time_zone", None)
    if column.dtype == pl.String:
        naive = not column.str.contains(r"(Z|[+-]\d{2}:?\d{2})$").any()
    try:
        return utc_column(column, "UTC"), "naive" if naive else "offset"
    except BarsError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _numbers(path: Path, column: pl.Series) -> np.ndarray:
    """(n,) float64; every cell a finite number."""
    if column.dtype == pl.String or column.dtype.is_numeric() or column.dtype == pl.Boolean:
        numbers = column.cast(pl.Float64, strict=False)
    else:
        raise ConfigurationError(f"{path}: {column.name} has type {column.dtype}; give numbers")
    bad = ~numbers.is_finite().fill_null(False)
    if bad.any():
        row = int(bad.arg_max() or 0)
        cell = "empty" if column[row] is None else repr(column[row])
        count = int(bad.sum())
        raise ConfigurationError(
            f"{path}: {column.name} is no finite number in {count} of {len(column)} rows (first in row {row + 1}: {cell}): a "
            "row without a prediction or label cannot be weighed; remove it from every file"
        )
    return np.asarray(numbers.to_numpy())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
