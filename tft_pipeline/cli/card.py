"""The command `tft card`: the model card of a release as JSON, Markdown or HTML."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
