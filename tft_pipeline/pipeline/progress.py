"""What a running graph is at: the asset, its folds or trials, the epochs of those in training, the best value so far, the time
that is left. Not here: showing it (`cli.progress`).
"""

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tft_pipeline.domain.time_left import about, seconds_left
from tft_pipeline.storage.usage import read_usage

if TYPE_CHECKING:  # showing that a command has begun must not wait for Dagster
    import dagster as dg

    from tft_pipeline.pipeline.graph import ExperimentGraph

JOURNAL_SUFFIX = ".jsonl"
LOSS = "validation_loss"
"""Metric of a journal's line; an exploration's has the number of its seed behind it."""
TUNING = "tuned_hyperparameters"


@dataclass(frozen=True, slots=True)
class InTraining:
    """A fold in training.

    Attributes:
        epochs: finished, over all its seeds.
        best_loss: smallest validation loss of any of them; None where the journal has none yet.
    """

    epochs: int
    best_loss: float | None


@dataclass(frozen=True, slots=True)
class Trials:
    """How far a search is.

    Attributes:
        done: trials that ended, however.
        best: largest Sharpe ratio a year of a completed one; None without one.
    """

    done: int
    best: float | None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What is being computed now.

    Attributes:
        asset: its name, or what a command does in a few words.
        done: folds or trials of it that are finished.
        of: all its folds or trials; 0 where it has none.
        unit: what is counted.
        workers: how many of them are computed at once.
        journals: folder in which folds write a line an epoch.
        most_epochs: of one fold, over all its seeds; early stopping may end it before. 0 where not known.
        best: largest Sharpe ratio a year of a trial so far.
        asks: tells how far a search is, which this process does not hear of otherwise.
        last_time: seconds that the same took when it was last computed on this machine; None where it never was.
        began: when the asset was started, seconds of the clock that files are stamped with.
    """

    asset: str
    done: int = 0
    of: int = 0
    unit: str = "folds"
    workers: int = 1
    journals: Path | None = None
    most_epochs: int = 0
    best: float | None = None
    asks: Callable[[], Trials | None] | None = None
    last_time: float | None = None
    began: float = field(default_factory=time.time)

    def now(self) -> "Stage":
        """The stage with what a search says of itself."""
        trials = None if self.asks is None else self.asks()
        return self if trials is None else replace(self, done=min(trials.done, self.of), best=trials.best)

    def epochs(self) -> tuple[int, ...]:
        """Epochs that each fold in training has finished, over all its seeds."""
        return tuple(fold.epochs for fold in self.in_training())

    def in_training(self) -> tuple[InTraining, ...]:
        """The folds in training that have finished an epoch; a journal is a line an epoch and short."""
        if self.journals is None or not self.of:
            return ()
        phase = self.asset.removesuffix("_fold")
        found = []
        for path in sorted(self.journals.glob(f"{phase}-*{JOURNAL_SUFFIX}")):
            try:
                if path.stat().st_mtime < self.began:  # of an earlier run
                    continue
                rows = [json.loads(line) for line in path.read_text().splitlines()]
            except (FileNotFoundError, json.JSONDecodeError):  # mirrored and renamed meanwhile; a line half written
                continue
            if rows and rows[-1]["kind"] == "epoch":
                found.append(_in_training(rows))
        return tuple(found)


Watch = Callable[[Stage], None]
"""Told what is being computed: before it is, and after each of its folds."""


def counting(watch: Watch | None, doing: str, of: int, unit: str) -> Callable[[], None]:
    """Tell that work of equal pieces begins; the answer is called after each of them."""
    stage = Stage(asset=doing, of=of, unit=unit)
    done = itertools.count(1)

    def tell(finished: int) -> None:
        if watch is not None:
            watch(replace(stage, done=finished))

    tell(0)
    return lambda: tell(next(done))


def naming(watch: Watch | None) -> Callable[[str], None]:
    """Tell what is done next, in a few words, where there are no pieces to count."""
    return lambda doing: None if watch is None else watch(Stage(asset=doing))


def _in_training(rows: list[dict[str, Any]]) -> InTraining:
    """Of a journal. A fold that was resumed counts the epochs before as well, which its lines are numbered after."""
    epochs: dict[str, int] = {}
    losses = []
    for k, row in enumerate(rows):
        of_seed = next((name for name in row if name.startswith(LOSS)), "")
        epochs[of_seed] = max(epochs.get(of_seed, 0), int(row.get("epoch", k)) + 1)
        if row.get(of_seed) is not None:
            losses.append(float(row[of_seed]))
    return InTraining(sum(epochs.values()), min(losses, default=None))


def stage_of(
    graph: "ExperimentGraph", instance: "dg.DagsterInstance", asset: str, *, of: int = 0, workers: int = 1
) -> Stage:
    """The stage of an asset that begins now.

    Args:
        of: folds that will be computed; 0 where it has none.
        workers: how many of them at once.
    """
    section = graph.experiment
    most = {
        "exploration_fold": section.exploration.epochs * section.exploration.seeds,
        "production_fold": section.production.epochs,
    }
    began = time.time()
    stage = Stage(
        asset=asset,
        of=of,
        workers=workers,
        journals=graph.layout.tracking(graph.name),
        most_epochs=most.get(asset, 0),
        last_time=None if of else _last_time(graph, asset),
        began=began,
    )
    return stage if asset != TUNING else search_stage(graph, lambda: _observed(graph, instance, began))


def search_stage(graph: "ExperimentGraph", asks: Callable[[], Trials | None]) -> Stage:
    """The stage of a search that begins now.

    Args:
        asks: how far the study is; None where that is not known yet.
    """
    tuning = graph.experiment.tuning
    workers = min(tuning.parallel_trials, tuning.n_trials)
    return Stage(asset=TUNING, of=tuning.n_trials, unit="trials", workers=workers, asks=asks)


def _last_time(graph: "ExperimentGraph", asset: str) -> float | None:
    try:
        rows = read_usage(graph.layout.usage(graph.name))
    except ValueError:  # whoever reads it for the model card says so; here it only tells no time
        return None
    times = [float(row["wall_s"]) for row in rows if row["asset"] == asset and row["partition"] is None and row["ok"]]
    return times[-1] if times else None


def _observed(graph: "ExperimentGraph", instance: "dg.DagsterInstance", began: float) -> Trials | None:
    """What the asset observed of its study after its last round of trials; None before the first."""
    records = instance.fetch_observations(graph.key(TUNING), limit=1).records
    if not records or records[0].timestamp < began or records[0].asset_observation is None:
        return None
    said = {name: value.value for name, value in records[0].asset_observation.metadata.items()}
    ended = [said.get(name) for name in ("trials_complete", "trials_pruned", "trials_failed")]
    best = said.get("best_sharpe_annual")
    return Trials(sum(n for n in ended if isinstance(n, int)), best if isinstance(best, float) else None)


class Course:
    """How a stage goes: what was told of it, when its pieces ended, and what that says of the rest."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._finished: list[float] = []
        self._before, self._base = 0, 0.0
        self._began = clock()
        self._seeing = threading.RLock()  # a driver tells of stages in one thread, and the line is drawn in another
        self.stage = Stage(asset="")

    def see(self, stage: Stage) -> None:
        """What is told of a stage; another asset, or one that begins again, begins a new course."""
        with self._seeing:
            if (stage.asset, stage.began) != (self.stage.asset, self.stage.began):
                self._finished, self._began, self._before, self._base = [], self._clock(), 0, 0.0
            if stage.asks is not None and not self._before:
                # a search that goes on has trials of earlier runs, which say nothing of how long one takes
                self._before, self._base = stage.done, self.seconds
            # what ended between two looks ended now, as far as is known
            self._finished += [self.seconds - self._base] * (stage.done - self._before - len(self._finished))
            self.stage = stage

    def look(self) -> None:
        """Ask the stage itself; what it answers is of no use once another stage was told of."""
        asked = self.stage
        found = asked.now()
        with self._seeing:
            if self.stage is asked:
                self.see(found)

    @property
    def seconds(self) -> float:
        """Since the stage began."""
        return self._clock() - self._began

    def words(self) -> str:
        """In one line: what runs, how far it is, its best value, and the time that is left where there is a basis."""
        stage, folds = self.stage, self.stage.in_training()
        parts = [f"{stage.asset}: {stage.done} of {stage.of} {stage.unit} done"] if stage.of else [stage.asset]
        if folds:
            most = f" of at most {stage.most_epochs}" if stage.most_epochs else ""
            parts.append(f"epochs {', '.join(str(fold.epochs) for fold in folds)}{most}")
            losses = [f"{fold.best_loss:.4f}" for fold in folds if fold.best_loss is not None]
            parts += [f"best validation loss {', '.join(losses)}"] if losses else []
        if stage.best is not None:
            parts.append(f"best net Sharpe {stage.best:.2f} a year")
        return ", ".join([*parts, *self._left()])

    def _left(self) -> list[str]:
        stage = self.stage
        if stage.of:
            now, of = self.seconds - self._base, stage.of - self._before
            left = seconds_left(self._finished[:of], of=of, workers=stage.workers, now=now)
            if left is None or stage.done == stage.of:
                return []
            return [f"{about(left)} left" if left else f"later than the {stage.unit} before"]
        if stage.last_time is None:
            return []
        left = stage.last_time - self.seconds
        return [f"{about(left)} left, as last time"] if left > 0 else [f"last time {stage.last_time:.0f} s"]
