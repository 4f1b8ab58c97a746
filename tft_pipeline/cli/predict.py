"""The command `tft predict`: what the live model says of bars."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
