"""What `tft snapshot` does: bars from a file, an exchange or the generator, checked and frozen under an id.

Not here: where the bars come from (`bar_sources`), the snapshot that a graph takes of its own source (`assets.snapshot`),
options and printing.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from tft_pipeline.domain.bars import BarsError
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.intervals import (
    BAR_LENGTHS,
    LONGEST_LISTED,
    Interval,
    Stamp,
    missing_bars,
    refusal_of_interval,
    refusal_of_openings,
    refusal_of_stamp,
    symbols_of_another_interval,
)
from tft_pipeline.pipeline.bar_sources import SourcedBars, downloaded, from_file, in_words, made_up
from tft_pipeline.storage.atomic import replace_file
from tft_pipeline.storage.downloads import Step
from tft_pipeline.storage.exchange import DownloadFailedError, Patience
from tft_pipeline.storage.frozen import known_snapshots, write_frozen
from tft_pipeline.storage.layout import Layout, default_layout
from tft_pipeline.storage.stored_days import StoredDayError

Progress = Callable[[str], None]
DEFAULT_SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
DEFAULT_EXCHANGE = "binance"
PATIENCE = Patience()
DAY = timedelta(days=1)
OPTIONS = {
    "data.symbols": "--symbols",
    "data.timezone": "--timezone",
    "data.source": "--source",
    "data.stamp": "--stamp",
}


def freeze_bars(
    *,
    days: int,
    symbols: Sequence[str] = (),
    source: Path | None = None,
    exchange: str | None = None,
    synthetic: int | None = None,
    interval: Interval = "1m",
    end: datetime | None = None,
    stamp: Stamp = "close",
    timezone: str | None = None,
    exchange_url: str | None = None,
    output: Path | None = None,
    layout: Layout | None = None,
    patience: Patience = PATIENCE,
    report: Progress,
    step: Callable[[Step], None] = lambda _: None,
) -> dict[str, Any]:
    """Freeze the last `days` days of some bars; answers the id, where it lies and what is in it.

    Args:
        days: up to `end`; without one up to the newest bar of a file, or to now where bars come from an exchange.
        symbols: all of a file, and `DEFAULT_SYMBOLS` elsewhere, where there are none.
        source: Parquet or CSV file, or a folder of them.
        exchange: name of an exchange; `DEFAULT_EXCHANGE` where neither of the others is given.
        synthetic: seed of the generator.
        interval: length of a bar, which the bars must have.
        end: newest close that is taken; UTC where it has no time zone. An exchange has none that is later than now.
        stamp: what the timestamps of `source` name.
        timezone: of naive timestamps of `source`.
        exchange_url: see `open_exchange`.
        output: Parquet file that the frozen bars are written to as well.
        patience: with an exchange.
        report: gets lines; `step` every day of a download.
    Raises:
        ConfigurationError: options that exclude each other, or bars that cannot be used.
    """
    layout = default_layout() if layout is None else layout
    _refuse_options(source, exchange, synthetic, stamp, timezone, exchange_url, interval)
    if output is not None:
        _refuse_output(output, source)
    if end is not None:
        try:
            end = end.replace(tzinfo=end.tzinfo or UTC).astimezone(UTC)
            end - days * DAY
        except OverflowError as error:
            raise ConfigurationError(
                f"--end {end.isoformat()} with --days {days} begins before the year 1: name a later end"
            ) from error
    try:
        if source is not None:
            found = from_file(source, tuple(symbols), interval, stamp, timezone, end)
        elif synthetic is not None:
            found = made_up(tuple(symbols) or DEFAULT_SYMBOLS, days, end, synthetic)
        else:
            found = downloaded(
                exchange or DEFAULT_EXCHANGE,
                tuple(symbols) or DEFAULT_SYMBOLS,
                days=days,
                end=end,
                interval=interval,
                url=exchange_url,
                layout=layout,
                patience=patience,
                report=report,
                step=step,
            )
        bars, notes = _last_days(found, days, end, BAR_LENGTHS[interval])
    except BarsError as error:
        raise ConfigurationError(_in_options(str(error))) from error
    except (DownloadFailedError, StoredDayError) as error:
        return {"failed": [str(error)]}
    refusal = refusal_of_openings(bars, interval) if stamp == "open" else refusal_of_interval(bars, interval)
    if refusal:
        raise ConfigurationError(
            refusal.replace("interval is", "--interval is").replace("state interval", "use --interval")
        )
    gaps = found.source.get("gaps") or missing_bars(bars, BAR_LENGTHS[interval])
    if output is not None:
        _write_output(output, bars)
    known = known_snapshots(layout)
    try:
        folder, snapshot = write_frozen(layout, bars, interval=interval, source=found.source)
    except OSError as error:
        return {
            "failed": [
                f"{layout.frozen} takes no snapshot ({error.strerror or error}): make room there; nothing was frozen"
            ]
        }
    manifest = snapshot.manifest
    return {
        "snapshot_id": snapshot.snapshot_id,
        "folder": str(folder),
        "frozen": "as before" if snapshot.snapshot_id in known else "new",
        "source": in_words(found.source),
        "interval": interval,
        "first": manifest["event_range"]["start"],
        "last": manifest["event_range"]["end"],
        "rows": manifest["rows"],
        "symbols": [_symbol_in_words(name, row) for name, row in gaps.items()],
        "content_sha256": manifest["content_sha256"],
        "rows_per_symbol": manifest["quality"]["rows_per_symbol"],
        "gaps": gaps,
        "notes": [*found.notes, *notes, *_doubt_of_symbols(bars, interval)],
        **({} if output is None else {"output": str(output)}),
        "train": f"tft train --snapshot {snapshot.snapshot_id}",
        "failed": [],
    }


def _refuse_options(
    source: Path | None,
    exchange: str | None,
    synthetic: int | None,
    stamp: Stamp,
    timezone: str | None,
    exchange_url: str | None,
    interval: Interval,
) -> None:
    given = {"--source": source, "--exchange": exchange, "--synthetic": synthetic}
    named = [option for option, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigurationError(f"{' and '.join(named)} name two places that bars come from: give one of them")
    if exchange_url is not None and (source is not None or synthetic is not None):
        raise ConfigurationError(f"--exchange-url changes nothing with {named[0]}: drop it")
    if source is None and (stamp != "close" or timezone is not None):
        raise ConfigurationError(
            "--stamp and --timezone speak of the timestamps in a file of --source: those of exchanges and of the generator are "
            "known; drop the option"
        )
    if synthetic is not None and interval != "1m":
        raise ConfigurationError(f"--interval is {interval} and --synthetic makes bars of 1m only: drop one of the two")
    refusal = refusal_of_stamp(stamp, interval)
    if refusal:
        raise ConfigurationError(f"--{refusal}")
    if timezone is not None:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigurationError(f"--timezone {timezone!r} is no time zone, such as America/New_York") from error


def _refuse_output(output: Path, source: Path | None) -> None:
    try:
        is_folder = output.is_dir()
    except OSError as error:  # a name that no file can have
        raise ConfigurationError(f"--output {str(output)[:80]}: {error.strerror}") from error
    if output.suffix != ".parquet" or is_folder:
        raise ConfigurationError(f"--output {output}: name a file that ends in .parquet")
    if source is not None and source.resolve() in (output.resolve(), output.resolve().parent):
        raise ConfigurationError(
            f"--output {output} would change the bars of --source, and the next snapshot of it: name another place"
        )


def _write_output(output: Path, bars: pl.DataFrame) -> None:
    try:
        replace_file(output, bars.write_parquet)
    except OSError as error:
        raise ConfigurationError(f"--output {output} cannot be written: {error}; nothing was frozen") from error


def _last_days(
    found: SourcedBars, days: int, end: datetime | None, length: timedelta
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The bars that close within `days` days up to the end that the source has, or else up to its newest bar.

    Returns:
        The bars, and sentences where they stop before `end`, or are fewer days.
    Raises:
        ConfigurationError: a symbol without a bar in these days, or all of them.
    """
    bars = found.bars
    stamps = bars["timestamp"]
    oldest, newest = stamps.min(), stamps.max()
    assert isinstance(oldest, datetime)
    assert isinstance(newest, datetime)
    until = found.until or newest
    if oldest > until:
        raise ConfigurationError(f"--end {until.isoformat()}: the oldest bar closes after it, at {oldest.isoformat()}")
    cut = bars.filter(pl.col("timestamp") + pl.duration(days=days) > until, pl.col("timestamp") <= until)
    gone = sorted(set(bars["symbol"].unique()) - set(cut["symbol"].unique()))
    if gone:
        before = bars.filter(pl.col("symbol").is_in(gone), pl.col("timestamp") <= until)["timestamp"].max()
        stopped = f" (the newest before closes at {before.isoformat()})" if isinstance(before, datetime) else ""
        raise ConfigurationError(
            f"{', '.join(gone)}: no bar in the {days} days up to {until.isoformat()}{stopped}; ask for more --days or another "
            "--end, or leave the symbol out with --symbols"
        )
    first, last = cut["timestamp"].min(), cut["timestamp"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    notes = []
    if end is not None and end - last >= length:
        notes.append(f"the bars stop at {last.isoformat()}, before --end {end.isoformat()}")
    held = (last - first) / DAY
    if held + 1.0 < days:
        notes.append(f"the source holds {held:.1f} of the {days} days that were asked for")
    return cut, tuple(notes)


def _doubt_of_symbols(bars: pl.DataFrame, interval: Interval) -> tuple[str, ...]:
    """A sentence where single symbols seem to have other bars than the rest."""
    strange = symbols_of_another_interval(bars, interval)
    if not strange:
        return ()
    more = f"; and {len(strange) - LONGEST_LISTED} more" if len(strange) > LONGEST_LISTED else ""
    return (
        f"--interval is {interval}, and {'; '.join(strange[:LONGEST_LISTED])}{more}: of such a symbol a horizon or a lookback "
        "lasts longer than of the others",
    )


def _in_options(message: str) -> str:
    """A refusal that names keys of an experiment file, in terms of the command."""
    message = message.replace("correct data.source, which is relative to the experiment file", "correct --source")
    for key, option in OPTIONS.items():
        message = message.replace(key, option)
    return message


def _symbol_in_words(name: str, row: dict[str, Any]) -> str:
    if not row["missing"]:
        return f"{name}: {row['bars']} bars, none missing between the first and the last"
    longest = row["longest"][0]
    return (
        f"{name}: {row['bars']} bars, {row['missing']} missing, most in a row {longest['bars']} from {longest['first']}"
    )
