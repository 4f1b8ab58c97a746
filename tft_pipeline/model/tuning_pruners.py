"""When a trial ends early: what is reported to the pruner, when it is asked, how many epochs a trial is given.

median     the running mean of the folds, step = fold: worse than the median of the finished trials at this fold
wilcoxon   each fold's own value, step = fold: worse than the best trial on the same folds, by a signed-rank test
hyperband  the mean over all folds, step = epochs: not among the best at this budget; the next budget is trained from scratch
none       nothing ends early; the running mean is reported for whoever looks

Not here: running folds (`tuning_rounds`).
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner, WilcoxonPruner
from optuna.trial import FrozenTrial, TrialState

from tft_pipeline.domain.phases import TuningSection


class RunningMeanPruner(BasePruner):
    """Prunes a trial whose running mean now is below the median of the completed trials' running means at the same fold.

    Optuna's MedianPruner compares the best running mean that a trial ever had, so that one lucky first fold would protect it.
    """

    def __init__(self, *, startup_trials: int, warmup_folds: int) -> None:
        """`startup_trials` completed trials and `warmup_folds` folds of the trial are waited for."""
        self.startup_trials, self.warmup_folds = startup_trials, warmup_folds

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to stop after the fold that was reported last."""
        fold = trial.last_step
        if fold is None or fold < self.warmup_folds:
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        means = [other.intermediate_values[fold] for other in complete if fold in other.intermediate_values]
        if len(complete) < self.startup_trials or not means:
            return False
        mean = trial.intermediate_values[fold]
        return math.isnan(mean) or bool(mean < np.median(means))


class BracketPruner(BasePruner):
    """Hyperband: brackets of trials that begin at different budgets; at each one the best of the bracket go on.

    With B budgets, bracket b begins at the b-th one and takes ceil(B * eta^s / (s + 1)) trials, s = B - 1 - b, in the order of
    their numbers; after the last bracket the first begins again. For 1, 3, 9 epochs and eta = 3 these are 9, 5 and 3 trials.
    A trial goes on when its value is among the best floor(n / eta), at least one, of the n values that its bracket has at this
    budget. It is not waited for later ones, so the first trials of a bracket go further than in the paper, and that is meant.
    A trial that was cut off is left out: the one that replaces it competes.

    Source: Li et al. (2018), JMLR 18(185), algorithm 1; without waiting as in Li et al. (2020), MLSys, ASHA.
    """

    def __init__(self, budgets: Sequence[int], *, reduction_factor: int) -> None:
        """`budgets`: epochs, ascending."""
        self.budgets, self.reduction_factor = tuple(budgets), reduction_factor
        n = len(self.budgets)
        self.sizes = tuple(math.ceil(n * reduction_factor**s / (s + 1)) for s in reversed(range(n)))

    def bracket(self, number: int) -> int:
        """Bracket of a trial, from 0; it begins at the budget of the same place."""
        place = number % sum(self.sizes)
        return int(np.searchsorted(np.cumsum(self.sizes), place, side="right"))

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to stop at the budget that was reported last."""
        epochs = trial.last_step
        if epochs is None or epochs == self.budgets[-1]:
            return False
        mean = trial.intermediate_values[epochs]
        bracket = self.bracket(trial.number)
        others = [
            other.intermediate_values[epochs]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number
            and other.state != TrialState.FAIL
            and epochs in other.intermediate_values
            and self.bracket(other.number) == bracket
        ]
        kept = max(1, (len(others) + 1) // self.reduction_factor)
        return math.isnan(mean) or sum(other > mean for other in others) >= kept


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
        """The pruner with the section's limits."""
        section = self.section
        if section.pruner == "none":
            return NopPruner()
        if section.pruner == "median":
            return RunningMeanPruner(startup_trials=section.startup_trials, warmup_folds=section.warmup_folds)
        if section.pruner == "hyperband":
            return self._brackets()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="WilcoxonPruner is experimental", category=ExperimentalWarning)
            return WilcoxonPruner(p_threshold=section.wilcoxon_p, n_startup_steps=section.warmup_folds + 1)

    def _brackets(self) -> BracketPruner:
        return BracketPruner(self.budgets, reduction_factor=self.section.reduction_factor)

    def takes_part(self, number: int, epochs: int) -> bool:
        """Whether a trial is trained at a budget: with hyperband not below the one at which its bracket begins."""
        if self.section.pruner != "hyperband":
            return True
        return epochs >= self.budgets[self._brackets().bracket(number)]

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
        return n_scored < self.n_folds and self.section.pruner != "none"
