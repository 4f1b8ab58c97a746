"""What the walk forward earned and whether it means anything; latency and the blend of the newest model."""

from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from tft_pipeline.domain.backtest import backtest
from tft_pipeline.domain.blending import blend_record
from tft_pipeline.domain.findings import EnsembleWeights, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.reports import FoldPlanReport, TunedHyperparameters
from tft_pipeline.pipeline.assets.blend import SOURCES, blend_parts, weight_rows
from tft_pipeline.pipeline.assets.performance import performance_of, statistics_picture, statistics_rows
from tft_pipeline.pipeline.automation import on_all_folds
from tft_pipeline.pipeline.benching import benchmark_bundle, machine_in_words, open_loop_in_words
from tft_pipeline.pipeline.equity_plots import (
    equity_picture,
    fold_rows,
    folds_picture,
    ratio_picture,
    validation_picture,
)
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.guarded import guarded
from tft_pipeline.pipeline.latency_plots import latency_picture
from tft_pipeline.pipeline.ledgers import ScoredPeriod, look_at
from tft_pipeline.pipeline.markdown import listing
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.partitions import planned_folds
from tft_pipeline.pipeline.reliability_plots import blend_panels, reliability_picture
from tft_pipeline.storage.ensemble_json import write_ensemble_json
from tft_pipeline.storage.fold_bundles import FoldBundle


def all_production_folds(graph: ExperimentGraph) -> dg.AssetIn:
    """Input: every production fold, refused when one is absent."""
    return dg.AssetIn(
        graph.key("production_fold"), partition_mapping=dg.AllPartitionMapping(), metadata={"all_folds": True}
    )


def newest_fold(plan: FoldPlanReport, folds: dict[str, FoldBundle]) -> FoldBundle:
    """The fold whose model is released: the one with the latest test dates."""
    return planned_folds(plan, folds)[plan.specs[-1].key]


def portfolio_looked_at(graph: ExperimentGraph, plan: FoldPlanReport, used: dict[str, FoldBundle]) -> pl.DataFrame:
    """The portfolio of all production folds, one row a bar, and the look at it written down; before any picture is drawn."""
    newest = plan.specs[-1]
    predictions = pl.concat([fold.predictions for fold in used.values()])
    series = backtest(
        predictions,
        newest.position,
        target_volatility=newest.target_volatility,
        bars_per_year=newest.bars_per_year,
    )
    look_at(graph, ScoredPeriod.of(predictions, series), series, name=graph.name)
    return series


