"""`tft init --convert`: a copy of a stranger's file in the form that bars must have, and every change that was made.

The file itself is never touched, and nothing is changed that could be two things: an ambiguous date, a price that is wrong, a
row twice with different values are refused or left for the checks. Not here: what the changes are for (`domain.source_columns`,
`domain.time_text`, `domain.number_text`), the experiment (`first_experiment`).
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from tft_pipeline.domain.bars import PRICES, BarsError, normalise_bars
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.number_text import number_form, parsed_numbers
from tft_pipeline.domain.source_columns import SourceColumns, source_columns
from tft_pipeline.domain.symbol_names import alike
from tft_pipeline.domain.time_text import DateOrder, parsed_times, time_form
from tft_pipeline.storage.atomic import replace_file, same_file
from tft_pipeline.storage.csv_text import csv_text
from tft_pipeline.storage.sources import source_files

FIELDS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Converted:
    """Bars in the long form, and the changes that led there, a sentence each."""

    bars: pl.DataFrame
    changes: tuple[str, ...]


def convert_bars(
    source: Path,
    output: Path,
    *,
    timezone: str | None,
    dates: DateOrder | None,
    symbol: str | None,
    upper: bool,
    force: bool,
) -> tuple[str, ...]:
    """Write a copy of a source as one Parquet file of bars; answers what was changed.

    Args:
        source: file or folder.
        output: ends in .parquet.
        timezone: of times without one.
        dates: which number of 03/04/2023 is the day.
        symbol: of a file that does not say which market it is.
        upper: write symbols in capitals, without blanks at their ends.
        force: replace what is there.
    Raises:
        ConfigurationError: the file cannot be brought into that form, or the copy cannot be written.
    """
    try:
        files = source_files(source, key="DATA")
        _refuse_output(output, files, force)
        parts = [_converted_file(path, timezone, dates, symbol) for path in files]
        shape = parts[0].bars.schema
        for path, part in zip(files, parts, strict=True):
            if part.bars.schema != shape:
                raise BarsError(
                    f"{path.name} has columns {part.bars.columns}, {files[0].name} {list(shape)}: the files of one source "
                    "share "
                    "columns; convert them one by one"
                )
        changes = list(dict.fromkeys(change for part in parts for change in part.changes))
        bars = pl.concat([part.bars for part in parts])
        if upper:
            bars, more = _upper(bars)
            changes += more
        bars, more = _without_repetitions(bars)
        changes += more
        bars = bars.sort("symbol", "timestamp", maintain_order=True)
        normalise_bars(bars, timezone=timezone, symbols=None, start=None, end=None, min_bars=1)
    except (BarsError, ValueError) as error:
        raise ConfigurationError(f"{error}; nothing was written") from error
    try:
        replace_file(output, bars.write_parquet)
    except OSError as error:
        raise ConfigurationError(f"--convert {output} cannot be written: {error}") from error
    return tuple(changes)


def _refuse_output(output: Path, files: Sequence[Path], force: bool) -> None:
    if output.suffix != ".parquet" or output.is_dir():
        raise ConfigurationError(f"--convert {output}: name a file that ends in .parquet")
    if same_file(output, files) is not None or output.resolve().parent in {path.resolve() for path in files}:
        raise ConfigurationError(f"--convert {output} would replace the file it is made from: name another place")
    if output.exists() and not force:
        raise ConfigurationError(f"--convert {output} is there already: name another file, or replace it with --force")


def _converted_file(path: Path, timezone: str | None, dates: DateOrder | None, symbol: str | None) -> Converted:
    frame, changes = _as_table(path)
    if frame.is_empty():
        raise BarsError(f"{path}: it has columns {frame.columns} and no rows; put the bars there")
    frame, more = _numbers_parsed(frame)
    changes += more
    columns = source_columns(frame.schema)
    frame, more = _long(frame, columns, symbol, path)
    changes += more
    times, more = _times_parsed(frame["timestamp"], timezone, dates)
    changes += more
    frame = frame.with_columns(times)
    blank = frame.filter(pl.col("close").is_null()) if "close" in frame.columns else frame.clear()
    if blank.height:
        changes.append(
            f"removed {blank.height} rows without a close (first at {blank['timestamp'][0]} {blank['symbol'][0]})"
        )
        frame = frame.filter(pl.col("close").is_not_null())
    return Converted(frame, tuple(changes))


def _as_table(path: Path) -> tuple[pl.DataFrame, list[str]]:
    """The rows of a file with one line of names, whatever its encoding, separator and levels of names."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path), []
    written, changes = csv_text(path), []
    text = path.read_bytes().decode(written.encoding)
    if written.encoding not in ("utf-8-sig", "utf-8"):
        changes.append(f"read as {written.encoding}, written as UTF-8")
    if written.separator != ",":
        changes.append(f"columns were separated by {written.separator!r}")
    if written.levels:
        frame = _of_levels(text, written.separator, len(written.levels))
        return frame, [*changes, f"brought {1 + len(written.levels)} header lines into one row a symbol and bar"]
    frame = pl.read_csv(io.StringIO(text), separator=written.separator, infer_schema_length=10_000)
    return frame, changes


def _of_levels(text: str, separator: str, more: int) -> pl.DataFrame:
    """A table whose names have two levels, field and symbol in either order, in the long form."""
    rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    upper, lower = rows[0][1:], rows[1][1:]
    fields_above = sum(name.strip().lower() in (*FIELDS, "adj close") for name in upper) >= len(upper) / 2
    fields, symbols = (upper, lower) if fields_above else (lower, upper)
    body = [row for row in rows[1 + more :] if any(cell.strip() for cell in row)]
    parts = []
    for name in dict.fromkeys(symbols):
        own = [k for k, other in enumerate(symbols, start=1) if other == name]
        columns = {"timestamp": [row[0] for row in body], "symbol": [name] * len(body)}
        columns |= {fields[k - 1]: [row[k] if k < len(row) else "" for row in body] for k in own}
        parts.append(pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)))
    return pl.concat(parts, how="diagonal")


