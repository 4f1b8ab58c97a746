"""The whole graph in one go: nested runs, one a stage or fold, folds in as many processes as there are cores.

Dagster plans the partitions of a run at its launch, so a run that creates folds cannot also train them; this driver
launches one run after the other instead. Every nested run appears in the UI below its parent. Not here: assets.
"""

import shlex
import signal
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.model.processes import WorkerPool, n_workers, process_pool
from tft_pipeline.pipeline.deciding_records import other_shape, records_are_read, stored_plan
from tft_pipeline.pipeline.graph import EXPLORATION, PRODUCTION, ExperimentGraph
from tft_pipeline.pipeline.interrupts import StoppedError, close_runs, refuse_if_stopped, stop_asked, watching
from tft_pipeline.pipeline.progress import Stage, Watch, stage_of
from tft_pipeline.pipeline.reaping import UNFINISHED
from tft_pipeline.pipeline.runs import RunOutcome, materialise, open_instance
from tft_pipeline.pipeline.staleness import Staleness
from tft_pipeline.storage.experiments import ExperimentFile
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.locks import Held, LockLostError, run_lock

FOLDS = {"exploration_fold": EXPLORATION, "production_fold": PRODUCTION}
"""Partitioned assets and the phase whose plan names their folds."""
PATHS = ("research_paths",)
"""Only where the experiment asks for it; nothing depends on it."""
STEPS = (
    "snapshot",
    "feature_catalogue",
    "features",
    "targets",
    "prefiltered_features",
    "exploration_plan",
    "exploration_fold",
    "selected_features",
    "tuned_hyperparameters",
    *PATHS,
    "production_plan",
    "production_fold",
    "leakage_audit",
    "oos_portfolio",
    "oos_performance",
    "latency_benchmark",
    "drift_report",
    "ensemble_weights",
    "model_card",
    "release",
    "report",
)
"""Every asset in the order it is computed."""
PARTITION_TAG = "dagster/partition"


def steps_of(graph: ExperimentGraph, until: str | None = None) -> tuple[str, ...]:
    """The steps of a run of this experiment, in order.

    Args:
        until: the last one; None is all.
    Raises:
        ConfigurationError: it has no such step.
    """
    steps = tuple(name for name in STEPS if name not in PATHS or graph.experiment.research_paths is not None)
    if until is None:
        return steps
    if until not in steps:
        raise ConfigurationError(f"--until {until!r} is not an asset of {graph.name}; choose from {', '.join(steps)}")
    return steps[: steps.index(until) + 1]


class PipelineFailedError(RuntimeError):
    """A stage failed; what was finished stays and the message says how to go on."""

    def __init__(self, failed: list[RunOutcome], resume: str) -> None:
        self.failed = failed
        self.resume = resume
        lines = [
            f"{one.asset}{'' if one.partition is None else f' [{one.partition}]'}: {one.reason}"
            + (f" (run {one.run_id[:8]})" if one.run_id else "")
            for one in failed
        ]
        super().__init__("\n".join([*lines, f"everything that was finished is kept; resume with: {resume}"]))


