"""Phase 4: Optuna over mini walk-forward folds, asked and told in rounds, so that equal inputs give equal trials.

A round asks `parallel_trials` trials, runs fold after fold of all of them, and after each fold reports the running mean
of the net out-of-sample Sharpe; trials are told in their order. Which machine runs a fit does not enter the result.
Not here: the folds, the ledger of a verdict.
"""

import json
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.reports import TrialRow, TunedHyperparameters
from tft_pipeline.domain.search import Value
from tft_pipeline.domain.sharpe import annualise, sharpe_ratio
from tft_pipeline.model.fit import fit_fold
from tft_pipeline.model.processes import n_workers, process_pool
from tft_pipeline.model.scoring import net_returns

SQLITE_TIMEOUT_SECONDS = 60
CONTROL_POLL_SECONDS = 1.0


class NoTrialCompletedError(RuntimeError):
    """The study ended without a completed trial, so there is nothing to choose."""


@dataclass(frozen=True, slots=True)
class Study:
    """Where a study lives and what identifies it.

    Attributes:
        database: SQLite file; created when absent.
        name: carries a fingerprint of everything the objective depends on, so that other inputs start a new study.
        control: JSON file: `pause` is obeyed between folds; `max_trials`, `deadline` (Unix seconds) and `stop` between
            rounds, so that a trial that was begun is finished.
    """

    database: Path
    name: str
    control: Path


def tune(
    panel: Panel,
    folds: tuple[Fold, ...],
    experiment: Experiment,
    study: Study,
    *,
    report: Callable[[str], None],
    on_round: Callable[[tuple[TrialRow, ...]], None] = lambda trials: None,
) -> TunedHyperparameters:
    """Search the experiment's tuning space; a study that was cut off resumes with its finished trials.

    Args:
        on_round: told all trials of the study after every round, so that a search that is cut off is not forgotten.

    Raises:
        NoTrialCompletedError: every trial failed, or the control file stopped the study before one completed.
        ValueError: a control file that is not understood.
    """
    began = time.monotonic()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study.database.parent.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{study.database}", engine_kwargs={"connect_args": {"timeout": SQLITE_TIMEOUT_SECONDS}}
    )
    section = experiment.tuning
    found = optuna.create_study(
        study_name=study.name,
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(
            n_startup_trials=section.startup_trials, n_warmup_steps=section.warmup_folds
        ),
    )
    # counted in: a resumed study that drew the same numbers again would repeat its first trials
    seed = experiment.seed + len(found.get_trials(deepcopy=False))
    found.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=section.startup_trials)
    _sweep_cut_off_trials(found, report)
    workers = n_workers(section.parallel_trials)
    with _executor(workers, (panel, folds, experiment)) as pool:
        while (remaining := _remaining(found, section.n_trials, study.control, report)) > 0:
            _run_round(found, pool.submit, min(remaining, section.parallel_trials), folds, experiment, study, report)
            on_round(_rows(found.get_trials()))
    return _summary(found, folds, experiment, seconds=time.monotonic() - began)


def _executor(workers: int, arguments: tuple[Panel, tuple[Fold, ...], Experiment]) -> Executor:
    """Processes, or a thread of this process where only one fit may run at once."""
    if workers == 1:
        return ThreadPoolExecutor(max_workers=1, initializer=_load_worker, initargs=arguments)
    return process_pool(workers, _load_worker, arguments)


def _run_round(
    study: optuna.Study,
    submit: Callable[..., Any],
    n_trials: int,
    folds: tuple[Fold, ...],
    experiment: Experiment,
    where: Study,
    report: Callable[[str], None],
) -> None:
    trials = []
    for _ in range(n_trials):
        trial = study.ask()
        trials.append((trial, _suggest(trial, experiment)))
    results: dict[int, list[dict[str, Any]]] = {trial.number: [] for trial, _ in trials}
    going = list(trials)
    for step, fold in enumerate(folds):
        futures = [(trial, submit(_score_fold, params, step)) for trial, params in going]
        outcomes = [(trial, future.result()) for trial, future in futures]
        stopped = set()
        for trial, outcome in outcomes:
            if "error" in outcome:
                trial.set_user_attr("error", outcome["error"])
                study.tell(trial, state=TrialState.FAIL)
                report(f"trial {trial.number} fold {fold.key} FAILED: {outcome['error']}")
                stopped.add(trial.number)
                continue
            results[trial.number].append(outcome)
            trial.report(float(np.mean([row["sharpe_annual"] for row in results[trial.number]])), step)
        for trial, _ in going:
            if trial.number not in stopped and step + 1 < len(folds) and trial.should_prune():
                _keep(trial, results[trial.number])
                study.tell(trial, state=TrialState.PRUNED)
                report(f"trial {trial.number} pruned after fold {fold.key}")
                stopped.add(trial.number)
        going = [(trial, params) for trial, params in going if trial.number not in stopped]
        if not going:
            return
        _wait_while_paused(where.control, report)
    for trial, _ in going:
        _keep(trial, results[trial.number])
        value = float(np.mean([row["sharpe_annual"] for row in results[trial.number]]))
        study.tell(trial, value)
        report(f"trial {trial.number}: net out-of-sample Sharpe {value:.2f} a year, {trial.params}")


