"""Trials of a study that several workers share: taken under a lock, ended, put back, swept when their worker died.

Every trial counts once: one that was cut off is tried again by another that `replaces` it, and the two count as one. What is
replaced once is not replaced again, so that a worker that dies in the middle of putting back loses and doubles nothing.
Not here: running a trial (`tuning_rounds`), who lives (`tuning_workers`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from tft_pipeline.domain.phases import TuningSection
from tft_pipeline.domain.reports import TrialRow
from tft_pipeline.domain.search import Value
from tft_pipeline.model.tuning_storage import Study, locked, silent_trials
from tft_pipeline.model.tuning_workers import Heartbeats, excuse, excuses, is_dead, named

WORKER = "worker"
REPLACES = "replaces"
CUT_OFF = "cut_off"
NOTE = "note"
BEYOND_LIMIT = "beyond_limit"
SCORED = "scored"
WITHDRAWN = "withdrawn"
"""A replacement that was never started, because what it replaces ended after all."""
RETRIES = 1
"""How often parameters whose worker died are tried again: what kills a worker twice would kill the next one too."""
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(slots=True)
class Taken:
    """A trial that this worker runs.

    Attributes:
        trial_id: Optuna's key of it in the database.
        rows: outcomes of the folds of the budget that runs now.
        scored: those of the last budget that was scored on all folds; without hyperband there is none before the end.
        seen: the database knows that a fold was scored.
    """

    trial: optuna.Trial
    trial_id: int
    params: dict[str, Value]
    rows: list[dict[str, Any]] = field(default_factory=list)
    scored: list[dict[str, Any]] = field(default_factory=list)
    seen: bool = False

    @property
    def number(self) -> int:
        """Number of the trial in its study."""
        return self.trial.number

    @property
    def sharpes(self) -> list[float]:
        """Annual net Sharpe ratio of each fold of this budget."""
        return [row["sharpe_annual"] for row in self.rows]


def counted(trials: Iterable[FrozenTrial]) -> int:
    """Trials that count towards the limit: started, each with its replacements as one, without those cut by a lowered limit.

    A replacement takes the place of what it replaces, and of nothing where that does not count.
    """
    known = [trial for trial in trials if WITHDRAWN not in trial.user_attrs]
    started = {
        trial.number for trial in known if trial.state != TrialState.WAITING and BEYOND_LIMIT not in trial.user_attrs
    }
    return len(started) - sum(trial.user_attrs.get(REPLACES) in started for trial in known)


def drawn(trials: Iterable[FrozenTrial]) -> int:
    """Trials whose parameters the sampler chose: not those that try the same again, nor those cut off before they had any."""
    return sum(REPLACES not in trial.user_attrs and trial.user_attrs.get(BEYOND_LIMIT) != 0 for trial in trials)


def distributions(section: TuningSection) -> dict[str, BaseDistribution]:
    """The search space in Optuna's words."""
    found: dict[str, BaseDistribution] = {}
    for key, knob in section.space.items():
        if knob.choices is not None:
            found[key] = CategoricalDistribution(knob.choices)
        elif knob.is_integer:
            found[key] = IntDistribution(int(knob.low or 0), int(knob.high or 0), log=knob.log)
        else:
            found[key] = FloatDistribution(float(knob.low or 0.0), float(knob.high or 0.0), log=knob.log)
    return found


