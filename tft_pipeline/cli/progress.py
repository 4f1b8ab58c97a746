"""Progress on standard error: a live line on a terminal, plain lines elsewhere. Standard output stays with the result.

Without a terminal, and with `--json`, for then a program reads it, what takes long says so every `BEAT_SECONDS`; what takes
less than `SHORT_SECONDS` says nothing. With `--quiet` there is none of it.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tft_pipeline.cli.answers import is_quiet, progress
from tft_pipeline.domain.time_left import passed

if TYPE_CHECKING:  # they take seconds to import, of which the first line is to tell
    from rich.console import Console

    from tft_pipeline.pipeline.progress import Course, Stage

SHORT_SECONDS, BEAT_SECONDS = 2.0, 30.0
LOOK_SECONDS = 2.0
"""Between two questions to a search how far it is; journals are read at every refresh."""


@dataclass(frozen=True)
class Shown:
    """Where a command tells what it does.

    Attributes:
        report: a line that stays.
        watch: what runs now; the live line shows it.
    """

    report: Callable[[str], None]
    watch: Callable[["Stage"], None]


@contextmanager
def shown(as_json: bool, console: "Console | None" = None, *, doing: str = "starting") -> Iterator[Shown]:
    """Show what a command does while it does it.

    Args:
        as_json: a program reads what is said.
        console: another one than standard error.
        doing: what it does until it is told of a stage, in a few words.
    """
    if is_quiet():
        yield Shown(lambda line: None, lambda stage: None)
        return
    if console is None and (as_json or not sys.stderr.isatty()):
        with _lines(doing) as to:
            yield to
        return
    from rich.console import Console

    console = Console(stderr=True) if console is None else console
    with _live(console, doing) if console.is_terminal and not as_json else _lines(doing) as to:
        yield to


class _Telling:
    """What is said while a command works: what it is at, in words."""

    def __init__(self, doing: str) -> None:
        self._doing, self._began = doing, time.monotonic()
        self._course: Course | None = None
        self._looked = 0.0

    def see(self, stage: "Stage") -> None:
        """What it is at now."""
        from tft_pipeline.pipeline.progress import Course

        if self._course is None:
            self._course = Course()
        self._course.see(stage)

    def words(self) -> str:
        """The course in words; a search is asked now and then how far it is. Only the stage where a journal cannot be read."""
        if self._course is None:
            return self._doing
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            # a database may be locked: a line is not worth the run, what is known is still said, and it is asked again
            with suppress(Exception):
                self._course.look()
        try:
            return self._course.words()
        except Exception:
            return self._course.stage.asset

    @property
    def seconds(self) -> float:
        """Since what it is at began."""
        return time.monotonic() - self._began if self._course is None else self._course.seconds


@contextmanager
def _live(console: "Console", doing: str) -> Iterator[Shown]:
    """A line that moves (elapsed, what runs, how far it is) below the lines that stay."""
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    telling, spinner = _Telling(doing), Spinner("dots")

    def drawn() -> Table:
        line = Table.grid(padding=(0, 1))
        line.add_row(spinner, passed(telling.seconds), Text(telling.words()))
        return line

    # journals of the folds in training are read at every refresh
    with Live(get_renderable=drawn, console=console, transient=True, refresh_per_second=2) as line:

        def watch(stage: "Stage") -> None:
            telling.see(stage)
            line.refresh()

        yield Shown(lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True), watch)


@contextmanager
def _lines(doing: str) -> Iterator[Shown]:
    """Plain lines: those that are reported, and a sign of life where none came for long."""
    telling, ended = _Telling(doing), threading.Event()
    told = [time.monotonic() + SHORT_SECONDS - BEAT_SECONDS]  # the first sign of life comes early

    def report(line: str) -> None:
        told[0] = time.monotonic()
        progress(line)

    def beat() -> None:
        while not ended.wait(max(0.0, told[0] + BEAT_SECONDS - time.monotonic())):
            if time.monotonic() - told[0] < BEAT_SECONDS:  # a line came meanwhile
                continue
            try:
                report(f"{telling.words()} ({passed(telling.seconds)} so far)")
            except OSError:  # nobody reads it any more; the command itself notices that at its next line
                return

    life = threading.Thread(target=beat, name="progress", daemon=True)
    life.start()
    try:
        yield Shown(report, telling.see)
    finally:
        ended.set()
        life.join()
