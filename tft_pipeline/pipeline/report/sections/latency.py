"""How long a decision takes: every form that was timed, the chosen one's distribution, the gate. Not here: the timing."""

from collections.abc import Mapping
from typing import Any

from tft_pipeline.domain.latency import latency_reasons
from tft_pipeline.pipeline.report.charts import ALERT, COLOURS, DASHES, Chart, axis, figure, label
from tft_pipeline.pipeline.report.markup import (
    Column,
    Html,
    bullets,
    count,
    decimal,
    facts,
    figure_of,
    free,
    percent,
    table,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.verdict import sentence

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
DIGITS = 3
TICKS = [digit * 10.0**power for power in range(-2, 5) for digit in (1, 2, 5)]
TICKED = {"type": "log", "tickmode": "array", "tickvals": TICKS, "ticktext": [f"{tick:g}" for tick in TICKS]}


def latency_section(records: ReportRecords) -> Section:
    """The gate, the forms, the open loop and the machine."""
    latency = records.latency
    figures, loop, machine = latency.latency_ms, latency.open_loop, latency.machine
    bounds = figure_of(figures, "p95_ci", of="latency_benchmark.latency_ms")
    reasons = latency_reasons(bounds, n=latency.n, max_p95_ms=latency.max_p95_ms)
    p95 = f"One decision takes {_ms(figures['p95'])} ms at the 95th percentile ({latency.form})"
    finding = (
        f"{p95}; {'; '.join(reasons)}."
        if reasons
        else f"{p95}, at most {_ms(bounds[1])} ms by its interval: within the limit of "
        f"{decimal(latency.max_p95_ms, 1)} ms."
    )
    shown = {
        "fold": latency.fold,
        "decisions timed, each form": f"{count(latency.n)} after {count(latency.warmup)} untimed ones",
        "threads": count(latency.environment.get("threads")),
        "fresh process to first decision, ms": decimal(latency.environment.get("cold_start_ms"), 0),
    }
    if loop:
        shown |= {
            "open loop": f"{loop['rate_per_s']:g} decisions a second, {loop['arrivals']} arrivals",
            "open loop, p95 from intended start, ms": _with_interval(loop, "p95"),
            "open loop, waited for the decision before": percent(loop["queued_share"]),
            "open loop, share of the time busy": percent(loop["busy_share"]),
        }
    if machine:
        shown |= {
            "machine": f"{count(machine['cores'])} cores, load {decimal(machine['load_before'])} before, "
            f"{decimal(machine['load_after'])} after",
            "cores used by others meanwhile": percent(machine["other_busy_share"]),
        }
    lacking = [
        f"{key.replace('p999', 'p99.9').replace('_ci', ', interval')}: {why}."
        for key, why in figures.get("unbounded", {}).items()
    ]
    notes = [*(sentence(f"{form} was not timed: {why}") for form, why in latency.left_out.items()), *lacking]
    return Section(
        anchor="latency",
        title="Latency",
        finding=finding,
        parts=(
            *((_forms(latency.forms),) if latency.forms else ()),
            *_distributions(latency.forms, loop, latency.max_p95_ms),
            facts(shown, caption="One decision, batch of one, from raw features to a position"),
            bullets(notes) if notes else Html(""),
        ),
    )


def _forms(rows: tuple[dict[str, Any], ...]) -> Html:
    def fresh(row: Mapping[str, Any], key: str) -> float | None:
        return None if row["cold_start"] is None else row["cold_start"][key]

    columns = [
        Column("form", lambda row: f"{row['form']}{' (chosen)' if row['chosen'] else ''}", False),
        *(
            Column(f"{name}, ms", lambda row, name=name: _with_interval(row, name))  # type: ignore[misc]
            for name in PERCENTILES
        ),
        Column("p99.9, ms", lambda row: _ms(row["p999"])),
        Column("max, ms", lambda row: _ms(row["max"])),
        Column("fresh process, ms", lambda row: decimal(fresh(row, "total_ms"), 0)),
        Column("memory, MB", lambda row: decimal(fresh(row, "memory_mb"), 0)),
    ]
    return table(columns, rows, caption="Closed loop: one decision after the other, the forms by turns; 95 % intervals")


def _with_interval(figures: Mapping[str, Any], name: str) -> str:
    low, high = figures[f"{name}_ci"]
    return f"{_ms(figures[name])} ({_ms(low)} to {_ms(high)})"


def _ms(value: float | None) -> str:
    """Three digits of a duration, which may be microseconds or seconds; a dash for None."""
    return free(value if value is None else float(f"{value:.{DIGITS}g}"))


def _distributions(forms: tuple[dict[str, Any], ...], loop: Mapping[str, Any], max_p95_ms: float) -> tuple[Chart, ...]:
    """Share of the decisions that took no longer, closed and open loop of the chosen form, with the percentiles."""
    import plotly.graph_objects as go

    chosen = next((row for row in forms if row["chosen"]), None)
    if chosen is None or not loop:
        return ()
    traces = []
    for place, (name, figures) in enumerate({"closed loop": chosen, "open loop": loop}.items()):
        drawn, colour = figures["distribution"], COLOURS[place]
        traces.append(
            go.Scatter(
                x=drawn["ms"],
                y=[100.0 * share for share in drawn["share"]],
                name=name,
                mode="lines",
                line={"color": colour, "width": 2, "shape": "hv", "dash": DASHES[place]},
                hovertemplate="%{y:.1f} % within %{x:.3g} ms",
            )
        )
        traces.append(
            go.Scatter(
                x=[figures[percentile] for percentile in PERCENTILES],
                y=[100.0 * share for share in PERCENTILES.values()],
                name=f"{name}, percentiles",
                mode="markers",
                marker={"color": colour, "size": 8, "symbol": ("circle", "square")[place]},
                error_x=_errors(figures) | {"color": colour, "thickness": 1.5},
                hovertext=[label(f"{name}, {percentile} {figures[percentile]:.3g} ms") for percentile in PERCENTILES],
                hoverinfo="text",
                showlegend=False,
            )
        )
    line = {"type": "line", "x0": max_p95_ms, "x1": max_p95_ms, "yref": "paper", "y0": 0, "y1": 1}
    open_p95 = loop["p95"]
    chart = Chart(
        anchor="chart-latency",
        title=f"{chosen['form']}: p95 {chosen['p95']:.3g} ms called one after the other, {open_p95:.3g} ms when "
        f"{loop['rate_per_s']:g} a second are due",
        figure=figure(
            traces,
            x=axis("milliseconds, log scale") | TICKED,
            y=axis("% of the decisions that took no longer") | {"range": [0, 101]},
            more={"shapes": [line | {"line": {"color": ALERT, "width": 1.5, "dash": "dash"}}]},
        ),
        height=340,
        note=f"Marks are p50, p95 and p99 with their intervals; the dashed line is the limit of {max_p95_ms:g} ms. In the open "
        "loop the clock starts when a decision is due, so waiting counts.",
    )
    return (chart,)


def _errors(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Distances to the ends of the intervals; none is drawn where an end is not bounded."""
    up, down = [], []
    for name in PERCENTILES:
        low, high = figures[f"{name}_ci"]
        up.append(0.0 if high is None else high - figures[name])
        down.append(0.0 if low is None else figures[name] - low)
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down}