def _suggest(trial: optuna.Trial, experiment: Experiment) -> dict[str, Value]:
    params: dict[str, Value] = {}
    for key, knob in experiment.tuning.space.items():
        value: Any
        if knob.choices is not None:
            value = trial.suggest_categorical(key, list(knob.choices))
        elif knob.is_integer:
            value = trial.suggest_int(key, int(knob.low or 0), int(knob.high or 0), log=knob.log)
        else:
            value = trial.suggest_float(key, float(knob.low or 0.0), float(knob.high or 0.0), log=knob.log)
        params[key] = value
    return params


def _keep(trial: optuna.Trial, rows: list[dict[str, Any]]) -> None:
    trial.set_user_attr("fold_sharpes", [row["sharpe_annual"] for row in rows])
    trial.set_user_attr("returns", [value for row in rows for value in row["returns"]])


_WORKER: dict[str, Any] = {}


def _load_worker(panel: Panel, folds: tuple[Fold, ...], experiment: Experiment) -> None:
    _WORKER.update(panel=panel, folds=folds, experiment=experiment)


def _score_fold(params: dict[str, Value], step: int) -> dict[str, Any]:
    """Fit one fold with some parameters and score its test bars net of costs; an invalid combination is an outcome."""
    experiment: Experiment = _WORKER["experiment"]
    panel: Panel = _WORKER["panel"]
    fold: Fold = _WORKER["folds"][step]
    try:
        network, training, position = experiment.with_overrides(params)
        fitted = fit_fold(
            panel,
            fold,
            network=network,
            training=training,
            position=position,
            target_volatility=experiment.target.target_volatility,
            horizon=experiment.target.horizon,
            bars_per_year=experiment.data.bars_per_year,
            epochs=experiment.tuning.epochs,
            seed=experiment.seed,
        )
        returns = net_returns(fitted, panel, fold.test)
        sharpe = annualise(sharpe_ratio(returns), experiment.data.bars_per_year)
    except (ValueError, FloatingPointError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"sharpe_annual": sharpe, "returns": [float(value) for value in returns]}


def _sweep_cut_off_trials(study: optuna.Study, report: Callable[[str], None]) -> None:
    """Trials left running by a dead process fail, and their parameters are tried once more."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        again = bool(trial.params) and "retried" not in trial.user_attrs
        if again:
            study.enqueue_trial(trial.params, user_attrs={"retried": trial.number})
        report(f"trial {trial.number} was cut off; its parameters are {'tried once more' if again else 'given up'}")


def _remaining(study: optuna.Study, n_trials: int, control: Path, report: Callable[[str], None]) -> int:
    _wait_while_paused(control, report)
    settings = read_control(control)
    limit = int(settings.get("max_trials", n_trials))
    if settings.get("stop") or time.time() > float(settings.get("deadline", np.inf)):
        report(f"{control.name} stops the study")
        return 0
    finished = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    retried = sum("retried" in trial.user_attrs for trial in study.get_trials(deepcopy=False))
    return limit - (len(study.get_trials(deepcopy=False, states=finished)) - retried)


def _wait_while_paused(control: Path, report: Callable[[str], None]) -> None:
    told = False
    while (settings := read_control(control)).get("pause") and not settings.get("stop"):
        if not told:
            report(f"paused by {control}; set pause to false to go on")
            told = True
        time.sleep(CONTROL_POLL_SECONDS)


def read_control(path: Path) -> dict[str, Any]:
    """Settings of a control file; none when it is absent.

    Raises:
        ValueError: it is not a JSON object with known keys of the right type.
    """
    if not path.exists():
        return {}
    kinds: dict[str, tuple[type, ...]] = {
        "max_trials": (int,),
        "deadline": (int, float),
        "pause": (bool,),
        "stop": (bool,),
    }
    try:
        settings = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); keys are {sorted(kinds)}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{path} holds {type(settings).__name__}; expected an object with keys {sorted(kinds)}")
    for key, value in settings.items():
        # True is an int to isinstance
        if (
            key not in kinds
            or not isinstance(value, kinds[key])
            or (isinstance(value, bool) and bool not in kinds[key])
        ):
            raise ValueError(f"{path}: {key} = {value!r} is not understood; keys are {sorted(kinds)}")
    return settings


def _summary(
    study: optuna.Study,
    folds: tuple[Fold, ...],
    experiment: Experiment,
    *,
    seconds: float,
) -> TunedHyperparameters:
    trials = study.get_trials()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        errors = sorted({str(t.user_attrs["error"]) for t in trials if "error" in t.user_attrs})
        raise NoTrialCompletedError(
            f"study {study.study_name}: no trial of {len(trials)} completed; errors: {errors or 'none'}; correct "
            "tuning.space or the control file and materialise again"
        )
    best = study.best_trial
    network, training, position = experiment.with_overrides(dict(best.params))
    return TunedHyperparameters(
        network=network,
        training=training,
        position=position,
        best_trial=best.number,
        best_sharpe_annual=float(best.value or 0.0),
        study=study.study_name,
        n_trials_started=len(trials),
        n_pruned=sum(trial.state == TrialState.PRUNED for trial in trials),
        fold_keys=tuple(fold.key for fold in folds),
        trials=_rows(trials),
        seconds=seconds,
    )


def _rows(trials: list[optuna.trial.FrozenTrial]) -> tuple[TrialRow, ...]:
    return tuple(
        TrialRow(
            number=trial.number,
            state=trial.state.name.lower(),
            params=dict(trial.params),
            sharpe_annual=trial.value if trial.state == TrialState.COMPLETE else None,
            fold_sharpes=tuple(trial.user_attrs.get("fold_sharpes", ())),
            returns=tuple(trial.user_attrs.get("returns", ())),
        )
        for trial in trials
    )
