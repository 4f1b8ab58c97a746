"""What the walk forward earned and whether it means anything; latency, drift and the blend of the newest model."""

import dagster as dg
import numpy as np
import polars as pl

from tft_pipeline.domain.backtest import BASELINES, backtest
from tft_pipeline.domain.drift import drift_report as compare_drift
from tft_pipeline.domain.findings import DriftRecord, EnsembleWeights, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.reports import FeatureCatalogue, FoldPlanReport, TunedHyperparameters
from tft_pipeline.domain.verdict import (
    json_ready,
)
from tft_pipeline.pipeline.assets.blend import blend_probabilities
from tft_pipeline.pipeline.assets.performance import performance_of, statistics_rows
from tft_pipeline.pipeline.automation import on_all_folds
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.ledgers import ScoredPeriod, look_at
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.panels import panel_of
from tft_pipeline.pipeline.partitions import planned_folds
from tft_pipeline.pipeline.plots import bar_picture, histogram_picture, line_picture
from tft_pipeline.pipeline.usage import measured
from tft_pipeline.storage.fold_bundles import FoldBundle, weights_sha256

LATENCY_FIGURES = ("mean_ms", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms", "p95_ci_ms")


def all_production_folds(graph: ExperimentGraph) -> dg.AssetIn:
    """Input: every production fold, refused when one is absent."""
    return dg.AssetIn(
        graph.key("production_fold"), partition_mapping=dg.AllPartitionMapping(), metadata={"all_folds": True}
    )


def newest_fold(plan: FoldPlanReport, folds: dict[str, FoldBundle]) -> FoldBundle:
    """The fold whose model is released: the one with the latest test dates."""
    return planned_folds(plan, folds)[plan.specs[-1].key]


def evaluation_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition]:
    """`oos_portfolio`, `oos_performance`, `latency_benchmark`, `drift_report`, `ensemble_weights`."""
    experiment = graph.experiment
    group = f"{graph.name}_6_evaluation"
    plan_in = dg.AssetIn(graph.key("production_plan"))

    @dg.asset(
        key=graph.key("oos_portfolio"),
        ins={"plan": plan_in, "folds": all_production_folds(graph)},
        io_manager_key="frames",
        group_name=group,
        code_version="2",
        automation_condition=on_all_folds(),
        kinds={"polars", "parquet"},
    )
    @measured(graph, "oos_portfolio")
    def oos_portfolio(plan: FoldPlanReport, folds: dict[str, FoldBundle]) -> dg.Output[pl.DataFrame]:
        """Out-of-sample portfolio returns, net of costs, with baselines on the same bars; one row a bar."""
        used = planned_folds(plan, folds)
        newest = plan.specs[-1]
        predictions = pl.concat([fold.predictions for fold in used.values()])
        series = backtest(
            predictions,
            newest.position,
            target_volatility=newest.target_volatility,
            bars_per_year=newest.bars_per_year,
        )
        look_at(graph, ScoredPeriod.of(predictions, series), series, name=graph.name)  # before the picture is drawn
        stamps = series["timestamp"].to_list()
        lines = {
            name: (stamps, np.cumsum(np.nan_to_num(series[column].to_numpy())).tolist())
            for name, column in {"model, net": "net", **{name: f"{name}_net" for name in BASELINES}}.items()
        }
        return content_output(
            series,
            {
                "n_bars": series.height,
                "mean_turnover": float(np.nanmean(series["turnover"].to_numpy())),
                "equity": line_picture(
                    lines, title="cumulative out-of-sample return, net of costs", label="sum of returns"
                ),
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
        group_name=group,
        code_version=graph.code_version("3", "evaluation", "position", "data"),
        automation_condition=on_all_folds(),
    )
    @measured(graph, "oos_performance")
    def oos_performance(
        plan: FoldPlanReport,
        folds: dict[str, FoldBundle],
        portfolio: pl.DataFrame,
        tuned: TunedHyperparameters,
        audit: LeakageAudit,
    ) -> dg.Output[OosPerformance]:
        """Sharpe ratio with its error, deflated, against baselines, and the verdict; one row a fold."""
        try:
            record = performance_of(graph, plan, planned_folds(plan, folds), portfolio, tuned, audit)
        except ValueError as error:
            raise dg.Failure(f"out-of-sample performance: {error}", allow_retries=False) from error
        ratios = {fold["fold"]: fold["oos_sharpe_annual"] or 0.0 for fold in record.folds}
        return content_output(
            record,
            {
                "verdict": record.verdict,
                "reasons": dg.MetadataValue.md("\n".join(f"* {reason}" for reason in record.reasons) or "none"),
                "sharpe_annual": record.net["sharpe_annual"],
                "se_annual": record.net["se_annual"],
                "looks": table([dict(row) for row in record.looks_seen]),
                "notes": dg.MetadataValue.md("\n".join(f"* {note}" for note in record.notes) or "none"),
                "statistics": table(statistics_rows(record)),
                "superiority": str(record.superiority["sentence"]),
                "track_record": dg.MetadataValue.json(record.track_record),
                "symbols": table([dict(row) for row in record.symbols]),
                "folds": table([dict(row) for row in record.folds]),
                "picture": bar_picture(ratios, title="net out-of-sample Sharpe a year, by fold", label="Sharpe"),
            },
        )

    @dg.asset(
        key=graph.key("latency_benchmark"),
        ins={"plan": plan_in, "folds": all_production_folds(graph)},
        io_manager_key="reports",
        group_name=group,
        code_version=graph.code_version("1", "latency"),
        automation_condition=on_all_folds(),
    )
    @measured(graph, "latency_benchmark")
    def latency_benchmark(plan: FoldPlanReport, folds: dict[str, FoldBundle]) -> dg.Output[LatencyBenchmark]:
        """Latency of one decision of the newest model, batch of one; one record."""
        from tft_pipeline.model.latency import benchmark_latency

        fold = newest_fold(plan, folds)
        settings = experiment.latency
        measured = json_ready(
            benchmark_latency(fold.fitted, warmup=settings.warmup, n=settings.n, seed=experiment.seed)
        )
        environment = {name: measured[name] for name in ("threads", "cold_start_ms", "load_ms")}
        latency = {name.removesuffix("_ms"): measured[name] for name in LATENCY_FIGURES}
        record = LatencyBenchmark(
            fold=fold.key,
            weights_sha256=weights_sha256(fold.fitted),
            latency_ms=latency,
            environment={"device": "cpu", **environment},
            warmup=settings.warmup,
            n=settings.n,
            max_p95_ms=settings.max_p95_ms,
            within_limit=latency["p95"] <= settings.max_p95_ms,
        )
        return content_output(
            record,
            {
                "p50_ms": latency["p50"],
                "p95_ms": latency["p95"],
                "within_limit": record.within_limit,
                "picture": histogram_picture(
                    measured["samples_ms"],
                    title="latency of one decision",
                    label="milliseconds",
                    marks={name: latency[name] for name in ("p50", "p95", "p99")},
                ),
            },
        )

    @dg.asset(
        key=graph.key("drift_report"),
        ins={
            "plan": plan_in,
            "folds": all_production_folds(graph),
            "features": dg.AssetIn(graph.key("features")),
            "targets": dg.AssetIn(graph.key("targets")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
        },
        io_manager_key="reports",
        group_name=group,
        code_version=graph.code_version("1", "drift"),
        automation_condition=on_all_folds(),
    )
    @measured(graph, "drift_report")
    def drift_report(
        plan: FoldPlanReport,
        folds: dict[str, FoldBundle],
        features: pl.LazyFrame,
        targets: pl.DataFrame,
        catalogue: FeatureCatalogue,
    ) -> dg.Output[DriftRecord]:
        """Recent bars against the newest fold's training bars, as the model sees them; one row a feature."""
        record = _drift(graph, plan, newest_fold(plan, folds), features, targets, catalogue)
        shown = {str(row["feature"]): float(row["psi"] or 0.0) for row in record.rows}
        largest = dict(sorted(shown.items(), key=lambda item: -item[1])[:20])
        return content_output(
            record,
            {
                "verdict": record.verdict,
                "n_recent": record.n_recent,
                "features": table([{k: v for k, v in row.items() if k != "reason"} for row in record.rows]),
                "picture": bar_picture(
                    largest, title="PSI by feature", label="PSI", line=experiment.drift.psi_threshold
                ),
            },
        )

    @dg.asset(
        key=graph.key("ensemble_weights"),
        ins={"plan": plan_in, "folds": all_production_folds(graph)},
        io_manager_key="reports",
        group_name=group,
        code_version=graph.code_version("1", "ensemble.l2"),
        automation_condition=on_all_folds(),
    )
    @measured(graph, "ensemble_weights")
    def ensemble_weights(plan: FoldPlanReport, folds: dict[str, FoldBundle]) -> dg.Output[EnsembleWeights]:
        """Convex weights of the model and LightGBM, fitted on earlier folds and scored forward; one row a fold."""
        record = blend_probabilities(
            planned_folds(plan, folds), l2=experiment.ensemble.l2, horizon=plan.specs[-1].horizon
        )
        return content_output(
            record,
            {
                "weights": dg.MetadataValue.json(record.weights),
                "metrics": dg.MetadataValue.json(record.metrics),
                "picture": bar_picture(record.weights, title="ensemble weights", label="weight"),
            },
        )

    return [oos_portfolio, oos_performance, latency_benchmark, drift_report, ensemble_weights]


def _drift(
    graph: ExperimentGraph,
    plan: FoldPlanReport,
    fold: FoldBundle,
    features: pl.LazyFrame,
    targets: pl.DataFrame,
    catalogue: FeatureCatalogue,
) -> DriftRecord:
    settings = graph.experiment.drift
    names = fold.fitted.scaler.names
    panel = panel_of(features, targets, catalogue, names)
    seen = np.where(panel.observed[:, :, None], panel.values, np.nan)
    scaled = fold.fitted.scaler.transform(seen)  # (S, N, V), what the model is given
    stamps = [stamp.isoformat() for stamp in panel.calendar]
    dates = plan.spec(fold.key).dates
    train = slice(stamps.index(dates["train"]["first"]), stamps.index(dates["train"]["last"]) + 1)
    recent = slice(max(panel.n_bars - settings.recent_bars, train.stop), panel.n_bars)
    report = compare_drift(
        {name: scaled[:, train, v].T for v, name in enumerate(names)},
        {name: scaled[:, recent, v].T for v, name in enumerate(names)},
        n_bins=settings.n_bins,
        psi_threshold=settings.psi_threshold,
        js_threshold=settings.js_threshold,
        alpha=settings.alpha,
    )
    detail = json_ready(report.to_dict())
    rows = detail.pop("features")
    return DriftRecord(
        fold=fold.key,
        verdict=report.verdict,
        n_reference=report.n_reference,
        n_recent=report.n_recent,
        rows=tuple(rows),
        detail=detail,
    )
