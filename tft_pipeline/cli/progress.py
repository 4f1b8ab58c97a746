"""Progress on standard error: a live line on a terminal, plain lines elsewhere. Standard output stays with the result."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from tft_pipeline.cli.answers import progress
from tft_pipeline.pipeline.progress import Stage


@dataclass(frozen=True)
class Shown:
    """Where a command tells what it does.

    Attributes:
        report: a line that stays.
        watch: what runs now; the live line shows it.
    """

    report: Callable[[str], None]
    watch: Callable[[Stage], None]


@contextmanager
def shown(as_json: bool, console: Console | None = None) -> Iterator[Shown]:
    """A live line (what runs, folds done of all, epochs, elapsed) below the lines that stay.

    Without a terminal, and with `as_json`, for then a program reads it: plain lines alone.
    """
    console = Console(stderr=True) if console is None else console
    if as_json or not console.is_terminal:
        yield Shown(progress, lambda stage: None)
        return
    line = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        _Epochs(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        refresh_per_second=2,  # each time the journals of the folds in training are read
    )
    task = line.add_task("starting", total=None, stage=None)

    def watch(stage: Stage) -> None:
        line.update(task, description=in_words(stage), stage=stage)
        if not stage.done:
            line.reset(task, description=in_words(stage), stage=stage)

    with line:
        yield Shown(lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True), watch)


def in_words(stage: Stage) -> str:
    """ "production_fold: 1 of 3 folds done"; the asset alone where it has no folds."""
    return f"{stage.asset}: {stage.done} of {stage.of} folds done" if stage.of else stage.asset


class _Epochs(ProgressColumn):
    """Epochs of the folds in training."""

    def render(self, task: Task) -> Text:
        stage: Stage | None = task.fields.get("stage")
        epochs = () if stage is None else stage.epochs()
        return Text(f"epochs {', '.join(str(n) for n in epochs)}" if epochs else "")
