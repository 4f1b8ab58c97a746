"""Which minutes belong to which bar, and the raw columns that bars get from them.

A minute is stamped with its close, as a bar is. To a bar belong the minutes of its symbol that close after the symbol's
bar before it and not after the bar itself: (previous timestamp, timestamp]. Nothing that closes after the bar is used.
Bars stamped with their date alone close when the day begins (see `bars`), so the minutes of the day before are theirs;
stamp bars with the time of their close to give them the minutes of their own day. To the timestamps of a source that stamps
minutes with their openings one minute is added, or the last one of a bar would reach a minute beyond it.

Here: reading the lazy source symbols by symbols, checks, windows. Not here: the formulas (`sessions`, `order_flow`).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tft_pipeline.domain.bars import AT_CLOSE, PRICES, REQUIRED, BarsError, contradiction, utc_column
from tft_pipeline.domain.dates import stamped_with_their_date
from tft_pipeline.domain.order_flow import ORDER_FLOW
from tft_pipeline.domain.sessions import SESSION, Sessions

OPTIONAL = ("open", "high", "low", "volume")
MINUTE_COLUMNS = {name: needs for name, (_, needs) in (SESSION | ORDER_FLOW).items()}
"""Every raw column -> the columns of the minutes that it needs beside close."""
BATCH_ROWS = 3_000_000
"""Minutes held in memory at once; a symbol is never split."""
FEWEST_COMPARED = 10
"""Fewer bars of a symbol that can be compared with their minutes do not show how these are stamped."""
SAME_PRICE = 1e-9
"""Relative difference of two closes that are one."""
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class JoinedMinutes:
    """Bars with the raw columns of their minutes.

    Attributes:
        bars: as given, with one Float64 column a statistic; null where a bar has no minutes.
        left_out: columns that could not be made, each with the columns that the minutes lack.
        about: for the manifest.
    """

    bars: pl.DataFrame
    left_out: dict[str, tuple[str, ...]]
    about: dict[str, Any]


def join_minutes(
    bars: pl.DataFrame,
    minutes: pl.LazyFrame,
    *,
    timezone: str | None,
    opened_before: timedelta = AT_CLOSE,
    batch_rows: int = BATCH_ROWS,
) -> JoinedMinutes:
    """Add the raw columns `minute_...` to the bars.

    The source is read by the streaming engine, as many symbols at a time as fit into `batch_rows`. Sums are taken bar by bar
    in order of time and not by a streaming aggregation, whose order of addition changes from run to run: the same files
    give the same bits, and so the same snapshot.

    Args:
        bars: normalised, one row a bar, sorted by symbol and timestamp. The first bar of a symbol has none before it, and
            so no minutes.
        minutes: timestamp, symbol, close; what is absent of open, high, low, volume leaves out the columns that need it.
            Other columns are not read.
        timezone: time zone of naive timestamps; without it they are refused.
        opened_before: see `minute_closes`.
        batch_rows: minutes held at once, for tests.
    Raises:
        BarsError: a file that cannot be read, a missing column, no rows, no common symbol, no minute in any bar, a null key,
            naive or mixed time zones, two rows of one minute, rows closer than a minute or most often further apart, a price
            or volume that is none, prices that contradict each other, closes of bars that contradict `opened_before`.
    """
    try:
        schema = minutes.collect_schema()
        missing = [name for name in REQUIRED if name not in schema]
        if missing:
            raise BarsError(
                f"minute bars: columns {missing} are missing; they need {list(REQUIRED)}; has {list(schema)}"
            )
        named = minutes.select(pl.col("symbol").cast(pl.String), pl.exclude("symbol"))
        counts = named.group_by("symbol").len().collect(engine="streaming").sort("symbol", nulls_last=True)
        _refuse_strange_symbols(counts, bars)
        batches = symbol_batches(counts, set(bars["symbol"]), batch_rows)
        columns = [*REQUIRED, *(name for name in OPTIONAL if name in schema)]
        available = {name: needs for name, needs in MINUTE_COLUMNS.items() if set(needs) <= set(columns)}
        made = {name: np.full(bars.height, np.nan) for name in available}
        used: list[tuple[NDArray[np.int64], int]] = []
        for symbols in batches:
            chosen = named.select(columns).filter(pl.col("symbol").is_in(symbols))
            frame = _checked(chosen.collect(engine="streaming"), timezone, opened_before)
            for (symbol,), part in frame.group_by("symbol", maintain_order=True):
                _refuse_contradicted_stamp(bars.filter(pl.col("symbol") == symbol), part, opened_before)
                used.append(_fill(made, bars, str(symbol), part))
    except pl.exceptions.PolarsError as error:
        raise BarsError(f"minute bars cannot be read: {error}") from error
    kept = np.concatenate([stamps for stamps, _ in used])
    if not len(kept):
        raise BarsError(
            f"not one minute bar closes inside a bar between {bars['timestamp'].min()!s} and "
            f"{bars['timestamp'].max()!s}: other dates or another time zone; correct data.minute_source or data.timezone"
        )
    first, last = (pl.Series([stamp]).cast(pl.Datetime("us", "UTC"))[0] for stamp in (kept.min(), kept.max()))
    series = [pl.Series(name, values).fill_nan(None) for name, values in made.items()]
    left_out = {
        name: tuple(column for column in needs if column not in columns)
        for name, needs in MINUTE_COLUMNS.items()
        if name not in available
    }
    about = {
        "rows": int(counts["len"].sum()),
        "rows_used": len(kept),
        "first": first.isoformat(),
        "last": last.isoformat(),
        "bars_with_minutes": sum(n for _, n in used),
        "symbols_without_minutes": sorted(set(bars["symbol"]) - set(counts["symbol"])),
        "columns": list(available),
        "left_out": {name: list(absent) for name, absent in left_out.items()},
        "bars_stamped_with_their_date": stamped_with_their_date(bars["timestamp"], timezone),
    }
    return JoinedMinutes(bars=bars.with_columns(series), left_out=left_out, about=about)


def minute_closes(stamps: pl.Series, timezone: str | None, opened_before: timedelta) -> pl.Series:
    """When minutes close, UTC: whoever reads a source of minutes takes its timestamps through this.

    Args:
        stamps: timestamps as the source has them.
        timezone: of naive ones.
        opened_before: what they are earlier than the closes: nothing, or one minute where they are openings.
    Raises:
        BarsError: see `bars.utc_column`.
    """
    return utc_column(stamps, timezone) + opened_before


def symbol_batches(counts: pl.DataFrame, symbols: Collection[str], batch_rows: int) -> list[list[str]]:
    """The wanted symbols in the order of `counts` (symbol, len), put together while their minutes fit into `batch_rows`.

    A symbol with more minutes than that is a batch of its own.
    """
    batches: list[list[str]] = []
    room = 0
    for symbol, rows in counts.filter(pl.col("symbol").is_in(list(symbols))).iter_rows():
        if rows > room:
            batches.append([])
            room = batch_rows
        batches[-1].append(symbol)
        room -= rows
    return batches


def _refuse_strange_symbols(counts: pl.DataFrame, bars: pl.DataFrame) -> None:
    if counts.is_empty():
        raise BarsError("minute bars: the source has no rows; put the minutes there or drop data.minute_source")
    if counts["symbol"].null_count():
        nulls = counts.filter(pl.col("symbol").is_null())["len"].sum()
        raise BarsError(f"minute bars: symbol is null in {nulls} rows: a minute needs its key; remove these rows")
    if not set(counts["symbol"]) & set(bars["symbol"]):
        raise BarsError(
            f"minute bars are of {counts['symbol'].head(3).to_list()}, bars of "
            f"{bars['symbol'].unique().sort().head(3).to_list()}: no symbol in common; write them alike, or drop "
            "data.minute_source"
        )


def _refuse_contradicted_stamp(bars: pl.DataFrame, minutes: pl.DataFrame, opened_before: timedelta) -> None:
    """Raise where most bars of one symbol close at the price of the minute that would be their last under the other stamp.

    Compared are bars that have both minutes, at two prices. Bars whose close is neither, such as the price of an auction or an
    adjusted one, speak for neither.
    """
    aside = -MINUTE if opened_before == AT_CLOSE else MINUTE
    compared = bars.select("timestamp", "close")
    for name, moved in (("last", AT_CLOSE), ("other", aside)):
        priced = minutes.select(pl.col("timestamp") - moved, pl.col("close").alias(name))
        compared = compared.join(priced, on="timestamp", how="inner")
    compared = compared.filter(pl.col("last") != pl.col("other"))
    against = compared.filter((pl.col("close") / pl.col("other") - 1.0).abs() <= SAME_PRICE)
    if compared.height < FEWEST_COMPARED or 2 * against.height <= compared.height:
        return
    stated, right, where, wrong = (
        ("close", "open", "before", "know a minute that is not over")
        if opened_before == AT_CLOSE
        else ("open", "close", "after", "lack their last minute")
    )
    raise BarsError(
        f"data.minute_stamp is {stated}, and {against.height} of {compared.height} bars of {bars['symbol'][0]} close at the "
        f"price of the minute {where} the one that would be their last (first {against['timestamp'][0].isoformat()}): they "
        f"would {wrong}; set data.minute_stamp: {right}"
    )


def _checked(frame: pl.DataFrame, timezone: str | None, opened_before: timedelta) -> pl.DataFrame:
    """Canonical minutes, sorted by symbol and timestamp; what is wrong raises with an example."""
    if nulls := frame["timestamp"].null_count():
        raise BarsError(f"minute bars: timestamp is null in {nulls} of {frame.height} rows: remove these rows")
    try:
        frame = frame.with_columns(minute_closes(frame["timestamp"], timezone, opened_before))
    except BarsError as error:
        raise BarsError(f"minute bars: {error}") from error
    values = [name for name in frame.columns if name not in ("timestamp", "symbol")]
    for name in values:
        if not frame[name].dtype.is_numeric():
            raise BarsError(
                f"minute bars: {name} has type {frame[name].dtype}; prices and volumes are numbers: correct it"
            )
    frame = frame.with_columns(pl.col(values).cast(pl.Float64)).sort("symbol", "timestamp")
    for name in values:
        value = pl.col(name)
        usable = value.is_finite() & ((value > 0) if name in PRICES else (value >= 0))
        _refuse(
            frame.filter(~usable.fill_null(False)),
            f"{name} is missing, non-finite or out of range",
            "correct or remove",
        )
    _refuse(frame.filter(contradiction(frame.columns)), "have prices that contradict each other", "correct or remove")
    apart = pl.col("timestamp").diff().over("symbol")
    _refuse(
        frame.filter(apart == pl.duration(minutes=0)),
        "have the (timestamp, symbol) of another",
        "keep one row a minute",
    )
    _refuse(
        frame.filter(apart < pl.duration(minutes=1)),
        "close less than a minute after the row before",
        "these are no minute bars: sum them up to minutes",
    )
    usual = usual_spacing(frame)
    if usual is not None and usual > timedelta(minutes=1):
        raise BarsError(
            f"minute bars: rows are most often {usual} apart, not one minute: statistics of one-minute returns, such as "
            "minute_variation_1, would mean something else; bring bars of one minute (minutes without trades may be absent)"
        )
    return frame


def usual_spacing(frame: pl.DataFrame) -> timedelta | None:
    """The most frequent time between rows of one symbol, of equally frequent ones the shortest; None without any.

    Minutes without trades are absent, so a mean or a median would tell how often a symbol trades; the most frequent spacing
    is still the minute.

    Args:
        frame: sorted by symbol and timestamp.
    """
    apart = frame.select(apart=pl.col("timestamp").diff().over("symbol")).drop_nulls()["apart"]
    if apart.is_empty():
        return None
    found = apart.value_counts().sort(["count", "apart"], descending=[True, False])["apart"][0]
    assert isinstance(found, timedelta)
    return found


def _refuse(wrong: pl.DataFrame, what: str, remedy: str) -> None:
    if wrong.height:
        row = wrong.row(0, named=True)
        values = {name: value for name, value in row.items() if name not in ("timestamp", "symbol")}
        raise BarsError(
            f"minute bars: {wrong.height} rows {what} (first {row['timestamp'].isoformat()} {row['symbol']}, {values}): "
            f"what was traded there cannot be known; {remedy}"
        )


def _fill(
    made: dict[str, NDArray[np.float64]], bars: pl.DataFrame, symbol: str, part: pl.DataFrame
) -> tuple[NDArray[np.int64], int]:
    """Write the statistics of one symbol's bars; returns the times of the minutes used and the number of bars filled."""
    rows = np.flatnonzero((bars["symbol"] == symbol).to_numpy())
    closes = bars["timestamp"].to_physical().to_numpy()[rows]
    stamps = part["timestamp"].to_physical().to_numpy()
    bar = np.searchsorted(closes, stamps, side="left")
    inside = (bar > 0) & (bar < len(closes))
    if not inside.any():
        return stamps[:0], 0
    bar, stamps = bar[inside], stamps[inside]
    starts = np.flatnonzero(np.append(True, bar[1:] != bar[:-1]))
    columns = {
        name: np.ascontiguousarray(part[name].to_numpy()[inside])
        for name in part.columns
        if name not in ("timestamp", "symbol")
    }
    sessions = Sessions(
        starts=starts,
        stamps=stamps,
        close=columns["close"],
        open=columns.get("open"),
        high=columns.get("high"),
        low=columns.get("low"),
        volume=columns.get("volume"),
    )
    for name, values in made.items():
        values[rows[bar[starts]]] = (SESSION | ORDER_FLOW)[name][0](sessions)
    return stamps, len(starts)
