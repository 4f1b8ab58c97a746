"""Probabilities of an upward move out of the production folds: how good they are, and how they blend. No assets here."""

import math
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.classification import break_even_accuracy, describe_probabilities, wilson_interval
from tft_pipeline.domain.ensemble import Probabilities, calibrate, forward_chained
from tft_pipeline.domain.ensemble import ensemble_weights as fit_weights
from tft_pipeline.domain.findings import EnsembleWeights
from tft_pipeline.domain.sections import PositionSection
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


def direction_statistics(
    folds: dict[str, FoldBundle], *, position: PositionSection, horizon: int, bars_per_year: float
) -> dict[str, Any]:
    """Accuracy with its intervals, base rate and break-even, log loss and the rest, by source, over all out-of-sample rows.

    Beside the keys of `describe_probabilities` a source has
        n_bars               distinct bars of its rows
        accuracy_ci_bars     Wilson 95 % of the accuracy on n_bars trials: the rows of one bar move together and count as one;
                             labels of several bars overlap, so that it is still too narrow where `horizon` > 1
        break_even_accuracy  1/2 + c / (2 E|r|), c a bet's round trip, E|r| its mean move, both means over the rows; None where
                             no price moved
    """
    parts = [fold_probabilities(fold) for fold in folds.values()]
    labels = np.concatenate([y for _, y in parts])
    rows = pl.concat([_labelled(fold).select("timestamp", "symbol", "label", "volatility") for fold in folds.values()])
    n_bars = rows["timestamp"].n_unique()
    even = _break_even(rows, position, horizon / bars_per_year)
    statistics: dict[str, Any] = {}
    for source in SOURCES:
        columns = [probabilities[source] for probabilities, _ in parts]
        present = [column for column in columns if column is not None]
        if len(present) == len(parts):
            found = describe_probabilities(labels, np.concatenate(present))
            statistics[source] = found | {
                "n_bars": n_bars,
                "accuracy_ci_bars": wilson_interval(found["accuracy"] * n_bars, n_bars),
                "break_even_accuracy": even,
            }
    statistics["class_balance"] = {"pos": int(labels.sum()), "neg": int((1 - labels).sum())}
    return statistics


def _break_even(rows: pl.DataFrame, position: PositionSection, years: float) -> float | None:
    """Break-even accuracy of equal bets that are opened and closed once each: c = 2 mean(bps) / 10 000.

    The move of a row is |label| * volatility * sqrt(years), which undoes what `targets` divided by.
    """
    round_trip = 2.0 * float(position.trading_bps(rows["symbol"].to_list()).mean()) * 1e-4
    move = float(np.mean(np.abs(rows["label"].to_numpy()) * rows["volatility"].to_numpy())) * math.sqrt(years)
    return break_even_accuracy(round_trip, move) if move > 0.0 else None


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
