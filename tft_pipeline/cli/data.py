"""The command `tft snapshot`: bars from a file, an exchange or the generator, frozen under an id."""

from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import JsonOption, finish, progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(snapshot)


def snapshot(
    days: Annotated[int, typer.Option(min=1, help="days up to the newest bar")] = 90,
    symbols: Annotated[str, typer.Option(help="separated by commas")] = "BTCUSDT,ETHUSDT,SOLUSDT",
    source: Annotated[Path | None, typer.Option(help="Parquet or CSV file of bars, or a folder of them")] = None,
    exchange: Annotated[str, typer.Option(help="where bars come from without --source or --synthetic")] = "binance",
    synthetic: Annotated[int | None, typer.Option(min=0, help="make the bars up, from this seed")] = None,
    as_json: JsonOption = False,
) -> None:
    """Freeze bars under an id that `tft train` and `tft drift` take."""
    from tft_pipeline.pipeline.freezing import freeze_bars

    names = tuple(name.strip() for name in symbols.split(",") if name.strip())
    finish(
        freeze_bars(days=days, symbols=names, source=source, exchange=exchange, synthetic=synthetic, report=progress),
        as_json,
    )
