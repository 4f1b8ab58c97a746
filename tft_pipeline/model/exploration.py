"""Phase 2, one fold: fit all features beside shadows, once a seed, and read the selection weights.

Not here: which folds (`domain.planning`), where bars come from and records go (`pipeline`), the choice (`domain.pruning`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.reports import ExplorationFold, FoldSpec
from tft_pipeline.domain.shadows import with_shadow_features
from tft_pipeline.domain.verdict import annual_sharpe_or_none
from tft_pipeline.model import fit, importance, inference, scoring

SHADOW = "shadow_"


@dataclass(frozen=True)
class Explored:
    """A fold's record, and the seconds of it that the importance took."""

    record: ExplorationFold
    importance_seconds: float


def explore_fold(
    panel: Panel,
    spec: FoldSpec,
    *,
    permutations: int,
    on_epoch: Callable[[int, dict[str, Any]], None] | None = None,
    checkpoint: Callable[[int], Path] | None = None,
    on_seed: Callable[[str], None] | None = None,
) -> Explored:
    """Mean selection weight of every feature over bars, symbols and seeds, on the fold's validation windows.

    All seeds train with the same shadow features. A shadow is then as much the mean of one column's fits as a feature is; other
    shadows for every seed would average the accidents of several columns, stay closer to their mean than a useless feature
    does, and give a threshold that useless features pass too often.

    Args:
        panel: the slice the spec speaks of.
        permutations: of `importance.permutation_importance`, on the first seed's fit; 0 for none.
        on_epoch: called with the seed's place and each row of its history.
        checkpoint: file of the training state, by the seed's place.
        on_seed: called with a line of progress.
    Raises:
        ValueError: see `fit.fit_fold`; a feature's own name starts with `shadow_`.
        FloatingPointError: a loss, a weight or an importance that is not finite.
    """
    began = time.monotonic()
    shadowed = with_shadow_features(panel, spec.shadow_features, spec.fold, seed=spec.seeds[0])
    by_seed: list[dict[str, float]] = []
    best_epochs, losses, sharpes = [], [], []
    gains: dict[str, float] = {}
    missing: dict[str, int] = {}
    importance_seconds = 0.0
    for k, seed in enumerate(spec.seeds):
        fitted = fit.fit_fold(
            shadowed,
            spec.fold,
            network=spec.network,
            training=spec.training,
            position=spec.position,
            target_volatility=spec.target_volatility,
            horizon=spec.horizon,
            bars_per_year=spec.bars_per_year,
            epochs=spec.epochs,
            seed=seed,
            on_epoch=None if on_epoch is None else _of_seed(on_epoch, k),
            checkpoint=None if checkpoint is None else checkpoint(k),
        )
        weights = inference.selection_weights(fitted, shadowed, spec.fold.validation)
        by_seed.append(_named(shadowed.features, weights, spec.key, seed))
        best = fitted.history[fitted.best_epoch]
        best_epochs.append(fitted.best_epoch)
        losses.append(float(best["validation_loss"]))
        sharpes.append(annual_sharpe_or_none(scoring.net_returns(fitted, shadowed, spec.fold.test), spec.bars_per_year))
        missing = {name: count for name, count in fitted.missing.items() if not name.startswith(SHADOW)}
        if k == 0 and permutations:
            started = time.monotonic()
            found = importance.permutation_importance(
                fitted, shadowed, spec.fold, n_permutations=permutations, seed=seed
            )
            gains = dict(zip(shadowed.features, found.increase.tolist(), strict=True))
            importance_seconds = time.monotonic() - started
        if on_seed is not None:
            on_seed(f"seed {seed}: best epoch {fitted.best_epoch}, validation loss {losses[-1]:.4f}")
    mean = {name: float(np.mean([row[name] for row in by_seed])) for name in by_seed[0]}
    record = ExplorationFold(
        key=spec.key,
        spec_sha256=spec.content_sha256(),
        weights={name: weight for name, weight in mean.items() if not name.startswith(SHADOW)},
        shadow_weights={name: weight for name, weight in mean.items() if name.startswith(SHADOW)},
        weights_by_seed=tuple(by_seed),
        best_epochs=tuple(best_epochs),
        validation_losses=tuple(losses),
        test_sharpes_annual=tuple(sharpes),
        missing=missing,
        seconds=time.monotonic() - began,
        importance={name: gain for name, gain in gains.items() if not name.startswith(SHADOW)},
        n_permutations=permutations,
    )
    return Explored(record, importance_seconds)


def _named(features: tuple[str, ...], weights: np.ndarray, key: str, seed: int) -> dict[str, float]:
    """Weights by feature.

    Raises:
        FloatingPointError: a weight that is not finite.
    """
    wrong = [name for name, weight in zip(features, weights, strict=True) if not np.isfinite(weight)]
    if wrong:
        raise FloatingPointError(
            f"fold {key}, seed {seed}: {len(wrong)} of {len(features)} selection weights are not finite ({wrong[0]} first): "
            "the fold has nothing to say about features and must not enter a mean; lower training.learning_rate or "
            "training.gradient_clip"
        )
    return dict(zip(features, weights.tolist(), strict=True))


def _of_seed(on_epoch: Callable[[int, dict[str, Any]], None], k: int) -> Callable[[dict[str, Any]], None]:
    return lambda row: on_epoch(k, row)
