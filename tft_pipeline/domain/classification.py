"""How good probabilities of an upward move are: accuracy with its interval and base rate, F1, AUC, log loss,
Brier, calibration and its table.

`y` is 0 or 1 a row; `probability` that of a 1. Not here: blending of several models (`ensemble`), money (`portfolio`).
"""

import math
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata

MARGIN = 1e-12
"""Probabilities are kept this far from 0 and 1, everywhere, so that one certain mistake costs much (27.6 nats) but not all."""


def _labels(y: np.ndarray, n: int | None = None) -> np.ndarray:
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.size == 0 or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"y of shape {labels.shape} must be one non-empty row of 0 and 1")
    if n is not None and labels.size != n:
        raise ValueError(f"{labels.size} labels for {n} predictions: join them on (symbol, timestamp) first")
    return labels.astype(bool)


def _probabilities(probability: np.ndarray) -> np.ndarray:
    p = np.asarray(probability, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError(f"probabilities of shape {p.shape} must be one row inside [0, 1] without NaN")
    return p


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a share k/n, never outside [0, 1].

        (k/n + z^2/2n +- z sqrt(k/n (1 - k/n)/n + z^2/4n^2)) / (1 + z^2/n)

    Rows are taken as independent; overlapping labels, and symbols that move together, make it too narrow.

    Args:
        successes: k; need not be whole where n is a number of effective rows and k the share of all rows times n.
        n: rows, or as many independent ones as they are worth (`bar_trials`).

    Raises:
        ValueError: n < 1, successes outside 0..n, confidence outside (0, 1).
    Source: Wilson (1927), JASA 22(158).
    """
    if n < 1 or not 0 <= successes <= n or not 0.0 < confidence < 1.0:
        raise ValueError(
            f"{successes} of {n} at confidence {confidence}: need 0 <= successes <= n, n >= 1, confidence in (0, 1)"
        )
    z = float(norm.ppf((1.0 + confidence) / 2.0))
    share = successes / n
    centre = share + z * z / (2.0 * n)
    half = z * math.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    width = 1.0 + z * z / n
    return max((centre - half) / width, 0.0), min((centre + half) / width, 1.0)


def accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    """Share of rows where the predicted class (0 or 1) is the label."""
    guess = _labels(predicted)
    return float((_labels(y, guess.size) == guess).mean())


def f1(y: np.ndarray, predicted: np.ndarray) -> float:
    """2 TP / (2 TP + FP + FN), class 1.

    Raises:
        ValueError: no row is 1 in either, so that it is 0/0.
    """
    guess = _labels(predicted)
    truth = _labels(y, guess.size)
    either = int(truth.sum() + guess.sum())
    if either == 0:
        raise ValueError("no row is labelled or predicted 1: F1 is undefined")
    return 2.0 * int((truth & guess).sum()) / either


def auc_roc(y: np.ndarray, score: np.ndarray) -> float:
    """Probability that a random 1 scores above a random 0, ties half: the Mann-Whitney statistic by ranks.

    Raises:
        ValueError: only one class, a score that is NaN.
    """
    score = np.asarray(score, dtype=np.float64)
    truth = _labels(y, score.size)
    positives = int(truth.sum())
    negatives = truth.size - positives
    if positives == 0 or negatives == 0:
        raise ValueError(f"all {truth.size} labels are of one class: AUC is undefined, score more bars")
    if np.isnan(score).any():
        raise ValueError("a score is NaN: drop bars without a prediction first")
    return float((rankdata(score)[truth].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def log_loss(y: np.ndarray, probability: np.ndarray) -> float:
    """-mean[y ln p + (1 - y) ln(1 - p)], nats; p is kept `MARGIN` away from 0 and 1."""
    p = np.clip(_probabilities(probability), MARGIN, 1.0 - MARGIN)
    truth = _labels(y, p.size)
    return float(-np.log(np.where(truth, p, 1.0 - p)).mean())


def brier(y: np.ndarray, probability: np.ndarray) -> float:
    """mean (p - y)^2."""
    p = _probabilities(probability)
    return float(((p - _labels(y, p.size)) ** 2).mean())


def expected_calibration_error(y: np.ndarray, probability: np.ndarray, *, n_bins: int = 10) -> float:
    """sum_b n_b/n |mean p - mean y| over equally wide bins [b/B, (b+1)/B), the last one closed.

    Source: Naeini, Cooper & Hauskrecht (2015), AAAI.
    """
    if n_bins < 1:
        raise ValueError(f"n_bins {n_bins} < 1")
    p = _probabilities(probability)
    truth = _labels(y, p.size)
    which = np.minimum((p * n_bins).astype(np.int64), n_bins - 1)
    gap = np.bincount(which, weights=p - truth, minlength=n_bins)
    return float(np.abs(gap).sum() / p.size)


def reliability_rows(
    y: np.ndarray, probability: np.ndarray, *, bars: np.ndarray | None = None, n_bins: int = 10
) -> list[dict[str, Any]]:
    """What was said against what came: a row a bin of about as many rows each, lowest probabilities first.

    Edges are quantiles of the probability, so that equal ones share a bin: fewer bins where many are equal.

    Args:
        bars: (n,) bar of each row: rows of one bar move together, and the interval is on distinct bars instead of rows.
    Returns:
        n, n_bars (n without bars), mean_probability, share_up, interval (Wilson 95 % of share_up on n_bars trials).
    """
    if n_bins < 1:
        raise ValueError(f"n_bins {n_bins} < 1")
    p = _probabilities(probability)
    truth = _labels(y, p.size)
    if bars is not None and np.shape(bars) != p.shape:
        raise ValueError(f"bars of shape {np.shape(bars)} for {p.size} probabilities: give one a row")
    inner = np.quantile(p, np.arange(1, n_bins) / n_bins, method="lower")
    which = np.searchsorted(np.unique(inner), p, side="right")
    rows = []
    for b in np.unique(which):
        inside = which == b
        n = int(inside.sum())
        trials = n if bars is None else len(np.unique(np.asarray(bars)[inside]))
        share = float(truth[inside].mean())
        rows.append(
            {
                "n": n,
                "n_bars": trials,
                "mean_probability": float(p[inside].mean()),
                "share_up": share,
                "interval": wilson_interval(share * trials, trials),
            }
        )
    return rows


def break_even_accuracy(cost: float, mean_abs_return: float) -> float:
    """1/2 + c / (2 E|r|): accuracy at which equal bets on direction pay their cost; above 1 none does.

    Args:
        cost: c, cost of one bet as a return (10 bps is 0.001).
        mean_abs_return: E|r| over the horizon of the bet.
    Raises:
        ValueError: cost < 0, mean_abs_return <= 0.
    """
    if not cost >= 0.0 or not mean_abs_return > 0.0:
        raise ValueError(f"cost {cost}, mean_abs_return {mean_abs_return}: need cost >= 0 and a return that moves")
    return 0.5 + cost / (2.0 * mean_abs_return)


def describe_probabilities(y: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    """Every classification number of the report, class 1 predicted from 0.5 upwards.

    Keys: n, accuracy, accuracy_ci (Wilson 95 %), base_rate (share of 1), majority_rate (accuracy of always guessing the
    larger class), f1 and auc_roc (None where undefined: nothing labelled or predicted 1; one class only),
    log_loss, brier, ece.
    """
    p = _probabilities(probability)
    truth = _labels(y, p.size)
    guess = p >= 0.5
    hits = int((guess == truth).sum())
    base = float(truth.mean())
    return {
        "n": int(p.size),
        "accuracy": hits / p.size,
        "accuracy_ci": wilson_interval(hits, p.size),
        "base_rate": base,
        "majority_rate": max(base, 1.0 - base),
        "f1": f1(truth, guess) if truth.any() or guess.any() else None,
        "auc_roc": auc_roc(truth, p) if 0.0 < base < 1.0 else None,
        "log_loss": log_loss(truth, p),
        "brier": brier(truth, p),
        "ece": expected_calibration_error(truth, p),
    }
