"""The command `tft card`: the model card of a release as JSON, Markdown or HTML."""

from pathlib import Path
from typing import Annotated

import typer

from tft_pipeline.cli.answers import TRAINED, ExperimentOption, JsonOption, finish
from tft_pipeline.cli.progress import shown
from tft_pipeline.cli.teaching import LOOK, add


def register(app: typer.Typer) -> None:
    """Add the commands."""
    add(
        app,
        card,
        panel=LOOK,
        examples=(
            ("tft card --experiment demo --release newest", "Markdown, of what the last run released"),
            ("tft card --experiment demo --format html --output card.html", "a page of what is live"),
        ),
        reads="the files of one release",
        writes="the file of --output, if named",
        exits="1 where a file was changed, or the schema refuses the card",
    )


def card(
    experiment: ExperimentOption = TRAINED,
    release: Annotated[str, typer.Option(help="release id, current (the live one) or newest")] = "current",
    as_format: Annotated[str, typer.Option("--format", help="of the card: json, md or html")] = "md",
    output: Annotated[Path | None, typer.Option(help="file to write; standard output without it")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the model card of a release: its files verified, the card held against its published schema.

    With --json the answer is an object, in which `text` is the card.
    """
    with shown(as_json, doing=f"reading the model card of {experiment}"):
        from tft_pipeline.pipeline.card.showing import show_card

        answer = show_card(experiment, release=release, as_format=as_format, output=output)
    if as_json or answer["failed"] or output is not None:
        finish(answer if as_json else {name: value for name, value in answer.items() if name != "text"}, as_json)
    else:
        typer.echo(answer["text"], nl=False)