def _numbers_parsed(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Text columns that hold numbers as numbers; times, symbols and other text stay."""
    named = source_columns(frame.columns)
    keys = {named.renaming.get(name, name): name for name in frame.columns}
    kept = {keys.get("timestamp"), keys.get("symbol")} if named.shape != "wide" else {keys.get("timestamp")}
    changes = []
    for name in frame.columns:
        if name in kept or frame.schema[name] != pl.String:
            continue
        form = number_form(frame[name])
        wanted = named.renaming.get(name, name) in FIELDS or name in named.wide
        if form.style == "no_number" and not wanted:
            continue
        frame = frame.with_columns(parsed_numbers(frame[name], form))
        changes.append(f"{name}: {form.style.replace('_', ' ')} text such as {form.example!r} to numbers")
    return frame, changes


def _long(
    frame: pl.DataFrame, columns: SourceColumns, symbol: str | None, path: Path
) -> tuple[pl.DataFrame, list[str]]:
    changes = []
    if columns.shape == "unknown":
        raise BarsError(
            f"{path}: columns {frame.columns} hold no time and close that could be told by name; rename them to timestamp, "
            "symbol "
            "and close"
        )
    if columns.opening:
        raise BarsError(
            f"{path}: its times are openings of bars, and no column holds the closes; rename it to timestamp yourself, and run "
            "`tft init` with --stamp open"
        )
    if columns.adjusted is not None:
        frame, more = _adjusted(frame, columns)
        changes += more
        columns = source_columns(frame.schema)
    if columns.renaming:
        frame = frame.rename(dict(columns.renaming))
        changes.append("renamed " + ", ".join(f"{old!r} to {new!r}" for old, new in columns.renaming.items()))
    dropped = [name for name in columns.text if name in frame.columns]
    if dropped:
        frame = frame.drop(dropped)
        changes.append(f"dropped {', '.join(map(repr, dropped))}, which hold text")
    if columns.shape == "wide":
        frame = frame.unpivot(list(columns.wide), index="timestamp", variable_name="symbol", value_name="close")
        changes.append(f"wide to long: {len(columns.wide)} columns are symbols now, their values close")
    if columns.shape == "one_symbol":
        name = symbol or path.stem
        frame = frame.with_columns(symbol=pl.lit(name))
        changes.append(f"symbol is {name!r} in every row of {path.name}" + ("" if symbol else ", from its name"))
    elif symbol is not None:
        raise ConfigurationError(f"--symbol {symbol} and {path.name} has symbols of its own: drop the option")
    ordered = [name for name in ("timestamp", "symbol", *FIELDS) if name in frame.columns]
    return frame.select(*ordered, pl.exclude(ordered)), changes


def _adjusted(frame: pl.DataFrame, columns: SourceColumns) -> tuple[pl.DataFrame, list[str]]:
    """Adjusted closes in place of closes, the other prices scaled by the same factor."""
    adjusted, names = columns.adjusted, {new: old for old, new in columns.renaming.items()}
    assert adjusted is not None
    close = names.get("close", "close")
    factor = pl.col(adjusted) / pl.col(close)
    prices = [names.get(name, name) for name in PRICES if name != "close" and names.get(name, name) in frame.columns]
    scales = [(pl.col(name) * factor).alias(name) for name in prices]
    frame = frame.with_columns(*scales, pl.col(adjusted).alias(close))
    scaled = f"; {', '.join(prices)} are scaled by the same factor" if prices else ""
    return frame.drop(adjusted), [f"close is {adjusted!r}, in place of {close!r}{scaled}"]


def _times_parsed(column: pl.Series, timezone: str | None, dates: DateOrder | None) -> tuple[pl.Series, list[str]]:
    """Times with a zone."""
    changes, times = [], column
    if column.dtype == pl.String or column.dtype.is_integer():
        form = time_form(column)
        times = parsed_times(column, form, dates)
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
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise BarsError(f"--timezone {timezone!r} is no time zone, such as America/New_York") from error
        try:
            times = times.dt.replace_time_zone(timezone)
        except pl.exceptions.PolarsError as error:
            raise BarsError(f"the times cannot be placed in --timezone {timezone}: {error}") from error
        changes.append(f"times without a zone were placed in {timezone}")
    return times.dt.convert_time_zone("UTC").dt.cast_time_unit("us").alias("timestamp"), changes


def _first_like(column: pl.Series, times: pl.Series, example: str) -> str:
    where = (column.cast(pl.String).str.strip_chars() == example.strip()).arg_max() or 0
    return str(times[where])


def _upper(bars: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    changed = bars.with_columns(pl.col("symbol").str.strip_chars().str.to_uppercase())
    names = sorted(set(bars["symbol"].unique()) - set(changed["symbol"].unique()))
    if not names:
        return bars, []
    joined = "; ".join(one.sentence.partition(" differ in")[0] + " are one now" for one in alike(bars))
    return changed, [f"symbols in capitals: {', '.join(names)}" + (f" ({joined})" if joined else "")]


def _without_repetitions(bars: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Rows that are equal in every column are kept once; rows that differ are for the checks to refuse."""
    once = bars.unique(maintain_order=True)
    gone = bars.height - once.height
    return once, [f"removed {gone} rows that repeat another one in every column"] if gone else []