@dataclass(frozen=True)
class Driver:
    """Runs one experiment.

    Attributes:
        definitions: of this experiment alone or of all.
        report: told a line of progress after every run.
        resume: skip what is current, and run only what is missing or outdated.
        parent_run_id: tag of every nested run.
        until: last asset to compute, one of `STEPS`; None is everything.
        begin: first asset to compute, one of `STEPS`; what comes before it is left as it is.
        again: (asset, fold) -> why it runs although it may be current.
        watch: told what is being computed, before it is and after every fold.
        held: the run lock, where the caller holds it; asked before every stage and fold whether it still is.
    """

    graph: ExperimentGraph
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    report: Callable[[str], None]
    resume: bool = False
    parent_run_id: str | None = None
    until: str | None = None
    begin: str = STEPS[0]
    again: Mapping[tuple[str, str], str] = field(default_factory=dict)
    watch: Watch | None = None
    held: Held | None = None

    @property
    def resume_command(self) -> str:
        """What a person types to go on after a failure."""
        until = "" if self.until is None else f" --until {self.until}"
        return f"tft run {shlex.quote(str(self.graph.file.path))} --resume{until}"

    def run(self) -> None:
        """All steps in order, to the one named by `until`.

        Raises:
            PipelineFailedError: a step failed, or the run lock was lost; what comes after it did not start.
            RunLockedError: another run works on the experiment.
            ConfigurationError: `until` is not a step; a ledger is damaged, so that nobody can say what is current.
            StoppedError: this process was asked to stop. Its workers are gone, its runs are recorded as ended.
        """
        steps = steps_of(self.graph, self.until)
        steps = steps[steps.index(self.begin) :]
        with (
            nullcontext(self.held) if self.held else run_lock(self.graph.layout.run_lock(self.graph.name)) as held,
            watching(),
        ):
            one = replace(self, held=held)
            try:
                for asset in steps:
                    if asset in FOLDS:
                        one._folds(FOLDS[asset])
                    else:
                        one._step(asset)
                    refuse_if_stopped()
            except PipelineFailedError:
                raise
            except BaseException:
                close_runs(self.instance, "the run it belongs to was stopped", spare=self.parent_run_id)
                raise

    def _step(self, asset: str) -> None:
        key = self.graph.key(asset)
        if self.resume:
            why = self._why(asset) or other_shape(self.graph, asset)
            self.report(f"{asset}: {'current' if why is None else f'runs, for {why}'}")
            if why is None:
                return
        self._now(asset)
        outcome = materialise(self.definitions, self.instance, [key], parent_run_id=self.parent_run_id)
        self._refuse_interrupted(outcome)
        self._tell(outcome)
        if not outcome.ok:
            raise PipelineFailedError([outcome], self.resume_command)

    def _folds(self, phase: str) -> None:
        key = self.graph.key(f"{phase}_fold")
        keys = [spec.key for spec in stored_plan(self.graph, f"{phase}_plan").specs]
        asked = {k: self.again.get((key.path[-1], k)) for k in keys}
        reasons = {k: asked[k] or self._why(f"{phase}_fold", k) if self.resume else "" for k in keys}
        waiting = [k for k in keys if reasons[k] is not None]
        if len(waiting) < len(keys):
            self.report(f"{phase}_fold: {len(keys) - len(waiting)} of {len(keys)} folds are current")
        if self.resume:
            for line in _reasons_in_words(f"{phase}_fold", reasons):
                self.report(line)
        failed = [outcome for outcome in self._in_processes(key, waiting) if not outcome.ok]
        if failed:
            raise PipelineFailedError(sorted(failed, key=lambda one: one.partition or ""), self.resume_command)

    def _why(self, asset: str, partition: str | None = None) -> str | None:
        with records_are_read():
            return Staleness(self.graph, self.definitions, self.instance).why(asset, partition)

    def _in_processes(self, key: dg.AssetKey, partitions: list[str]) -> list[RunOutcome]:
        """Newest folds first, for they train longest where the window expands; one worker alone is this process."""
        if not partitions:
            return []
        of = len(partitions)
        stage = self._now(key.path[-1], of=of)
        workers = n_workers(of)
        if workers > 1:
            return self._in_pools(key, partitions, workers, stage)
        found = []
        for partition in sorted(partitions, reverse=True):
            found.append(self._here(key, partition))
            self._on(replace(stage, done=len(found)))
        return found

    def _in_pools(self, key: dg.AssetKey, partitions: list[str], workers: int, stage: Stage) -> list[RunOutcome]:
        """Each worker is a pool of its own: the death of one takes no other fold with it, and another takes its place."""

        def new_pool() -> WorkerPool:
            return pools.enter_context(process_pool(1, _load_worker, (self.graph.file, str(self.graph.layout.home))))

        def start(pool: WorkerPool, partition: str) -> None:
            running[pool.submit(_run_fold, list(key.path), partition, self.parent_run_id)] = pool, partition

        outcomes: list[RunOutcome] = []
        waiting = deque(sorted(partitions, reverse=True))
        running: dict[Future[RunOutcome], tuple[WorkerPool, str]] = {}
        with ExitStack() as pools:
            idle = [new_pool() for _ in range(workers)]
            while waiting or running:
                while idle and waiting:
                    self._refuse_lost(key.path[-1])
                    pool, partition = idle.pop(), waiting.popleft()
                    try:
                        start(pool, partition)
                    except BrokenProcessPool:  # the worker died while it had nothing to do
                        start(new_pool(), partition)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    pool, partition = running.pop(future)
                    try:
                        outcome = _in_words(future.result())
                        idle.append(pool)
                    except BrokenProcessPool:
                        outcome = self._died(key, partition)
                        idle += [new_pool()] if waiting else []
                    outcomes.append(outcome)
                    self._tell(outcome, done=len(outcomes), of=len(partitions))
                    self._on(replace(stage, done=len(outcomes)))
        return outcomes

    def _here(self, key: dg.AssetKey, partition: str) -> RunOutcome:
        self._refuse_lost(key.path[-1])
        outcome = materialise(
            self.definitions, self.instance, [key], partition=partition, parent_run_id=self.parent_run_id
        )
        self._refuse_interrupted(outcome)
        self._tell(outcome)
        return outcome

    def _died(self, key: dg.AssetKey, partition: str) -> RunOutcome:
        """The end of a fold whose worker died; the run it was at, where it had begun one, is recorded as failed."""
        reason = "its worker process died; memory may have run out (fewer workers: TFT_WORKERS), or it was killed"
        open_ones = dg.RunsFilter(statuses=UNFINISHED, tags={PARTITION_TAG: partition})
        ids = [run.run_id for run in self.instance.get_runs(open_ones) if key in (run.asset_selection or ())]
        close_runs(self.instance, "its worker process died", spare=self.parent_run_id)
        ended = [run_id for run_id in ids if (run := self.instance.get_run_by_id(run_id)) and run.is_finished]
        return RunOutcome((ended or [""])[0], False, key.to_user_string(), partition, reason, 0.0)

    @staticmethod
    def _refuse_interrupted(outcome: RunOutcome) -> None:
        """Dagster makes a failure of an interrupt, after which the next fold would start."""
        if _was_interrupted(outcome):
            raise StoppedError(stop_asked() or signal.SIGINT)
        refuse_if_stopped()

    def _refuse_lost(self, asset: str) -> None:
        if self.held is None:
            return
        try:
            self.held.check()
        except LockLostError as error:
            lost = RunOutcome("", False, self.graph.key(asset).to_user_string(), None, f"not started: {error}", 0.0)
            raise PipelineFailedError([lost], self.resume_command) from error

    def _now(self, asset: str, of: int = 0) -> Stage:
        self._refuse_lost(asset)
        return self._on(stage_of(self.graph, self.instance, asset, of=of, workers=n_workers(of) if of else 1))

    def _on(self, stage: Stage) -> Stage:
        if self.watch is not None:
            self.watch(stage)
        return stage

    def _tell(self, outcome: RunOutcome, done: int = 0, of: int = 0) -> None:
        where = outcome.asset.split("/")[-1] + ("" if outcome.partition is None else f" [{outcome.partition}]")
        count = f" ({done}/{of})" if of else ""
        state = "done" if outcome.ok else f"FAILED: {outcome.reason}"
        self.report(f"{where}{count}: {state}, {outcome.seconds:.1f} s")
        for sentence in outcome.doubts:
            self.report(f"  warning: {sentence}")


