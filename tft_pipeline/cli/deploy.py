"""The commands `tft deploy` and `tft prune`: making a candidate live, and removing what nothing refers to."""

from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import HOUSE, LIVE, add


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add(
        app,
        deploy,
        panel=LIVE,
        examples=(
            ('tft deploy --experiment demo --reason "better data"', "the newest candidate, if its gates pass"),
            ('tft deploy --experiment demo --override "to try it"', "all the same; the reason stays in card and log"),
        ),
        reads="a candidate and its gate.json",
        writes="the link `current` of the models folder, the log of deployments; an override writes a version of its own",
        exits="3 where a gate says no: nothing is changed then",
    )
    add(
        app,
        prune,
        panel=HOUSE,
        examples=(("tft prune --experiment demo --dry-run", "only says what would go"),),
        reads="the releases of the experiment",
        writes="removes candidates; their ids stay in removed.jsonl",
    )


def deploy(
    release: Annotated[
        str | None,
        typer.Argument(
            help="release id, or a beginning of one longer than a date; default: the newest candidate, no override"
        ),
    ] = None,
    experiment: ExperimentOption = TRAINED,
    reason: Annotated[str, typer.Option(help="why, for the log; default: none, and an override gives its own")] = "",
    override: Annotated[
        str | None, typer.Option(help="deploy although gates failed, and why; recorded in gate file, card and log")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a candidate live: its gates asked, verified and asked once first, switched in one step, written to the log."""
    with shown(as_json, doing="verifying the candidate"):
        from tft_pipeline.pipeline.deploying import deploy as make_live

        found = make_live(experiment, release, reason=reason, override=override)
    finish(found, as_json)


def prune(
    experiment: ExperimentOption = TRAINED,
    keep: Annotated[
        int | None, typer.Option(help="newest candidates that stay; default: gates.keep_candidates of the experiment")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove candidates that nothing refers to; never what is or was live, is held, younger than a day, or overridden."""
    with shown(as_json, doing="looking for candidates that nothing refers to"):
        from tft_pipeline.pipeline.deploying import prune as remove

        found = remove(experiment, keep=keep, dry_run=dry_run)
    finish(found, as_json)
