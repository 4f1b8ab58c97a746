"""The command `tft bench`: how long one decision of the newest model takes."""

from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    experiment: ExperimentOption = TRAINED,
    warmup: Annotated[int, typer.Option(min=0, help="untimed decisions of each form first")] = 20,
    n: Annotated[
        int, typer.Option(min=20, help="timed decisions of each form; the gate needs 72, a p99.9 needs 1,000")
    ] = 200,
    rate: Annotated[
        float | None, typer.Option(help="decisions a second in the open loop; latency.rate_per_s by default")
    ] = None,
    forms: Annotated[
        str | None,
        typer.Option(
            help="forms beside eager torch, separated by commas: onnx_window, onnx_stream, compiled; latency.forms by default"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time one decision of the newest model; exit code 3 where its p95 cannot be said to be within the limit."""
    from tft_pipeline.pipeline.benching import bench_model

    names = None if forms is None else tuple(name.strip() for name in forms.split(",") if name.strip())
    finish(bench_model(experiment, warmup=warmup, n=n, rate_per_s=rate, forms=names), as_json)
