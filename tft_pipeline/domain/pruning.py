"""Phase 3 as a record: stored exploration folds in, the features that stay and the tables that say why out. Pure, no training.

Not here: the rule of the choice (`selection`), how weights are learnt (`model.exploration`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tft_pipeline.domain.phases import PruningSection
from tft_pipeline.domain.reports import ExplorationFold, PrefilteredFeatures, SelectedFeatures
from tft_pipeline.domain.selection import FILLED_UP, Selection, select_features

METHOD = "VSN weights of all features over folds, against shadow features"


def pruned(
    folds: Sequence[ExplorationFold], prefiltered: PrefilteredFeatures, pruning: PruningSection
) -> SelectedFeatures:
    """The features that stay, by the folds' weights.

    Raises:
        ValueError: no folds, folds of other features than each other or than phase 1 kept, or what `select_features` refuses.
    """
    if not folds:
        raise ValueError("no exploration fold: there are no weights to choose by; explore first")
    names, slots = tuple(folds[0].weights), len(folds[0].shadow_weights)
    if set(names) != set(prefiltered.kept):
        differ = sorted(set(names) ^ set(prefiltered.kept))
        raise ValueError(
            f"fold {folds[0].key} weighs {len(names)} features and phase 1 kept {len(prefiltered.kept)}; they differ in "
            f"{differ[:5]}: one of them is out of date; materialise the exploration plan and its folds again"
        )
    for fold in folds:
        if set(fold.weights) != set(names) or len(fold.shadow_weights) != slots:
            raise ValueError(
                f"fold {fold.key} weighs {len(fold.weights)} features and {len(fold.shadow_weights)} shadows, fold "
                f"{folds[0].key} {len(names)} and {slots}: they are of other plans; explore again"
            )
    chosen = select_features(
        _table([fold.weights for fold in folds], names),
        np.array([list(fold.shadow_weights.values()) for fold in folds]).reshape(len(folds), slots),
        names,
        threshold=pruning.threshold,
        shadow_quantile=pruning.shadow_quantile,
        min_stability=pruning.min_stability,
        max_features=pruning.max_features,
        min_features=pruning.min_features,
        by_seed=_by_seed(folds, names),
        importance=_importance(folds, names),
    )
    agreement = None
    if chosen.agreement is not None:
        agreement = asdict(chosen.agreement)
        agreement["by_fold"] = {fold.key: value for fold, value in zip(folds, chosen.agreement.by_fold, strict=True)}
    return SelectedFeatures(
        features=chosen.kept,
        rows=tuple(asdict(row) for row in chosen.rows),
        groups=tuple(asdict(row) for row in chosen.groups),
        thresholds={fold.key: float(limit) for fold, limit in zip(folds, chosen.thresholds, strict=True)},
        nogueira=None if chosen.nogueira is None else asdict(chosen.nogueira),
        kendall_w=chosen.kendall_w,
        summary=_summary(chosen, prefiltered),
        shadow_level=chosen.shadow_level,
        agreement=agreement,
        undefined=chosen.undefined,
        dropped=dropped_with_partners(prefiltered, chosen),
    )


def dropped_with_partners(prefiltered: PrefilteredFeatures, chosen: Selection) -> tuple[dict[str, Any], ...]:
    """Phase 1's drops, each beside the feature that stands for it and whether that one was kept in phase 3.

    The one that stands for a feature is at the end of the chain of partners: a partner may itself have been dropped later. An
    exact combination of several features has no single stand-in.
    """
    partners = {str(row["feature"]): row["partner"] for row in prefiltered.dropped}
    kept = {row.feature: row.kept for row in chosen.rows}
    rows = []
    for row in prefiltered.dropped:
        stands = row["partner"]
        while stands in partners:
            stands = partners[stands]
        rows.append(
            {
                "feature": row["feature"],
                "reason": row["reason"],
                "value": row["value"],
                "limit": row["limit"],
                "partner": row["partner"],
                "stands_for_it": stands if stands in kept else None,
                "stand_in_kept": kept.get(stands) if stands is not None else None,
            }
        )
    return tuple(rows)


def _summary(chosen: Selection, prefiltered: PrefilteredFeatures) -> dict[str, Any]:
    """The notes' summary: what there was, what stays, by what method; and what of it was filled up."""
    initial = len(prefiltered.kept) + len(prefiltered.dropped)
    return {
        "initial": initial,
        "after_prefilter": len(prefiltered.kept),
        "selected": len(chosen.kept),
        "filled_up": sum(row.reason == FILLED_UP for row in chosen.rows),
        "reduction": 1.0 - len(chosen.kept) / initial,
        "method": METHOD,
    }


def _table(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> np.ndarray:
    return np.array([[row[name] for name in names] for row in rows])


def _by_seed(folds: Sequence[ExplorationFold], names: Sequence[str]) -> np.ndarray | None:
    """(M, K, d); None where a fold does not say, or folds have other numbers of seeds."""
    counts = {len(fold.weights_by_seed) for fold in folds}
    if len(counts) > 1 or min(counts) < 2:
        return None
    return np.array([_table(fold.weights_by_seed, names) for fold in folds])


def _importance(folds: Sequence[ExplorationFold], names: Sequence[str]) -> np.ndarray | None:
    """(M, d); None where a fold did not measure it."""
    if not all(fold.importance for fold in folds):
        return None
    return _table([fold.importance for fold in folds], names)
