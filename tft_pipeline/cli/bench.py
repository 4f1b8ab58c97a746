"""The command `tft bench`: how long one decision of the newest model takes."""

from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import DAY, add


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        bench,
        panel=DAY,
        examples=(
            ("tft bench --experiment demo", "200 decisions of each form, about a minute"),
            ("tft bench --experiment demo --warmup 20 --n 1000", "enough for a p99.9"),
        ),
        reads="the newest release of the experiment",
        writes="nothing",
        exits="3 where the p95 cannot be said to be within the limit",
    )


def bench(
    experiment: ExperimentOption = TRAINED,
    warmup: Annotated[int, typer.Option(min=0, help="untimed decisions of each form first")] = 20,
    n: Annotated[
        int, typer.Option(min=20, help="timed decisions of each form; the gate needs 72, a p99.9 needs 1,000")
    ] = 200,
    rate: Annotated[
        float | None,
        typer.Option(help="decisions a second in the open loop; default: latency.rate_per_s of the experiment"),
    ] = None,
    forms: Annotated[
        str | None,
        typer.Option(
            help="forms beside eager torch, separated by commas: onnx_window, onnx_stream, compiled; default: latency.forms"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time one decision of the newest model, eager and in its exported forms, against the limit of the latency gate."""
    names = None if forms is None else tuple(name.strip() for name in forms.split(",") if name.strip())
    with shown(as_json, doing=f"timing decisions of {experiment}") as to:
        from tft_pipeline.pipeline.benching import bench_model

        found = bench_model(experiment, warmup=warmup, n=n, rate_per_s=rate, forms=names, watch=to.watch)
    finish(found, as_json)
