"""Where the bars of `tft snapshot` come from: a file, the generator or an exchange; and what is said of each.

Not here: the period that is kept, freezing (`freezing`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from tft_pipeline.domain.bar_publications import publish_in_time
from tft_pipeline.domain.bars import AT_CLOSE, normalise_bars, user_columns
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.intervals import BAR_LENGTHS, Interval, Stamp
from tft_pipeline.domain.minute_generator import generate_minute_bars, regime_change
from tft_pipeline.storage.downloads import Step, download_bars
from tft_pipeline.storage.exchange import Patience, host_of, open_exchange
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.sources import read_source, source_record

SYNTHETIC_END = date(2025, 10, 15)
"""Where made-up bars end unless told otherwise: a fixed day, so that one seed is one snapshot on any day."""
MOST_MADE_UP = 10_000
"""Days of a symbol that are made up at most: 14 million bars."""
DAY = timedelta(days=1)
FIRST_MADE_UP, LAST_MADE_UP = date(1970, 1, 1), date(2200, 1, 1)
"""Where made-up bars may begin, and end."""


@dataclass(frozen=True, slots=True)
class SourcedBars:
    """Bars of one source before they are cut to the period, what the manifest says of it, and sentences for the answer.

    Attributes:
        until: close from which the days are counted back; None: the newest bar's.
    """

    bars: pl.DataFrame
    source: dict[str, Any]
    until: datetime | None
    notes: tuple[str, ...] = ()


def from_file(
    source: Path,
    symbols: tuple[str, ...],
    interval: Interval,
    stamp: Stamp,
    timezone: str | None,
    end: datetime | None,
) -> SourcedBars:
    """Bars of a Parquet or CSV file, or of a folder of them.

    Args:
        symbols: those to keep; all without one.
        stamp, timezone: of its timestamps.
        end: where its days are counted from.
    Raises:
        BarsError: what `normalise_bars` refuses.
        ConfigurationError: no such file; a symbol that it has not; features that were published apart from their bars.
    """
    try:
        there = source.exists()
    except OSError as error:  # a name that no file can have
        raise ConfigurationError(f"--source {str(source)[:80]}: {error.strerror}") from error
    if not there:
        raise ConfigurationError(f"--source {source}: no such file or folder")
    raw = read_source(source)
    if "symbol" in raw.columns:
        present = raw["symbol"].cast(pl.String).drop_nulls().unique().sort().to_list()
        absent = [name for name in symbols if name not in present]
        if absent:
            raise ConfigurationError(
                f"--symbols {','.join(absent)}: not in {source.name}, which has {', '.join(present[:20])}"
                + (f" and {len(present) - 20} more" if len(present) > 20 else "")
            )
    bars = normalise_bars(
        raw,
        timezone=timezone,
        symbols=symbols or None,
        start=None,
        end=None,
        min_bars=1,
        opened_before=BAR_LENGTHS[interval] if stamp == "open" else AT_CLOSE,
    )
    if "available_at" in bars.columns and user_columns(bars.columns):
        raise ConfigurationError(
            f"available_at with the columns {', '.join(user_columns(bars.columns))}: a frozen bar has one row, so values that "
            "were published or restated later would be lost; name the file as data.source of an experiment, which reads every "
            "publication, or drop available_at or these columns"
        )
    bars = publish_in_time(bars)
    record = source_record(source) | {"rows": raw.height, "stamp": stamp}
    notes = _doubt_of_stamp(bars, interval) if stamp == "close" else ()
    return SourcedBars(bars=bars, source=record, until=end, notes=notes)


def _doubt_of_stamp(bars: pl.DataFrame, interval: Interval) -> tuple[str, ...]:
    """A sentence where the stamps look like openings: the first is a midnight, the last one bar before another."""
    length = BAR_LENGTHS[interval]
    first, last = bars["timestamp"].min(), bars["timestamp"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    midnights = [stamp.hour == stamp.minute == stamp.second == 0 for stamp in (first, last + length)]
    if interval == "1d" or not all(midnights):
        return ()
    return (
        f"timestamps go from {first:%H:%M} to {last:%H:%M} and were taken as closes; exchanges stamp a bar with its opening. "
        "If this file does, each bar would count as known one bar before it closed: freeze it again with --stamp open",
    )


def made_up(symbols: tuple[str, ...], days: int, end: datetime | None, seed: int) -> SourcedBars:
    """Bars of the generator: whole UTC days up to `end`, `SYNTHETIC_END` without one.

    Raises:
        ConfigurationError: an end within a day, an early or a late one, a symbol twice, more than memory holds.
    """
    last = datetime.combine(SYNTHETIC_END, datetime.min.time(), UTC) if end is None else end
    if last != last.replace(hour=0, minute=0, second=0, microsecond=0):
        raise ConfigurationError(f"--end {last.isoformat()}: made-up bars are whole UTC days; give a date alone")
    if len(set(symbols)) != len(symbols):
        raise ConfigurationError(f"--symbols {','.join(symbols)}: name each once")
    if days * len(symbols) > MOST_MADE_UP:
        raise ConfigurationError(
            f"--days {days} x {len(symbols)} symbols > {MOST_MADE_UP}: so many made-up minutes would not fit into memory; ask "
            "for fewer"
        )
    start = (last - days * DAY).date()
    if start < FIRST_MADE_UP or last.date() > LAST_MADE_UP:
        raise ConfigurationError(
            f"--end {last.date()} with --days {days} asks for made-up bars from {start} on: they begin in "
            f"{FIRST_MADE_UP.year} or later and end before {LAST_MADE_UP.year}"
        )
    bars = _as_they_are(generate_minute_bars(symbols, start=start, days=days, seed=seed))
    changes = regime_change(start)
    record = {"name": "generator", "seed": seed, "start": start.isoformat(), "days": days}
    notes = (f"made up: volatility and volume change at {changes:%Y-%m-%d %H:%M} UTC",) if changes < last else ()
    notes = ("made up: no direction can be predicted", *notes)
    return SourcedBars(bars=bars, source=record, until=last, notes=notes)


def downloaded(
    name: str,
    symbols: tuple[str, ...],
    *,
    days: int,
    end: datetime | None,
    interval: Interval,
    url: str | None,
    layout: Layout,
    patience: Patience,
    report: Callable[[str], None],
    step: Callable[[Step], None],
) -> SourcedBars:
    """Bars of an exchange; the manifest says which did not come.

    Raises:
        ConfigurationError: see `open_exchange` and `Exchange.market`.
        DownloadFailedError, StoredDayError: see `download_bars`.
    """
    opened = open_exchange(name, url=url, interval=interval, patience=patience, report=report)
    # what another server says is not what the exchange said
    place = name if url is None else f"{name}@{quote(host_of(url), safe='')}"
    found = download_bars(
        opened,
        symbols,
        interval=interval,
        days=days,
        end=end,
        folder=layout.downloads(place, interval),
        step=step,
    )
    bars = _as_they_are(found.bars)
    late = [
        f"{symbol}: the first bar closes at {gap['first']}, asked for from {gap['asked_from']}: listed later, or older bars "
        "are not kept by the exchange"
        for symbol, gap in found.gaps.items()
        if not gap["listed_before"]
        and datetime.fromisoformat(gap["first"]) > datetime.fromisoformat(gap["asked_from"]) + BAR_LENGTHS[interval]
    ]
    record = {"name": name, "exchange": name, "own_address": url is None, "gaps": found.gaps}
    return SourcedBars(bars=bars, source=record, until=found.until, notes=tuple(late))


def _as_they_are(bars: pl.DataFrame) -> pl.DataFrame:
    """Bars stamped with their closes in UTC, checked as those of a file are."""
    return normalise_bars(bars, timezone=None, symbols=None, start=None, end=None, min_bars=1)


def in_words(source: dict[str, Any]) -> str:
    """What the manifest says of a source, in a line."""
    if "seed" in source:
        return f"generator, seed {source['seed']}"
    if "exchange" in source:
        return f"exchange {source['name']}" + ("" if source["own_address"] else ", at another address than its own")
    return f"{source['name']} ({source['files']} file(s), stamped with the {source['stamp']} of a bar)"
