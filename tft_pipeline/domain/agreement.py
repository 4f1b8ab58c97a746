"""How far folds agree: on the sets they choose, on their rankings, and weights with importance.

Not here: the choice (`selection`).

Axes: M folds (or sets, or rankings), d features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata, spearmanr

from tft_pipeline.domain.uncertainty import fold_means


@dataclass(frozen=True)
class Stability:
    """Nogueira's index of the sets chosen in each fold: 1 when always the same, about 0 when drawn at random."""

    phi: float
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Spearman's correlation of selection weights with permutation importance, by fold and over folds.

    Attributes:
        by_fold: (M,) None in a fold where one of the two has no ranking.
        mean: of the folds that have one; None without any.
        standard_error, low, high: see `uncertainty.fold_means`; None with fewer than two.
        of_means: of mean weights with mean importance; None where one has no ranking.
    """

    by_fold: tuple[float | None, ...]
    mean: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    of_means: float | None


def nogueira_stability(chosen: np.ndarray, *, confidence: float = 0.95) -> Stability:
    """Stability of M feature sets, corrected for chance, with its asymptotic interval.

        Phi   = 1 - mean_f[ M/(M-1) p_f (1 - p_f) ] / [ (k/d)(1 - k/d) ]
        phi_i = ( mean_f z_if p_f - k_i k/d^2 + Phi/2 (2 k_i k/d^2 - k_i/d - k/d + 1) ) / [ (k/d)(1 - k/d) ]
        var   = 4/M^2 sum_i (phi_i - mean phi)^2

    p_f is the share of sets with feature f, k_i the size of set i, k their mean, d the number of features.

    Args:
        chosen: (M, d) bool.
    Raises:
        ValueError: fewer than 2 sets; all sets empty or all full, where the index is 0/0.
    Source: Nogueira, Sechidis & Brown (2018), JMLR 18(174).
    """
    z = np.asarray(chosen, dtype=np.float64)
    if z.ndim != 2 or len(z) < 2:
        raise ValueError(f"chosen {z.shape}: expected (sets, features) with at least 2 sets to compare")
    n_sets = len(z)
    p, share = z.mean(axis=0), z.mean()
    if share in (0.0, 1.0):
        raise ValueError("every set is empty or every set is full: stability is undefined, move the threshold")
    chance = share * (1.0 - share)
    phi = 1.0 - n_sets / (n_sets - 1) * (p * (1.0 - p)).mean() / chance
    own = z.mean(axis=1)
    each = ((z * p).mean(axis=1) - own * share + phi / 2.0 * (2.0 * own * share - own - share + 1.0)) / chance
    error = 2.0 / n_sets * np.sqrt(((each - each.mean()) ** 2).sum())
    half = float(norm.ppf((1.0 + confidence) / 2.0)) * error
    return Stability(phi=float(phi), lower=float(phi - half), upper=float(phi + half))


def kendall_w(weights: np.ndarray) -> float:
    """Concordance of M rankings of d features, corrected for ties: W = 12 S / (M^2 (d^3 - d) - M sum T).

    S is the sum of squares of the rank sums about their mean, T = sum (t^3 - t) over ties in a ranking.

    Args:
        weights: (M, d).
    Raises:
        ValueError: fewer than 2 rankings or features, a ranking that is all ties.
    Source: Kendall & Babington Smith (1939), Annals of Mathematical Statistics 10(3).
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 2 or min(w.shape) < 2:
        raise ValueError(f"weights {w.shape}: expected (rankings, features), at least 2 of each")
    if (np.ptp(w, axis=1) == 0.0).any():
        raise ValueError("a ranking is all ties: it agrees with nothing, leave that fold out")
    m, d = w.shape
    sums = rankdata(w, axis=1).sum(axis=0)
    squares = ((sums - sums.mean()) ** 2).sum()
    ties = sum(float((count**3 - count).sum()) for count in (np.unique(row, return_counts=True)[1] for row in w))
    return float(12.0 * squares / (m * m * (d**3 - d) - m * ties))


def rank_agreement(weight: np.ndarray, importance: np.ndarray) -> float:
    """Spearman's rank correlation of selection weights with block-permutation importance, one value a feature each.

    Raises:
        ValueError: rows of different length, fewer than 3 features, a row without two different values.
    """
    w, i = np.asarray(weight, dtype=np.float64), np.asarray(importance, dtype=np.float64)
    if w.ndim != 1 or w.shape != i.shape or w.size < 3:
        raise ValueError(
            f"weight {w.shape} and importance {i.shape}: expected one value for each of at least 3 features"
        )
    if np.ptp(w) == 0.0 or np.ptp(i) == 0.0:
        raise ValueError("all weights or all importances are equal: there is no ranking to correlate")
    return float(spearmanr(w, i).statistic)


def fold_agreement(weights: np.ndarray, importance: np.ndarray) -> Agreement:
    """`rank_agreement` in each fold, with mean and interval over folds, and of the means over folds.

    Args:
        weights, importance: (M, d).
    Raises:
        ValueError: shapes that differ, or fewer than 3 features.
    """
    w, i = np.asarray(weights, dtype=np.float64), np.asarray(importance, dtype=np.float64)
    if w.ndim != 2 or w.shape != i.shape or not len(w):
        raise ValueError(f"weights {w.shape} and importance {i.shape}: expected (folds, features) of one shape")
    by_fold = tuple(_or_none(own, gain) for own, gain in zip(w, i, strict=True))
    found = np.array([value for value in by_fold if value is not None])
    over = fold_means(found[:, None]) if found.size else None
    error = low = high = None
    if over is not None and over.standard_error is not None and over.low is not None and over.high is not None:
        error, low, high = (float(part[0]) for part in (over.standard_error, over.low, over.high))
        low, high = max(low, -1.0), min(high, 1.0)
    return Agreement(
        by_fold=by_fold,
        mean=None if over is None else float(over.mean[0]),
        standard_error=error,
        low=low,
        high=high,
        of_means=_or_none(w.mean(axis=0), i.mean(axis=0)),
    )


def _or_none(weight: Sequence[float] | np.ndarray, importance: Sequence[float] | np.ndarray) -> float | None:
    if np.ptp(weight) == 0.0 or np.ptp(importance) == 0.0:
        return None
    return rank_agreement(np.asarray(weight), np.asarray(importance))
