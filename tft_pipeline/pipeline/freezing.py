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
    Interval,
    Stamp,
    missing_bars,
    refusal_of_interval,
    refusal_of_stamp,
)
from tft_pipeline.pipeline.bar_sources import downloaded, from_file, in_words, made_up
from tft_pipeline.storage.downloads import Step, place_file
from tft_pipeline.storage.exchange import DownloadFailedError, Patience
from tft_pipeline.storage.frozen import known_snapshots, write_frozen
from tft_pipeline.storage.layout import Layout, default_layout

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
        days: up to the newest bar, or to `end`.
        symbols: all of a file, and `DEFAULT_SYMBOLS` elsewhere, where there are none.
        source: Parquet or CSV file, or a folder of them.
        exchange: name of an exchange; `DEFAULT_EXCHANGE` where neither of the others is given.
        synthetic: seed of the generator.
        interval: length of a bar, which the bars must have.
        end: newest close that is taken; UTC where it has no time zone.
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
    end = None if end is None else end.replace(tzinfo=end.tzinfo or UTC).astimezone(UTC)
    try:
        if source is not None:
            found = from_file(source, tuple(symbols), interval, stamp, timezone)
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
        bars, notes = _last_days(found.bars, days, end)
    except BarsError as error:
        raise ConfigurationError(_in_options(str(error))) from error
    except DownloadFailedError as error:
        return {"failed": [str(error)]}
    refusal = refusal_of_interval(bars, interval)
    if refusal:
        raise ConfigurationError(
            refusal.replace("interval is", "--interval is").replace("state interval", "use --interval")
        )
    gaps = found.source.get("gaps") or missing_bars(bars, BAR_LENGTHS[interval])
    if output is not None:
        _write_output(output, bars)
    known = known_snapshots(layout)
    folder, snapshot = write_frozen(layout, bars, interval=interval, source=found.source)
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
        "notes": [*found.notes, *notes],
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
    if output.suffix != ".parquet" or output.is_dir():
        raise ConfigurationError(f"--output {output}: name a file that ends in .parquet")
    if source is not None and source.resolve() in (output.resolve(), output.resolve().parent):
        raise ConfigurationError(
            f"--output {output} would change the bars of --source, and the next snapshot of it: name another place"
        )


def _write_output(output: Path, bars: pl.DataFrame) -> None:
    try:
        place_file(output, bars.write_parquet)
    except OSError as error:
        raise ConfigurationError(f"--output {output} cannot be written: {error}; nothing was frozen") from error


def _last_days(bars: pl.DataFrame, days: int, end: datetime | None) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The bars that close within `days` days up to the newest one, or up to `end`; and a sentence where there are fewer."""
    names = bars["symbol"].unique().sort().to_list()
    oldest = bars["timestamp"].min()
    assert isinstance(oldest, datetime)
    if end is not None:
        kept = bars.filter(pl.col("timestamp") <= end)
        if kept.is_empty():
            raise ConfigurationError(
                f"--end {end.isoformat()}: the oldest bar closes after it, at {oldest.isoformat()}"
            )
        bars = kept
    newest = bars["timestamp"].max()
    assert isinstance(newest, datetime)
    cut = bars.filter(pl.col("timestamp") > newest - days * DAY)
    gone = sorted(set(names) - set(cut["symbol"].unique()))
    if gone:
        raise ConfigurationError(
            f"{', '.join(gone)}: no bar in the {days} days up to {newest.isoformat()}; ask for more --days or an earlier "
            "--end, or leave the symbol out with --symbols"
        )
    held = (newest - oldest) / DAY
    short = held + 1.0 < days
    return cut, (f"the source holds {held:.1f} of the {days} days that were asked for",) if short else ()


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
