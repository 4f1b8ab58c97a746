"""Phase 4: Optuna over mini walk-forward folds; one call is one worker of a study that any number may share.

With one worker equal inputs give equal trials; with several, which trial is asked for when depends on their timing.
Not here: the folds, the ledger of a verdict; the parts of a search: `tuning_rounds` (the loop), `tuning_trials` (sharing),
`tuning_control` (steering), `tuning_pruners`, `tuning_fits`, `tuning_storage`.
"""

import time
from collections.abc import Callable

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.phases import TuningSection
from tft_pipeline.domain.reports import TrialRow, TunedHyperparameters, trials_that_count
from tft_pipeline.model.tuning_fits import PooledFits
from tft_pipeline.model.tuning_rounds import search
from tft_pipeline.model.tuning_storage import Study
from tft_pipeline.model.tuning_trials import distributions


class NoTrialCompletedError(RuntimeError):
    """The study ended without a completed trial, so there is nothing to choose."""


def tune(
    panel: Panel,
    folds: tuple[Fold, ...],
    experiment: Experiment,
    study: Study,
    *,
    report: Callable[[str], None],
    remember: Callable[[tuple[TrialRow, ...]], None] = lambda trials: None,
    on_round: Callable[[tuple[TrialRow, ...]], None] = lambda trials: None,
) -> TunedHyperparameters:
    """Search the experiment's tuning space; a study that was cut off resumes with its finished trials.

    Args:
        remember, on_round: as `tuning_rounds.search` tells them.

    Raises:
        NoTrialCompletedError: every trial failed, or the control file stopped the study before one completed.
        ControlFileError: a control file that is not understood.
        StudyStorageError: the database cannot be opened or does not answer.
        ValueError: too few folds for the pruner.
    """
    began = time.monotonic()
    trials = work(panel, folds, experiment, study, report=report, remember=remember, on_round=on_round)
    return _summary(trials, study, folds, experiment, seconds=time.monotonic() - began)


def work(
    panel: Panel,
    folds: tuple[Fold, ...],
    experiment: Experiment,
    study: Study,
    *,
    report: Callable[[str], None],
    remember: Callable[[tuple[TrialRow, ...]], None] = lambda trials: None,
    on_round: Callable[[tuple[TrialRow, ...]], None] = lambda trials: None,
) -> tuple[TrialRow, ...]:
    """`tune` without its conclusion: every trial that was started when nothing is left to do, though none may be complete."""
    with PooledFits(panel, folds, experiment) as fits:
        keys = tuple(fold.key for fold in folds)
        return search(experiment, keys, study, fits, report=report, remember=remember, on_round=on_round)


def importances(trials: tuple[TrialRow, ...], section: TuningSection, *, seed: int) -> dict[str, float]:
    """Share of the spread of completed trials' Sharpe ratios that each key explains; sums to 1, largest first.

    Raises:
        ValueError: no more completed trials than keys, or all of them have the same Sharpe ratio.
    Source: Hutter, Hoos & Leyton-Brown (2014), functional ANOVA over a random forest.
    """
    values = {trial.sharpe_annual for trial in trials if trial.state == "complete"}
    n_complete = sum(trial.state == "complete" for trial in trials)
    if len(values) < 2:
        raise ValueError(f"{len(values)} distinct Sharpe ratio(s) among completed trials: nothing to explain")
    if n_complete <= len(section.space):
        raise ValueError(
            f"{n_complete} completed trials for {len(section.space)} searched keys: shares would be those of chance; run more "
            "trials"
        )
    copy = optuna.create_study(direction="maximize")
    for trial in trials:
        if trial.state == "complete":
            copy.add_trial(
                optuna.trial.create_trial(
                    params=trial.params, distributions=distributions(section), value=trial.sharpe_annual
                )
            )
    shares = get_param_importances(copy, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {key: float(share) for key, share in shares.items()}


def _summary(
    trials: tuple[TrialRow, ...], study: Study, folds: tuple[Fold, ...], experiment: Experiment, *, seconds: float
) -> TunedHyperparameters:
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        notes = sorted({trial.note for trial in trials if trial.note})
        raise NoTrialCompletedError(
            f"study {study.name}: no trial of {len(trials)} completed; errors: {notes or 'none'}; correct "
            "tuning.space or the control file and materialise again"
        )
    best = max(complete, key=lambda trial: (trial.sharpe_annual or 0.0, -trial.number))
    network, training, position = experiment.with_overrides(dict(best.params))
    shares, reason = {}, ""
    try:
        shares = importances(trials, experiment.tuning, seed=experiment.seed)
    except ValueError as error:
        reason = str(error)
    return TunedHyperparameters(
        network=network,
        training=training,
        position=position,
        best_trial=best.number,
        best_sharpe_annual=float(best.sharpe_annual or 0.0),
        study=study.name,
        n_trials_started=len(trials_that_count(trials)),
        n_pruned=sum(trial.state == "pruned" for trial in trials),
        fold_keys=tuple(fold.key for fold in folds),
        trials=trials,
        seconds=seconds,
        importances=shares,
        importances_reason=reason,
    )
