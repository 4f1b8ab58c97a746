"""Bars of an exchange on disk: one Parquet file a symbol and UTC day, so that a download that was killed goes on where it was.

    <folder>/<market id>/<YYYY-MM-DD>.parquet   bars that open on that day, stamped with their closes; written once, whole
    <folder>/<market id>/gaps.json              what was asked for last, and the bars that did not come

A day is stored when it is over, has settled, and the exchange gave a bar of it; it is never asked for again. Gaps are counted
and never filled. Not here: how an exchange is asked (`exchange`), what bars must be (`domain.bars`).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from tft_pipeline.domain.bars import TIMESTAMP
from tft_pipeline.domain.intervals import BAR_LENGTHS, Interval, missing_bars
from tft_pipeline.storage.atomic import canonical_json, fsync_folder, fsync_tree, stage_beside
from tft_pipeline.storage.exchange import MILLISECOND, Candle, DownloadFailedError, Exchange

_NUMBERS = ("open", "high", "low", "close", "volume")
SCHEMA = pl.Schema([("timestamp", TIMESTAMP), ("symbol", pl.String()), *((name, pl.Float64()) for name in _NUMBERS)])
GAPS_FILE = "gaps.json"
DAY = timedelta(days=1)
SETTLING = timedelta(minutes=5)
"""How long after its end a day may still change at an exchange."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Step:
    """One day of one symbol that is there.

    Attributes:
        symbol, day: which.
        done, all: days of all symbols that are there, and that there will be.
        fetched: days of them that were asked for; the others lay on disk.
    """

    symbol: str
    day: date
    done: int
    all: int
    fetched: int


@dataclass(frozen=True, slots=True)
class Download:
    """Bars of all symbols, and by symbol what was asked for and did not come."""

    bars: pl.DataFrame
    gaps: dict[str, dict[str, Any]]


def download_bars(
    exchange: Exchange,
    symbols: Sequence[str],
    *,
    interval: Interval,
    days: int,
    end: datetime | None,
    folder: Path,
    step: Callable[[Step], None],
) -> Download:
    """Bars that close within `days` days up to `end`; only days that are not on disk are asked for.

    An exchange stamps a candle with its opening; stored is its close. The candle that is not over yet is left out.

    Args:
        exchange: an open one.
        symbols: names of its markets.
        interval: length of a bar.
        days: length of the period.
        end: last close; now, by the exchange's clock, where it is None or later.
        folder: of this exchange and interval.
        step: told of every day that is there.
    Raises:
        ConfigurationError: a symbol the exchange has not.
        DownloadFailedError: it does not answer, contradicts itself, or has no bar of a symbol in the period.
    """
    markets = {symbol: exchange.market(symbol) for symbol in symbols}
    length = BAR_LENGTHS[interval]
    now = EPOCH + exchange.now_ms() * MILLISECOND
    last = min(now, end or now)
    last -= (last - EPOCH) % length
    first = last - days * DAY
    wanted = [first.date() + k * DAY for k in range((last - length).date().toordinal() - first.date().toordinal() + 1)]
    frames, gaps, done, fetched = [], {}, 0, 0
    for symbol, (market, market_id) in markets.items():
        place = folder / quote(market_id, safe="")
        parts = []
        for day in wanted:
            path = place / f"{day.isoformat()}.parquet"
            part = _stored(path, symbol)
            if part is None:
                part = _fetched(exchange, symbol, market, interval, day, now)
                fetched += 1
                if part.height and datetime.combine(day, datetime.min.time(), UTC) + DAY + SETTLING <= now:
                    place_file(path, part.write_parquet)
            parts.append(part)
            done += 1
            step(Step(symbol=symbol, day=day, done=done, all=len(wanted) * len(markets), fetched=fetched))
        bars = pl.concat(parts).filter(pl.col("timestamp") > first, pl.col("timestamp") <= last)
        if bars.is_empty():
            raise DownloadFailedError(
                f"{exchange.name} has no bar of {symbol} between {first:%Y-%m-%d %H:%M} and {last:%Y-%m-%d %H:%M} UTC: not "
                "listed yet, delisted, or older than it keeps; ask for a later period or leave the symbol out"
            )
        found = missing_bars(bars, length, until=last)[symbol]
        gaps[symbol] = found | {"asked_from": first.isoformat(), "asked_until": last.isoformat()}
        said = canonical_json(gaps[symbol])
        place_file(place / GAPS_FILE, partial(Path.write_text, data=said))
        frames.append(bars)
    return Download(bars=pl.concat(frames), gaps=gaps)


