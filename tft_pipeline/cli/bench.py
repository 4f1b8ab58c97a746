"""The command `tft bench`: how long one decision of the newest model takes."""

from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    experiment: ExperimentOption = TRAINED,
    warmup: Annotated[int, typer.Option(min=0, help="untimed decisions first")] = 20,
    n: Annotated[int, typer.Option(min=20, help="timed decisions; a p99.9 needs 1,000")] = 200,
    as_json: JsonOption = False,
) -> None:
    """Time one decision of the newest model; exit code 3 where its p95 cannot be said to be within the limit."""
    from tft_pipeline.pipeline.benching import bench_model

    finish(bench_model(experiment, warmup=warmup, n=n), as_json)
