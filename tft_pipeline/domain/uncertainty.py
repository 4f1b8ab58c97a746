"""How far a selection weight is known: its spread over folds, and over seeds within a fold. Not here: what is done with it.

Axes: M folds, K seeds, d features.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

CONFIDENCE = 0.95


@dataclass(frozen=True)
class FoldMeans:
    """Means over folds, all (d,); what needs two folds is None with one.

    Attributes:
        standard_error: of the mean, as if folds were independent.
        low, high: the interval that follows.
    """

    mean: np.ndarray
    standard_error: np.ndarray | None
    low: np.ndarray | None
    high: np.ndarray | None


def fold_means(values: np.ndarray, *, confidence: float = CONFIDENCE) -> FoldMeans:
    """Mean of each column over folds, its standard error, and Student's interval with M - 1 degrees of freedom.

        se = sd(fold values, ddof 1) / sqrt(M),    mean +- t(M - 1) se

    Folds of a walk forward share most of their training bars, so their values are positively correlated: the error is a lower
    bound, and the interval is too short rather than too long. How much, the folds themselves cannot tell.

    Args:
        values: (M, d), one value a fold.
    Raises:
        ValueError: no fold, or a value that is not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or not x.size or not np.isfinite(x).all():
        raise ValueError(
            f"values {x.shape}: expected (folds, features) of finite numbers; repeat the fold that lacks one"
        )
    mean, n_folds = x.mean(axis=0), len(x)
    if n_folds == 1:
        return FoldMeans(mean, None, None, None)
    error = x.std(axis=0, ddof=1) / np.sqrt(n_folds)
    half = float(student.ppf((1.0 + confidence) / 2.0, n_folds - 1)) * error
    return FoldMeans(mean, error, mean - half, mean + half)


def seed_spread(values: np.ndarray) -> np.ndarray:
    """(d,) deviation over the seeds of a fold, pooled over folds: sqrt(mean_m var_k(values_mk, ddof 1)).

    What another initialisation alone changes: same bars, same shadow features, same settings.

    Args:
        values: (M, K, d), one value a fold and seed.
    Raises:
        ValueError: fewer than 2 seeds, or a value that is not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 3 or not x.size or x.shape[1] < 2 or not np.isfinite(x).all():
        raise ValueError(f"values {x.shape}: expected (folds, seeds, features) of finite numbers with at least 2 seeds")
    return np.asarray(np.sqrt(x.var(axis=1, ddof=1).mean(axis=0)))
