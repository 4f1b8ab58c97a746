"""Has what the model makes of its inputs changed: its outputs, and what they are worth?

A bar is one time step with a value for each of S symbols; only out-of-sample bars belong here, in time order. Not here: the
inputs (`drift`), where the outputs come from.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import log
from typing import Any, Literal

import numpy as np

from tft_pipeline.domain.drift import drift_report
from tft_pipeline.domain.drift_null import null_starts, windows_needed
from tft_pipeline.domain.drift_records import DriftReport, Verdict
from tft_pipeline.domain.verdict import json_ready

Measure = Literal["log_loss", "portfolio_return"]

STARTS_A_WINDOW = 2
"""Null windows start every half of their length: means of windows that overlap more are too alike."""

LEAST_VALUES = 5
"""Fewest known values of the recent window for its mean to be judged."""

USELESS = {"log_loss": log(2.0), "portfolio_return": 0.0}
"""What a coin, or no position at all, would have got."""


@dataclass(frozen=True, kw_only=True)
class PerformanceDrift:
    """Realised performance of the recent bars against earlier windows of the same length.

    Attributes:
        p_value: (1 + windows at least as bad) / (1 + windows); None without a null.
        recent: Mean over the recent window; None without a value.
        reference: Mean over all bars before it.
        null_worst: Mean of the worst null window; None without a null.
        n_reference, n_recent: Bars with a known value.
        n_null_windows: W.
        n_left_out: Bars without any known value (an unresolved label), in neither of the two.
    """

    measure: Measure
    verdict: Verdict
    reason: str
    p_value: float | None
    recent: float | None
    reference: float | None
    null_worst: float | None
    n_reference: int
    n_recent: int
    n_null_windows: int
    n_left_out: int
    alpha: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        record: dict[str, Any] = json_ready(asdict(self))
        return record


def prediction_drift(
    outputs: Mapping[str, np.ndarray],
    *,
    n_recent: int,
    n_bins: int = 10,
    psi_threshold: float = 0.25,
    js_threshold: float = 0.3,
    alpha: float = 0.05,
    min_null_windows: int = 19,
) -> DriftReport:
    """`drift_report` of the model's outputs: the last bars against all before them; one row an output.

    A bar and symbol of which the model gave no output at all (it was not traded) counts nowhere.

    With fewer bars than `n_recent` all are recent and nothing is left to compare with: insufficient_data.

    Args:
        outputs: Name (probability, position) -> (N,) or (N bars, S symbols), NaN where the model gave none.
        n_recent: Bars.
    Raises:
        ValueError: n_recent < 1, no output, shapes that differ.
    """
    _refuse_no_recent(n_recent)
    known = np.any([~np.isnan(values) for values in outputs.values()], axis=0)
    known = known[:, None] if known.ndim == 1 else known
    return drift_report(
        {name: values[:-n_recent] for name, values in outputs.items()},
        {name: values[-n_recent:] for name, values in outputs.items()},
        n_bins=n_bins,
        psi_threshold=psi_threshold,
        js_threshold=js_threshold,
        alpha=alpha,
        min_null_windows=min_null_windows,
        observed=(known[:-n_recent], known[-n_recent:]),
    )


def log_losses(probability: np.ndarray, up: np.ndarray) -> np.ndarray:
    """-ln of the probability given to what happened, elementwise; NaN where either is missing.

    Probabilities are kept 1e-15 away from 0 and 1, so that a wrong certainty costs 34.5 and not infinity.

    Args:
        probability: of an upward move, in [0, 1].
        up: 1 for an upward move, 0 for none, NaN for a label that is not resolved.
    Raises:
        ValueError: shapes that differ, a probability outside [0, 1], a label that is neither 0, 1 nor missing.
    """
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(up, dtype=np.float64)
    if p.shape != y.shape:
        raise ValueError(f"{p.shape} probabilities and {y.shape} labels: every probability needs its own label")
    if ((p < 0.0) | (p > 1.0)).any():
        raise ValueError("a probability lies outside [0, 1]: its loss is not defined; pass probabilities, not scores")
    if not (np.isnan(y) | (y == 0.0) | (y == 1.0)).all():
        raise ValueError("a label is neither 0 nor 1: pass the direction (label > 0), NaN where it is not resolved")
    of_truth = np.where(np.isnan(y), np.nan, np.where(y == 1.0, p, 1.0 - p))
    return np.asarray(-np.log(np.clip(of_truth, 1e-15, 1.0 - 1e-15)))


def performance_drift(
    values: np.ndarray,
    *,
    measure: Measure,
    n_recent: int,
    alpha: float = 0.05,
    min_null_windows: int = 19,
) -> PerformanceDrift:
    """Is the model worse than it used to be? One-sided: the recent mean among those of earlier windows of its length.

    Bars without a known value are dropped first; the last `n_recent` that remain are the recent window. Null windows start
    every half of their length. retrain: p <= alpha, and the recent mean is no better than a coin's log loss ln 2 or than no
    return at all. investigate: p <= alpha. insufficient_data: fewer than `min_null_windows` windows (by default fewer than 10
    recent lengths before the recent bars), too few for a p-value of alpha, or fewer than 5 known recent values; not a pass.

    Nominal 5 % came out as 6.2 to 7.4 % on AR(1) series with phi 0, 0.5 and 0.9, windows of 60 bars and references of 10 or 11
    of them, as 5.0 to 6.0 % with 20 to 60; with phi 0.98 as 8 % and 6 to 7 % (2,000 to 4,000 series each).

    Args:
        values: (N,) or (N, S); losses (`log_losses`), of which less is better, or returns a bar, of which more is better.
        n_recent: Bars.
    Raises:
        ValueError: n_recent < 1, alpha outside (0, 1), an infinite value.
    """
    _refuse_no_recent(n_recent)
    if not 0.0 < alpha < 1.0 or min_null_windows < 1:
        raise ValueError(
            f"alpha {alpha}, min_null_windows {min_null_windows}: alpha must lie in (0, 1), the other be >= 1"
        )
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if np.isinf(table).any():
        raise ValueError("a value is infinite: every window that holds it would be; correct the losses or returns")
    resolved = ~np.isnan(table).all(axis=1)
    known = table[resolved]
    n_reference = max(len(known) - n_recent, 0)
    recent = known[n_reference:]
    needed = windows_needed(alpha, min_null_windows)
    starts = null_starts(n_reference, n_recent, a_window=STARTS_A_WINDOW)
    n_values = int(np.count_nonzero(~np.isnan(recent)))
    shortage = ""
    if n_values < LEAST_VALUES:
        shortage = (
            f"{n_values} known recent values, {LEAST_VALUES} are needed: wait for labels or take a longer recent window"
        )
    elif len(recent) < n_recent or len(starts) < needed:
        shortage = (
            f"{n_reference} known bars before the recent ones hold {len(starts)} null windows, {needed} are needed: "
            "wait for more out-of-sample bars or take a shorter recent window"
        )
    worse = 1.0 if measure == "log_loss" else -1.0
    now = float(np.nanmean(recent)) if n_values else None
    p_value = null_worst = None
    verdict: Verdict = "insufficient_data"
    reason = shortage
    if not shortage and now is not None:
        null = worse * _window_means(known, starts, n_recent)
        p_value = float((1 + int((null >= worse * now).sum())) / (1 + null.size))
        null_worst = worse * float(null.max())
        verdict, reason = _judge(measure, now, p_value, alpha)
    return PerformanceDrift(
        measure=measure,
        verdict=verdict,
        reason=reason,
        p_value=p_value,
        recent=now,
        reference=float(np.nanmean(known[:n_reference])) if n_reference else None,
        null_worst=null_worst,
        n_reference=n_reference,
        n_recent=len(recent),
        n_null_windows=len(starts),
        n_left_out=int(np.count_nonzero(~resolved)),
        alpha=alpha,
    )


def _refuse_no_recent(n_recent: int) -> None:
    if n_recent < 1:
        raise ValueError(f"n_recent {n_recent} < 1: there would be nothing to judge")


def _window_means(known: np.ndarray, starts: np.ndarray, window: int) -> np.ndarray:
    """(W,) mean of the values of each window; every bar has one at least."""
    sums = np.concatenate([[0.0], np.nansum(known, axis=1).cumsum()])
    counts = np.concatenate([[0], np.count_nonzero(~np.isnan(known), axis=1).cumsum()])
    return np.asarray((sums[starts + window] - sums[starts]) / (counts[starts + window] - counts[starts]))


def _judge(measure: Measure, now: float, p_value: float, alpha: float) -> tuple[Verdict, str]:
    limit = USELESS[measure]
    what = f"mean {measure.replace('_', ' ')} {now:.4g}, p {p_value:.3f} (one-sided)"
    if p_value > alpha:
        return "stable", f"{what}: not significantly worse at {alpha:g}"
    if now >= limit if measure == "log_loss" else now <= limit:
        rival = f"a coin ({limit:.4f})" if measure == "log_loss" else "no position"
        return "retrain", f"{what}: significantly worse than before, and no better than {rival}"
    return "investigate", f"{what}: significantly worse than before"
