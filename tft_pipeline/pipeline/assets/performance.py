"""The record of out-of-sample performance, put together from folds, portfolio and tuning ledger. No assets here."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from tft_pipeline.domain.backtest import BASELINES, break_even_bps, held_shares, symbol_table
from tft_pipeline.domain.findings import LeakageAudit, OosPerformance
from tft_pipeline.domain.inflation import inflation_row, inflation_summary
from tft_pipeline.domain.paired import paired_sharpe_difference
from tft_pipeline.domain.reports import FoldPlanReport, TunedHyperparameters
from tft_pipeline.domain.sharpe import annualise, describe_returns
from tft_pipeline.domain.superiority import MIN_BARS, same_but_for_scale, superiority
from tft_pipeline.domain.track_record import monthly_returns, track_record
from tft_pipeline.domain.verdict import (
    GO,
    NO_GO,
    annual_sharpe_or_none,
    deflated_by_looks,
    json_ready,
    notes_on,
    reasons_against,
    research_evidence,
)
from tft_pipeline.pipeline.assets.blend import direction_statistics
from tft_pipeline.pipeline.equity_plots import ratio_picture
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.ledgers import ScoredPeriod, look_at, looks_at, other_trials, research_scope
from tft_pipeline.storage.fold_bundles import FoldBundle

UNDEFLATED = ("dsr", "expected_max_sharpe", "min_btl_years")
"""Nobody chose a baseline: nothing deflates it."""


def performance_of(
    graph: ExperimentGraph,
    plan: FoldPlanReport,
    folds: dict[str, FoldBundle],
    portfolio: pl.DataFrame,
    tuned: TunedHyperparameters,
    audit: LeakageAudit,
) -> OosPerformance:
    """Statistics, baselines, costs, folds and the verdict; the look at production is written down first.

    Raises:
        ValueError: the audit is of another plan; fewer than 8 bars, or returns that never vary.
    """
    if audit.plan_sha256 != plan.content_sha256():
        raise ValueError("the leakage audit examined the folds of another plan: materialise leakage_audit again")
    experiment, newest = graph.experiment, plan.specs[-1]
    bars_per_year, seed = experiment.data.bars_per_year, experiment.seed
    portfolio = portfolio.filter(pl.col("n_symbols") > 0)  # a bar that no symbol trades on has no return
    predictions = pl.concat([fold.predictions for fold in folds.values()])
    period = ScoredPeriod.of(predictions, portfolio)
    look_at(graph, period, portfolio, name=graph.name)
    looks_seen = looks_at(graph, period)
    looks = sum(row["looks"] for row in looks_seen)
    series = {name: portfolio[name].to_numpy() for name in portfolio.columns if portfolio[name].dtype.is_float()}
    series["net_at_0x_cost"] = series["net"] + series["cost"]  # financing stays: it is no cost of trading

    def describe(column: str) -> dict[str, object]:
        return describe_returns(
            series[column],
            bars_per_year=bars_per_year,
            n_trials=looks,
            trial_variance=1.0 / portfolio.height,  # of a Sharpe ratio without skill
            seed=seed,
        )

    net, gross = describe("net"), describe("gross")
    held = held_shares(predictions)
    baselines = {
        name: {**_baseline(series, name, describe, bars_per_year, seed), "held_share": held[name]} for name in BASELINES
    }
    research = research_evidence(tuned, bars_per_year=bars_per_year, others=other_trials(graph, tuned, period.symbols))
    tests = _superiority(series, baselines, bars_per_year, experiment.evaluation.alpha, seed)
    psr_after_looks = deflated_by_looks(net, looks)
    reasons = reasons_against(
        leaks=tuple(f"{row['guard']} failed, {row['detail']}" for row in audit.rows if row["passed"] is False),
        statistics=net,
        psr_after_looks=psr_after_looks,
        looks=looks,
        research=research,
        baselines=baselines,
        superior=tests["superior"],
        contaminated=plan.contaminated,
        limits=experiment.evaluation,
    )
    rows = [
        _fold_row(plan, key, fold, series["net"][(portfolio["fold"] == key).to_numpy()], bars_per_year)
        for key, fold in folds.items()
    ]
    costs = {
        **newest.position.model_dump(mode="json", exclude={"max_position", "position_smooth"}),
        "break_even_bps": break_even_bps(portfolio),
        "mean_turnover": float(series["turnover"].mean()),
        "mean_gross_exposure": float(series["gross_exposure"].mean()),
        "mean_net_exposure": float(series["net_exposure"].mean()),
        "financing_annual": float(series["financing"].mean()) * bars_per_year,
        "sharpe_annual_at_0x": annual_sharpe_or_none(series["net_at_0x_cost"], bars_per_year),
        "sharpe_annual_at_1x": net["sharpe_annual"],
        "sharpe_annual_at_2x": annual_sharpe_or_none(series["net_at_2x_cost"], bars_per_year),
        "sharpe_annual_one_bar_late": annual_sharpe_or_none(series["net_one_bar_late"], bars_per_year),
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
        research=json_ready(
            {
                **research,
                "inflation": inflation_summary(rows),
                "scope": research_scope(graph, tuned, period.symbols),
                "own_trials": [trial.identity for trial in tuned.trials],
            }
        ),
        looks=looks,
        direction=json_ready(
            direction_statistics(
                folds, position=newest.position, horizon=newest.horizon, bars_per_year=newest.bars_per_year
            )
        ),
        track_record=json_ready(track_record(series["net"], bars_per_year=bars_per_year)),
        monthly=tuple(json_ready(row) for row in monthly_returns(portfolio["timestamp"].to_list(), series["net"])),
        symbols=tuple(
            json_ready(row)
            for row in symbol_table(
                predictions, newest.position, target_volatility=newest.target_volatility, bars_per_year=bars_per_year
            )
        ),
        superiority=json_ready(tests),
        notes=notes_on(
            statistics=net,
            research=research,
            baselines=baselines,
            superior=tests["superior"],
            unverified=[f"{row['guard']}: {row['detail']}" for row in audit.rows if row["state"] == "not_verifiable"],
        ),
        looks_seen=looks_seen,
        period=period.keys(experiment.data.interval),
        plan_sha256=plan.content_sha256(),
    )


def statistics_rows(record: OosPerformance) -> list[dict[str, Any]]:
    """The headline of the model, before costs and of each baseline, with what makes it believable; one row a series."""
    rows = []
    for name, series in {"model, net": record.net, "model, gross": record.gross, **record.baselines}.items():
        low, high = series.get("bootstrap_ci_annual") or (None, None)
        rows.append(
            {
                "series": name,
                "n": series.get("n"),
                "sharpe_annual": series["sharpe_annual"],
                "se_annual": series["se_annual"],
                "ci_low_annual": low,
                "ci_high_annual": high,
                "psr": series.get("psr"),
                "t_newey_west": series.get("t_newey_west"),
                "min_trl_bars": series.get("min_trl"),
                "model_minus_this": (series.get("model_minus_this") or {}).get("difference_annual"),
            }
        )
    return rows


def statistics_picture(record: OosPerformance) -> dg.MarkdownMetadataValue:
    """The Sharpe ratios of these series with their intervals."""
    keys = {"name": "series", "value": "sharpe_annual", "low": "ci_low_annual", "high": "ci_high_annual"}
    return ratio_picture(
        [{name: row[key] for name, key in keys.items()} for row in statistics_rows(record)],
        title=f"{record.verdict}: out-of-sample Sharpe ratios with their 95 % bootstrap intervals",
        label="Sharpe ratio a year",
    )


def _baseline(
    series: dict[str, np.ndarray],
    name: str,
    describe: Callable[[str], dict[str, object]],
    bars_per_year: float,
    seed: int,
) -> dict[str, Any]:
    """A baseline's statistics, track record, and what the model's Sharpe ratio is above its own.

    One that never held anything has none of them, and says so: too little history for its rule, or nothing learned.
    """
    own = series[f"{name}_net"]
    if not own.any():
        return dict.fromkeys(("sharpe", "sharpe_annual", "se_annual")) | {
            "reason": "it never held anything on these bars"
        }
    statistics = {key: value for key, value in describe(f"{name}_net").items() if key not in UNDEFLATED}
    difference = asdict(paired_sharpe_difference(series["net"], own, bars_per_year=bars_per_year, seed=seed))
    return {
        **statistics,
        "track_record": track_record(own, bars_per_year=bars_per_year),
        "model_minus_this": difference,
    }


def _superiority(
    series: dict[str, np.ndarray], baselines: dict[str, dict[str, Any]], bars_per_year: float, alpha: float, seed: int
) -> dict[str, Any]:
    """Tests of the baselines that held something and are not the model itself; where there is nothing to test, why."""
    net = series["net"]
    rivals = {
        name: series[f"{name}_net"]
        for name, row in baselines.items()
        if row["sharpe"] is not None and not same_but_for_scale(series[f"{name}_net"], net)
    }
    if net.size < MIN_BARS or not rivals:
        return {
            "superior": [],
            "sentence": f"not tested: {net.size} bars ({MIN_BARS} are needed), {len(rivals)} baseline(s) that differ",
        }
    return superiority(net, rivals, bars_per_year=bars_per_year, alpha=alpha, seed=seed)


def _fold_row(
    plan: FoldPlanReport, key: str, fold: FoldBundle, returns: np.ndarray, bars_per_year: float
) -> dict[str, Any]:
    validation = fold.fitted.history[fold.fitted.best_epoch]["validation_sharpe"]
    return {"best_epoch": fold.fitted.best_epoch} | inflation_row(
        fold=key,
        n_validation_bars=plan.spec(key).dates["validation"]["n_bars"],
        epochs=len(fold.fitted.history),
        validation_sharpe_annual=None if validation is None else annualise(validation, bars_per_year),
        n_oos_bars=len(returns),
        oos_sharpe_annual=annual_sharpe_or_none(returns, bars_per_year),
        bars_per_year=bars_per_year,
    )
