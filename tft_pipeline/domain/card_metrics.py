"""The blocks of a card that hold measurements: metrics, calibration, latency, drift. Not here: training (`card_train`).

A figure is an object: value, n (what it was measured on), ci (95 %, [low, high]) and split (which bars); what is null has its
`reason` beside it. `accuracy` and `val_loss` are plain numbers, as the guide has them; the objects beside them say the rest.
"""

import math
from collections.abc import Mapping
from typing import Any

from scipy.stats import t as student

from tft_pipeline.domain.drift_records import judged_rows
from tft_pipeline.domain.findings import DriftRecord, EnsembleWeights, LatencyBenchmark, OosPerformance
from tft_pipeline.domain.performance_targets import eager_p95_ci

SCORED, VALIDATION, LIVE = "out_of_sample", "validation", "common_bars_with_the_live_model"
NOT_COMPARED = "the release compares with the live model, when the gates are judged"


def metrics_block(
    performance: OosPerformance, newest: Mapping[str, Any], intervals: Mapping[str, Any] | None
) -> dict[str, Any]:
    """`metrics`.

    Args:
        newest: facts of the newest fold, whose model is released.
        intervals: `direction_intervals` of the network's probabilities; None where it gives none.
    """
    direction = performance.direction.get("tft", {})
    return {
        "accuracy": direction.get("accuracy"),
        "accuracy_reason": "" if direction else _no_probability(newest),
        "val_loss": newest["validation_loss"],
        "validation_loss": {
            "value": newest["validation_loss"],
            "n": newest["n_validation_labels"],
            "ci": None,
            "split": VALIDATION,
            "reason": "the loss of the bars that chose the epoch is no estimate: no interval would hold it",
        },
        "direction_accuracy": {
            **_figure(direction, "accuracy", newest, ci=direction.get("accuracy_ci_bars")),
            "n_bars": direction.get("n_bars"),
            "trials": direction.get("trials"),
            "base_rate": direction.get("base_rate"),
            "majority_rate": direction.get("majority_rate"),
            "break_even": direction.get("break_even_accuracy"),
        },
        **{
            name: _figure(direction, key, newest, ci=(intervals or {}).get(key), why=(intervals or {}).get("reasons"))
            for name, key in (
                ("auc", "auc_roc"),
                ("f1", "f1"),
                ("log_loss", "log_loss"),
                ("brier", "brier"),
                ("ece", "ece"),
            )
        },
        "sharpe": _sharpe(performance),
        "champion_delta": {
            "value": None,
            "n": None,
            "ci": None,
            "split": LIVE,
            "unit": "Sharpe ratio a year, this model less the live one",
            "against": None,
            "p_value": None,
            "reason": NOT_COMPARED,
        },
        "val_vs_oos_gap": _gap(performance.research.get("inflation") or {}),
        "baselines": performance.baselines,
        "costs": performance.costs,
        "direction": performance.direction,
        "folds": [dict(row) for row in performance.folds],
        "research": performance.research,
        "looks_at_production_period": performance.looks,
        "track_record": performance.track_record,
        "superiority": performance.superiority,
    }


def calibration_block(
    performance: OosPerformance, ensemble: EnsembleWeights, intervals: Mapping[str, Any] | None
) -> dict[str, Any]:
    """`calibration`: what was said against what came, and the maps that the blend applies first."""
    direction = performance.direction.get("tft", {})
    return {
        "ece": direction.get("ece"),
        "ece_ci": (intervals or {}).get("ece"),
        "brier": direction.get("brier"),
        "n": direction.get("n"),
        "split": SCORED,
        "calibrated": False,
        "reliability": list(direction.get("reliability", ())),
        "blend": {
            "calibrated": ensemble.calibrated,
            "map": "logit(p) -> intercept + slope logit(p), by source",
            "sources": ensemble.calibration,
        },
        "reason": "" if direction else "the network gives no probability of an upward move",
    }


