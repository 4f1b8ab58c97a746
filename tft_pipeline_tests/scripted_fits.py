"""Fits that cost nothing: a table says what each fold earns. For tests of the search around the fits. Not here: real fits."""

import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.reports import TrialRow
from tft_pipeline.domain.search import Value
from tft_pipeline.model.tuning_rounds import search
from tft_pipeline.model.tuning_storage import Study

N_BARS = 20
Score = Callable[[dict[str, Value], int, int], float]


def returns_of(sharpe_annual: float, fold: int) -> list[float]:
    """Returns with exactly this Sharpe ratio a year (252 bars, ddof 1)."""
    drawn = np.random.default_rng(fold).normal(0.0, 0.01, N_BARS)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1) * 0.01
    return [float(value) for value in drawn + 0.01 * sharpe_annual / np.sqrt(252.0)]


@contextmanager
def memory_folder(otherwise: Path) -> Iterator[Path]:
    """A folder whose files are not written to a disk, where there is such a place: SQLite waits for the disk at every step."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


class ScriptedFits:
    """`score(params, fold, epochs)` gives the Sharpe ratio; `before(n)` is called before the n-th fit, from 1."""

    def __init__(self, score: Score, before: Callable[[int], None] = lambda n: None) -> None:
        self.score, self.before = score, before
        self.asked: list[tuple[dict[str, Value], int, int]] = []

    def submit(self, params: dict[str, Value], fold: int, epochs: int) -> "Future[dict[str, Any]]":
        self.asked.append((params, fold, epochs))
        self.before(len(self.asked))
        future: Future[dict[str, Any]] = Future()
        sharpe = self.score(params, fold, epochs)
        future.set_result({"sharpe_annual": sharpe, "returns": returns_of(sharpe, fold)})
        return future


def study_in(folder: Path, **changes: Any) -> Study:
    """A study whose files lie in one folder."""
    settings: dict[str, Any] = {"name": "study", "poll_seconds": 0.01, "heartbeat_seconds": 0.2, "stale_seconds": 30.0}
    return Study(
        database=folder / "study.db",
        control=folder / "control.json",
        control_log=folder / "control_log.jsonl",
        **(settings | changes),
    )


class ScriptedBench:
    """A study with scripted fits; `run` works on it, each time as a worker that starts anew."""

    def __init__(self, folder: Path, experiment: Experiment, score: Score, *, n_folds: int = 4, **changes: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.experiment, self.score = experiment, score
        self.fold_keys = tuple(f"f{k}" for k in range(n_folds))
        self.study = study_in(folder, **changes)
        self.lines: list[str] = []
        self.fits = ScriptedFits(score)

    def run(
        self, before: Callable[[int], None] = lambda n: None, report: Callable[[str], None] | None = None
    ) -> tuple[TrialRow, ...]:
        self.fits = ScriptedFits(self.score, before)
        report = report or self.lines.append
        return search(self.experiment, self.fold_keys, self.study, self.fits, report=report)

    def control(self, **settings: Any) -> None:
        self.study.control.write_text(json.dumps(settings))
