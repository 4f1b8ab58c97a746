"""The commands `tft rollback` and `tft status`: which model is live, and going back to an earlier one."""

from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(rollback)
    app.command()(status)


def rollback(
    to: Annotated[
        str, typer.Argument(help="date YYYY-MM-DD (the release live at its end, UTC), release id, or previous")
    ],
    model: Annotated[str, typer.Argument(help="kind of model; there is one")] = "tft",
    experiment: ExperimentOption = TRAINED,
    reason: Annotated[str, typer.Option(help="why, for the log")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make an earlier release current again: verified and asked once first, switched in one step, written to the log."""
    from tft_pipeline.pipeline.releasing import roll_back

    finish(roll_back(experiment, to, model=model, reason=reason), as_json)


def status(
    experiment: ExperimentOption = TRAINED,
    at: Annotated[
        str | None,
        typer.Option(help="say what was live then: a date (its end, UTC) or an ISO time, UTC without a zone"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is live, what it was judged, and how it stands against the performance targets; or what was live at a time.

    Exit code 1 where the live version is not what was released; nothing released is news, not a failure.
    """
    if at is not None:
        from tft_pipeline.pipeline.release_history import describe_moment

        return finish(describe_moment(experiment, at), as_json)
    from tft_pipeline.pipeline.release_status import describe_status

    finish(describe_status(experiment, unknown_is_news=experiment == TRAINED), as_json)
