"""Exogenous tables (volatility indices, rates, flows of participants) joined to the bars as they were published.

A table has `timestamp` (what a row speaks of), `available_at` (when it was published), optionally `symbol`, and numbers.
Each number column becomes a user column `<prefix>_<column>` of the bars, so its group is the prefix. Not here: which row
counts at a bar (`publications`), reading files.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from tft_pipeline.domain.bars import RESERVED, RESERVED_PREFIX, SHADOW_PREFIX, BarsError, publication_column, utc_column
from tft_pipeline.domain.features.groups import GROUPS
from tft_pipeline.domain.publications import AVAILABLE_AT, PUBLIC_SINCE, newest_published

KEYS = ("timestamp", "symbol", "available_at")
LONGEST_SILENCE = 5
"""A table without `max_age_days` that is silent for more than so many of its usual spacings has ended."""
_PREFIX = re.compile(r"[a-z][a-z0-9]*")
_COLUMN = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class JoinedTable:
    """Bars with the columns of one table, and what was used of it.

    Attributes:
        bars: as given, with the table's columns behind theirs; sorted by symbol and timestamp.
        columns: names of the new columns.
        about: for the manifest: rows of the table, first and last `available_at` used, symbols of the bars of which a
            table by symbol does not speak, bars without a value by column.
    """

    bars: pl.DataFrame
    columns: tuple[str, ...]
    about: dict[str, Any]


def refusal_of_table_prefix(prefix: str) -> str:
    """Why a prefix cannot name the columns of a table; empty when it can."""
    if not _PREFIX.fullmatch(prefix):
        return (
            f"table prefix {prefix!r} is not lower-case letters and digits, a letter first: it is the group of its columns, "
            "which ends at the first underscore; rename it"
        )
    if prefix in GROUPS or prefix in RESERVED or f"{prefix}_" in (RESERVED_PREFIX, SHADOW_PREFIX):
        return (
            f"table prefix {prefix!r} is a name of the catalogue: which is meant would be unclear; choose another word"
        )
    return ""


def normalise_table(frame: pl.DataFrame, *, prefix: str, timezone: str | None) -> pl.DataFrame:
    """Check and canonicalise a table: UTC microseconds, Float64, columns with their prefix, sorted by publication.

    Raises:
        BarsError: no `timestamp` or `available_at`, no rows, no number column, a column that is not a number or whose
            name is not plain, a null key, naive times without `timezone`, publications that are dates alone, two rows
            of one (timestamp, symbol, available_at).
    """
    named = f"table {prefix!r}"
    if "timestamp" not in frame.columns:
        raise BarsError(f"{named} has no column timestamp: which time a row speaks of is unknown; has {frame.columns}")
    if "available_at" not in frame.columns:
        raise BarsError(
            f"{named} has no column available_at: without the time of publication a value would be used before anybody "
            f"knew it, and results would be too good; add when each row was published, has {frame.columns}"
        )
    if frame.is_empty():
        raise BarsError(f"{named} has columns {frame.columns} and no rows; put the rows there or drop the table")
    keys = [name for name in KEYS if name in frame.columns]
    for name in keys:
        if nulls := frame[name].null_count():
            raise BarsError(f"{named}: {name} is null in {nulls} of {frame.height} rows: complete or remove these rows")
    try:
        about = utc_column(frame["timestamp"], timezone)
        published = publication_column(frame["available_at"], about, timezone)
    except BarsError as error:
        raise BarsError(f"{named}: {error}") from error
    values = [name for name in frame.columns if name not in KEYS]
    if not values:
        raise BarsError(
            f"{named} has columns {frame.columns}, none of which is a value to join; add one or drop the table"
        )
    for name in values:
        if not _COLUMN.fullmatch(name):
            raise BarsError(
                f"{named}: column {name!r} is not letters, digits and underscores: it ends a name; rename it"
            )
        given = frame[name].drop_nulls()
        # a column of a CSV file that is empty throughout is read as text, and has nothing to encode
        if len(given) and not (given.dtype.is_numeric() or given.dtype == pl.Boolean):
            raise BarsError(
                f"{named}: column {name!r} has type {given.dtype} (first value {given[0]!r}); the "
                "network reads numbers: encode it or remove it"
            )
    frame = frame.with_columns(about, published, *(pl.col("symbol").cast(pl.String) for _ in keys[2:]))
    repeated = frame.group_by(keys).len().filter(pl.col("len") > 1).sort(keys)
    if repeated.height:
        first = ", ".join(str(value) for value in repeated.row(0)[:-1])
        raise BarsError(
            f"{named}: {repeated.height} duplicate ({', '.join(keys)}) keys (first {first}): which value is right cannot be "
            "known; keep one row a key"
        )
    return frame.select(*keys, *(pl.col(name).cast(pl.Float64).alias(f"{prefix}_{name}") for name in values)).sort(keys)


def join_table(bars: pl.DataFrame, table: pl.DataFrame, *, prefix: str, max_age_days: float | None) -> JoinedTable:
    """Add the table's values to the bars, each from the first bar on that closes at its publication or later.

    By symbol where the table has that column, else one value for all symbols. See `newest_published` for restatements.

    Args:
        bars: normalised, one row a bar.
        table: from `normalise_table`.
        max_age_days: a value that has been public for longer at a bar counts as missing. Without it the table must go
            on to the last bar: no silence of more than five of its usual spacings before it. The usual spacing is the
            median between first publications; restatements do not count. A single publication has none, and so it has
            ended as soon as a bar follows it.
    Raises:
        BarsError: a column with that prefix in the bars, symbols that share nothing with the bars', no value at any bar, a
            table that ends early.
    """
    named = f"table {prefix!r}"
    by = ("symbol",) if "symbol" in table.columns else ()
    columns = tuple(name for name in table.columns if name not in KEYS)
    taken = [name for name in bars.columns if name.startswith(f"{prefix}_")]
    if taken:
        raise BarsError(
            f"{named}: the bars have columns {taken} already, and a group must have one source; choose another prefix or "
            "rename the columns"
        )
    if by and not set(table["symbol"]) & set(bars["symbol"]):
        raise BarsError(
            f"{named} speaks of {_some(table['symbol'])} and the bars of {_some(bars['symbol'])}: not one value would be "
            "joined; write the symbols as the bars do, or drop the column to give one value to all"
        )
    joined = newest_published(bars, table, columns, by=by)
    if max_age_days is None:
        _refuse_early_end(joined, table, by, named)
    else:
        fresh = pl.col("timestamp") - pl.col(PUBLIC_SINCE) <= timedelta(days=max_age_days)
        joined = joined.with_columns(pl.when(fresh).then(pl.col(name)).alias(name) for name in (*columns, AVAILABLE_AT))
    used = joined[AVAILABLE_AT].drop_nulls()
    if used.is_empty():
        raise BarsError(
            f"{named} was published from {table['available_at'].min()!s} to {table['available_at'].max()!s}, and no bar "
            f"between {bars['timestamp'].min()!s} and {bars['timestamp'].max()!s} would get a value; bring the rows of "
            "that time, or raise max_age_days"
        )
    about = {
        "prefix": prefix,
        "by_symbol": bool(by),
        "rows": table.height,
        "columns": list(columns),
        "first_available_at": _iso(used.min()),
        "last_available_at": _iso(used.max()),
        "symbols_without_rows": sorted(set(bars["symbol"]) - set(table["symbol"])) if by else [],
        "bars_without_value": {name: int(joined[name].null_count()) for name in columns},
    }
    return JoinedTable(
        bars=joined.select(*bars.columns, *columns).sort("symbol", "timestamp"), columns=columns, about=about
    )


def rows_by_symbol(table: pl.DataFrame, symbols: Sequence[str]) -> pl.DataFrame:
    """The rows of a table as publications about each symbol, the shape in which guards look values up.

    Args:
        table: from `normalise_table`; one without `symbol` speaks of all of them.
    """
    if "symbol" in table.columns:
        return table
    return table.join(pl.DataFrame({"symbol": list(symbols)}, schema={"symbol": pl.String}), how="cross")


def _refuse_early_end(joined: pl.DataFrame, table: pl.DataFrame, by: Sequence[str], named: str) -> None:
    """Raise where the last value would be carried on: the table, or one of its symbols, ends before the bars do."""
    # restatements come at any time and would make the table seem quicker than it is
    first = table.group_by(*by, "timestamp").agg(pl.col("available_at").min())
    rhythm = first.select(*by, "available_at").unique().sort("available_at")
    spacing = pl.col("available_at").diff().drop_nulls().median().alias("|spacing")
    rhythm = rhythm.group_by(by, maintain_order=True).agg(spacing) if by else rhythm.select(spacing)
    last = joined.group_by(by).agg(pl.all().last()) if by else joined.tail(1)
    last = last.join(rhythm, on=by, how="left") if by else last.with_columns(rhythm["|spacing"])
    silence = pl.col("timestamp") - pl.col(PUBLIC_SINCE)
    allowed = LONGEST_SILENCE * pl.col("|spacing").fill_null(timedelta(0))
    silent = last.filter(silence > allowed).sort(*by or KEYS[:1])
    if silent.height:
        row = silent.row(0, named=True)
        spoken = row["|spacing"]
        usual = "it was published once, so how long it counts is unknown"
        if spoken is not None:
            usual = f"it usually speaks every {spoken}"
        of = f" for {row['symbol']} and {silent.height - 1} other symbols" if by else ""
        raise BarsError(
            f"{named} ends early{of}: its last row was published {row[AVAILABLE_AT]}, the last bar closes {row['timestamp']}, "
            f"and {usual}: that value would be carried on as if it were news; bring newer "
            "rows, set data.end, or set max_age_days, after which values count as missing"
        )


def _some(symbols: pl.Series) -> str:
    found = symbols.unique().sort().to_list()
    return f"{found[:3]}{' ...' if len(found) > 3 else ''}"


def _iso(value: Any) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()
