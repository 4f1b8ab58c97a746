"""The command `tft predict`: what the live model says of bars."""

from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import LIVE, add


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add(
        app,
        predict,
        panel=LIVE,
        examples=(("tft predict --experiment demo --bars bars.parquet", "what to hold now"),),
        reads="the live release and a file of bars",
        writes="nothing",
    )


def predict(
    bars: Annotated[
        Path,
        typer.Option(help="Parquet or CSV file (or a folder of them) of bars, with the history before the last one"),
    ],
    experiment: ExperimentOption = TRAINED,
    form: Annotated[
        str | None, typer.Option(help="torch, onnx_window or onnx_stream; default: the one the latency gate judged")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Positions that the live model holds after the last bar of a file."""
    with shown(as_json, doing=f"asking the live model of {experiment}"):
        from tft_pipeline.domain.experiment import ConfigurationError
        from tft_pipeline.live.engine import FORMS
        from tft_pipeline.live.predict_command import predict_last
        from tft_pipeline.pipeline.named import graph_named

        chosen = next((each for each in FORMS if each == form), None)
        if form is not None and chosen is None:
            raise ConfigurationError(f"--form {form} is none of {', '.join(FORMS)}; choose one, or leave it out")
        graph = graph_named(experiment)
        found = predict_last(
            graph.layout.models(graph.name),
            bars,
            experiment=graph.name,
            form=chosen,
            opened_before=graph.experiment.data.opened_before,
        )
    finish(found, as_json)
