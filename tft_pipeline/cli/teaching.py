"""Help that teaches: commands in the order of the work, each with lines to type as they stand, what it reads and writes.

Also the option `--quiet` on every command. Not here: what the commands do, nor their options.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from tft_pipeline.cli.answers import be_quiet, is_quiet

START = "Start here"
PARTS = "Run a part, or go on"
LOOK = "Look into a result"
LIVE = "Live"
DAY = "A day on minute bars"
HOUSE = "Many machines, and room on the disk"
PANELS = (START, PARTS, LOOK, LIVE, DAY, HOUSE)
"""In the order of the work."""
Examples = tuple[tuple[str, str], ...]
"""Lines to type, and what each is for."""
SAID: dict[str, Examples] = {}
"""Examples of every command by its name."""

QUIET_HELP = "no progress: only the result and errors"

FIRST_WORDS = """Temporal Fusion Transformers, walked forward over market data, from raw bars to a released model.

First time here? Type these two, in the folder of the project:
  tft doctor                       is everything here that a run needs?
  tft run experiments/demo.yaml    the whole graph on the sample, some minutes

Then `tft init` writes an experiment for your own bars. `tft COMMAND --help` explains a command, with examples."""

LAST_WORDS = """Exit codes:
  0    done
  1    something failed
  2    a file or an option cannot be used; nothing was done
  3    done, and a gate says no
  130  stopped by Ctrl-C; 143 by SIGTERM, 129 by a closed terminal

Results go to standard output, progress and errors to standard error. Behind every command, --json makes the result one
object for a program, and -q leaves out progress.

Documentation: README.md, and docs/cli.md for all of this."""


class InOrder(TyperGroup):
    """Commands listed panel by panel; within one as they were added."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in that order."""

        def place(name: str) -> int:
            panel = getattr(self.commands[name], "rich_help_panel", None)
            return PANELS.index(panel) if panel in PANELS else len(PANELS)

        return sorted(self.commands, key=place)


class MayBeQuiet(TyperCommand):
    """A command that takes `--quiet` too, which its function is not given."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own, `--quiet`, and `--help` last."""
        *own, last = super().get_params(ctx)
        return [*own, _quiet_option(), last]


@cache
def _quiet_option() -> Any:
    """`--quiet`, which may stand before a command or behind it, as typer makes an option."""
    carrier = typer.Typer(add_completion=False)

    @carrier.command()
    def _carry(quiet: Annotated[bool, typer.Option("--quiet", "-q", callback=_quiet, help=QUIET_HELP)] = False) -> None:
        pass

    (option,) = typer.main.get_command(carrier).params
    option.expose_value = False
    return option


def _quiet(given: bool) -> bool:
    be_quiet(given or is_quiet())
    return given


def add(
    app: typer.Typer,
    function: Callable[..., None],
    *,
    panel: str | None = None,
    name: str | None = None,
    examples: Examples,
    reads: str,
    writes: str,
    exits: str = "",
    within: str = "",
) -> None:
    """Add a command with its help: the function's docstring, then examples, what it reads and writes, special exit codes.

    Args:
        panel: one of `PANELS`; None in a group of its own.
        name: of the command; else the function's.
        examples: lines that work as they stand, in the folder of the project, where what they read is there.
        exits: codes beyond 0, 1 and 2; empty where there are none.
        within: the group that the command belongs to.
    """
    called = name or function.__name__.replace("_", "-")
    SAID[f"{within} {called}".strip()] = examples
    shown = "\n".join(f"  {line}\n      {what}" for line, what in examples)
    facts = [f"Reads: {reads}", f"Writes: {writes}", *([f"Exit codes: {exits}"] if exits else [])]
    help_text = "\n\n".join([inspect.cleandoc(function.__doc__ or ""), f"Examples:\n{shown}", "\n\n".join(facts)])
    app.command(called, cls=MayBeQuiet, help=literal(help_text), rich_help_panel=panel)(function)


def literal(text: str) -> str:
    """A page of help: paragraphs run on, except those with indented lines; square brackets are no markup."""
    paragraphs = [part if "\n " in part else " ".join(part.split()) for part in text.split("\n\n")]
    return "\n\n".join(paragraphs).replace("[", "\\[")
