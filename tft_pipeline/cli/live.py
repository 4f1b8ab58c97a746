"""The commands `tft live`, `tft watchdog` and `tft kill-switch`: a released model beside a market."""

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
