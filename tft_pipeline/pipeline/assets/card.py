"""The model card: every record of a run in one. Not here: what it says (`domain.model_card`), its release (`release`)."""

import dagster as dg

from tft_pipeline.domain.content import json_sha256
from tft_pipeline.domain.findings import (
    DriftRecord,
    EnsembleWeights,
    LatencyBenchmark,
    LeakageAudit,
    ModelCard,
    OosPerformance,
)
from tft_pipeline.domain.model_card import build_card
from tft_pipeline.domain.phases import DriftSection
from tft_pipeline.domain.reports import (
    FeatureCatalogue,
    FoldPlanReport,
    PrefilteredFeatures,
    SelectedFeatures,
    TunedHyperparameters,
)
from tft_pipeline.pipeline.assets.evaluation import all_production_folds, newest_fold
from tft_pipeline.pipeline.assets.performance import statistics_picture
from tft_pipeline.pipeline.automation import on_all_folds
from tft_pipeline.pipeline.card import validate_card
from tft_pipeline.pipeline.card.made import drift_schedule, fold_facts, made_with, scored_intervals
from tft_pipeline.pipeline.gates import refuse_another_model, refuse_leaks, refuse_outdated_verdict
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import guarded
from tft_pipeline.pipeline.judgement_metadata import headline_rows
from tft_pipeline.pipeline.markdown import listing
from tft_pipeline.pipeline.outputs import HasContent, content_output, table
from tft_pipeline.pipeline.partitions import planned_folds
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.fold_bundles import FoldBundle, weights_sha256
from tft_pipeline.storage.snapshots import Snapshot

CARD_REVISION = "9"
CARD_SECTIONS = (
    "description",
    "card",
    "target",
    "periods",
    "research_paths",
    "prefilter",
    "data.market_symbol",
    "data.cross_markets",
    "evaluation",
    "latency.max_p95_ms",
    *(
        f"drift.{name}" for name in DriftSection.model_fields if name != "fresh_within_hours"
    ),  # that one is for the UI alone
    "gates",
)


def card_asset(graph: ExperimentGraph) -> dg.AssetsDefinition:
    """`model_card`."""

    @dg.asset(
        key=graph.key("model_card"),
        ins={
            "snapshot": dg.AssetIn(graph.key("snapshot")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
            "prefiltered": dg.AssetIn(graph.key("prefiltered_features")),
            "selected": dg.AssetIn(graph.key("selected_features")),
            "tuned": dg.AssetIn(graph.key("tuned_hyperparameters")),
            "plan": dg.AssetIn(graph.key("production_plan")),
            "folds": all_production_folds(graph),
            "performance": dg.AssetIn(graph.key("oos_performance")),
            "audit": dg.AssetIn(graph.key("leakage_audit")),
            "latency": dg.AssetIn(graph.key("latency_benchmark")),
            "drift": dg.AssetIn(graph.key("drift_report")),
            "ensemble": dg.AssetIn(graph.key("ensemble_weights")),
        },
        io_manager_key="reports",
        code_version=graph.code_version(CARD_REVISION, *CARD_SECTIONS),
        automation_condition=on_all_folds(),
    )
    @guarded(graph, "model_card", measured=False)
    def model_card(
        context: dg.AssetExecutionContext,
        snapshot: Snapshot,
        catalogue: FeatureCatalogue,
        prefiltered: PrefilteredFeatures,
        selected: SelectedFeatures,
        tuned: TunedHyperparameters,
        plan: FoldPlanReport,
        folds: dict[str, FoldBundle],
        performance: OosPerformance,
        audit: LeakageAudit,
        latency: LatencyBenchmark,
        drift: DriftRecord,
        ensemble: EnsembleWeights,
    ) -> dg.Output[ModelCard]:
        """Everything a reader must know before using the model, every figure from the records of this run. Look at verdict,
        reasons and limitations; one record."""
        refuse_leaks(graph, audit, plan)
        refuse_outdated_verdict(graph, performance, plan)
        used = planned_folds(plan, folds)
        refuse_another_model(weights_sha256(newest_fold(plan, folds).fitted), latency, drift, plan)
        reports: dict[str, HasContent] = {
            "snapshot": snapshot,
            "feature_catalogue": catalogue,
            "prefiltered_features": prefiltered,
            "selected_features": selected,
            "tuned_hyperparameters": tuned,
            "production_plan": plan,
            "oos_performance": performance,
            "leakage_audit": audit,
            "latency_benchmark": latency,
            "drift_report": drift,
            "ensemble_weights": ensemble,
        }
        contents = {name: record.content_sha256() for name, record in reports.items()}
        fitted = {key: fold.content_sha256() for key, fold in used.items()}
        card = build_card(
            experiment=graph.experiment,
            created_at=utc_now(),
            manifest=snapshot.manifest,
            catalogue=catalogue,
            prefiltered=prefiltered,
            selected=selected,
            tuned=tuned,
            plan=plan,
            folds={key: fold_facts(fold) for key, fold in used.items()},
            performance=performance,
            audit=audit,
            latency=latency,
            drift=drift,
            ensemble=ensemble,
            made=made_with(
                graph,
                context,
                list(used),
                list(selected.thresholds),
                graph.code_version(CARD_REVISION, *CARD_SECTIONS),
            ),
            schedule=drift_schedule(graph),
            contents={**contents, "production_fold": fitted},
            intervals=scored_intervals(used, horizon=plan.specs[-1].horizon, seed=graph.experiment.seed),
        )
        validate_card(card)
        own = graph.experiment.section_fingerprint(*CARD_SECTIONS)
        content = json_sha256([own, contents, fitted])
        return content_output(
            ModelCard(content=content, card=card, plan_sha256=plan.content_sha256()),
            {
                "verdict": card["verdict"],
                "reasons": listing(card["reasons"]),
                "card": dg.MetadataValue.json(card),
                "headline": table(headline_rows(card, performance, audit, latency, drift)),
                "picture": statistics_picture(performance),
            },
        )

    return model_card
