"""What a card, a report and a release refuse to follow, whichever run they are made in.

A blocking check stops what is downstream in its own run only; an asset that is materialised alone must ask again.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark, LeakageAudit, ModelCard, OosPerformance
from tft_pipeline.domain.leakage_periods import OVERLAP_DECLARED
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.ledgers import ledgers_have_moved

OVERLAPPED = "research_ends_before_production"
"""The guard that fails when periods overlap."""


def undeclared_leaks(audit: LeakageAudit, *, overlap_declared: bool) -> list[str]:
    """What the audit found, in words; a declared overlap alone is no accident: its result may be shown, as contaminated."""
    return [
        f"{row['guard']}: {row['detail']}"
        for row in audit.rows
        if row["passed"] is False and not (overlap_declared and _only_the_overlap(row))
    ]


def _only_the_overlap(row: Mapping[str, Any]) -> bool:
    detail = str(row["detail"])
    return row["guard"] == OVERLAPPED and detail.startswith(OVERLAP_DECLARED) and ";" not in detail


def refuse_leaks(graph: ExperimentGraph, audit: LeakageAudit, plan: FoldPlanReport) -> None:
    """Stop unless the audit examined this plan's folds and found no leak.

    Raises:
        dagster.Failure: it did not.
    """
    if audit.plan_sha256 != plan.content_sha256():
        raise dg.Failure(
            "the leakage audit examined the folds of another plan: materialise leakage_audit again", allow_retries=False
        )
    leaks = undeclared_leaks(audit, overlap_declared=graph.experiment.periods.overlap == "allowed")
    if leaks:
        raise dg.Failure(f"the leakage audit found {'; '.join(leaks)}: mend it and run again", allow_retries=False)


def refuse_outdated_verdict(graph: ExperimentGraph, performance: OosPerformance, plan: FoldPlanReport) -> None:
    """Stop unless the verdict is on this plan's folds and knows every look and trial that the ledgers know.

    Raises:
        dagster.Failure: it does not.
    """
    if performance.plan_sha256 != plan.content_sha256():
        raise dg.Failure(
            "oos_performance judges the folds of another plan: materialise it and what follows again",
            allow_retries=False,
        )
    if ledgers_have_moved(graph, performance):
        raise dg.Failure(
            "since oos_performance was made the production period was looked at, or other trials were started on the research "
            "bars: its verdict is out of date; materialise oos_performance and what follows again",
            allow_retries=False,
        )


def refuse_card_of_another_plan(card: ModelCard, plan: FoldPlanReport) -> None:
    """Stop unless the card describes this plan's folds: a release would carry, or a page show, another model's verdict.

    Raises:
        dagster.Failure: it does not.
    """
    if card.plan_sha256 != plan.content_sha256():
        raise dg.Failure(
            "the model card describes the folds of another plan: materialise model_card again", allow_retries=False
        )


def refuse_another_model(weights: str, latency: LatencyBenchmark, drift: DriftRecord, plan: FoldPlanReport) -> None:
    """Stop unless latency and drift are those of the newest fold's model.

    Args:
        weights: hash of that model's weights.
    Raises:
        dagster.Failure: one is of another.
    """
    newest = plan.specs[-1].key
    if latency.weights_sha256 != weights:
        raise dg.Failure(
            f"latency_benchmark timed another model than that of {newest}: materialise it again", allow_retries=False
        )
    if drift.fold != newest:
        raise dg.Failure(
            f"drift_report compares with fold {drift.fold}, the newest is {newest}: materialise it again",
            allow_retries=False,
        )
