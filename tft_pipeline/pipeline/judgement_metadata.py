"""What the judging assets and their checks show in tables: the headline of a run, and a value held against its limit.

Not here: the judgements, the pictures.
"""

from typing import Any

from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark, LeakageAudit, OosPerformance
from tft_pipeline.domain.gate_row import GateRow
from tft_pipeline.pipeline.card.parts import Card


def check_metadata(value: object, limit: object, *, unit: str, finding: str) -> dict[str, Any]:
    """What a check shows: what was found, what it was held against, in which unit, and one sentence."""
    shown = {"value": value, "limit": limit, "unit": unit, "finding": finding}
    return {name: "none" if one is None else one for name, one in shown.items()}


def gate_metadata(row: GateRow) -> dict[str, Any]:
    """The same of a gate, with how the value must stand to the limit and where it is from."""
    limit = ", ".join(row.threshold) if isinstance(row.threshold, tuple) else row.threshold
    found = check_metadata(row.value, limit, unit=row.unit, finding=row.why)
    return found | {"verdict": row.verdict, "rule": row.rule, "source": row.source}


def headline_rows(
    card: Card, performance: OosPerformance, audit: LeakageAudit, latency: LatencyBenchmark, drift: DriftRecord
) -> list[dict[str, str]]:
    """The figures a reader asks for first, in words, and the asset each is of."""
    net, figures = performance.net, latency.latency_ms
    low, high = net.get("bootstrap_ci_annual") or (None, None)
    passed = [row["passed"] for row in audit.rows]  # None: not used, or not to be verified
    held = f"{passed.count(True)} held, {passed.count(False)} leak(s), {passed.count(None)} not tried"
    rows = [
        ("verdict", str(card["verdict"]), "oos_performance"),
        ("reasons against", str(len(card["reasons"])), "oos_performance"),
        ("Sharpe ratio a year, net, out of sample", _figure(net["sharpe_annual"]), "oos_performance"),
        ("its standard error", _figure(net["se_annual"]), "oos_performance"),
        ("its 95 % interval", f"{_figure(low)} to {_figure(high)}", "oos_performance"),
        ("PSR after looks", f"{_figure(net['psr_after_looks'])} ({performance.looks} look(s))", "oos_performance"),
        ("DSR of the chosen trial", _figure(performance.research.get("dsr")), "tuned_hyperparameters"),
        ("bars scored", str(net["n"]), "oos_portfolio"),
        ("leakage guards", held, "leakage_audit"),
        ("latency p95, ms", f"{figures['p95']:.2f} (limit {latency.max_p95_ms:g})", "latency_benchmark"),
        ("drift", f"{drift.verdict.replace('_', ' ')} over {drift.n_recent} bars", "drift_report"),
    ]
    return [{"figure": name, "value": value, "from": asset} for name, value, asset in rows]


def _figure(value: Any) -> str:
    return "undefined" if value is None else f"{value:.3f}"
