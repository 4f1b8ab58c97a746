"""Which features stay: Variable Selection Network weights over folds against shadow features. Not here: how weights are learnt,
how far folds agree (`agreement`), the record that is stored (`pruning`).

Axes: M folds, K seeds, d features, k shadow features (copies moved in time by blocks, which cannot help; see `shadows`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tft_pipeline.domain.agreement import Agreement, Stability, fold_agreement, kendall_w, nogueira_stability
from tft_pipeline.domain.uncertainty import fold_means, seed_spread

FILLED_UP = "below threshold, kept to reach min_features"
"""Reason of a feature that is kept and did not earn it."""
ABOVE = "above threshold"
"""Reason of a feature that is kept and did."""

Standing = Literal["kept", "filled up", "dropped"]


def standing(row: Mapping[str, Any]) -> Standing:
    """How a feature of a stored `FeatureRow` ended; "filled up": kept below the limits, to reach min_features."""
    if not row["kept"]:
        return "dropped"
    return "filled up" if row["reason"] == FILLED_UP else "kept"


@dataclass(frozen=True, kw_only=True)
class FeatureRow:
    """One feature: rank by weight (1 the largest), mean weight over folds, share of folds above the threshold.

    Attributes:
        standard_error, low, high: of the mean weight over folds, see `uncertainty.fold_means`: a lower bound, for folds share
            training bars; None with one fold.
        seed_spread: deviation over the seeds of a fold; None where the weights by seed are not given.
        importance, importance_error: mean rise of the validation loss with the feature permuted, and its standard error over
            folds; None where it was not measured.
    """

    rank: int
    feature: str
    group: str
    weight: float
    stability: float
    kept: bool
    reason: str
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    seed_spread: float | None = None
    importance: float | None = None
    importance_error: float | None = None


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
        shadow_level: Probability that a feature exchangeable with the shadows stays below a fold's threshold, see
            `shadow_rank`; None with a fixed one.
        nogueira: Of the sets above the threshold in each fold; None when undefined (one fold, or no or every
            feature in all folds).
        kendall_w: Agreement of the folds' rankings, 0 none, 1 full; None with one fold or without two different
            weights.
        agreement: Of weights with importance; None where that was not measured, or with fewer than 3 features.
        undefined: Why each of the three is None, where it is.
    """

    kept: tuple[str, ...]
    rows: tuple[FeatureRow, ...]
    groups: tuple[GroupRow, ...]
    thresholds: tuple[float, ...]
    shadow_level: float | None
    nogueira: Stability | None
    kendall_w: float | None
    agreement: Agreement | None
    undefined: dict[str, str]

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
    by_seed: np.ndarray | None = None,
    importance: np.ndarray | None = None,
) -> Selection:
    """Keep features that beat the shadows, often enough.

        threshold_m = the shadow weight of rank `shadow_rank`(k, shadow_quantile) in fold m, or a fixed number
        weight_f    = mean_m weights_mf;   stability_f = share of folds with weights_mf > threshold_m
        kept        : weight_f > mean_m threshold_m  and  stability_f >= min_stability; the first max_features by weight

    When fewer than `min_features` pass, the largest weights fill up and their reason says so: a study on noise
    goes on, and shows that it is noise. Those filled up count as kept everywhere, in groups and sets too.

    Args:
        weights: (M, d) weights on real validation windows.
        shadow: (M, k) the same of the shadow features; may be (M, 0) with a fixed threshold.
        names: (d,) features; order breaks ties of weight.
        threshold: "shadow", or a weight; not a truth value.
        min_features: 0 to insist on the threshold; d at most.
        by_seed: (M, K, d) of which `weights` are the means over K; described, not judged.
        importance: (M, d) of permutation; described, not judged.
    Raises:
        ValueError: shapes that do not fit, a weight that is negative or not finite, limits out of order, nothing
            passing while min_features is 0, more features wanted than there are.
    """
    weights, shadow = np.asarray(weights, dtype=np.float64), np.asarray(shadow, dtype=np.float64)
    _check(weights, shadow, names)
    if not 0.0 <= shadow_quantile <= 1.0 or not 0.0 <= min_stability <= 1.0 or not 0 <= min_features <= max_features:
        raise ValueError(
            f"shadow_quantile {shadow_quantile}, min_stability {min_stability}, min_features {min_features}, "
            f"max_features {max_features}: need shares in [0, 1] and 0 <= min_features <= max_features"
        )
    if min_features > len(names):
        raise ValueError(
            f"min_features {min_features} > {len(names)} features: fewer would be kept than were asked for; lower "
            f"min_features to {len(names)}, or bring more features"
        )
    thresholds = _thresholds(weights, shadow, threshold, shadow_quantile)
    above = weights > thresholds[:, None]
    over = fold_means(weights)
    weight, stability, limit = over.mean, above.mean(axis=0), float(thresholds.mean())
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
    reasons = {f: ABOVE for f in passing[:max_features]}
    reasons |= {f: f"beyond max_features {max_features}" for f in passing[max_features:]}
    reasons |= {f: FILLED_UP for f in fill}
    for f in order:
        if f not in reasons and weight[f] <= limit:
            reasons[f] = f"weight {weight[f]:.4g} is not above the threshold {limit:.4g}"
        elif f not in reasons:
            reasons[f] = f"stability {stability[f]:.0%} is below {min_stability:.0%}"
    spread = None if by_seed is None else seed_spread(_fitting(by_seed, "by_seed", weights))
    gains = None if importance is None else fold_means(_fitting(importance, "importance", weights))
    rows = tuple(
        FeatureRow(
            rank=rank,
            feature=names[f],
            group=names[f].split("_", 1)[0],
            weight=float(weight[f]),
            stability=float(stability[f]),
            kept=f in kept,
            reason=reasons[f],
            standard_error=_at(over.standard_error, f),
            low=None if over.low is None else max(float(over.low[f]), 0.0),
            high=_at(over.high, f),
            seed_spread=_at(spread, f),
            importance=None if gains is None else float(gains.mean[f]),
            importance_error=None if gains is None else _at(gains.standard_error, f),
        )
        for rank, f in enumerate(order, start=1)
    )
    undefined = _undefined(weights, above, importance)
    return Selection(
        kept=tuple(row.feature for row in rows if row.kept),
        rows=rows,
        groups=_groups(rows),
        thresholds=tuple(float(t) for t in thresholds),
        shadow_level=shadow_rank(shadow.shape[1], shadow_quantile)[1] if threshold == "shadow" else None,
        nogueira=None if "nogueira" in undefined else nogueira_stability(above),
        kendall_w=None if "kendall_w" in undefined else kendall_w(weights),
        agreement=None if importance is None or "agreement" in undefined else fold_agreement(weights, importance),
        undefined=undefined,
    )


