"""How a command that computes for long ends when it is asked to: within seconds, one line, the exit code of the signal.

    130  Ctrl-C        143  SIGTERM        129  the terminal hung up (SIGHUP), unless `nohup` says to ignore that

Not here: how the request is noticed (`pipeline.interrupts`), what is kept (`model.checkpoint`).
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import typer

from tft_pipeline.cli.answers import refusal


@contextmanager
def stoppable(go_on: str | Callable[[], str], as_json: bool) -> Iterator[None]:
    """SIGTERM, Ctrl-C and a terminal that hangs up end what is inside.

    Args:
        go_on: the command that goes on afterwards; asked for when it is known how far things are, where that decides.
        as_json: also tell it on standard output, for a program.
    Raises:
        typer.Exit: with the exit code of the signal.
    """
    from tft_pipeline.pipeline.interrupts import StoppedError, stopping_on_signals

    try:
        with stopping_on_signals():
            yield
    except StoppedError as stopped:
        sentence = f"{stopped}: what was finished is kept; go on with: {go_on if isinstance(go_on, str) else go_on()}"
        _tell(sys.stderr, lambda: typer.echo(sentence, err=True))
        _tell(sys.stdout, lambda: refusal(sentence, as_json))
        raise typer.Exit(stopped.exit_code) from stopped


def resumed(experiment: Path, until: str | None = None) -> str:
    """The command that goes on with a run."""
    return f"tft run {shlex.quote(str(experiment))} --resume" + ("" if until is None else f" --until {until}")


def _tell(stream: TextIO, say: Callable[[], None]) -> None:
    """Nobody reads a terminal that hung up: what was meant for it goes nowhere, so that the exit code stays the signal's."""
    try:
        say()
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
