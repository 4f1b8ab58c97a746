"""Probabilities of an upward move out of the production folds: how good they are, and how they blend. No assets here."""

from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.classification import describe_probabilities
from tft_pipeline.domain.ensemble import Probabilities, calibrate, forward_chained
from tft_pipeline.domain.ensemble import ensemble_weights as fit_weights
from tft_pipeline.domain.reports import EnsembleWeights
from tft_pipeline.domain.verdict import json_ready
from tft_pipeline.storage.fold_bundles import FoldBundle

SOURCES = {"lgbm": "lightgbm_probability", "tft": "probability", "sentiment": None}


def fold_probabilities(fold: FoldBundle) -> tuple[Probabilities, np.ndarray]:
    """Out-of-fold probabilities by source on the rows with a known label, and the labels (1: up).

    A source that gives no probability (a network trained on the Sharpe ratio alone, or one that is not connected) is None.
    """
    rows = _labelled(fold)
    probabilities: dict[str, np.ndarray | None] = {}
    for source, column in SOURCES.items():
        values = None if column is None else rows[column].to_numpy()
        probabilities[source] = None if values is None or not np.isfinite(values).all() else values
    return probabilities, (rows["label"].to_numpy() > 0).astype(np.int64)


def direction_statistics(folds: dict[str, FoldBundle]) -> dict[str, Any]:
    """Accuracy with its interval and base rate, log loss and the rest, by source, over all out-of-sample rows."""
    parts = [fold_probabilities(fold) for fold in folds.values()]
    labels = np.concatenate([y for _, y in parts])
    statistics: dict[str, Any] = {}
    for source in SOURCES:
        columns = [probabilities[source] for probabilities, _ in parts]
        present = [column for column in columns if column is not None]
        if len(present) == len(parts):
            statistics[source] = describe_probabilities(labels, np.concatenate(present))
    statistics["class_balance"] = {"pos": int(labels.sum()), "neg": int((1 - labels).sum())}
    return statistics


def blend_probabilities(folds: dict[str, FoldBundle], *, l2: float, horizon: int) -> EnsembleWeights:
    """Weights from all folds; metrics from folds that neither calibration nor weights had seen.

    Labels that reach into the next fold (`horizon` - 1 bars) teach nothing that is scored there.

    With one fold only there is nothing to score forward, and the metrics say so instead of quoting fitted rows.
    """
    parts = [fold_probabilities(fold) for fold in folds.values()]
    if len(parts) < 2:
        probabilities, y = parts[0]
        calibrations = {name: calibrate(p, y) for name, p in probabilities.items() if p is not None}
        shared = {name: None if p is None else calibrations[name].apply(p) for name, p in probabilities.items()}
        fit = fit_weights(shared, y, l2=l2)
        metrics: dict[str, Any] = {"reason": "one fold: a blend cannot be scored on bars it was not fitted to"}
        return _record(fit.weights, fit.available, metrics, (), calibrations)
    chained = forward_chained(
        [p for p, _ in parts], [y for _, y in parts], l2=l2, n_unresolved=horizon - 1, bars=_bars(folds)
    )
    metrics = {"blend": chained.pooled, **chained.pooled_by_source, "greedy_weights": chained.greedy}
    keys = list(folds)
    rows = tuple({**row, "fold": keys[int(str(row["fold"]))]} for row in chained.folds)
    return _record(chained.final.weights, chained.final.available, metrics, rows, chained.calibrations)


def _bars(folds: dict[str, FoldBundle]) -> list[np.ndarray]:
    """Bar index of each labelled row, on the calendar of all folds."""
    stamps = [_labelled(fold)["timestamp"].to_physical().to_numpy() for fold in folds.values()]
    calendar = np.unique(np.concatenate(stamps))
    return [np.searchsorted(calendar, column) for column in stamps]


def _labelled(fold: FoldBundle) -> pl.DataFrame:
    return fold.predictions.filter(pl.col("label").is_finite())


def _record(
    weights: dict[str, float],
    available: dict[str, bool],
    metrics: dict[str, Any],
    rows: tuple[dict[str, Any], ...],
    calibrations: dict[str, Any],
) -> EnsembleWeights:
    return EnsembleWeights(
        weights=weights,
        available=available,
        metrics=json_ready(metrics),
        folds=tuple(json_ready(row) for row in rows),
        calibration={
            name: {"slope": float(c.slope), "intercept": float(c.intercept)} for name, c in calibrations.items()
        },
    )