def shadow_rank(n_shadows: int, quantile: float) -> tuple[int, float]:
    """Which of the sorted shadow weights is the threshold, counted from 1, and the level it holds.

        r = min(ceil((k + 1) q), k), at least 1;   level = r / (k + 1)

    The rank of a feature that is exchangeable with the shadows is uniform among k + 1, so it exceeds the r-th of them with
    probability 1 - level. The interpolated quantile of 20 values would be exceeded by 9 % where 5 % are meant. With fewer than
    q / (1 - q) shadows the largest of them is all there is, and the level stays below q: 19 are needed for 0.95.

    That is a useless feature drawn from all features, as the shadows are. Shadows keep what gives noise its weight (how slowly
    it moves, how much symbols share it), so that they weigh what noise of their kind weighs; but the threshold is one for all
    kinds, and a kind whose weights scatter more passes it more often. Measured on the folds of four planted panels at level
    95.2 %: 5.6 % of all noise was above it, 8.4 % of slow noise, 3.8 % of market-wide noise, 4.9 % of the rest.

    Raises:
        ValueError: no shadows.
    Source: the rank of a split conformal quantile, Lei et al. (2018), JASA 113(523).
    """
    if n_shadows < 1:
        raise ValueError("threshold 'shadow' without shadow features: train some along or give a number")
    rank = min(max(math.ceil((n_shadows + 1) * quantile - 1e-9), 1), n_shadows)
    return rank, rank / (n_shadows + 1)


def _check(weights: np.ndarray, shadow: np.ndarray, names: Sequence[str]) -> None:
    if weights.ndim != 2 or not weights.size or weights.shape[1] != len(names) or len(set(names)) != len(names):
        raise ValueError(f"weights {weights.shape} for {len(set(names))} different names: expected (folds, features)")
    if shadow.ndim != 2 or shadow.shape[0] != weights.shape[0]:
        raise ValueError(f"shadow {shadow.shape}: expected (folds, shadows) with {weights.shape[0]} folds")
    for kind, values in (("weight", weights), ("shadow weight", shadow)):
        wrong = np.argwhere(~(np.isfinite(values) & (values >= 0.0)))
        if len(wrong):
            fold, place = (int(index) for index in wrong[0])
            name = names[place] if kind == "weight" else f"shadow {place}"
            raise ValueError(
                f"{len(wrong)} {kind}s are negative or not finite, first {values[fold, place]} of {name} in fold {fold + 1} of "
                f"{len(values)}: a fold without weights must be repeated, not averaged"
            )


def _fitting(values: np.ndarray, kind: str, weights: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (
        weights.shape if kind == "importance" else (len(weights), *values.shape[1:2], weights.shape[1])
    ):
        raise ValueError(f"{kind} {values.shape} beside weights {weights.shape}: they are of other folds or features")
    return values


def _at(values: np.ndarray | None, f: int) -> float | None:
    return None if values is None else float(values[f])


def _undefined(weights: np.ndarray, above: np.ndarray, importance: np.ndarray | None) -> dict[str, str]:
    """Why a figure does not exist, by name."""
    found: dict[str, str] = {}
    if len(weights) < 2:
        found = dict.fromkeys(
            ("nogueira", "kendall_w", "standard_error"), "one fold: there is nothing to compare it with"
        )
    else:
        if not above.any() or above.all():
            found["nogueira"] = f"{'every' if above.all() else 'no'} feature is above the threshold in all folds"
        if any(np.ptp(fold) == 0.0 for fold in weights):
            found["kendall_w"] = "all weights of a fold are equal: it has no ranking"
    if importance is None:
        found["agreement"] = "permutation importance was not measured in all folds (exploration.permutations)"
    elif weights.shape[1] < 3:
        found["agreement"] = f"{weights.shape[1]} features: a ranking needs 3"
    return found


def _thresholds(
    weights: np.ndarray, shadow: np.ndarray, threshold: Literal["shadow"] | float, shadow_quantile: float
) -> np.ndarray:
    """(M,) weight to exceed in each fold."""
    if threshold == "shadow":
        rank, _ = shadow_rank(shadow.shape[1], shadow_quantile)
        return np.asarray(np.sort(shadow, axis=1)[:, rank - 1])
    if isinstance(threshold, str | bool | np.bool_) or not (np.isfinite(threshold) and threshold >= 0.0):
        raise ValueError(
            f"threshold {threshold!r} is neither 'shadow' nor a weight: a truth value would pass as the weight 0 or 1; give "
            "'shadow' or a number"
        )
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
