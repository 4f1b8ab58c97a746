"""What a reader must know before using a model, in sentences and rows made of records and configuration: scope, limits, risks,
and how it is watched. Not here: the figures themselves (`card_metrics`, `card_train`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.looser_limits import LooserLimit
from tft_pipeline.domain.performance_gates import TOLERATED, drift_reasons
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.domain.verdict import NO_GO

NAMED = 12
"""Symbols that are named in a sentence; of more, the number."""


def out_of_scope(experiment: Experiment, manifest: Mapping[str, Any], *, horizon: int, verdict: str) -> list[str]:
    """Uses that data and verdict rule out, then those of the experiment file."""
    symbols = [name for name in manifest["symbols"] if name not in experiment.data.untraded]
    named = ", ".join(symbols) if len(symbols) <= NAMED else f"the {len(symbols)} of train.symbols"
    return [
        *(["Live trading: the verdict is NO-GO."] if verdict == NO_GO else []),
        f"Symbols other than {named}.",
        f"Bars other than {manifest['interval']}, and forecasts further than {horizon} bar(s) ahead.",
        *experiment.card.out_of_scope,
    ]


def limitations(
    *,
    manifest: Mapping[str, Any],
    plan: FoldPlanReport,
    performance: OosPerformance,
    audit: LeakageAudit,
    latency: LatencyBenchmark,
    looser: Sequence[LooserLimit],
) -> list[str]:
    """What the figures do not say, and which limits are laxer than the defaults."""
    costs, scored = performance.costs, performance.net.get("n")
    first, last = plan.specs[0].dates["test"]["first"], plan.specs[-1].dates["test"]["last"]
    ended = [name for name, gaps in manifest["quality"]["rows_per_symbol"].items() if gaps < _calendar(manifest)]
    sentences = [
        f"Costs are linear, {costs.get('cost_bps')} bps and {costs.get('slippage_bps')} bps of slippage for one unit of weight "
        "traded: market impact is not modelled.",
        f"Statistics speak of {scored} bars, {first[:10]} to {last[:10]}; regimes that they do not contain are not covered.",
        f"{len(ended)} of {len(manifest['symbols'])} symbols lack bars that others have; a symbol that the source left out "
        "because it no longer trades is in no figure (survivorship bias).",
        f"Latency is that of {latency.n} decisions of the form {latency.form} on one machine with "
        f"{latency.environment['threads']} thread(s).",
    ]
    untried = [str(row["guard"]) for row in audit.rows if row.get("state") == "not_verifiable"]
    if untried:
        sentences.append(f"Could not be verified on this data: {', '.join(untried)}.")
    if plan.n_unscored_bars:
        sentences.append(f"The newest {plan.n_unscored_bars} bars with a label are scored by no fold yet.")
    return [*sentences, *(f"A gate asks for less: {one.words()}." for one in looser)]


def risks(
    *,
    experiment: Experiment,
    plan: FoldPlanReport,
    performance: OosPerformance,
    drift: DriftRecord,
    folds: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One row a risk: risk, value, limit, exceeded (null without a value or a limit), source, detail.

    A limit is one of the experiment file's, or 0 where less than nothing is earned.
    """
    net, research, limits = performance.net, performance.research, experiment.evaluation
    low = (net.get("bootstrap_ci_annual") or (None, None))[0]
    ratios = [row.get("oos_sharpe_annual") for row in performance.folds]
    known = [ratio for ratio in ratios if ratio is not None]
    losing = sum(ratio <= 0.0 for ratio in known) / len(known) if known else None
    gap = (research.get("inflation") or {}).get("mean_gap_annual")
    failed = sum(row["checkpoint_status"] != "ok" for row in folds.values())
    superior = len(performance.superiority.get("superior", ()))
    rows = [
        _above("overfitted search", research.get("dsr"), limits.min_dsr, "oos_performance.research.dsr",
               "deflated Sharpe ratio of the chosen trial"),
        _below("best trial loses afterwards", research.get("probability_of_loss"), limits.max_probability_of_loss,
               "oos_performance.research.probability_of_loss", "CSCV over the completed trials"),
        _above("no edge out of sample", low, experiment.gates.min_sharpe_ci_low, "oos_performance.net.bootstrap_ci_annual",
               "lower end of the 95 % interval of the net Sharpe ratio a year"),
        _above("luck of looking often", net.get("psr_after_looks"), limits.min_psr, "oos_performance.net.psr_after_looks",
               f"{performance.looks} look(s) at the production period"),
        _below("simpler rules do better", superior, 0, "oos_performance.superiority.superior",
               "baselines that are superior to the model"),
        _noted("validation flatters", gap, "oos_performance.research.inflation",
               "validation less out-of-sample Sharpe ratio a year, mean over folds"),
        _noted("folds that lose", losing, "oos_performance.folds", "share of folds with no gain out of sample"),
        _noted("drawdown", performance.track_record.get("max_drawdown"), "oos_performance.track_record",
               "largest loss from a peak, share of capital"),
        _noted("costs above the edge", performance.costs.get("break_even_bps"), "oos_performance.costs",
               f"cost at which nothing is left, bps; assumed {performance.costs.get('cost_bps')}"),
        _below("contaminated choice", int(plan.contaminated), 0, "production_plan.research_last",
               "features or settings chosen on scored bars"),
        _below("training state lost", failed, 0, "production_fold.checkpoint_status", "folds whose state was not kept"),
    ]  # fmt: skip
    tolerated, moved = " or ".join(TOLERATED[experiment.gates.drift]), bool(drift_reasons(drift, experiment.gates))
    detail = f"verdict over the last {drift.n_recent} bars"
    return [*rows, _row("inputs have changed", drift.verdict, tolerated, moved, "drift_report.verdict", detail)]


