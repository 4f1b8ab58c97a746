"""The search loop of one worker: rounds of trials, fold after fold, obeying pruner and control file at every fold.

A round takes `parallel_trials` trials and runs one fold of all of them at a time; their outcomes are told in the order of the
trials, so that which machine runs a fit does not enter the result. Not here: the fit of a fold, which is submitted to
somebody (`tuning_fits`); trials of other workers (`tuning_trials`).
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.reports import TrialRow
from tft_pipeline.domain.search import Value
from tft_pipeline.model.tuning_control import Control, ControlFileError, Settings, ends
from tft_pipeline.model.tuning_pruners import Judge
from tft_pipeline.model.tuning_storage import STORAGE_ERRORS, Study, clear_errors, locked, opened
from tft_pipeline.model.tuning_trials import SharedTrials, Taken
from tft_pipeline.model.tuning_workers import Heartbeats, named, working


class Fits(Protocol):
    """Scores one fold with some parameters, somewhere."""

    def submit(self, params: dict[str, Value], fold: int, epochs: int) -> "Future[dict[str, Any]]":
        """Begin a fit.

        Returns:
            `sharpe_annual` and `returns` of the fold's test bars, or `error` where the parameters do not work.
        """


def search(
    experiment: Experiment,
    fold_keys: tuple[str, ...],
    study: Study,
    fits: Fits,
    *,
    report: Callable[[str], None],
    remember: Callable[[tuple[TrialRow, ...]], None] = lambda trials: None,
    on_round: Callable[[tuple[TrialRow, ...]], None] = lambda trials: None,
) -> tuple[TrialRow, ...]:
    """Work on a study until it is complete or ended; answers every trial that was started.

    Args:
        remember: told all started trials of the study as soon as a round has taken its own, and when the round ends, however
            it ends: so that trials are known of which this study may never hear again.
        on_round: told the same after every whole round of this worker.
    Raises:
        ControlFileError: a control file that is not understood.
        StudyStorageError: the database cannot be opened or does not answer.
        ValueError: too few folds for the pruner.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    judge = Judge(experiment.tuning, len(fold_keys))
    if idle := experiment.tuning.why_idle(len(fold_keys)):
        report(f"no trial will be pruned: {idle}; set pruner to none to say so")
    with clear_errors(study), working() as worker, opened(study) as storage:
        with locked(study):
            found = optuna.create_study(
                study_name=study.name,
                storage=storage,
                direction="maximize",
                load_if_exists=True,
                pruner=judge.pruner(),
            )
        with Heartbeats(storage, study.heartbeat_seconds) as heartbeats:
            shared = SharedTrials(found, storage, study, worker=worker, heartbeats=heartbeats, report=report)
            Search(
                experiment=experiment,
                fold_keys=fold_keys,
                shared=shared,
                control=Control(study, worker=named(worker), report=report),
                judge=judge,
                fits=fits,
                report=report,
                remember=remember,
                on_round=on_round,
            ).run()
            return shared.rows()


