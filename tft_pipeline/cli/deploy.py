"""The commands `tft deploy` and `tft prune`: making a candidate live, and removing what nothing refers to."""

from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(deploy)
    app.command()(prune)


def deploy(
    release: Annotated[
        str | None,
        typer.Argument(
            help="release id, or a beginning of one longer than a date; default: the newest candidate, no override"
        ),
    ] = None,
    experiment: ExperimentOption = TRAINED,
    reason: Annotated[str, typer.Option(help="why, for the log; an override gives its own")] = "",
    override: Annotated[
        str | None, typer.Option(help="deploy although gates failed, and why; recorded in gate file, card and log")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a candidate live: its gates asked, verified and asked once first, switched in one step, written to the log.

    Exit code 3 where its gates say no; nothing is changed then.
    """
    from tft_pipeline.pipeline.deploying import deploy as make_live

    finish(make_live(experiment, release, reason=reason, override=override), as_json)


def prune(
    experiment: ExperimentOption = TRAINED,
    keep: Annotated[
        int | None, typer.Option(help="newest candidates that stay; default: gates.keep_candidates of the experiment")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove candidates that nothing refers to; never what is or was live, is held, younger than a day, or overridden."""
    from tft_pipeline.pipeline.deploying import prune as remove

    finish(remove(experiment, keep=keep, dry_run=dry_run), as_json)
