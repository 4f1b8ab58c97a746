"""The command `tft doctor`: is everything here that a run needs, and what would run."""

from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import FAILED, JsonOption
from tft_pipeline.cli.nearest import existing_file
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import START, add


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        doctor,
        panel=START,
        examples=(
            ("tft doctor", "everything on this machine, and how much of each experiment would run"),
            ("tft doctor experiments/demo.yaml", "and what a run of this one would compute"),
        ),
        reads="the environment, TFT_HOME, the databases and servers that its variables name",
        writes="nothing",
        exits="1 where there is a problem; warnings alone are 0",
    )


def doctor(
    experiment: Annotated[
        Path | None,
        typer.Argument(
            help="experiment file; all of experiments/, or of TFT_EXPERIMENTS, without one", callback=existing_file
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that a run can work here, and say what would run: each line is ok, a warning or a problem with its remedy.

    Versions, cores and threads, memory, disk, locks, databases, dead runs, servers, variables, experiment files, clock. It
    takes seconds and changes nothing.
    """
    import json

    with shown(as_json, doing="looking at this machine"):
        from tft_pipeline.pipeline.doctor import answer, diagnose, in_words

        findings = diagnose(experiment)
    found = answer(findings)
    typer.echo(json.dumps(found, indent=1) if as_json else "\n".join(in_words(findings)))
    if found["failed"]:
        raise typer.Exit(FAILED)
