"""The command `tft train`: the whole graph on a frozen snapshot, with the guide's flags."""

from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, JsonOption, RequireGoOption, finish
from tft_pipeline.cli.stopping import resumed, stoppable


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    snapshot: Annotated[str, typer.Option(help="id that `tft snapshot` printed, or a folder of one")],
    seq_len: Annotated[int, typer.Option(min=8, help="lookback, bars")] = 64,
    hidden: Annotated[int, typer.Option(min=1, help="width of the network")] = 128,
    max_epochs: Annotated[int, typer.Option(min=1, help="epochs a production fold")] = 50,
    patience: Annotated[int, typer.Option(min=1, help="epochs without a better validation loss")] = 7,
    name: Annotated[str, typer.Option(help="of the experiment that is made")] = TRAINED,
    template: Annotated[
        Path | None, typer.Option(help="experiment file for all else; experiments/intraday.yaml")
    ] = None,
    require_go: RequireGoOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train on a snapshot: writes an experiment for it and runs its whole graph, to the released model and its card.

    NO-GO is a result: exit code 0.
    """
    from tft_pipeline.cli.progress import shown
    from tft_pipeline.pipeline.training import train_on_snapshot
    from tft_pipeline.storage.layout import default_layout

    made = default_layout().home / "trained" / f"{name}.yaml"
    with stoppable(resumed(made), as_json), shown(as_json) as to:
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
