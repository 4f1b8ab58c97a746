"""`tft init --convert`: a copy of a stranger's file in the form that bars must have, and every change that was made.

The file itself is never touched, and nothing is changed that could be two things: an ambiguous date, a price that is wrong, a
row twice with different values are refused or left for the checks. Not here: what the changes are for (`domain.source_columns`,
numbers and times from text (`converted_numbers`, `converted_times`), the experiment (`proposing`).
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tft_pipeline.domain.bars import PRICES, BarsError, normalise_bars
from tft_pipeline.domain.date_and_time import date_and_time, joined
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.source_columns import SourceColumns, source_columns
from tft_pipeline.domain.symbol_names import alike
from tft_pipeline.domain.time_text import DateOrder
from tft_pipeline.pipeline.converted_numbers import FIELDS, numbers_parsed
from tft_pipeline.pipeline.converted_times import times_parsed
from tft_pipeline.storage.atomic import replace_file, same_file
from tft_pipeline.storage.csv_text import csv_text, refusal, refuse_header
from tft_pipeline.storage.sources import floats_where_files_differ, in_words, source_files


@dataclass(frozen=True, slots=True)
class Converted:
    """Bars in the long form, and the changes that led there, a sentence each."""

    bars: pl.DataFrame
    changes: tuple[str, ...]


def converted_bars(
    source: Path,
    output: Path,
    *,
    timezone: str | None,
    dates: DateOrder | None,
    symbol: str | None,
    upper: bool,
    force: bool,
) -> Converted:
    """A copy of a source in the form that bars must have; `write_copy` writes it.

    Args:
        source: file or folder.
        output: where it will be written; ends in .parquet.
        timezone: of times without one.
        dates: which number of 03/04/2023 is the day.
        symbol: of a file that does not say which market it is.
        upper: write symbols in capitals, without blanks at their ends.
        force: replace what is there.
    Raises:
        ConfigurationError: the file cannot be brought into that form, or nothing can be written there.
    """
    try:
        files = source_files(source, key="DATA")
        _refuse_output(output, source, files, force)
        parts = [_converted_file(path, timezone, dates, symbol) for path in files]
        widened = floats_where_files_differ([part.bars.schema for part in parts])
        frames = [part.bars.cast(widened) if widened else part.bars for part in parts]
        for path, frame in zip(files, frames, strict=True):
            if frame.schema != frames[0].schema:
                raise BarsError(
                    f"{path.name} has columns {in_words(frame.schema)}, {files[0].name} {in_words(frames[0].schema)}: the "
                    "files of one source share columns and types; convert them one by one"
                )
        changes = list(dict.fromkeys(change for part in parts for change in part.changes))
        bars = pl.concat(frames)
        if upper:
            bars, more = _upper(bars)
            changes += more
        bars, more = _without_repetitions(bars)
        changes += more
        bars = bars.sort("symbol", "timestamp", maintain_order=True)
        normalise_bars(bars, timezone=timezone, symbols=None, start=None, end=None, min_bars=1)
    except (BarsError, ValueError) as error:
        raise ConfigurationError(f"{error}; nothing was written") from error
    except pl.exceptions.PolarsError as error:  # a damaged file shows anywhere
        raise ConfigurationError(
            f"{source} cannot be converted: {str(error).splitlines()[0]}; nothing was written"
        ) from error
    return Converted(bars, tuple(changes))


def write_copy(output: Path, bars: pl.DataFrame) -> None:
    """Write converted bars.

    Raises:
        ConfigurationError: they cannot be written there.
    """
    try:
        replace_file(output, bars.write_parquet)
    except OSError as error:
        raise ConfigurationError(f"--convert {output} cannot be written: {error}") from error


def _refuse_output(output: Path, source: Path, files: Sequence[Path], force: bool) -> None:
    if output.suffix != ".parquet" or output.is_dir():
        raise ConfigurationError(f"--convert {output}: name a file that ends in .parquet")
    if same_file(output, files) is not None:
        raise ConfigurationError(f"--convert {output} would replace the file it is made from: name another place")
    if source.is_dir() and output.resolve().parent == source.resolve():
        raise ConfigurationError(
            f"--convert {output} lies in the folder it is made from, and would be one of its files: name another place"
        )
    if output.exists() and not force:
        raise ConfigurationError(f"--convert {output} is there already: name another file, or replace it with --force")


def _converted_file(path: Path, timezone: str | None, dates: DateOrder | None, symbol: str | None) -> Converted:
    frame, changes = _as_table(path)
    if frame.is_empty():
        raise BarsError(f"{path}: it has columns {frame.columns} and no rows; put the bars there")
    if (two := date_and_time(frame)) is not None:
        day, clock = two
        frame = frame.with_columns(joined(frame[day], frame[clock])).drop(clock)
        changes.append(f"joined {day!r} and {clock!r} into one time")
    frame, more = numbers_parsed(frame, path)
    changes += more
    columns = source_columns(frame.schema)
    frame, more = _long(frame, columns, symbol, path)
    changes += more
    times, more = times_parsed(frame["timestamp"], timezone, dates)
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
        try:
            return pl.read_parquet(path), []
        except (pl.exceptions.PolarsError, OSError) as error:
            raise BarsError(refusal(path, error)) from error
    written, changes = csv_text(path), []
    text = path.read_bytes().decode(written.encoding)
    if written.encoding not in ("utf-8-sig", "utf-8"):
        changes.append(f"read as {written.encoding}, written as UTF-8")
    if written.separator != ",":
        changes.append(f"columns were separated by {written.separator!r}")
    if written.levels:
        frame = _of_levels(text, written.separator, len(written.levels))
        return frame, [*changes, f"brought {1 + len(written.levels)} header lines into one row a symbol and bar"]
    refuse_header(path, written.header)
    try:
        # all as text: a reader that guesses takes 454.780 and 000001 for numbers
        return pl.read_csv(io.StringIO(text), separator=written.separator, infer_schema=False), changes
    except pl.exceptions.PolarsError as error:
        raise BarsError(refusal(path, error)) from error


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


def _long(
    frame: pl.DataFrame, columns: SourceColumns, symbol: str | None, path: Path
) -> tuple[pl.DataFrame, list[str]]:
    changes = []
    if columns.shape == "unknown":
        raise BarsError(
            f"{path}: columns {frame.columns} hold no time and close that could be told by name; rename them to timestamp, "
            "symbol and close"
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
        others = [name for name in frame.columns if name not in columns.wide and name != "timestamp"]
        changes += [f"left out {', '.join(map(repr, others))}, which say no price"] if others else []
        frame = frame.unpivot(list(columns.wide), index="timestamp", variable_name="symbol", value_name="close")
        changes.append(f"wide to long: {len(columns.wide)} columns are symbols now, their values close")
    if columns.shape == "one_symbol":
        name = symbol or path.stem
        frame = frame.with_columns(symbol=pl.lit(name))
        changes.append(f"symbol is {name!r} in every row of {path.name}" + ("" if symbol else ", from its name"))
    elif symbol is not None:
        raise ConfigurationError(f"--symbol {symbol} and {path.name} has symbols of its own: drop the option")
    frame = frame.with_columns(pl.col("symbol").cast(pl.String))
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