def latency_block(latency: LatencyBenchmark) -> dict[str, Any]:
    """`latency`: what `latency_ms` leaves unsaid, milliseconds."""
    figures, environment = latency.latency_ms, latency.environment
    return {
        "unit": "ms",
        "form": latency.form,
        "n": latency.n,
        "p999": figures.get("p999"),
        "max": figures.get("max"),
        "p95_ci": figures["p95_ci"],
        "limit_p95": latency.max_p95_ms,
        "within_limit": latency.within_limit,
        "cold_start": environment.get("cold_start_ms"),
        "cold_start_reason": "" if environment.get("cold_start_ms") is not None else "latency.cold_start is false",
        "load_ms": environment.get("load_ms"),
        "load": dict(latency.machine),
        "open_loop": {key: value for key, value in latency.open_loop.items() if key != "distribution"},
        "unbounded": dict(figures.get("unbounded", {})),
    }


def inference_block(latency: LatencyBenchmark) -> dict[str, Any]:
    """`inference`."""
    return {
        "device": latency.environment["device"],
        "threads": latency.environment["threads"],
        "warmup_n": latency.warmup,
        "n": latency.n,
        "cold_start_ms": latency.environment.get("cold_start_ms"),
        "load_ms": latency.environment.get("load_ms"),
        "form": latency.form,
        "eager_p95_ci": eager_p95_ci(latency),
        "left_out": dict(latency.left_out),
        "open_loop": {key: value for key, value in latency.open_loop.items() if key != "distribution"},
        "machine": dict(latency.machine),
    }


def drift_block(drift: DriftRecord) -> dict[str, Any]:
    """`drift`: all four parts, largest figures, windows."""
    rows = judged_rows(drift.rows)
    return {
        **drift.detail,
        "verdict": drift.verdict,
        "n_reference": drift.n_reference,
        "n_recent": drift.n_recent,
        "psi_max": max((row["psi"] for row in rows if row["psi"] is not None), default=None),
        "js_max": max((row["js_distance"] for row in rows if row.get("js_distance") is not None), default=None),
        "reasons": list(drift.reasons),
        "reference": drift.reference,
        "recent": drift.recent,
        **{
            name: None if part is None else {key: part.get(key) for key in ("verdict", "reason")}
            for name, part in (
                ("multivariate", drift.multivariate),
                ("predictions", drift.predictions),
                ("performance", drift.performance),
            )
        },
    }


def _figure(
    found: Mapping[str, Any],
    key: str,
    newest: Mapping[str, Any],
    *,
    ci: Any,
    why: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    value = found.get(key)
    reason = (
        ""
        if value is not None and ci is not None
        else _no_probability(newest)
        if not found
        else (why or {}).get(key, "undefined on these rows")
    )
    return {
        "value": value,
        "n": found.get("n"),
        "ci": None if ci is None else list(ci),
        "split": SCORED,
        **({"reason": reason} if reason else {}),
    }


def _no_probability(newest: Mapping[str, Any]) -> str:
    return f"the network gives no probability of an upward move: loss_mode {newest['loss_mode']} trains a position"


def _sharpe(performance: OosPerformance) -> dict[str, Any]:
    """A year, net; `net` and `gross` are the whole records, with per-bar figures."""
    net, research = performance.net, performance.research
    return {
        "value": net["sharpe_annual"],
        "unit": "a year",
        "n": net.get("n"),
        "se": net.get("se_annual"),
        "ci": net.get("bootstrap_ci_annual"),
        "split": SCORED,
        "psr": net.get("psr"),
        "psr_after_looks": net.get("psr_after_looks"),
        "looks": performance.looks,
        "dsr": research.get("dsr"),
        "dsr_reason": research.get("dsr_reason", ""),
        "pbo": research.get("pbo"),
        "pbo_reason": research.get("pbo_reason", ""),
        "trials": research.get("n_trials_started"),
        "net": net,
        "gross": performance.gross,
    }


def _gap(inflation: Mapping[str, Any]) -> dict[str, Any]:
    """Mean over folds of the validation Sharpe ratio less the out-of-sample one; Student's interval on the folds."""
    value, error, n = (inflation.get(key) for key in ("mean_gap_annual", "gap_se_annual", "n_both"))
    interval = None
    if value is not None and error is not None and n is not None:
        half = float(student.ppf(0.975, n - 1)) * error
        interval = [value - half, value + half] if math.isfinite(half) else None
    figure = {"value": value, "n": n, "se": error, "ci": interval, "split": f"{VALIDATION} less {SCORED}"}
    lacking = value is None or interval is None
    return figure | {
        "unit": "Sharpe ratio a year, n folds",
        **({"reason": "fewer than two folds have both ratios"} if lacking else {}),
    }
