"""The commands `tft deploy` and `tft prune`: making a candidate live, and removing what nothing refers to."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
