"""The command that says what a run would compute, and why, before it runs: plan."""

import json
from typing import Annotated

import typer

from tft_pipeline.cli.answers import ExperimentArgument, JsonOption
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import START, add


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        plan,
        panel=START,
        examples=(("tft plan experiments/demo.yaml", "every step with its reason, before anything is computed"),),
        reads="the experiment file, its bars, and the records of earlier runs",
        writes="nothing",
    )


def plan(
    experiment: ExperimentArgument,
    until: Annotated[
        str | None, typer.Option(help="stop after this asset, as `tft run --until` does; default: all")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what `tft run --resume` would compute now, step by step, and why. Computes nothing; with a store it may fetch copies.

    runs: for certain. may run: only if something that runs before it finds another content. current: not computed again.
    """
    with shown(as_json, doing="comparing what is stored with what it was made from"):
        from tft_pipeline.pipeline.rerun_plan import plan_run
        from tft_pipeline.pipeline.rerun_words import plan_answer, plan_in_words

        found = plan_run(experiment, until=until)
    typer.echo(json.dumps(plan_answer(found), indent=1) if as_json else "\n".join(plan_in_words(found)))
