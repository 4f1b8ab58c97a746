"""The commands `tft rollback` and `tft status`: which model is live, and going back to an earlier one."""

from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import LIVE, add


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add(
        app,
        status,
        panel=LIVE,
        examples=(
            ("tft status --experiment demo", "what is live now, and how it was judged"),
            ("tft status --experiment demo --at 2026-01-31", "what was live at the end of that day"),
        ),
        reads="the releases and the log of deployments",
        writes="nothing",
        exits="1 where the live version is not what was released",
    )
    add(
        app,
        rollback,
        panel=LIVE,
        examples=(
            ('tft rollback previous --experiment demo --reason "odd positions"', "what was live before"),
            ("tft rollback 2025-10-14 --experiment demo", "what was live at the end of that day"),
        ),
        reads="an earlier release",
        writes="the link `current` of the models folder, the log of deployments",
    )


def rollback(
    to: Annotated[
        str, typer.Argument(help="date YYYY-MM-DD (the release live at its end, UTC), release id, or previous")
    ],
    model: Annotated[str, typer.Argument(help="kind of model; there is only this one")] = "tft",
    experiment: ExperimentOption = TRAINED,
    reason: Annotated[str, typer.Option(help="why, for the log; default: none")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make an earlier release current again: verified and asked once first, switched in one step, written to the log."""
    with shown(as_json, doing="verifying the earlier release"):
        from tft_pipeline.pipeline.releasing import roll_back

        found = roll_back(experiment, to, model=model, reason=reason)
    finish(found, as_json)


def status(
    experiment: ExperimentOption = TRAINED,
    at: Annotated[
        str | None,
        typer.Option(
            help="say what was live then: a date (its end, UTC) or an ISO time, UTC without a zone; default: now"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is live, what it was judged, and how it stands against the performance targets; or what was live at a time.

    Nothing released is news, not a failure.
    """
    with shown(as_json, doing=f"verifying the live release of {experiment}"):
        if at is not None:
            from tft_pipeline.pipeline.release_history import describe_moment

            found = describe_moment(experiment, at)
        else:
            from tft_pipeline.pipeline.release_status import describe_status

            found = describe_status(experiment, unknown_is_news=experiment == TRAINED)
    finish(found, as_json)
