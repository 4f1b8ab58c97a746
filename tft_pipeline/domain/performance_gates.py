"""Gates whose conditions make up the card's verdict, one row a condition: each of them passes if and only if it is GO.

The conditions are those of `verdict.reasons_against`, of latency and of drift, and that each of them is known
(`unknown_reasons`); the numbers are the records' own, nothing is computed again. Their names are `gate_names.PERFORMANCE`.
Not here: gates that the verdict does not know (`release_gates`).
"""

from collections.abc import Mapping
from typing import Any

from tft_pipeline.domain.drift_records import Verdict
from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.gate_row import FAIL, PASS, GateRow, judged, not_applicable
from tft_pipeline.domain.gates_section import GatesSection
from tft_pipeline.domain.latency import latency_reasons
from tft_pipeline.domain.phases import EvaluationSection
from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.domain.verdict import GO, RULES

TOLERATED: dict[str, tuple[Verdict, ...]] = {"stable": ("stable",), "investigate": ("stable", "investigate")}
"""Verdicts of the drift report that pass, by `gates.drift`."""
UNTESTED = "production: no test says whether a baseline is superior"
NO_BASELINE = "production: no baseline that held anything was scored on the same bars"
NOTHING_HELD = "leakage audit: no guard was tried and held"
NO_RESEARCH_END = "research: up to which bar features and settings were chosen is not recorded"


def performance_gates(
    *,
    evaluation: EvaluationSection,
    gates: GatesSection,
    plan: FoldPlanReport,
    performance: OosPerformance,
    audit: LeakageAudit,
    latency: LatencyBenchmark,
    drift: DriftRecord,
) -> tuple[GateRow, ...]:
    """The rows, in the order of `PERFORMANCE`."""
    return (
        _leaks(audit),
        _contamination(plan),
        *_sharpe(performance, evaluation),
        *_cscv(performance.research, evaluation),
        _baselines(performance, evaluation),
        _verdict(performance),
        _latency(latency),
        _drift(drift, gates),
    )


def drift_reasons(drift: DriftRecord, gates: GatesSection) -> list[str]:
    """Why the verdict of the drift report does not pass, in sentences; empty where it is tolerated."""
    if drift.verdict in TOLERATED[gates.drift]:
        return []
    return [f"drift: {drift.verdict} over the last {drift.n_recent} bars"]


def unknown_reasons(plan: FoldPlanReport, performance: OosPerformance, audit: LeakageAudit) -> list[str]:
    """Conditions of GO of which the records say nothing, in words; what is not known does not hold."""
    unknown = (_unheard(audit), _unrecorded(plan), _uncompared(performance))
    return [why for why in unknown if why]


def _unheard(audit: LeakageAudit) -> str:
    return "" if any(row["passed"] is not None for row in audit.rows) else NOTHING_HELD


def _unrecorded(plan: FoldPlanReport) -> str:
    return NO_RESEARCH_END if plan.research_last is None else ""


def _uncompared(performance: OosPerformance) -> str:
    if all(row.get("sharpe") is None for row in performance.baselines.values()):
        return NO_BASELINE
    return UNTESTED if performance.superiority.get("spa_p_consistent") is None else ""


def _unknown(name: str, why: str, threshold: float, *, source: str, unit: str = "") -> GateRow:
    return GateRow(
        name=name, value=None, threshold=threshold, unit=unit, verdict=FAIL, why=why, source=source, value_reason=why
    )


def _leaks(audit: LeakageAudit) -> GateRow:
    """Guards that could not be tried on this data block nothing and are named; one that was tried must have held."""
    leaks = [f"{row['guard']}: {row['detail']}" for row in audit.rows if row["passed"] is False]
    held = sum(row["passed"] is True for row in audit.rows)
    untried = [str(row["guard"]) for row in audit.rows if row.get("state") == "not_verifiable"]
    said = "; ".join(leaks) or _unheard(audit) or f"{held} guards were tried and held"
    return GateRow(
        name="leakage_audit",
        value=None if _unheard(audit) else len(leaks),
        value_reason=_unheard(audit),
        threshold=0,
        unit="guards that found a leak",
        verdict=FAIL if leaks or _unheard(audit) else PASS,
        why=said + (f"; could not be tried: {', '.join(untried)}" if untried else ""),
        source="leakage_audit.rows",
        figures={"guards_held": held, "guards_not_verifiable": untried},
    )


def _contamination(plan: FoldPlanReport) -> GateRow:
    first = plan.specs[0].dates["test"]["first"]
    source = "production_plan.research_last"
    if _unrecorded(plan):
        return _unknown("not_contaminated", _unrecorded(plan), False, source=source)
    said = f"features and settings were chosen on bars up to {plan.research_last}, bars from {first} on are scored"
    return GateRow(
        name="not_contaminated",
        value=plan.contaminated,
        threshold=False,
        verdict=FAIL if plan.contaminated else PASS,
        why=said,
        source=source,
    )


