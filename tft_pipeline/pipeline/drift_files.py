"""Two files of anybody's numbers as bars: which columns both have, which rows are one bar. Not here: comparing them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from tft_pipeline.domain.bars import BarsError, utc_column
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.panels import KEYS
from tft_pipeline.storage.sources import read_source

LARGEST = 1e150
"""Of a value that is compared: the square of twice as much is still a number."""


def numbers_of(path: Path, option: str) -> pl.DataFrame:
    """The rows of a file, or of a folder of them.

    Raises:
        ConfigurationError: absent, not readable or without rows; `option` names it.
    """
    if not path.exists():
        raise ConfigurationError(
            f"{option} {path}: no such file or folder; name a Parquet or CSV file, or a folder of them"
        )
    try:
        frame = read_source(path, key=option)
    except BarsError as error:
        raise ConfigurationError(f"{option}: {error}") from error
    if frame.is_empty():
        raise ConfigurationError(f"{option} {path} has no rows: there is nothing to compare; name a file with bars")
    return frame


def common_numbers(sides: dict[str, pl.DataFrame]) -> tuple[list[str], dict[str, str]]:
    """Numeric columns of both files, in the order of the reference, and why others are left out.

    Raises:
        ConfigurationError: a column of numbers in one file alone, or none in either.
    """
    numbers: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    for option, frame in sides.items():
        numbers[option] = []
        for name, kind in frame.schema.items():
            if name in KEYS:
                continue
            if kind.is_numeric() or kind == pl.Boolean:
                numbers[option].append(name)
            else:
                left_out[name] = f"{str(kind).lower()} in {option}, not numbers"
    first, second = numbers.values()
    if set(first) != set(second):
        only = {
            option: sorted(set(numbers[option]) - set(other))
            for option, other in zip(sides, (second, first), strict=True)
        }
        said = "; ".join(
            f"only {option} has numbers in {in_short(names)}"
            + "".join(f" ({n}: {left_out[n]})" for n in names if n in left_out)
            for option, names in only.items()
            if names
        )
        raise ConfigurationError(f"the files must have the same columns of numbers: {said}; make them alike")
    if not first:
        raise ConfigurationError(
            f"the files have no column of numbers to compare (left out: {left_out or 'timestamp and symbol alone'}); add some"
        )
    return first, left_out


def grid_of(frame: pl.DataFrame, names: list[str], option: str) -> tuple[np.ndarray, list[str] | None, tuple[str, ...]]:
    """(S, N, V) values, the bars' times where there are any, and the symbols; one nameless symbol where rows are bars.

    Raises:
        ConfigurationError: times that are none, null keys, a bar that occurs twice, symbols without times.
    """
    if "timestamp" not in frame.columns:
        if "symbol" in frame.columns:
            raise ConfigurationError(
                f"{option} has a column symbol and none named timestamp: which rows are one bar is unknown; add timestamp, or "
                "drop symbol to take each row as a bar"
            )
        return _values(frame, names, option)[None], None, ("",)
    try:
        times = utc_column(frame["timestamp"], "UTC")
    except BarsError as error:
        raise ConfigurationError(f"{option}: {error}") from error
    if times.null_count():
        raise ConfigurationError(f"{option}: timestamp is null in {times.null_count()} rows; remove them")
    symbol = frame["symbol"].cast(pl.String) if "symbol" in frame.columns else pl.Series("symbol", [""] * frame.height)
    if symbol.null_count():
        raise ConfigurationError(f"{option}: symbol is null in {symbol.null_count()} rows; remove them")
    keyed = frame.select(names).with_columns(timestamp=times, symbol=symbol)
    twice = keyed.filter(keyed.select("timestamp", "symbol").is_duplicated())
    if twice.height:
        row = twice.row(0, named=True)
        raise ConfigurationError(
            f"{option}: {twice.height} rows share timestamp and symbol (such as {row['timestamp'].isoformat()} {row['symbol']}"
            "): a bar would count twice; keep one of each"
            + ("" if "symbol" in frame.columns else ", or add a column symbol")
        )
    calendar, symbols = keyed["timestamp"].unique().sort(), keyed["symbol"].unique().sort()
    grid = np.full((len(symbols), len(calendar), len(names)), np.nan)
    places = [keyed["symbol"].cast(pl.Enum(symbols)).to_physical(), calendar.search_sorted(keyed["timestamp"])]
    grid[places[0].to_numpy(), places[1].to_numpy()] = _values(keyed, names, option)
    return grid, [stamp.isoformat() for stamp in calendar], tuple(symbols)


def _values(frame: pl.DataFrame, names: list[str], option: str) -> np.ndarray:
    values = frame.select(pl.col(names).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    with np.errstate(invalid="ignore"):
        beyond = (np.isfinite(values) & (np.abs(values) > LARGEST)).any(axis=0)
    if beyond.any():
        found = in_short([name for name, is_beyond in zip(names, beyond, strict=True) if is_beyond])
        raise ConfigurationError(
            f"{option}: {found} has values beyond {LARGEST:g}, of which no deviation can be computed; divide them, or leave "
            "the column out of both files"
        )
    return values


def in_short(names: Sequence[object]) -> str:
    """The first few names, and how many more there are."""
    listed = [str(name) or "(none)" for name in names]
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")