class SharedTrials:
    """The trials of one study, as one of its workers sees and changes them."""

    def __init__(
        self,
        study: optuna.Study,
        storage: RDBStorage,
        where: Study,
        *,
        worker: Mapping[str, Any],
        heartbeats: Heartbeats,
        report: Callable[[str], None],
    ) -> None:
        self.study, self.storage, self.where = study, storage, where
        self.worker, self.heartbeats, self.report = dict(worker), heartbeats, report

    def take(self, limit: int, at_most: int, section: TuningSection, *, seed: int) -> tuple[list[Taken], int]:
        """Ask for as many trials as the limit leaves, those that wait to be tried again first.

        Trials of dead workers are swept before. The sampler starts anew from the number of trials that were drawn, so that a
        study that was cut off, between rounds or in one, goes on as if it had not stopped, and no two workers draw the same.

        Returns:
            What was taken, and how many trials others run: with neither, the study is complete.
        """
        with locked(self.where):
            self._sweep()
            trials = self.study.get_trials(deepcopy=False)
            self.study.sampler = optuna.samplers.TPESampler(
                seed=seed + drawn(trials), n_startup_trials=section.startup_trials
            )
            taken = [self._ask(section) for _ in range(min(at_most, limit - counted(trials)))]
            return taken, sum(trial.state == TrialState.RUNNING for trial in trials)

    def _ask(self, section: TuningSection) -> Taken:
        trial = self.study.ask()
        trial.set_user_attr(WORKER, self.worker)
        trial_id = self._id(trial.number)
        self.heartbeats.watch(trial_id)
        for key, distribution in distributions(section).items():
            if isinstance(distribution, CategoricalDistribution):
                trial.suggest_categorical(key, distribution.choices)
            elif isinstance(distribution, IntDistribution):
                trial.suggest_int(key, distribution.low, distribution.high, log=distribution.log)
            elif isinstance(distribution, FloatDistribution):
                trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)
        return Taken(trial, trial_id, dict(trial.params))

    def end(self, taken: Taken, state: TrialState, *, value: float | None = None, note: str = "") -> None:
        """Tell the study how a trial ended, with the returns it has; one that another worker took for dead is reported."""
        rows = taken.rows if state == TrialState.COMPLETE or not taken.scored else taken.scored
        try:
            if state != TrialState.FAIL and rows:
                taken.trial.set_user_attr("fold_sharpes", [row["sharpe_annual"] for row in rows])
                taken.trial.set_user_attr("returns", [one for row in rows for one in row["returns"]])
            if note:
                taken.trial.set_user_attr(NOTE, note)
            if self.study.tell(taken.trial, value, state=state, skip_if_finished=True).state != state:
                self.lost(taken)
        except UpdateFinishedTrialError:
            self.lost(taken)
        self.heartbeats.forget(taken.trial_id)

    def seen(self, taken: Taken) -> None:
        """Write down, once a trial, that a fold of it was scored: whatever becomes of it, that look was taken."""
        if not taken.seen:
            taken.trial.set_user_attr(SCORED, True)
            taken.seen = True

    def excuse(self) -> None:
        """Leave word that this worker ends without a fault of its trials, where the database cannot be told."""
        excuse(self.where.excuses, self.worker["token"])

    def lost(self, taken: Taken) -> None:
        """A trial of this worker was ended by another one, to which it seemed dead: its result here is dropped."""
        self.heartbeats.forget(taken.trial_id)
        self.report(
            f"trial {taken.number} was taken for cut off, because its worker was silent for more than "
            f"{self.where.stale_seconds:g} s; the result of this worker is dropped and the other one stands"
        )

    def put_back(self, running: Iterable[Taken], reason: str, *, died: bool) -> None:
        """End running trials of this worker as failed and let their parameters be tried again.

        Args:
            died: counts as an end of the worker, which is forgiven `RETRIES` times; otherwise it is free.
        """
        with locked(self.where):
            mine = {taken.number: taken for taken in running}
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if trial.number in mine:
                    self._replace(trial, reason, died=died)
                    self.heartbeats.forget(mine[trial.number].trial_id)
            self._withdraw()

    def sweep(self) -> None:
        """Put back running trials of dead workers.

        A trial without a worker or a heartbeat lost its worker inside `take`, for whoever lives there holds the lock.
        """
        with locked(self.where):
            self._sweep()

    def _sweep(self) -> None:
        excused = excuses(self.where.excuses)
        silent = silent_trials(self.storage, self.where.name, self.where.stale_seconds)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = trial.user_attrs.get(WORKER)
            if worker is None:
                self._replace(trial, "was cut off while it was asked for", died=True)
            elif is_dead(worker, silent=trial.number in silent):
                self._replace(
                    trial, f"was cut off, its worker {named(worker)} is gone", died=worker["token"] not in excused
                )
        self._withdraw()

    def _withdraw(self) -> None:
        """A slow worker may end its trial while that is put back: what was to replace it is not run."""
        trials = self.study.get_trials(deepcopy=False)
        done = {trial.number for trial in trials if trial.state in DONE}
        for trial in trials:
            if trial.state == TrialState.WAITING and trial.user_attrs.get(REPLACES) in done:
                trial_id = self._id(trial.number)
                self.storage.set_trial_user_attr(trial_id, WITHDRAWN, True)
                self.storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def cut_beyond(self, limit: int, running: Iterable[Taken]) -> list[int]:
        """Prune the newest of this worker's trials that a lowered limit has no room for; they do not count any more."""
        mine = {taken.number: taken for taken in running}
        with locked(self.where):
            trials = self.study.get_trials(deepcopy=False)
            surplus = counted(trials) - limit
            going = sorted(trial.number for trial in trials if trial.state == TrialState.RUNNING)
            cut = [number for number in going[max(0, len(going) - surplus) :] if number in mine] if surplus > 0 else []
            for number in cut:
                self.storage.set_trial_user_attr(mine[number].trial_id, BEYOND_LIMIT, limit)
                self.end(mine[number], TrialState.PRUNED, note=f"max_trials was lowered to {limit}")
        return cut

    def rows(self) -> tuple[TrialRow, ...]:
        """Every trial that was started; those of other workers may still run."""
        with locked(self.where):  # inside `take` a trial has some of its parameters only
            trials = self.study.get_trials(deepcopy=False)
        return tuple(
            _row(trial, self.where.name)
            for trial in trials
            if trial.state != TrialState.WAITING and WITHDRAWN not in trial.user_attrs
        )

    def _replace(self, trial: FrozenTrial, reason: str, *, died: bool) -> None:
        """The replacement first, the end after: between the two the trial still runs, and the next sweep sees both."""
        params = _params(trial)
        deaths = trial.user_attrs.get(CUT_OFF, 0) + died
        known = any(other.user_attrs.get(REPLACES) == trial.number for other in self.study.get_trials(deepcopy=False))
        cut = BEYOND_LIMIT in trial.user_attrs and bool(params)  # its worker died between marking and ending it
        again = bool(params) and deaths <= RETRIES and not cut
        if again and not known:
            self.study.enqueue_trial(params, user_attrs={REPLACES: trial.number, CUT_OFF: deaths})
        fate = "its parameters are tried once more" if again else "its parameters are given up"
        if not died:
            fate = "its parameters wait for the study to go on"
        if not params:
            fate = "it had no parameters yet and does not count"
        if cut:
            reason, fate = f"max_trials was lowered to {trial.user_attrs[BEYOND_LIMIT]}", "its worker is gone"
        trial_id = self._id(trial.number)
        try:
            if not params:  # nothing was tried
                self.storage.set_trial_user_attr(trial_id, BEYOND_LIMIT, 0)
            self.storage.set_trial_user_attr(trial_id, NOTE, f"{reason}; {fate}")
            state = TrialState.PRUNED if cut else TrialState.FAIL
            if self.study.tell(trial.number, state=state, skip_if_finished=True).state != state:
                fate = "but it has ended meanwhile"
        except UpdateFinishedTrialError:
            fate = "but it has ended meanwhile"
        self.report(f"trial {trial.number} {reason}; {fate}")

    def _id(self, number: int) -> int:
        study_id = self.storage.get_study_id_from_name(self.where.name)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)


def _params(trial: FrozenTrial) -> dict[str, Value]:
    """Also of a replacement that was not yet asked for all of them."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _row(trial: FrozenTrial, study: str) -> TrialRow:
    return TrialRow(
        number=trial.number,
        state=trial.state.name.lower(),
        params=_params(trial),
        sharpe_annual=trial.value if trial.state == TrialState.COMPLETE else None,
        fold_sharpes=tuple(trial.user_attrs.get("fold_sharpes", ())),
        returns=tuple(trial.user_attrs.get("returns", ())),
        note=trial.user_attrs.get(NOTE, ""),
        replaces=trial.user_attrs.get(REPLACES),
        scored=SCORED in trial.user_attrs or bool(trial.intermediate_values),
        study=study,
    )