def monitoring_plan(experiment: Experiment, performance: OosPerformance, schedule: Mapping[str, Any]) -> dict[str, Any]:
    """How the model is watched once it is live: when, against which limits, what follows, and what is usual.

    Args:
        schedule: name, cron, timezone, asset, job, retrain_job, switch of the nightly drift schedule.
    """
    direction = performance.direction.get("tft", {})
    drift, gates = experiment.drift, experiment.gates
    return {
        "drift": {
            **schedule,
            "recent_bars": drift.recent_bars,
            "psi_threshold": drift.psi_threshold,
            "js_threshold": drift.js_threshold,
            "alpha": drift.alpha,
            "retrain_nights": drift.retrain_nights,
        },
        "release": {
            "deploy": gates.deploy,
            "challenger": gates.challenger,
            "challenger_min_bars": gates.challenger_min_bars,
            "drift_tolerated": gates.drift,
            "max_p95_ms": experiment.latency.max_p95_ms,
        },
        "expected": {
            "sharpe_annual_ci": performance.net.get("bootstrap_ci_annual"),
            "accuracy_ci": direction.get("accuracy_ci_bars"),
            "max_drawdown": performance.track_record.get("max_drawdown"),
            "mean_turnover": performance.costs.get("mean_turnover"),
            "mean_gross_exposure": performance.costs.get("mean_gross_exposure"),
        },
    }


def _calendar(manifest: Mapping[str, Any]) -> int:
    return int(manifest["quality"]["calendar_bars"])


def _above(risk: str, value: float | None, limit: float, source: str, detail: str) -> dict[str, Any]:
    """At risk below the limit."""
    return _row(risk, value, f">= {limit:g}", None if value is None else value < limit, source, detail)


def _below(risk: str, value: float | None, limit: float, source: str, detail: str) -> dict[str, Any]:
    """At risk above the limit."""
    return _row(risk, value, f"<= {limit:g}", None if value is None else value > limit, source, detail)


def _noted(risk: str, value: float | None, source: str, detail: str) -> dict[str, Any]:
    return _row(risk, value, None, None, source, detail)


def _row(
    risk: str, value: float | str | None, limit: str | None, exceeded: bool | None, source: str, detail: str
) -> dict[str, Any]:
    return {
        "risk": risk,
        "value": value,
        "limit": limit,
        "exceeded": exceeded,
        "source": source,
        "detail": detail,
    }
