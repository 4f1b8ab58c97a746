"""Probabilities of an upward move out of the production folds: how good they are, and how they blend. No assets here."""

import math
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.bar_bootstrap import dense_bars
from tft_pipeline.domain.bar_trials import effective_trials
from tft_pipeline.domain.blending import BlendPart
from tft_pipeline.domain.classification import (
    break_even_accuracy,
    describe_probabilities,
    reliability_rows,
    wilson_interval,
)
from tft_pipeline.domain.ensemble import Probabilities
from tft_pipeline.domain.findings import EnsembleWeights
from tft_pipeline.domain.sections import PositionSection
from tft_pipeline.domain.sentiment import PREDICTED
from tft_pipeline.storage.fold_bundles import FoldBundle

SOURCES = {"lgbm": "lightgbm_probability", "tft": "probability", "sentiment": PREDICTED}


def fold_probabilities(fold: FoldBundle) -> tuple[Probabilities, np.ndarray, dict[str, int]]:
    """Out-of-fold probabilities by source on the rows with a known label, the labels (1: up), and how many values are missing.

    A source that lacks a value on any of these rows is None for the whole fold: a blend of other sources on some rows than on
    others would have weights that belong to neither. One that gives no probability at all (a network trained on the Sharpe
    ratio alone, or one that is not connected) lacks all.
    """
    rows = _labelled(fold)
    probabilities: dict[str, np.ndarray | None] = {}
    missing: dict[str, int] = {}
    for source, column in SOURCES.items():
        present = column in rows.columns
        values = rows[column].fill_null(float("nan")).to_numpy() if present else np.full(rows.height, np.nan)
        missing[source] = int(np.isnan(values).sum())
        probabilities[source] = values if rows.height and not missing[source] else None
    return probabilities, (rows["label"].to_numpy() > 0).astype(np.int64), missing


def direction_statistics(
    folds: dict[str, FoldBundle], *, position: PositionSection, horizon: int, bars_per_year: float
) -> dict[str, Any]:
    """Accuracy with its intervals, base rate and break-even, log loss and the rest, by source, over all out-of-sample rows.

    Beside the keys of `describe_probabilities` a source has
        n_bars               distinct bars of its rows
        trials               bars, fewer where labels of several bars overlap: see `bar_trials.effective_trials`
        accuracy_ci_bars     Wilson 95 % of the accuracy on that many trials, for the rows of one bar move together
        break_even_accuracy  1/2 + c / (2 E|r|), c a bet's round trip, E|r| its mean move, both means over the rows; None where
                             no price moved
        reliability          what was said against what came, see `reliability_rows`; uncalibrated, intervals on bars
    """
    parts = [fold_probabilities(fold) for fold in folds.values()]
    labels = np.concatenate([y for _, y, _ in parts])
    rows = pl.concat([_labelled(fold).select("timestamp", "symbol", "label", "volatility") for fold in folds.values()])
    bar = dense_bars(rows["timestamp"].to_physical().to_numpy())
    n_bars = int(bar.max()) + 1
    even = _break_even(rows, position, horizon / bars_per_year)
    statistics: dict[str, Any] = {}
    for source in SOURCES:
        columns = [probabilities[source] for probabilities, _, _ in parts]
        present = [column for column in columns if column is not None]
        if len(present) == len(parts):
            probability = np.concatenate(present)
            found = describe_probabilities(labels, probability)
            trials = effective_trials((probability >= 0.5) == (labels == 1), bar, horizon=horizon)
            statistics[source] = found | {
                "n_bars": n_bars,
                "trials": trials,
                "accuracy_ci_bars": wilson_interval(found["accuracy"] * trials, trials),
                "break_even_accuracy": even,
                "reliability": reliability_rows(labels, probability, bars=bar),
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


def blend_parts(folds: dict[str, FoldBundle]) -> list[BlendPart]:
    """Each fold's probabilities and labels on the bars of all of them, as `blending.blend_record` takes them."""
    calendar = np.unique(np.concatenate([_stamps(fold) for fold in folds.values()]))
    parts = []
    for key, fold in folds.items():
        probabilities, y, missing = fold_probabilities(fold)
        bars = np.searchsorted(calendar, _stamps(fold))
        parts.append(BlendPart(key=key, probabilities=probabilities, y=y, bars=bars, missing=missing))
    return parts


def weight_rows(record: EnsembleWeights) -> list[dict[str, Any]]:
    """Weight of each source with its interval, as a picture takes them; no interval for one that is absent."""
    intervals = record.intervals.get("weights") or {}
    rows = []
    for name, weight in record.weights.items():
        low, high = intervals.get(name) or (None, None)
        rows.append({"name": name, "value": weight, "low": low, "high": high})
    return rows


def _stamps(fold: FoldBundle) -> np.ndarray:
    return _labelled(fold)["timestamp"].to_physical().to_numpy()


def _labelled(fold: FoldBundle) -> pl.DataFrame:
    return fold.predictions.filter(pl.col("label").is_finite())
