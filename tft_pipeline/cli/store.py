"""The commands `tft pull`, `tft push` and `tft clean`: releases from an object store, results into it, old versions removed."""

from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import HOUSE, add


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add(
        app,
        push,
        panel=HOUSE,
        examples=(("tft push --experiment demo", "with TFT_STORE set; what is there already stays"),),
        reads="the experiment's results below TFT_HOME",
        writes="what the store lacks of them",
    )
    add(
        app,
        pull,
        panel=HOUSE,
        examples=(
            ("tft pull --experiment demo", "what is live in the store becomes live here"),
            ("tft pull --experiment demo --into models", "into a folder of its own, such as a trading machine's"),
        ),
        reads="the store that TFT_STORE names",
        writes="the experiment's models folder, or --into",
    )
    add(
        app,
        clean,
        panel=HOUSE,
        examples=(
            ("tft clean --experiment demo --dry-run", "only says what would go, and how much it is"),
            ("tft clean --experiment demo --keep 1", "all old versions of assets"),
        ),
        reads="the experiment's versions, here and in the store",
        writes="removes old versions that nothing refers to",
    )


def pull(
    experiment: Annotated[
        str, typer.Option("--experiment", help="name of an experiment in the store, or its file")
    ] = TRAINED,
    into: Annotated[
        Path | None, typer.Option(help="folder for its releases; default: the experiment's below TFT_HOME")
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(
            help="bring this release and leave what is live: to deploy it, or to go back to it; default: what is live"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the live release of the store that TFT_STORE names to this machine: verified, then switched in one step."""
    with shown(as_json, doing=f"bringing {release or 'what is live'} from the store"):
        from tft_pipeline.pipeline.sharing import pull as bring

        found = bring(experiment, into=into, release=release)
    finish(found, as_json)


def push(experiment: ExperimentOption = TRAINED, as_json: JsonOption = False) -> None:
    """Put into the store what it lacks of an experiment and tell it what is live here; nothing in it is replaced."""
    with shown(as_json, doing="putting into the store what it lacks") as to:
        from tft_pipeline.pipeline.sharing import push as put

        found = put(experiment, to.watch)
    finish(found, as_json)


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
    with shown(as_json, doing="looking for versions that nothing refers to") as to:
        from tft_pipeline.pipeline.cleaning import clean as remove

        found = remove(experiment, keep=keep, dry_run=dry_run, leftovers=leftovers, alone=alone, watch=to.watch)
    finish(found, as_json)
