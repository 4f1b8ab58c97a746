"""The commands `tft pull`, `tft push` and `tft clean`: releases from an object store, results into it, old versions removed."""

from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(pull)
    app.command()(push)
    app.command()(clean)


def pull(
    experiment: Annotated[
        str, typer.Option("--experiment", help="name of an experiment in the store, or its file")
    ] = TRAINED,
    into: Annotated[
        Path | None, typer.Option(help="folder for its releases; default: the experiment's below TFT_HOME")
    ] = None,
    release: Annotated[
        str | None, typer.Option(help="bring this release and leave what is live: to deploy it, or to go back to it")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the live release of the store that TFT_STORE names to this machine: verified, then switched in one step."""
    from tft_pipeline.pipeline.sharing import pull as bring

    finish(bring(experiment, into=into, release=release), as_json)


def push(experiment: ExperimentOption = TRAINED, as_json: JsonOption = False) -> None:
    """Put into the store what it lacks of an experiment and tell it what is live here; nothing in it is replaced."""
    from tft_pipeline.pipeline.sharing import push as put

    finish(put(experiment), as_json)


def clean(
    experiment: ExperimentOption = TRAINED,
    keep: Annotated[int, typer.Option(help="newest versions of each asset that stay")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    leftovers: Annotated[
        bool,
        typer.Option("--leftovers", help="remove damaged versions that were set aside and what killed writers left"),
    ] = False,
    alone: Annotated[
        bool, typer.Option("--alone", help="no other machine works on it now; needed with TFT_STORE without TFT_LOCKS")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove old versions of assets and of retired folds that nothing refers to, here and in the store; says what and why."""
    from tft_pipeline.pipeline.cleaning import clean as remove

    finish(remove(experiment, keep=keep, dry_run=dry_run, leftovers=leftovers, alone=alone), as_json)
