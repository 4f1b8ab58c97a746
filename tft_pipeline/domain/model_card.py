"""Model card v2: every figure out of a record of this run. Not here: renderings, gates, writing.

The keys of the guide's example are a subset of this card and stand at the same places.
"""

from datetime import datetime
from typing import Any

from tft_pipeline.domain.drift_records import judged_rows
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.findings import DriftRecord, EnsembleWeights, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.latency import latency_reasons
from tft_pipeline.domain.performance_targets import eager_p95_ci
from tft_pipeline.domain.reports import (
    FeatureCatalogue,
    FoldPlanReport,
    PrefilteredFeatures,
    SelectedFeatures,
    TunedHyperparameters,
)
from tft_pipeline.domain.verdict import GO, NO_GO

LIMITATIONS = (
    "The market impact of the positions is not modelled; costs are linear in the weight traded.",
    "Symbols that no longer trade are absent unless the source holds them (survivorship bias).",
    "Statistics speak of the scored period; regimes that it does not contain are not covered.",
)

NETWORKS = {
    "tft": "decoder-only Temporal Fusion Transformer",
    "lstm": "stacked LSTM",
    "pytorch_forecasting": "pytorch-forecasting's TemporalFusionTransformer",
}
"""What a network family is, in words."""


def build_card(
    *,
    experiment: Experiment,
    created_at: datetime,
    manifest: dict[str, Any],
    catalogue: FeatureCatalogue,
    prefiltered: PrefilteredFeatures,
    selected: SelectedFeatures,
    tuned: TunedHyperparameters,
    plan: FoldPlanReport,
    folds: dict[str, dict[str, Any]],
    performance: OosPerformance,
    audit: LeakageAudit,
    latency: LatencyBenchmark,
    drift: DriftRecord,
    ensemble: EnsembleWeights,
    resources: dict[str, Any],
    environment: dict[str, Any],
) -> dict[str, Any]:
    """The card.

    Args:
        folds: by key, oldest first: best_epoch, validation_loss, n_train_labels, weights_sha256, seconds, n_parameters,
            train_rows, seed.
        resources: timeline, system (one row a phase, one a resource; `domain.timeline`) and machine.
    """
    newest, spec = folds[plan.specs[-1].key], plan.specs[-1]
    reasons = [*performance.reasons, *_operational_reasons(latency, drift)]
    direction = performance.direction.get("tft", {})
    return {
        "version": "2",
        "model_name": f"{experiment.name}_tft",
        "created_at": created_at.isoformat(),
        "status": "candidate",
        "verdict": NO_GO if reasons else GO,
        "reasons": reasons,
        "notes": list(performance.notes),
        "contaminated": plan.contaminated,
        "limits": experiment.evaluation.model_dump(mode="json"),
        "intended_use": experiment.description,
        "out_of_scope": "Live trading while the verdict is NO-GO; symbols, intervals and features other than those below.",
        "limitations": list(LIMITATIONS),
        "train": {
            "snapshot_id": manifest["snapshot_id"],
            "snapshot_content_sha256": manifest["content_sha256"],
            "as_of": manifest["as_of"],
            "range": {"start": spec.dates["train"]["first"], "end": spec.dates["validation"]["last"]},
            "rows": newest["train_rows"],
            "class_balance": newest["class_balance"],
            "symbols": [name for name in manifest["symbols"] if name not in experiment.data.untraded],
            "rows_per_symbol": manifest["quality"]["rows_per_symbol"],
            "interval": manifest["interval"],
            "target": {
                "name": "label",
                "horizon": experiment.target.horizon,
                "definition": "forward return over the horizon in units of ex-ante risk (EWM standard deviation)",
            },
            "purge": plan.purge,
            "production_start": experiment.periods.production_start.isoformat(),
            "folds": [
                {"id": each.key, **each.dates, **{k: v for k, v in folds[each.key].items() if k != "class_balance"}}
                for each in plan.specs
            ],
            "seeds": sorted({row["seed"] for row in folds.values()}),
            "deterministic": latency.environment["device"] == "cpu",
            "hp": {
                "network": tuned.network.model_dump(mode="json"),
                "training": tuned.training.model_dump(mode="json"),
                "position": tuned.position.model_dump(mode="json"),
            },
            "hp_source": {
                "study": tuned.study,
                "trial": tuned.best_trial,
                "n_trials": tuned.n_trials_started,
                "n_pruned": tuned.n_pruned,
                "metric": "mean net out-of-sample Sharpe a year over the tuning folds",
                "value": tuned.best_sharpe_annual,
            },
            "feature_selection": {
                "initial": len(catalogue.names),
                "after_prefilter": len(prefiltered.kept),
                "selected": len(selected.features),
                "method": "VSN weights against shadow features over exploration folds",
                "features": [dict(row) for row in selected.rows if row["kept"]],
                "groups": [dict(row) for row in selected.groups],
                "nogueira": selected.nogueira,
                "kendall_w": selected.kendall_w,
            },
            "resources": resources,
            "duration_s": sum(row["seconds"] for row in folds.values()) + tuned.seconds,
        },
        "metrics": {
            "accuracy": direction.get("accuracy"),
            "val_loss": newest["validation_loss"],
            "direction": performance.direction,
            "sharpe": performance.net,
            "sharpe_gross": performance.gross,
            "baselines": performance.baselines,
            "costs": performance.costs,
            "folds": [dict(row) for row in performance.folds],
            "research": performance.research,
            "looks_at_production_period": performance.looks,
            "track_record": performance.track_record,
            "superiority": performance.superiority,
        },
        "leakage_audit": {
            "passed": audit.passed,
            "guards": {str(row["guard"]): row["passed"] for row in audit.rows},
        },
        "latency_ms": {key: latency.latency_ms[key] for key in ("mean", "p50", "p95", "p99")}
        | {key: value for key, value in latency.latency_ms.items() if key not in ("mean", "p50", "p95", "p99")},
        "architecture": {
            "class": NETWORKS[spec.network.family],
            "family": spec.network.family,
            "seq_len": spec.training.lookback,
            "hidden_size": spec.network.hidden,
            "total_params": newest["n_parameters"],
            "features": list(spec.features),
            "layers": spec.network.lstm_layers,
            "heads": None if spec.network.family == "lstm" else spec.network.heads,
            "static_symbol": spec.network.static_symbol,
            "n_context": spec.network.n_context,
            "dropout": spec.network.dropout,
            "loss": spec.training.loss_mode,
        },
        "inference": {
            "device": latency.environment["device"],
            "threads": latency.environment["threads"],
            "warmup_n": latency.warmup,
            "n": latency.n,
            "cold_start_ms": latency.environment["cold_start_ms"],
            "load_ms": latency.environment["load_ms"],
            "form": latency.form,
            "eager_p95_ci": eager_p95_ci(latency),
            "left_out": dict(latency.left_out),
            "open_loop": {key: value for key, value in latency.open_loop.items() if key != "distribution"},
            "machine": dict(latency.machine),
        },
        "drift": {
            **drift.detail,
            "verdict": drift.verdict,
            "n_reference": drift.n_reference,
            "n_recent": drift.n_recent,
            "psi_max": max((row["psi"] for row in judged_rows(drift.rows) if row["psi"] is not None), default=None),
            "js_max": max(
                (row["js_distance"] for row in judged_rows(drift.rows) if row.get("js_distance") is not None),
                default=None,
            ),
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
        },
        "ensemble": ensemble.model_dump(mode="json"),
        "environment": environment,
    }


def _operational_reasons(latency: LatencyBenchmark, drift: DriftRecord) -> list[str]:
    bounds = latency.latency_ms["p95_ci"]
    reasons = [f"latency: {why}" for why in latency_reasons(bounds, n=latency.n, max_p95_ms=latency.max_p95_ms)]
    if drift.verdict in ("retrain", "insufficient_data"):
        reasons.append(f"drift: {drift.verdict} over the last {drift.n_recent} bars")
    return reasons
