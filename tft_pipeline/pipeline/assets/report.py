"""The page that people look at, from the records of a finished run. Not here: what it shows (`pipeline.report`)."""

from typing import Any, TypeVar

import dagster as dg
import polars as pl

from tft_pipeline.domain.findings import (
    DriftRecord,
    EnsembleWeights,
    LatencyBenchmark,
    LeakageAudit,
    ModelCard,
    OosPerformance,
    PurgeComparison,
    ReleaseRecord,
    ResearchPaths,
)
from tft_pipeline.domain.reports import ExplorationFold, FoldPlanReport, Report, SelectedFeatures, TunedHyperparameters
from tft_pipeline.pipeline.automation import on_all_folds
from tft_pipeline.pipeline.equity_plots import equity_picture
from tft_pipeline.pipeline.gates import refuse_card_of_another_plan, refuse_leaks, refuse_outdated_verdict
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import guarded
from tft_pipeline.pipeline.io_managers import REPORT_FILE
from tft_pipeline.pipeline.judgement_metadata import headline_rows
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.partitions import planned_folds
from tft_pipeline.pipeline.report.build import report_page
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.storage.artifacts import ArtifactMissingError, read_artifact
from tft_pipeline.storage.snapshots import Snapshot

Record = TypeVar("Record", bound=Report)


def report_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`report`."""
    experiment = graph.experiment

    @dg.asset(
        key=graph.key("report"),
        ins={
            "snapshot": dg.AssetIn(graph.key("snapshot")),
            "research_plan": dg.AssetIn(graph.key("exploration_plan")),
            "exploration": dg.AssetIn(
                graph.key("exploration_fold"),
                partition_mapping=dg.AllPartitionMapping(),
                metadata={"all_folds": True},
            ),
            "selected": dg.AssetIn(graph.key("selected_features")),
            "tuned": dg.AssetIn(graph.key("tuned_hyperparameters")),
            "plan": dg.AssetIn(graph.key("production_plan")),
            "portfolio": dg.AssetIn(graph.key("oos_portfolio")),
            "performance": dg.AssetIn(graph.key("oos_performance")),
            "audit": dg.AssetIn(graph.key("leakage_audit")),
            "latency": dg.AssetIn(graph.key("latency_benchmark")),
            "drift": dg.AssetIn(graph.key("drift_report")),
            "ensemble": dg.AssetIn(graph.key("ensemble_weights")),
            "card": dg.AssetIn(graph.key("model_card")),
            "release": dg.AssetIn(graph.key("release")),
        },
        deps=[] if experiment.research_paths is None else [graph.key("research_paths")],
        io_manager_key="pages",
        code_version=graph.code_version("4", *type(experiment).model_fields),
        automation_condition=on_all_folds(),
    )
    @guarded(graph, "report", measured=False)
    def report(
        snapshot: Snapshot,
        research_plan: FoldPlanReport,
        exploration: dict[str, ExplorationFold],
        selected: SelectedFeatures,
        tuned: TunedHyperparameters,
        plan: FoldPlanReport,
        portfolio: pl.DataFrame,
        performance: OosPerformance,
        audit: LeakageAudit,
        latency: LatencyBenchmark,
        drift: DriftRecord,
        ensemble: EnsembleWeights,
        card: ModelCard,
        release: ReleaseRecord,
    ) -> dg.Output[Any]:
        """The verdict, its reasons and everything behind them as one HTML page that loads nothing from elsewhere. Open
        report.html of the path that the page shows; one page."""
        refuse_leaks(graph, audit, plan)
        refuse_outdated_verdict(graph, performance, plan)
        refuse_card_of_another_plan(card, plan)
        records = ReportRecords(
            experiment=experiment,
            manifest=snapshot.manifest,
            plan=plan,
            exploration=planned_folds(research_plan, exploration),
            selected=selected,
            tuned=tuned,
            portfolio=portfolio,
            performance=performance,
            audit=audit,
            latency=latency,
            drift=drift,
            ensemble=ensemble,
            card=card,
            release=release,
            research_paths=None
            if experiment.research_paths is None
            else _stored(graph, "research_paths", ResearchPaths),
            purge_comparison=_stored(graph, "purge_comparison", PurgeComparison),
        )
        return content_output(
            report_page(records),
            {
                "verdict": card.card["verdict"],
                "headline": table(headline_rows(card.card, performance, audit, latency, drift)),
                "picture": equity_picture(portfolio, said=f"{card.card['verdict']}: "),
            },
        )

    return [report]


def _stored(graph: ExperimentGraph, asset: str, kind: type[Record]) -> Record | None:
    """The current record of an asset that may never have run; None then."""
    try:
        artifact = read_artifact(graph.layout.artifact(graph.name, asset))
    except ArtifactMissingError:
        return None
    return kind.model_validate_json(artifact.path(REPORT_FILE).read_text())
