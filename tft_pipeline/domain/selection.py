"""Which features stay: Variable Selection Network weights over folds against shadow features. Not here: how
weights are learnt.

Axes: M folds, d features, k shadow features (time-permuted copies that cannot help).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import norm, rankdata, spearmanr


@dataclass(frozen=True)
class Stability:
    """Nogueira's index of the sets chosen in each fold: 1 when always the same, about 0 when drawn at random."""

    phi: float
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class FeatureRow:
    """One feature: rank by weight (1 the largest), mean weight over folds, share of folds above the threshold."""

    rank: int
    feature: str
    weight: float
    stability: float
    kept: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """One group (the name before the first `_`): features kept, features it had, and the summed weight of those
    kept.
    """

    group: str
    kept: int
    initial: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The choice and what it rests on.

    Attributes:
        kept: Names by rank.
        rows: All features by rank.
        groups: Most kept first, then by name.
        thresholds: (M,) weight a feature had to exceed in each fold.
        nogueira: Of the sets above the threshold in each fold; None when undefined (one fold, or no or every
            feature in all folds).
        kendall_w: Agreement of the folds' rankings, 0 none, 1 full; None with one fold or without two different
            weights.
    """

    kept: tuple[str, ...]
    rows: tuple[FeatureRow, ...]
    groups: tuple[GroupRow, ...]
    thresholds: tuple[float, ...]
    nogueira: Stability | None
    kendall_w: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def select_features(
    weights: np.ndarray,
    shadow: np.ndarray,
    names: Sequence[str],
    *,
    threshold: Literal["shadow"] | float = "shadow",
    shadow_quantile: float = 0.95,
    min_stability: float = 0.25,
    max_features: int,
    min_features: int = 5,
) -> Selection:
    """Keep features that beat the shadows, often enough.

        threshold_m = quantile(shadow_m, shadow_quantile), or a fixed number
        weight_f    = mean_m weights_mf;   stability_f = share of folds with weights_mf > threshold_m
        kept        : weight_f > mean_m threshold_m  and  stability_f >= min_stability; the first max_features by weight

    When fewer than `min_features` pass, the largest weights fill up and their reason says so: a study on noise
    goes on, and shows that it is noise.

    Args:
        weights: (M, d) weights on real validation windows.
        shadow: (M, k) the same of the shadow features; may be (M, 0) with a fixed threshold.
        names: (d,) features; order breaks ties of weight.
        threshold: "shadow", or a weight.
        min_features: 0 to insist on the threshold.
    Raises:
        ValueError: shapes that do not fit, a weight that is negative or not finite, limits out of order, nothing
            passing while min_features is 0.
    """
    weights, shadow = np.asarray(weights, dtype=np.float64), np.asarray(shadow, dtype=np.float64)
    _check(weights, shadow, names)
    if not 0.0 <= shadow_quantile <= 1.0 or not 0.0 <= min_stability <= 1.0 or not 0 <= min_features <= max_features:
        raise ValueError(
            f"shadow_quantile {shadow_quantile}, min_stability {min_stability}, min_features {min_features}, "
            f"max_features {max_features}: need shares in [0, 1] and 0 <= min_features <= max_features"
        )
    thresholds = _thresholds(weights, shadow, threshold, shadow_quantile)
    above = weights > thresholds[:, None]
    weight, stability, limit = weights.mean(axis=0), above.mean(axis=0), float(thresholds.mean())
    order = np.argsort(-weight, kind="stable")
    passing = [f for f in order if weight[f] > limit and stability[f] >= min_stability]
    kept = set(passing[:max_features])
    fill = [f for f in order if f not in kept][: max(min_features - len(kept), 0)]
    if not kept and not fill:
        raise ValueError(
            f"no feature is above the shadow threshold {limit:.4g} in {min_stability:.0%} of {len(weights)} folds "
            f"(largest weight {weight.max():.4g}): lower shadow_quantile or min_stability, "
            "explore longer, or set min_features"
        )
    kept.update(fill)
    reasons = {f: "above threshold" for f in passing[:max_features]}
    reasons |= {f: f"beyond max_features {max_features}" for f in passing[max_features:]}
    reasons |= {f: "below threshold, kept to reach min_features" for f in fill}
    for f in order:
        if f not in reasons and weight[f] <= limit:
            reasons[f] = f"weight {weight[f]:.4g} is not above the threshold {limit:.4g}"
        elif f not in reasons:
            reasons[f] = f"stability {stability[f]:.0%} is below {min_stability:.0%}"
    rows = tuple(
        FeatureRow(
            rank=rank,
            feature=names[f],
            weight=float(weight[f]),
            stability=float(stability[f]),
            kept=f in kept,
            reason=reasons[f],
        )
        for rank, f in enumerate(order, start=1)
    )
    chosen_share = above.mean()
    rankable = len(weights) > 1 and all(np.ptp(fold) > 0.0 for fold in weights)
    return Selection(
        kept=tuple(row.feature for row in rows if row.kept),
        rows=rows,
        groups=_groups(rows),
        thresholds=tuple(float(t) for t in thresholds),
        nogueira=nogueira_stability(above) if len(weights) > 1 and 0.0 < chosen_share < 1.0 else None,
        kendall_w=kendall_w(weights) if rankable else None,
    )


def _check(weights: np.ndarray, shadow: np.ndarray, names: Sequence[str]) -> None:
    if weights.ndim != 2 or not weights.size or weights.shape[1] != len(names) or len(set(names)) != len(names):
        raise ValueError(f"weights {weights.shape} for {len(set(names))} different names: expected (folds, features)")
    if shadow.ndim != 2 or shadow.shape[0] != weights.shape[0]:
        raise ValueError(f"shadow {shadow.shape}: expected (folds, shadows) with {weights.shape[0]} folds")
    for kind, values in (("weight", weights), ("shadow weight", shadow)):
        if not (np.isfinite(values) & (values >= 0.0)).all():
            raise ValueError(
                f"a {kind} is negative or not finite: a fold without weights must be repeated, not averaged"
            )


def _thresholds(
    weights: np.ndarray, shadow: np.ndarray, threshold: Literal["shadow"] | float, shadow_quantile: float
) -> np.ndarray:
    """(M,) weight to exceed in each fold."""
    if threshold == "shadow":
        if shadow.shape[1] < 1:
            raise ValueError("threshold 'shadow' without shadow features: train some along or give a number")
        return np.asarray(np.quantile(shadow, shadow_quantile, axis=1))
    if isinstance(threshold, str) or not (np.isfinite(threshold) and threshold >= 0.0):
        raise ValueError(f"threshold {threshold!r} is neither 'shadow' nor a weight")
    return np.full(weights.shape[0], float(threshold))


def _groups(rows: Sequence[FeatureRow]) -> tuple[GroupRow, ...]:
    grouped: dict[str, list[FeatureRow]] = {}
    for row in rows:
        grouped.setdefault(row.feature.split("_", 1)[0], []).append(row)
    table = [
        GroupRow(
            group=group,
            kept=sum(row.kept for row in members),
            initial=len(members),
            weight=float(sum(row.weight for row in members if row.kept)),
        )
        for group, members in grouped.items()
    ]
    return tuple(sorted(table, key=lambda row: (-row.kept, row.group)))


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
