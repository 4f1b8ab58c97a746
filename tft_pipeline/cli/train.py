"""The command `tft train`: the whole graph on a frozen snapshot, with the guide's flags."""

import time
from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, JsonOption, RequireGoOption, finish
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.stopping import resumed, stoppable
from tft_pipeline.cli.teaching import DAY, add


def register(app: typer.Typer) -> None:
    """Add the command."""
    add(
        app,
        train,
        panel=DAY,
        examples=(
            (
                "tft train --snapshot ID --seq-len 64 --hidden 128 --max-epochs 50 --patience 7",
                "ID is what `tft snapshot` printed; hours on two cores",
            ),
        ),
        reads="a frozen snapshot, and an experiment file for all that is no option",
        writes="trained/NAME.yaml and experiments/NAME below TFT_HOME",
        exits="3 with --require-go and NO-GO; 130, 143, 129 when it was stopped",
    )


def train(
    snapshot: Annotated[str, typer.Option(help="id that `tft snapshot` printed, or a folder of one")],
    seq_len: Annotated[int, typer.Option(min=8, help="lookback of the network, bars")] = 64,
    hidden: Annotated[int, typer.Option(min=1, help="width of the network, units")] = 128,
    max_epochs: Annotated[int, typer.Option(min=1, help="most epochs of a production fold")] = 50,
    patience: Annotated[int, typer.Option(min=1, help="epochs without a better validation loss")] = 7,
    name: Annotated[str, typer.Option(help="name of the experiment that is made")] = TRAINED,
    template: Annotated[
        Path | None, typer.Option(help="experiment file for all else; default: experiments/intraday.yaml")
    ] = None,
    require_go: RequireGoOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train on a snapshot: writes an experiment for it and runs its whole graph, to the released model and its card.

    NO-GO is a result: exit code 0.
    """
    from tft_pipeline.storage.layout import default_layout

    made, began = default_layout().home / "trained" / f"{name}.yaml", time.time()

    def go_on() -> str:
        if made.is_file() and made.stat().st_mtime >= began:
            return resumed(made)
        return "the same tft train again, for its experiment was not written yet"

    with shown(as_json, doing="loading the graph") as to, stoppable(go_on, as_json):
        from tft_pipeline.pipeline.training import train_on_snapshot

        found = train_on_snapshot(
            snapshot,
            lookback=seq_len,
            hidden=hidden,
            epochs=max_epochs,
            patience=patience,
            name=name,
            template=template,
            report=to.report,
            watch=to.watch,
            require_go=require_go,
        )
    finish(found, as_json)