def _was_interrupted(outcome: RunOutcome) -> bool:
    return outcome.reason.endswith(dg.DagsterExecutionInterruptedError.__name__)


def _in_words(outcome: RunOutcome) -> RunOutcome:
    """The end of a fold in a worker; a signal to the worker alone is an error of Dagster's without a message."""
    if not _was_interrupted(outcome):
        return outcome
    return replace(
        outcome,
        reason="its worker process alone was asked to stop (SIGTERM); the fold goes on from its last training state",
    )


def _reasons_in_words(asset: str, reasons: dict[str, str | None]) -> list[str]:
    """A line a reason, with the folds that it holds for."""
    folds: dict[str, list[str]] = {}
    for key, why in reasons.items():
        if why is not None:
            folds.setdefault(why, []).append(key)
    return [f"{asset} [{', '.join(keys)}]: runs, for {why}" for why, keys in folds.items()]


_WORKER: dict[str, Any] = {}


def _load_worker(file: ExperimentFile, home: str) -> None:
    """The experiment comes as the run read it: whoever edits the file meanwhile changes the next run, not this one."""
    from tft_pipeline.pipeline.factory import build_definitions

    layout = Layout(Path(home))
    _WORKER["definitions"] = build_definitions([file], layout)
    _WORKER["instance"] = open_instance(layout)


def _run_fold(key: list[str], partition: str, parent_run_id: str | None) -> RunOutcome:
    return materialise(
        _WORKER["definitions"],
        _WORKER["instance"],
        [dg.AssetKey(key)],
        partition=partition,
        parent_run_id=parent_run_id,
    )