def _stored(path: Path, symbol: str) -> pl.DataFrame | None:
    """A day that lies on disk, under the name the symbol was asked by; None where there is none.

    Raises:
        DownloadFailedError: the file is not a day of bars.
    """
    if not path.is_file():
        return None
    try:
        found = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DownloadFailedError(f"{path} cannot be read ({error}): delete it, and it is asked for again") from error
    if found.schema != SCHEMA:
        raise DownloadFailedError(
            f"{path} has columns {dict(found.schema)}, not those of a day of bars: delete it, and it is asked for again"
        )
    return found.with_columns(symbol=pl.lit(symbol))


def _fetched(
    exchange: Exchange, symbol: str, market: str, interval: Interval, day: date, now: datetime
) -> pl.DataFrame:
    """Every finished bar that opens on a day."""
    length = BAR_LENGTHS[interval]
    opens = datetime.combine(day, datetime.min.time(), UTC)
    first_ms, stop_ms = (opens - EPOCH) // MILLISECOND, (min(opens + DAY, now) - EPOCH) // MILLISECOND
    length_ms, now_ms = length // MILLISECOND, (now - EPOCH) // MILLISECOND
    rows = exchange.page_rows(market, interval)
    found: dict[int, Candle] = {}
    for page in _pages(exchange, market, interval, first_ms, stop_ms, rows):
        for candle in page:
            if not first_ms <= candle[0] < stop_ms or candle[0] + length_ms > now_ms:
                continue
            if found.setdefault(candle[0], candle) != candle:
                raise DownloadFailedError(
                    f"{exchange.name} says two things of {symbol} at {EPOCH + candle[0] * MILLISECOND}: {found[candle[0]][1:]} "
                    f"and {candle[1:]}; which is right cannot be known, ask again later"
                )
    ordered = [found[key] for key in sorted(found)]
    columns = list(zip(*ordered, strict=True)) if ordered else [()] * 6
    stamps = [EPOCH + opened * MILLISECOND + length for opened in columns[0]]
    values = dict(zip(_NUMBERS, columns[1:], strict=True))
    return pl.DataFrame({"timestamp": stamps, "symbol": [symbol] * len(stamps), **values}, schema=SCHEMA)


def _pages(
    exchange: Exchange, market: str, interval: Interval, first_ms: int, stop_ms: int, rows: int
) -> Iterator[list[Candle]]:
    """Pages from one opening to another. Each begins with the last candle of the one before, which shows that they fit; where
    nothing newer comes, the next begins a page later: what lies between was not traded, or not kept."""
    length_ms = BAR_LENGTHS[interval] // MILLISECOND
    since = first_ms
    newest = first_ms - length_ms
    while since < stop_ms:
        page = exchange.candles(market, interval, since_ms=since, rows=rows)
        yield page
        last = max((candle[0] for candle in page), default=newest)
        if last > newest:
            newest = last
            # the last candle of the period needs no page that only repeats it
            since = last if last + length_ms < stop_ms else stop_ms
        else:
            since += (rows - 1) * length_ms if rows > 1 else length_ms


def place_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file beside its place and move it there in one step: readers, and who comes after a kill, see it whole or not.

    Args:
        path: where it belongs; what is there is replaced.
        write: fills the path that it is given.
    """
    with stage_beside(path.parent) as stage:
        write(stage / path.name)
        fsync_tree(stage)
        os.replace(stage / path.name, path)
    fsync_folder(path.parent)