def evaluation_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`oos_portfolio`, `oos_performance`, `latency_benchmark`, `ensemble_weights`."""
    experiment = graph.experiment
    plan_in = dg.AssetIn(graph.key("production_plan"))

    @dg.asset(
        key=graph.key("oos_portfolio"),
        ins={"plan": plan_in, "folds": all_production_folds(graph)},
        io_manager_key="frames",
        code_version="2",
        automation_condition=on_all_folds(),
    )
    @guarded(graph, "oos_portfolio")
    def oos_portfolio(plan: FoldPlanReport, folds: dict[str, FoldBundle]) -> dg.Output[pl.DataFrame]:
        """Returns of the predictions of all production folds as one portfolio, net of costs, with baselines on the same bars.
        Look at the equity; writing it counts as a look at the period. One row a bar."""
        series = portfolio_looked_at(graph, plan, planned_folds(plan, folds))
        rows = fold_rows(series)
        return content_output(
            series,
            {
                "n_bars": series.height,
                "mean_turnover": float(np.nanmean(series["turnover"].to_numpy())),
                "equity": equity_picture(series),
                "by_fold": folds_picture(rows),
                "folds": table(rows),
            },
        )

    @dg.asset(
        key=graph.key("oos_performance"),
        ins={
            "plan": plan_in,
            "folds": all_production_folds(graph),
            "portfolio": dg.AssetIn(graph.key("oos_portfolio")),
            "tuned": dg.AssetIn(graph.key("tuned_hyperparameters")),
            "audit": dg.AssetIn(graph.key("leakage_audit")),
        },
        io_manager_key="reports",
        code_version=graph.code_version("5", "evaluation", "position", "data"),
        automation_condition=on_all_folds(),
    )
    @guarded(graph, "oos_performance", slots=1)
    def oos_performance(
        plan: FoldPlanReport,
        folds: dict[str, FoldBundle],
        portfolio: pl.DataFrame,
        tuned: TunedHyperparameters,
        audit: LeakageAudit,
    ) -> dg.Output[OosPerformance]:
        """What the portfolio earned and whether it means anything: Sharpe ratio with its error, deflated by looks and trials,
        against baselines. Look at the verdict and its reasons; one row a fold."""
        try:
            record = performance_of(graph, plan, planned_folds(plan, folds), portfolio, tuned, audit)
        except ValueError as error:
            raise dg.Failure(f"out-of-sample performance: {error}", allow_retries=False) from error
        said = {
            source: {"as said": record.direction[source]["reliability"]}
            for source in SOURCES
            if source in record.direction
        }
        return content_output(
            record,
            {
                "verdict": record.verdict,
                "reasons": listing(record.reasons),
                "sharpe_annual": record.net["sharpe_annual"],
                "se_annual": record.net["se_annual"],
                "looks": table([dict(row) for row in record.looks_seen]),
                "notes": listing(record.notes),
                "statistics": table(statistics_rows(record)),
                "superiority": str(record.superiority["sentence"]),
                "track_record": dg.MetadataValue.json(record.track_record),
                "symbols": table([dict(row) for row in record.symbols]),
                "folds": table([dict(row) for row in record.folds]),
                "picture": statistics_picture(record),
                "by_fold": validation_picture(record.folds),
                **(
                    {"reliability": reliability_picture(said, title="reliability out of sample, uncalibrated")}
                    if said
                    else {}
                ),
            },
        )

    @dg.asset(
        key=graph.key("latency_benchmark"),
        ins={"plan": plan_in, "folds": all_production_folds(graph)},
        io_manager_key="reports",
        code_version=graph.code_version("3", "latency"),
        automation_condition=on_all_folds(),
    )
    @guarded(graph, "latency_benchmark", slots=1)
    def latency_benchmark(plan: FoldPlanReport, folds: dict[str, FoldBundle]) -> dg.Output[LatencyBenchmark]:
        """How long one decision of the newest fold's model takes on this machine, in every form of it. Look at the p95 and its
        interval; one record."""
        record = benchmark_bundle(newest_fold(plan, folds), experiment.latency, seed=experiment.seed)
        figures = record.latency_ms
        return content_output(
            record,
            {
                "form": record.form,
                "within_limit": record.within_limit,
                **{f"{name}_ms": figures[name] for name in ("p50", "p95", "p99")},
                "p95_upper_ms": "not bounded" if figures["p95_ci"][1] is None else figures["p95_ci"][1],
                "forms": table([_timed(row) for row in record.forms]),
                "left_out": dg.MetadataValue.json(record.left_out),
                "open_loop": open_loop_in_words(record.open_loop),
                "machine": machine_in_words(record.machine),
                "limit_ms": record.max_p95_ms,
                "picture": latency_picture(record.forms, limit_ms=record.max_p95_ms, p95_ci=figures["p95_ci"]),
            },
        )

    @dg.asset(
        key=graph.key("ensemble_weights"),
        ins={"plan": plan_in, "folds": all_production_folds(graph)},
        io_manager_key="reports",
        code_version=graph.code_version("3", "ensemble.l2"),
        automation_condition=on_all_folds(),
    )
    @guarded(graph, "ensemble_weights")
    def ensemble_weights(plan: FoldPlanReport, folds: dict[str, FoldBundle]) -> dg.Output[EnsembleWeights]:
        """Weights with which model, LightGBM and sentiment are blended, scored on later folds than those they come from; also
        as ensemble.json. Look at the finding; one row a fold."""
        used = planned_folds(plan, folds)
        portfolio_looked_at(graph, plan, used)  # the same look as the portfolio's, whichever comes first
        parts = blend_parts(used)
        l2, horizon = experiment.ensemble.l2, plan.specs[-1].horizon
        try:
            record = blend_record(parts, l2=l2, horizon=horizon, seed=experiment.seed)
            panels, title = blend_panels(parts, l2=l2, horizon=horizon)
        except (ValueError, RuntimeError) as error:
            raise dg.Failure(f"ensemble weights: {error}", allow_retries=False) from error
        place = graph.layout.ensemble(graph.name)
        write_ensemble_json(record, place)
        return content_output(
            record,
            {
                "weights": dg.MetadataValue.json(record.weights),
                "intervals": dg.MetadataValue.json(record.intervals),
                "metrics": dg.MetadataValue.json(record.metrics),
                "finding": str(record.comparison.get("sentence") or record.measured_on),
                "folds": table([dict(row) for row in record.folds]),
                "ensemble_json": dg.MetadataValue.path(str(place)),
                "picture": ratio_picture(
                    weight_rows(record),
                    title="weights of the newest blend with their 95 % bootstrap intervals",
                    label="weight, share of 1",
                ),
                "reliability": reliability_picture(panels, title=title),
            },
        )

    return [oos_portfolio, oos_performance, latency_benchmark, ensemble_weights]


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    """A timed form as a row of the UI's table."""
    fresh = row["cold_start"]
    shown = {name: row[name] for name in ("form", "chosen", "p50", "p95", "p99", "max")}
    return {**shown, "p95_upper": row["p95_ci"][1], "cold_start": None if fresh is None else fresh["total_ms"]}
