"""A progress bar for a person who waits for one fit: epochs, losses, time left. Not here: the history, which is content."""

from types import TracebackType
from typing import Any, Self

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class EpochProgress(Callback):
    """One line on the error stream while it is entered: fold, epochs, steps, losses, the most time that is left.

    Early stopping may end the fit before the bar does.

    Args:
        history: the training's own list of rows, one a finished epoch; it may have rows of an earlier, killed process.
    """

    def __init__(self, title: str, *, epochs: int, history: list[dict[str, Any]]) -> None:
        self._progress = Progress(
            TextColumn(f"fold {title}  epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TextColumn("at most"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task: TaskID = self._progress.add_task("", total=epochs, completed=len(history))
        self._history = history

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the epoch's steps; how many there will be is not known, blocks start at a random offset."""
        self._progress.update(self._task, description=f"step {batch_idx + 1}  {self._losses()}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch's losses."""
        self._progress.update(self._task, completed=len(self._history), description=self._losses())

    def _losses(self) -> str:
        rows = self._history[-1:]
        return "".join(f"train {row['train_loss']:.4f}  validation {row['validation_loss']:.4f}" for row in rows)
