"""Whether the released model is quick enough and still sees what it was trained on; who looked at this period before."""

from typing import Any

from tft_pipeline.pipeline.report.charts import ALERT, COLOURS, Chart, axis, bar_height, figure, label, named_axis
from tft_pipeline.pipeline.report.markup import (
    Html,
    count,
    decimal,
    facts,
    figure_of,
    free,
    free_record,
    free_table,
    paragraph,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.verdict import sentence

MOST_FEATURES = 20


def operation_section(records: ReportRecords) -> Section:
    """Latency, drift and the ensemble, in brief."""
    latency, drift, ensemble = records.latency, records.drift, records.ensemble
    p95 = figure_of(latency.latency_ms, "p95", of="latency_benchmark.latency_ms")
    finding = (
        f"One decision takes {decimal(p95, 1)} ms at the 95th percentile, {'within' if latency.within_limit else 'above'} the "
        f"limit of {decimal(latency.max_p95_ms, 1)} ms. Drift: {drift.verdict.replace('_', ' ')} over the last "
        f"{count(drift.n_recent)} bars."
    )
    figures = {f"{name}, ms": free(latency.latency_ms[name]) for name in latency.latency_ms}
    reason = drift.detail.get("reason")
    return Section(
        anchor="operation",
        title="Latency, drift and ensemble",
        finding=finding,
        parts=(
            facts(
                {"fold": latency.fold, "decisions timed": count(latency.n), **figures},
                caption="Latency of one decision, batch of one",
            ),
            paragraph(sentence(str(reason))) if reason else Html(""),
            *_drift(records),
            facts(
                {
                    name: f"{decimal(weight, 3)}{'' if ensemble.available.get(name) else ' (not available)'}"
                    for name, weight in ensemble.weights.items()
                },
                caption="Ensemble weights",
            ),
            free_record(ensemble.metrics, caption="Blend scored forward"),
        ),
    )


def _drift(records: ReportRecords) -> tuple[Chart, ...]:
    import plotly.graph_objects as go

    of = "drift_report.rows"
    scored: list[Any] = [row for row in records.drift.rows if figure_of(row, "psi", of=of) is not None]
    if not scored:
        return ()
    rows = sorted(scored, key=lambda row: -float(row["psi"]))[:MOST_FEATURES]
    limit = records.experiment.drift.psi_threshold
    trace = go.Bar(
        orientation="h",
        y=list(range(len(rows))),
        x=[row["psi"] for row in rows],
        marker={"color": COLOURS[0]},
        hoverinfo="text",
        hovertext=[label(f"{row['feature']}: {row['verdict']}") for row in rows],
        textposition="none",
        showlegend=False,
    )
    line = {"type": "line", "x0": limit, "x1": limit, "yref": "paper", "y0": 0, "y1": 1}
    beyond = sum(row["psi"] > limit for row in scored)
    judged = sum(row["verdict"] == "retrain" for row in scored)
    chart = Chart(
        anchor="chart-drift",
        title=f"{beyond} of {len(scored)} features have a PSI above {limit:g}; for {judged} the change is also significant",
        figure=figure(
            [trace],
            x=axis("PSI of the newest bars against training"),
            y=named_axis([row["feature"] for row in rows]),
            more={"shapes": [line | {"line": {"color": ALERT, "width": 1.5, "dash": "dash"}}], "bargap": 0.3},
        ),
        height=bar_height(len(rows), each=18),
        note=f"The largest {len(rows)}; the line is the threshold, which alone decides nothing on so few bars.",
    )
    return (chart,)


def looks_section(records: ReportRecords) -> Section:
    """Every distinct scoring of this period, by any experiment on the same bars."""
    performance = records.performance
    finding = (
        f"The production period was scored {performance.looks} times with different results; the PSR of the verdict is "
        "lowered for each."
        if performance.looks > 1
        else "This is the first look at the production period."
    )
    shown = (
        free_table(performance.looks_seen, caption="Looks at this period")
        if performance.looks_seen
        else paragraph("The record names no look.", kind="note")
    )
    return Section(anchor="looks", title="Looks at the production period", finding=finding, parts=(shown,))
