"""The record of a blend: weights from all folds, metrics from folds that nothing was fitted to, intervals, comparisons.

Not here: the formulas (`ensemble`, `forward_chaining`, `ensemble_draws`), where probabilities come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tft_pipeline.domain.bar_bootstrap import (
    CONFIDENCE,
    MIN_BARS,
    N_DRAWS,
    auc_interval,
    blocks_for,
    dense_bars,
    mean_interval,
    per_bar,
)
from tft_pipeline.domain.bar_trials import effective_trials
from tft_pipeline.domain.classification import describe_probabilities, wilson_interval
from tft_pipeline.domain.ensemble import Probabilities, greedy_weights
from tft_pipeline.domain.ensemble_draws import loss_difference, row_losses, weight_intervals
from tft_pipeline.domain.findings import EnsembleWeights
from tft_pipeline.domain.forward_chaining import FittedBlend, ForwardChained, fit_blend, forward_chained
from tft_pipeline.domain.verdict import json_ready

GUIDE_METRICS = ("accuracy", "f1", "auc_roc")


@dataclass(frozen=True, kw_only=True)
class BlendPart:
    """The rows of one fold, or of one block of time.

    Attributes:
        key: its name.
        probabilities: source -> (n,) raw out-of-fold probabilities, or None when absent.
        y: (n,) 0 or 1.
        bars: (n,) bar index of each row on the calendar of all parts.
        missing: rows without a value, by source.
    """

    key: str
    probabilities: Probabilities
    y: np.ndarray
    bars: np.ndarray
    missing: Mapping[str, int] = field(default_factory=dict)


def blend_record(
    parts: Sequence[BlendPart], *, l2: float, horizon: int, seed: int, calibrated: bool = True, what: str = "fold"
) -> EnsembleWeights:
    """Weights from all parts; metrics from parts that neither calibration nor weights had seen.

    Labels that reach into the next part (`horizon` - 1 bars) teach nothing that is scored there. With one part only there is
    nothing to score forward, and the metrics say so instead of quoting fitted rows.

    Args:
        parts: in time order.
        l2: pull towards equal weights.
        horizon: bars a label looks ahead.
        seed: of the bootstrap.
        calibrated: calibrate each source first, on earlier parts.
        what: what a part is called.
    Raises:
        ValueError: parts that do not fit, or no source; see `forward_chaining.forward_chained`.
        RuntimeError: no convergence.
    """
    sources, labels = [part.probabilities for part in parts], [part.y for part in parts]
    common: dict[str, Any] = {
        "calibrated": calibrated,
        "missing": _missing(parts),
        "metrics_on_fitted_rows": {},
    }
    if len(parts) < 2:
        allowed = [name for name, p in sources[0].items() if p is not None]
        final = fit_blend(sources, labels, allowed, l2=l2, calibrated=calibrated)
        reason = f"one {what} only: a blend cannot be scored on bars it was not fitted to"
        scored: dict[str, Any] = {
            "metrics": {**dict.fromkeys(GUIDE_METRICS), "reason": reason},
            "measured_on": f"nothing: {reason}",
            "folds": (),
            "greedy_weights": greedy_weights(final.probabilities, final.y),
        }
        none = ("accuracy", "log_loss", "auc_roc")
        intervals: dict[str, Any] = {**dict.fromkeys(none), "reasons": dict.fromkeys(none, reason)}
        chained = None
    else:
        chained = forward_chained(
            sources,
            labels,
            l2=l2,
            n_unresolved=horizon - 1,
            bars=[part.bars for part in parts],
            calibrated=calibrated,
        )
        final = chained.final
        bar = dense_bars(np.concatenate([parts[k].bars for k in chained.scored]))
        intervals = _metric_intervals(chained, bar, horizon, seed)
        scored = {
            "metrics": {key: chained.pooled[key] for key in GUIDE_METRICS} | chained.pooled,
            "measured_on": _measured_on(parts, chained, what, calibrated),
            "folds": tuple({**row, "fold": parts[int(str(row["fold"]))].key} for row in chained.folds),
            "sources": chained.pooled_by_source,
            "comparison": _comparison(chained, bar, horizon, seed),
            "greedy_weights": chained.greedy,
        }
    fitted_bars = dense_bars(np.concatenate([part.bars for part in parts[final.first :]]))
    _add_weight_intervals(intervals, final, fitted_bars, l2, horizon, seed)
    common["metrics_on_fitted_rows"] = describe_probabilities(final.y, final.fit.blend(final.probabilities))
    record = common | scored | {"intervals": intervals, "n": _counts(parts, final, chained)}
    return EnsembleWeights(
        weights=final.fit.weights,
        available=final.fit.available,
        calibration={
            name: {"slope": float(c.slope), "intercept": float(c.intercept)} for name, c in final.calibrations.items()
        },
        **{key: _ready(value) for key, value in record.items()},
    )


def _ready(value: Any) -> Any:
    return tuple(json_ready(row) for row in value) if isinstance(value, tuple) else json_ready(value)


def _missing(parts: Sequence[BlendPart]) -> dict[str, int]:
    names = dict.fromkeys(name for part in parts for name in part.missing)
    return {name: sum(part.missing.get(name, 0) for part in parts) for name in names}


def _counts(parts: Sequence[BlendPart], final: FittedBlend, chained: ForwardChained | None) -> dict[str, int]:
    def of(name: str, some: Sequence[BlendPart]) -> dict[str, int]:
        bars = np.concatenate([part.bars for part in some]) if some else np.empty(0)
        return {f"{name}rows": int(bars.size), f"{name}bars": int(np.unique(bars).size)}

    scored = [] if chained is None else [parts[k] for k in chained.scored]
    return {"folds": len(parts)} | of("", parts) | of("fitted_", parts[final.first :]) | of("scored_", scored)


def _measured_on(parts: Sequence[BlendPart], chained: ForwardChained, what: str, calibrated: bool) -> str:
    ready = "calibration and weights" if calibrated else "weights (nothing is calibrated)"
    first = parts[chained.scored[0]].key
    return (
        f"{len(chained.scored)} of {len(parts)} {what}s, from {first} on, each blended with {ready} from "
        "earlier ones alone"
    )


def _metric_intervals(chained: ForwardChained, bar: np.ndarray, horizon: int, seed: int) -> dict[str, Any]:
    y, blend = np.concatenate(chained.labels), np.concatenate(chained.probabilities)
    right = (blend >= 0.5) == (y == 1)
    trials = effective_trials(right, bar, horizon=horizon)
    found: dict[str, Any] = {
        "accuracy": wilson_interval(float(right.mean()) * trials, trials),
        "trials": trials,
        "log_loss": None,
        "auc_roc": None,
    }
    losses = row_losses(y, blend)
    try:
        blocks = blocks_for([per_bar(losses, bar)[:, 0]], least=horizon, seed=seed)
    except ValueError as error:
        return found | {"reasons": {"log_loss": str(error), "auc_roc": str(error)}}
    found |= {"log_loss": mean_interval(losses, bar, blocks), "block_bars": {"metrics": blocks.block_length}}
    if np.unique(y).size < 2:
        return found | {"reasons": {"auc_roc": f"all {y.size} scored labels are of one class"}}
    return found | {"auc_roc": auc_interval(y, blend, bar, blocks), "reasons": {}}


def _add_weight_intervals(
    intervals: dict[str, Any], final: FittedBlend, bar: np.ndarray, l2: float, horizon: int, seed: int
) -> None:
    intervals |= {"confidence": CONFIDENCE, "n_draws": N_DRAWS}
    try:
        found, length = weight_intervals(
            final.fit, final.probabilities, final.y, bar, l2=l2, horizon=horizon, seed=seed
        )
    except ValueError as error:
        if int(bar.max()) + 1 >= MIN_BARS:
            raise
        intervals["weights"] = None
        intervals["reasons"] = {"weights": str(error), **intervals["reasons"]}
        return
    absent = dict.fromkeys(name for name, there in final.fit.available.items() if not there)
    intervals["weights"] = absent | found
    intervals["block_bars"] = {"weights": length, **intervals.get("block_bars", {})}


def _comparison(chained: ForwardChained, bar: np.ndarray, horizon: int, seed: int) -> dict[str, Any]:
    """Against the source of lowest log loss of those in every scored fold: chosen with hindsight, which favours the source."""
    whole: dict[str, list[np.ndarray]] = {}
    for name, columns in chained.by_source.items():
        there = [column for column in columns if column is not None]
        if len(there) == len(columns):
            whole[name] = there
    if not whole:
        reason = "no source is in every scored fold"
        return {
            "best_single": None,
            "reason": reason,
            "sentence": f"The blend is compared with no single source: {reason}.",
        }
    if len(whole) == 1 and sum(any(c is not None for c in columns) for columns in chained.by_source.values()) == 1:
        (only,) = whole
        sentence = f"There is one source, {only}: the blend is that source."
        return {"best_single": only, "reason": "one source only", "sentence": sentence}
    best = min(
        whole, key=lambda name: float(np.mean(row_losses(np.concatenate(chained.labels), np.concatenate(whole[name]))))
    )
    found = loss_difference(best, chained.labels, whole[best], chained.probabilities, bar, horizon=horizon, seed=seed)
    return {
        "best_single": best,
        "log_loss_difference": found.difference,
        "interval": found.interval,
        "verdict": found.verdict,
        "sentence": found.sentence(),
        "n_rows": found.n,
        "n_bars": found.n_bars,
        "block_bars": found.block_length,
        "reason": found.reason,
    }
