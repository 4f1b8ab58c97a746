"""Bars of an exchange on disk: one Parquet file a symbol and UTC day, so that a download that was killed goes on where it was.

    <folder>/<market>/<YYYY-MM-DD>.<sha256>.parquet   bars that open on that day, stamped with their closes; written once, whole
    <folder>/<market>/gaps.json                       what was asked for last, and the bars that did not come

A market is named as `ccxt` calls it, which no other one of the exchange is called, and quoted: `BTC%2FUSDT`.

A day is stored when it is over, has settled, and the exchange gave bars of it that can be used; it is never asked for again.
What lacks in a day is asked for twice before it counts as a gap. Gaps are counted and never filled. Not here: how an exchange
is asked (`exchange`), the files (`stored_days`), what bars must be (`domain.bars`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from tft_pipeline.domain.bars import BarsError, normalise_bars
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.intervals import BAR_LENGTHS, Interval, missing_bars
from tft_pipeline.storage.atomic import canonical_json
from tft_pipeline.storage.exchange import MILLISECOND, Candle, DownloadFailedError, Exchange
from tft_pipeline.storage.stored_days import (
    DAY,
    NUMBERS,
    SCHEMA,
    days_on_disk,
    midnight,
    place_or_say,
    read_day,
    write_day,
)

GAPS_FILE = "gaps.json"
SETTLING = timedelta(minutes=5)
"""How long after its end a day may still change at an exchange."""
ASKED_TIMES = 2
"""How often what lacks is asked for: an answer that is empty once does not show that nothing was traded."""
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
    """Bars of all symbols, and by symbol what was asked for and did not come.

    Attributes:
        bars: under the one name that each market has, however it was asked for.
        gaps: see `missing_bars`; and asked_from, asked_until, and listed_before: whether an older bar shows that the market was
            there when the period began, so that what lacks at its beginning counts as missing.
        until: last close that was asked for.
    """

    bars: pl.DataFrame
    gaps: dict[str, dict[str, Any]]
    until: datetime


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
        ConfigurationError: a symbol the exchange has not, or two that are one market.
        DownloadFailedError: it does not answer, contradicts itself, gives bars that cannot be, or has no bar of a symbol in the
            period.
        StoredDayError: a stored day is damaged, or the disk takes no more.
    """
    markets = _markets(exchange, symbols)
    length = BAR_LENGTHS[interval]
    now = EPOCH + exchange.now_ms() * MILLISECOND
    last = min(now, end or now)
    last -= (last - EPOCH) % length
    first = last - days * DAY
    wanted = [first.date() + k * DAY for k in range((last - length).date().toordinal() - first.date().toordinal() + 1)]
    frames, gaps, done, fetched = [], {}, 0, 0
    for symbol, market in markets.items():
        place = folder / _folder_name(market)
        stored = days_on_disk(place)
        parts = []
        for day in wanted:
            if paths := stored.get(day.isoformat()):
                part = read_day(paths, day, symbol)
            else:
                part = _fetched(exchange, symbol, market, interval, day, now)
                fetched += 1
                if part.height and midnight(day) + DAY + SETTLING <= now:
                    write_day(place, day, part)
            parts.append(part)
            done += 1
            step(Step(symbol=symbol, day=day, done=done, all=len(wanted) * len(markets), fetched=fetched))
        held = pl.concat(parts)
        bars = held.filter(pl.col("timestamp") > first, pl.col("timestamp") <= last)
        if bars.is_empty():
            raise DownloadFailedError(
                f"{exchange.name} has no bar of {symbol} between {first:%Y-%m-%d %H:%M} and {last:%Y-%m-%d %H:%M} UTC: not "
                "listed yet, delisted, or older than it keeps; ask for a later period or leave the symbol out"
            )
        listed = held["timestamp"][0] <= first or any(name < wanted[0].isoformat() for name in stored)
        found = missing_bars(bars, length, since=first if listed else None, until=last)[symbol]
        period = {"asked_from": first.isoformat(), "asked_until": last.isoformat(), "listed_before": listed}
        gaps[symbol] = found | period
        said = canonical_json(gaps[symbol])
        place_or_say(place / GAPS_FILE, partial(Path.write_text, data=said))
        frames.append(bars)
    return Download(bars=pl.concat(frames), gaps=gaps, until=last)


def _folder_name(market: str) -> str:
    """A market's folder. Quoting leaves dots alone, and an exchange that calls a market `..` would lead out of the folder."""
    return quote(market, safe="").replace(".", "%2E", 1) if market.startswith(".") else quote(market, safe="")


def _markets(exchange: Exchange, symbols: Sequence[str]) -> dict[str, str]:
    """By the one name that each market has, what `ccxt` calls it.

    Raises:
        ConfigurationError: see `Exchange.market`; two symbols that are one market.
    """
    asked: dict[str, str] = {}
    markets: dict[str, str] = {}
    for symbol in symbols:
        market, name = exchange.market(symbol)
        if name in markets:
            raise ConfigurationError(
                f"--symbols {asked[name]} and {symbol} are one market of {exchange.name}, whose bars would count twice: name "
                "it once"
            )
        asked[name], markets[name] = symbol, market
    return markets


def _fetched(
    exchange: Exchange, symbol: str, market: str, interval: Interval, day: date, now: datetime
) -> pl.DataFrame:
    """Every finished bar that opens on a day; where one lacks, the whole day is asked for twice.

    Raises:
        DownloadFailedError: see `Exchange.candles`; answers that contradict each other; a bar that cannot be.
    """
    length = BAR_LENGTHS[interval]
    length_ms, now_ms = length // MILLISECOND, (now - EPOCH) // MILLISECOND
    first_ms = (midnight(day) - EPOCH) // MILLISECOND
    stop_ms = min(first_ms + DAY // MILLISECOND, now_ms - length_ms + 1)
    rows = exchange.page_rows(market, interval)
    found: dict[int, Candle] = {}
    for _ in range(ASKED_TIMES):
        for page in _pages(exchange, market, interval, first_ms, stop_ms, rows):
            for candle in page:
                if not first_ms <= candle[0] < stop_ms:
                    continue
                if found.setdefault(candle[0], candle) != candle:
                    raise DownloadFailedError(
                        f"{exchange.name} says two things of {symbol} at {EPOCH + candle[0] * MILLISECOND}: "
                        f"{found[candle[0]][1:]} and {candle[1:]}; which is right cannot be known, ask again later"
                    )
        if len(found) == len(range(first_ms, stop_ms, length_ms)):
            break
    ordered = [found[key] for key in sorted(found)]
    columns = list(zip(*ordered, strict=True)) if ordered else [()] * 6
    stamps = [EPOCH + opened * MILLISECOND + length for opened in columns[0]]
    values = dict(zip(NUMBERS, columns[1:], strict=True))
    bars = pl.DataFrame({"timestamp": stamps, "symbol": [symbol] * len(stamps), **values}, schema=SCHEMA)
    if bars.height:
        try:
            normalise_bars(bars, timezone=None, symbols=None, start=None, end=None, min_bars=1)
        except BarsError as error:
            raise DownloadFailedError(
                f"{exchange.name} gives bars of {symbol} on {day} that cannot be, and nothing of the day is stored: {error}. "
                "Ask again later, take another period, or leave the symbol out"
            ) from error
    return bars


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
