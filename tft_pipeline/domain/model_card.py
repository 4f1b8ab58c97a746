"""Model card v2: every figure out of a record of this run. Here: how the blocks make a card.

    card_train       what it learned from, how, in which environment; the network
    card_metrics     what was measured: metrics, calibration, latency, drift
    card_judgement   scope, limitations, risks, monitoring
    card_sources     which asset or key each block comes from
    card_nulls       why a value is null
    card_completion  what a release and an override add

The keys of the guide's example are a subset of this card and stand at the same places. Not here: the schema, renderings.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tft_pipeline.domain.card_completion import CANDIDATE
from tft_pipeline.domain.card_judgement import limitations, monitoring_plan, out_of_scope, risks
from tft_pipeline.domain.card_metrics import (
    calibration_block,
    drift_block,
    inference_block,
    latency_block,
    metrics_block,
)
from tft_pipeline.domain.card_nulls import with_null_reasons
from tft_pipeline.domain.card_sources import lineage_block
from tft_pipeline.domain.card_train import MadeWith, architecture_block, train_block
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.findings import DriftRecord, EnsembleWeights, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.gates_section import GatesSection
from tft_pipeline.domain.latency import latency_reasons
from tft_pipeline.domain.looser_limits import looser_limits
from tft_pipeline.domain.performance_gates import drift_reasons, unknown_reasons
from tft_pipeline.domain.reports import (
    FeatureCatalogue,
    FoldPlanReport,
    PrefilteredFeatures,
    SelectedFeatures,
    TunedHyperparameters,
)
from tft_pipeline.domain.verdict import GO, NO_GO

VERSION = "2"


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
    folds: Mapping[str, Mapping[str, Any]],
    performance: OosPerformance,
    audit: LeakageAudit,
    latency: LatencyBenchmark,
    drift: DriftRecord,
    ensemble: EnsembleWeights,
    made: MadeWith,
    schedule: Mapping[str, Any],
    contents: Mapping[str, str | Mapping[str, str]],
    intervals: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The card of a run: status candidate; gates, files, signature and the comparison with the live model are null until
    `card_completion.complete_card`.

    Args:
        folds: by key, oldest first: best_epoch, epochs, validation_loss, validation_accuracy (None without a probability),
            n_train_labels, n_validation_labels, weights_sha256, seconds, n_parameters, train_rows, seed, class_balance,
            imputed_values, clip and flat of the scaler, outputs, loss_mode, checkpoint_status, checkpoint_reason.
        schedule: of the nightly drift; see `card_judgement.monitoring_plan`.
        contents: content SHA-256 by asset; of a partitioned one, by partition.
        intervals: `direction_intervals` of the network's probabilities; None where it gives none.
    """
    newest, spec = folds[plan.specs[-1].key], plan.specs[-1]
    unknown = [why for why in unknown_reasons(plan, performance, audit) if why not in performance.reasons]
    reasons = [*performance.reasons, *unknown, *_operational_reasons(latency, drift, experiment.gates)]
    verdict = NO_GO if reasons else GO
    scored = {str(row["fold"]): row for row in performance.folds}
    figures = ("mean", "p50", "p95", "p99")
    card: dict[str, Any] = {
        "version": VERSION,
        "model_name": f"{experiment.name}_tft",
        "created_at": created_at.isoformat(),
        "status": CANDIDATE,
        "release_id": None,
        "verdict": verdict,
        "reasons": reasons,
        "notes": list(performance.notes),
        "contaminated": plan.contaminated,
        "limits": experiment.evaluation.model_dump(mode="json"),
        "owner": experiment.card.owner,
        "license": experiment.card.license,
        "intended_use": experiment.card.intended_use or experiment.description or None,
        "out_of_scope": out_of_scope(experiment, manifest, horizon=spec.horizon, verdict=verdict),
        "limitations": limitations(
            manifest=manifest,
            plan=plan,
            performance=performance,
            audit=audit,
            latency=latency,
            looser=looser_limits(latency=latency, drift=drift, gates=experiment.gates),
        ),
        "risks": risks(experiment=experiment, plan=plan, performance=performance, drift=drift, folds=folds),
        "train": train_block(
            experiment=experiment,
            manifest=manifest,
            catalogue=catalogue,
            prefiltered=prefiltered,
            selected=selected,
            tuned=tuned,
            plan=plan,
            folds=folds,
            scored=scored,
            device=latency.environment["device"],
            made=made,
        ),
        "metrics": metrics_block(performance, newest, intervals),
        "leakage_audit": {
            "passed": audit.passed,
            "guards": {str(row["guard"]): row["passed"] for row in audit.rows},
            "reasons": {str(row["guard"]): row["detail"] for row in audit.rows if row["passed"] is None},
        },
        "latency_ms": {key: latency.latency_ms[key] for key in figures} | latency.latency_ms,
        "latency": latency_block(latency),
        "architecture": architecture_block(plan, newest),
        "inference": inference_block(latency),
        "drift": drift_block(drift),
        "calibration": calibration_block(performance, ensemble, intervals),
        "ensemble": ensemble.model_dump(mode="json"),
        "gates": [],
        "gates_passed": None,
        "override": None,
        "files": None,
        "monitoring_plan": monitoring_plan(experiment, performance, schedule),
        "change_log": [
            {
                "at": created_at.isoformat(),
                "event": "card",
                "release_id": None,
                "since": None,
                "since_reason": "a card is of a run, not of a release",
                "changes": [],
            }
        ],
    }
    return with_null_reasons(card | {"lineage": lineage_block(experiment, contents)})


def _operational_reasons(latency: LatencyBenchmark, drift: DriftRecord, gates: GatesSection) -> list[str]:
    bounds = latency.latency_ms["p95_ci"]
    reasons = [f"latency: {why}" for why in latency_reasons(bounds, n=latency.n, max_p95_ms=latency.max_p95_ms)]
    return [*reasons, *drift_reasons(drift, gates)]
