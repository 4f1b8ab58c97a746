"""When a trial ends early: what is reported to Optuna's pruner, when it is asked, how many epochs a trial is given.

median     the running mean of the folds, step = fold: worse than the median of the finished trials at this fold
wilcoxon   each fold's own value, step = fold: worse than the best trial on the same folds, by a signed-rank test
hyperband  the mean over all folds, step = epochs: not among the best at this budget; the next budget is trained from scratch

Not here: running folds (`tuning_rounds`).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, WilcoxonPruner

from tft_pipeline.domain.phases import TuningSection


@dataclass(frozen=True, slots=True)
class Judge:
    """One study's pruner with what it needs to be told."""

    section: TuningSection
    n_folds: int

    def __post_init__(self) -> None:
        self.section.refuse_too_few_folds(self.n_folds)

    @property
    def budgets(self) -> tuple[int, ...]:
        """Epochs a fit is given, one pass over all folds each; one pass unless the pruner is hyperband."""
        return self.section.budgets

    def pruner(self) -> BasePruner:
        """Optuna's pruner with the section's limits."""
        section = self.section
        if section.pruner == "median":
            return MedianPruner(n_startup_trials=section.startup_trials, n_warmup_steps=section.warmup_folds)
        if section.pruner == "hyperband":
            return HyperbandPruner(
                min_resource=section.min_epochs,
                max_resource=section.epochs,
                reduction_factor=section.reduction_factor,
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="WilcoxonPruner is experimental", category=ExperimentalWarning)
            return WilcoxonPruner(p_threshold=section.wilcoxon_p, n_startup_steps=section.warmup_folds + 1)

    def report(self, trial: optuna.Trial, sharpes: Sequence[float], epochs: int) -> None:
        """Tell the pruner of the newest fold.

        Args:
            sharpes: of this budget's folds so far, in order.
        """
        fold = len(sharpes) - 1
        if self.section.pruner == "hyperband":
            if len(sharpes) == self.n_folds:
                trial.report(float(np.mean(sharpes)), epochs)
        elif self.section.pruner == "wilcoxon":
            trial.report(float(sharpes[-1]), fold)
        else:
            trial.report(float(np.mean(sharpes)), fold)

    def may_prune(self, n_scored: int, epochs: int) -> bool:
        """Whether the pruner is asked now: at what it was just told of, and never when the trial is done anyway."""
        if self.section.pruner == "hyperband":
            return n_scored == self.n_folds and epochs != self.budgets[-1]
        return n_scored < self.n_folds