def _sharpe(performance: OosPerformance, limits: EvaluationSection) -> tuple[GateRow, GateRow]:
    net, research, looks = performance.net, performance.research, performance.looks
    production = judged(
        "probabilistic_sharpe_ratio",
        net.get("psr_after_looks"),
        ">=",
        limits.min_psr,
        why=f"probability that the net Sharpe ratio of {net.get('n')} scored bars is above 0, after {looks} look(s) at them",
        source="oos_performance.net.psr_after_looks",
        unit="probability",
        figures={name: net.get(name) for name in ("n", "sharpe_annual", "se_annual")} | {"looks": looks},
    )
    chosen = judged(
        "deflated_sharpe_ratio",
        research.get("dsr"),
        ">=",
        limits.min_dsr,
        why=f"probability that the chosen trial's Sharpe ratio is above 0, the best of {research.get('n_trials_started')} "
        "trials started",
        source="oos_performance.research.dsr",
        unit="probability",
        missing=str(research.get("dsr_reason", "")),
        figures={name: research.get(name) for name in ("n_trials_started", "n_bars", "sharpe_annual")},
    )
    return production, chosen


def _cscv(research: Mapping[str, Any], limits: EvaluationSection) -> tuple[GateRow, GateRow]:
    loss, lost, pbo = (research.get(name) for name in ("probability_of_loss", "degradation", "pbo"))
    source = "oos_performance.research."
    no_trials = research.get("dsr") is None
    one_trial = f"{research.get('dsr_reason') or 'not computed'}; deflated_sharpe_ratio says no for the same reason"
    flat = "" if pbo is None else f", PBO {pbo:.2f}, which alone blocks nothing"
    probability = (
        not_applicable("probability_of_loss", one_trial, source=f"{source}probability_of_loss")
        if loss is None and no_trials
        else judged(
            "probability_of_loss",
            loss,
            "<=",
            limits.max_probability_of_loss,
            why=f"share of CSCV splits in which the best trial loses out of sample{flat}",
            source=f"{source}probability_of_loss",
            unit="probability",
            missing=str(research.get("probability_of_loss_reason", "")),
            figures={"pbo": pbo},
        )
    )
    if lost is None and no_trials:
        return probability, not_applicable("degradation", one_trial, source=f"{source}degradation")
    degradation = judged(
        "degradation",
        lost,
        "<=",
        limits.max_degradation,
        why="share of the best trial's Sharpe ratio that CSCV finds lost out of sample",
        source=f"{source}degradation",
        unit="share",
        missing="the best trial earns nothing in sample (CSCV)",
    )
    return probability, degradation


def _baselines(performance: OosPerformance, limits: EvaluationSection) -> GateRow:
    """A rule that is as good vetoes, and any baseline that StepM names superior; see `verdict.reasons_against`."""
    if _uncompared(performance):
        return _unknown(
            "baselines",
            _uncompared(performance),
            0,
            source="oos_performance.baselines",
            unit="baselines that are not beaten",
        )
    own, superior = performance.net.get("sharpe"), performance.superiority.get("superior", ())
    scored = {name: row for name, row in performance.baselines.items() if row.get("sharpe") is not None}
    lost = [f"{name} (not known)" for name, row in performance.baselines.items() if _lost(name, row)]
    against = lost + [
        f"{name} (Sharpe {row['sharpe_annual']:.2f}{', superior' if name in superior else ''})"
        for name, row in scored.items()
        if name in superior or (name in RULES and (own is None or own <= row["sharpe"]))
    ]
    annual = performance.net.get("sharpe_annual")
    figure = "not known" if annual is None else f"{annual:.2f}"
    said = (
        f"the model's net Sharpe ratio a year is {figure}; {len(against)} of {len(scored)} baselines are rules that are as "
        f"good, or superior at the {limits.alpha:.0%} level"
    )
    return GateRow(
        name="baselines",
        value=len(against),
        threshold=0,
        unit="baselines that are not beaten",
        verdict=FAIL if against else PASS,
        why=said + (f": {', '.join(against)}" if against else ""),
        source="oos_performance.baselines",
        figures={"sharpe_annual": annual} | {name: row["sharpe_annual"] for name, row in scored.items()},
    )


def _lost(name: str, row: Mapping[str, Any]) -> bool:
    """Whether a rule's ratio is missing and no reason says that it held nothing."""
    return name in RULES and row.get("sharpe") is None and not row.get("reason")


def _verdict(performance: OosPerformance) -> GateRow:
    passed = performance.verdict == GO and not performance.reasons
    return GateRow(
        name="verdict",
        value=performance.verdict,
        threshold=GO,
        verdict=PASS if passed else FAIL,
        why="; ".join(performance.reasons) or f"oos_performance has nothing against it: {performance.verdict}",
        source="oos_performance.verdict",
    )


def _latency(latency: LatencyBenchmark) -> GateRow:
    low, upper = latency.latency_ms["p95_ci"]
    against = latency_reasons((low, upper), n=latency.n, max_p95_ms=latency.max_p95_ms)
    return judged(
        "latency_p95",
        upper,
        "<=",
        latency.max_p95_ms,
        why=f"upper end of the 95 % interval of the p95, of {latency.n} timed decisions in the form {latency.form}",
        source="latency_benchmark.latency_ms.p95_ci",
        unit="ms",
        missing="; ".join(against),
        figures={"n": latency.n, "p95": latency.latency_ms.get("p95"), "p95_ci_low": low},
    )


def _drift(drift: DriftRecord, gates: GatesSection) -> GateRow:
    said = "; ".join(drift.reasons) or "the report gives no reason"
    return GateRow(
        name="drift",
        value=drift.verdict,
        rule="in",
        threshold=TOLERATED[gates.drift],
        verdict=FAIL if drift_reasons(drift, gates) else PASS,
        why=f"{drift.verdict} over the last {drift.n_recent} bars against {drift.n_reference} training bars; {said}",
        source="drift_report.verdict",
        figures={"n_recent": drift.n_recent, "n_reference": drift.n_reference},
    )
