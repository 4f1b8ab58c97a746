"""The record of out-of-sample performance, put together from folds, portfolio and tuning ledger. No assets here."""

from datetime import UTC, datetime

import polars as pl

from tft_pipeline.domain.backtest import BASELINES, break_even_bps
from tft_pipeline.domain.content import frame_sha256
from tft_pipeline.domain.reports import FoldPlanReport, OosPerformance, TunedHyperparameters
from tft_pipeline.domain.sharpe import annualise, describe_returns
from tft_pipeline.domain.verdict import (
    GO,
    NO_GO,
    annual_sharpe_or_none,
    deflated_by_looks,
    json_ready,
    reasons_against,
    research_evidence,
    validation_gap,
)
from tft_pipeline.pipeline.assets.blend import direction_statistics
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.storage.fold_bundles import FoldBundle
from tft_pipeline.storage.looks import record_look


def performance_of(
    graph: ExperimentGraph,
    plan: FoldPlanReport,
    folds: dict[str, FoldBundle],
    portfolio: pl.DataFrame,
    tuned: TunedHyperparameters,
) -> OosPerformance:
    """Statistics, baselines, costs, folds and the verdict; the look at production is written down first."""
    experiment = graph.experiment
    bars_per_year, seed = experiment.data.bars_per_year, experiment.seed

    portfolio = portfolio.filter(pl.col("n_symbols") > 0)  # a bar that no symbol trades on has no return
    symbols = sorted(set().union(*(fold.predictions["symbol"].unique().to_list() for fold in folds.values())))
    folds_found = {
        str(key): frame_sha256(part.select("timestamp", "net")) for (key,), part in portfolio.group_by("fold")
    }
    looks = record_look(
        graph.layout.looks_ledger,
        {
            "symbols": symbols,
            "interval": experiment.data.interval,
            "folds": folds_found,
            "first": portfolio["timestamp"].min().isoformat(),  # type: ignore[union-attr]
            "last": portfolio["timestamp"].max().isoformat(),  # type: ignore[union-attr]
            "experiment": graph.name,
            "at": datetime.now(UTC).isoformat(),
        },
    )
    null_variance = 1.0 / portfolio.height  # of a Sharpe ratio without skill

    def describe(column: str) -> dict[str, object]:
        return describe_returns(
            portfolio[column].to_numpy(),
            bars_per_year=bars_per_year,
            n_trials=looks,
            trial_variance=null_variance,
            seed=seed,
        )

    net, gross = describe("net"), describe("gross")
    undeflated = ("dsr", "expected_max_sharpe")  # nobody chose a baseline
    baselines = {
        name: {key: value for key, value in describe(f"{name}_net").items() if key not in undeflated}
        for name in BASELINES
    }
    research = research_evidence(tuned, bars_per_year=bars_per_year)
    psr_after_looks = deflated_by_looks(net, looks)
    reasons = reasons_against(
        statistics=net,
        psr_after_looks=psr_after_looks,
        looks=looks,
        research=research,
        baselines=baselines,
        limits=experiment.evaluation,
    )
    rows = []
    for key, fold in folds.items():
        returns = portfolio.filter(pl.col("fold") == key)["net"].to_numpy()
        validation = fold.fitted.history[fold.fitted.best_epoch]["validation_sharpe"]
        rows.append(
            {
                "fold": key,
                "best_epoch": fold.fitted.best_epoch,
                "epochs": len(fold.fitted.history),
                "n_validation_bars": plan.spec(key).dates["validation"]["n_bars"],
                "validation_sharpe_annual": None if validation is None else annualise(validation, bars_per_year),
                "n_oos_bars": len(returns),
                "oos_sharpe_annual": annual_sharpe_or_none(returns, bars_per_year),
            }
        )
    costs = {
        "cost_bps": plan.specs[-1].position.cost_bps,
        "break_even_bps": break_even_bps(portfolio),
        "mean_turnover": float(portfolio["turnover"].mean() or 0.0),  # type: ignore[arg-type]
        "sharpe_annual_at_0x": gross["sharpe_annual"],
        "sharpe_annual_at_1x": net["sharpe_annual"],
        "sharpe_annual_at_2x": describe("net_at_2x_cost")["sharpe_annual"],
        "sharpe_annual_one_bar_late": describe("net_one_bar_late")["sharpe_annual"],
    }
    return OosPerformance(
        snapshot_id=plan.snapshot_id,
        verdict=NO_GO if reasons else GO,
        reasons=reasons,
        net=json_ready({**net, "psr_after_looks": psr_after_looks}),
        gross=json_ready(gross),
        baselines=json_ready(baselines),
        costs=json_ready(costs),
        folds=tuple(json_ready(row) for row in rows),
        research=json_ready({**research, "validation_gap": validation_gap(rows)}),
        looks=looks,
        direction=json_ready(direction_statistics(folds)),
    )
