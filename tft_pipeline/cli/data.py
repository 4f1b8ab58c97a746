"""The command `tft snapshot`: bars from a file, an exchange or the generator, frozen under an id."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tft_pipeline.cli.answers import JsonOption, finish, is_quiet
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import DAY, add
from tft_pipeline.domain.intervals import Interval, Stamp

if TYPE_CHECKING:
    from tft_pipeline.storage.downloads import Step

LINES = 10
"""Lines that a download writes where no terminal shows a bar."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        snapshot,
        panel=DAY,
        examples=(
            ("tft snapshot --synthetic 7 --days 90 --symbols BTCUSDT,ETHUSDT,SOLUSDT", "bars that are made up"),
            ("tft snapshot --source bars.parquet --interval 1m", "those of a file or a folder"),
            ("tft snapshot --exchange binance --days 90 --symbols BTCUSDT", "downloaded; what came is kept"),
        ),
        reads="a file, an exchange, or nothing (--synthetic)",
        writes="snapshots/ID below TFT_HOME, days from an exchange in downloads/, and the file of --output",
    )


def snapshot(
    days: Annotated[int, typer.Option(min=1, max=10_000, help="days of bars, up to the newest bar or to --end")] = 90,
    symbols: Annotated[
        str | None,
        typer.Option(help="separated by commas; BTCUSDT,ETHUSDT,SOLUSDT by default, and all symbols of a --source"),
    ] = None,
    source: Annotated[Path | None, typer.Option(help="Parquet or CSV file of bars, or a folder of them")] = None,
    exchange: Annotated[
        str | None, typer.Option(help="name of an exchange; binance where bars come from nowhere else; needs ccxt")
    ] = None,
    synthetic: Annotated[int | None, typer.Option(min=0, help="make the bars up, from this seed")] = None,
    interval: Annotated[Interval, typer.Option(help="length of one bar; bars of another length are refused")] = "1m",
    end: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
            help="newest close, UTC; a date alone is its first moment. Made-up bars end with 2025-10-14 without it",
        ),
    ] = None,
    stamp: Annotated[
        Stamp, typer.Option(help="what the timestamps of --source name: closes of bars, or openings")
    ] = "close",
    timezone: Annotated[str | None, typer.Option(help="time zone of timestamps of --source that state none")] = None,
    exchange_url: Annotated[
        str | None, typer.Option(help="scheme and host in place of the exchange's own, such as a mirror's")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="write the frozen bars to this Parquet file too, such as an experiment's source")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Freeze bars under an id that `tft train` and `tft drift` take; equal bars are found again under the id they have."""
    from tft_pipeline.domain.experiment import ConfigurationError

    names = tuple(name.strip() for name in (symbols or "").split(",") if name.strip())
    if symbols is not None and not names:
        raise ConfigurationError(f"--symbols {symbols!r} names none: separate names by commas, or leave the option out")
    with _shown_steps(as_json) as (report, step):
        from tft_pipeline.pipeline.freezing import freeze_bars

        found = freeze_bars(
            days=days,
            symbols=names,
            source=source,
            exchange=exchange,
            synthetic=synthetic,
            interval=interval,
            end=end,
            stamp=stamp,
            timezone=timezone,
            exchange_url=exchange_url,
            output=output,
            report=report,
            step=step,
        )
    finish(found, as_json)


@contextmanager
def _shown_steps(as_json: bool) -> Iterator[tuple[Callable[[str], None], Callable[["Step"], None]]]:
    """How lines and the days of a download are shown: a bar on a terminal, else a few lines."""
    if as_json or is_quiet() or not sys.stderr.isatty():
        with shown(as_json, doing="freezing bars") as to:
            yield to.report, lambda step: _some_lines(step, to.report)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as line:
        task = line.add_task("freezing bars", total=None)

        def advance(step: "Step") -> None:
            line.update(task, description=f"{step.symbol} {step.day}", completed=step.done, total=step.all)

        yield lambda text: line.console.print(text, highlight=False, markup=False), advance


def _some_lines(step: "Step", report: Callable[[str], None]) -> None:
    """A line for every tenth of a download."""
    if step.done * LINES // step.all > (step.done - 1) * LINES // step.all:
        report(f"{step.symbol} {step.day}: {step.done} of {step.all} days, {step.fetched} of them fetched")