@dataclass(frozen=True, slots=True)
class Search:
    """One worker's search of one study."""

    experiment: Experiment
    fold_keys: tuple[str, ...]
    shared: SharedTrials
    control: Control
    judge: Judge
    fits: Fits
    report: Callable[[str], None]
    remember: Callable[[tuple[TrialRow, ...]], None]
    on_round: Callable[[tuple[TrialRow, ...]], None]

    def run(self) -> None:
        """Rounds until the limit is reached and no other worker runs a trial, or until the control file ends the study.

        Raises:
            ControlFileError: the control file is not understood; running trials are put back.
        """
        section, waiting = self.experiment.tuning, False
        while True:
            settings = self.control.settled()
            if reason := ends(settings):
                self.report(f"{self.shared.where.control.name} ends the study: {reason}")
                self.shared.sweep()
                return
            limit = self._limit(settings)
            taken, others = self.shared.take(limit, section.parallel_trials, section, seed=self.experiment.seed)
            if taken:
                self._round(taken, limit)
                self.on_round(self.shared.rows())
                waiting = False
            elif others:
                if not waiting:
                    self.report(f"nothing is left to ask for; waiting for {others} running trial(s) of other workers")
                    waiting = True
                time.sleep(self.shared.where.poll_seconds)
            else:
                return

    def _limit(self, settings: Settings) -> int:
        return int(settings.get("max_trials", self.experiment.tuning.n_trials))

    def _round(self, taken: list[Taken], limit: int) -> None:
        """Run trials to their ends; what this worker cannot end, because something breaks, is put back."""
        going, trying = {one.number: one for one in taken}, False
        try:
            self.remember(self.shared.rows())
            trying = True
            self._refuse_impossible(going)
            self._run(going, limit)
        except BaseException as error:
            # an interruption, a spoilt control file, a database or a disk are no trial's fault; anything else may be
            harmless = (ControlFileError, OSError, *STORAGE_ERRORS)
            died = trying and isinstance(error, Exception) and not isinstance(error, harmless)
            self._put_back(going, error, died=died, told=trying)
            raise
        self.remember(self.shared.rows())

    def _put_back(self, going: dict[int, Taken], error: BaseException, *, died: bool, told: bool) -> None:
        """Put back what an error cut; what fails meanwhile is noted on that error and never takes its place."""
        undone = f"trials {sorted(going)} could not be put back, the next start sweeps them"
        try:
            try:
                self.shared.put_back(going.values(), f"was interrupted ({type(error).__name__})", died=died)
            except Exception:
                if not died:
                    self.shared.excuse()
                raise
            undone = f"trials {sorted(going)} were put back; the ledger was not told, the next start tells it"
            if told:
                self.remember(self.shared.rows())
        except Exception as second:
            error.add_note(f"{undone} ({type(second).__name__}: {second})")

    def _run(self, going: dict[int, Taken], limit: int) -> None:
        for epochs in self.judge.budgets:
            if not any(self.judge.takes_part(number, epochs) for number in going):
                continue
            for one in going.values():
                one.rows = []
            for fold in range(len(self.fold_keys)):
                self._score(going, fold, epochs)
                self._prune(going, fold, epochs)
                last = epochs == self.judge.budgets[-1] and fold + 1 == len(self.fold_keys)
                if not last:
                    self._obey(going, limit)
                if not going:
                    return
            for one in going.values():
                one.scored = one.rows
        for number, one in list(going.items()):
            value = float(np.mean(one.sharpes))
            del going[number]
            self.shared.end(one, TrialState.COMPLETE, value=value)
            self.report(f"trial {number}: net out-of-sample Sharpe {value:.2f} a year, {one.params}")

    def _refuse_impossible(self, going: dict[int, Taken]) -> None:
        """Parameters that exclude each other cost no fit. Pruned, not failed: the sampler learns from pruned trials only."""
        for number, one in list(going.items()):
            try:
                self.experiment.with_overrides(one.params)
            except ValueError as error:
                del going[number]
                self.shared.end(one, TrialState.PRUNED, note=f"impossible: {error}")
                self.report(f"trial {number} is impossible and was pruned before its first fit: {error}")
            else:
                self.report(f"trial {number} begins: {one.params}")

    def _score(self, going: dict[int, Taken], fold: int, epochs: int) -> None:
        active = [one for one in going.values() if self.judge.takes_part(one.number, epochs)]
        futures = [(one, self.fits.submit(one.params, fold, epochs)) for one in active]
        for one, outcome in [(one, future.result()) for one, future in futures]:
            if "error" in outcome:
                del going[one.number]
                self.shared.end(one, TrialState.FAIL, note=outcome["error"])
                self.report(f"trial {one.number} fold {self.fold_keys[fold]} FAILED: {outcome['error']}")
                continue
            one.rows = [*one.rows, outcome]
            try:
                self.shared.seen(one)
                self.judge.report(one.trial, one.sharpes, epochs)
            except UpdateFinishedTrialError:
                del going[one.number]
                self.shared.lost(one)

    def _prune(self, going: dict[int, Taken], fold: int, epochs: int) -> None:
        if not self.judge.may_prune(fold + 1, epochs):
            return
        for number, one in list(going.items()):
            if not self.judge.takes_part(number, epochs):
                continue
            try:
                prune = one.trial.should_prune()
            except UpdateFinishedTrialError:
                del going[number]
                self.shared.lost(one)
                continue
            if prune:
                del going[number]
                if fold + 1 == len(self.fold_keys):
                    one.scored = one.rows
                after = f"fold {self.fold_keys[fold]}"
                if len(self.judge.budgets) > 1:
                    after = f"{epochs} of {self.judge.budgets[-1]} epochs"
                self.shared.end(one, TrialState.PRUNED, note=f"pruned after {after}")
                self.report(f"trial {number} pruned after {after}")

    def _obey(self, going: dict[int, Taken], limit: int) -> None:
        """What the control file says now, at a fold boundary of all trials of the round, which were taken under a limit."""
        for missed in self.shared.heartbeats.missed():
            self.report(f"a heartbeat was not written: {missed}")
        settings = self.control.settled()
        if reason := ends(settings):
            self.shared.put_back(going.values(), f"was stopped ({reason})", died=False)
            going.clear()
            return
        lowered = self._limit(settings)
        if lowered < limit:
            for number in self.shared.cut_beyond(lowered, going.values()):
                del going[number]
                self.report(f"trial {number} pruned: max_trials was lowered to {lowered}")
