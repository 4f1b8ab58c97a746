"""The command `tft init`: an experiment file for your own bars, after reading them. `__main__` adds it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tft_pipeline.cli.answers import JsonOption, finish
from tft_pipeline.domain.intervals import Stamp


def init(
    data: Annotated[Path, typer.Argument(help="your bars: a Parquet or CSV file, or a folder of them", metavar="DATA")],
    output: Annotated[Path | None, typer.Option(help="experiment file to write; experiments/<name>.yaml")] = None,
    name: Annotated[str | None, typer.Option(help="of the experiment; made of the file's name")] = None,
    timezone: Annotated[str | None, typer.Option(help="time zone of timestamps that state none, such as UTC")] = None,
    stamp: Annotated[Stamp, typer.Option(help="what timestamps name: closes of bars, or openings")] = "close",
    horizon: Annotated[int, typer.Option(help="bars that a label looks ahead")] = 1,
    convert: Annotated[
        Path | None,
        typer.Option(
            help="first write a copy of the bars, .parquet, in the form they must have: columns renamed, wide to long, times "
            "and numbers read from text; every change is listed, the file stays as it is"
        ),
    ] = None,
    dates: Annotated[
        Literal["day-first", "month-first"] | None, typer.Option(help="with --convert: how 03/04/2023 is meant")
    ] = None,
    symbol: Annotated[
        str | None, typer.Option(help="with --convert: the market, where no column says it; else the file's name")
    ] = None,
    upper: Annotated[bool, typer.Option("--upper", help="with --convert: symbols in capitals, without blanks")] = False,
    force: Annotated[bool, typer.Option("--force", help="replace files that are there")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read your bars, say what they are and what looks wrong, and write an experiment file that fits them.

    Exit code 0: written; 2: the file cannot be used as it stands, and each thing to mend is named. Nothing is overwritten
    without --force.
    """
    from tft_pipeline.pipeline.proposing import propose_experiment

    found = propose_experiment(
        data,
        output=output,
        name=name,
        timezone=timezone,
        stamp=stamp,
        horizon=horizon,
        convert=convert,
        dates=dates,
        symbol=symbol,
        upper=upper,
        force=force,
    )
    finish(found, as_json)
