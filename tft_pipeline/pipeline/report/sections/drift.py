"""Whether the model still sees what it was trained on: the verdict of four parts, each feature, shapes and PSI over time."""

from collections.abc import Mapping, Sequence
from typing import Any

from tft_pipeline.domain.drift_records import SHOWN, judged_rows
from tft_pipeline.pipeline.report.charts import (
    ALERT,
    COLOURS,
    DASHES,
    GRID,
    MARKS,
    Chart,
    axis,
    bar_height,
    figure,
    label,
    named_axis,
    short_label,
)
from tft_pipeline.pipeline.report.markup import (
    Column,
    Html,
    bullets,
    count,
    day,
    decimal,
    facts,
    figure_of,
    paragraph,
    percent,
    table,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.verdict import sentence

OF = "drift_report.rows"
MODERATE = 0.1
"""PSI from which a significant change is worth a look."""
MOST_BARS, MOST_LINES, MOST_SHAPES, A_ROW = 20, 5, 6, 3


def drift_section(records: ReportRecords) -> Section:
    """The verdict and what each part asks for, the bars that were compared, features, and four charts."""
    drift = records.drift
    scored = [row for row in drift.rows if figure_of(row, "psi", of=OF) is not None]
    rows = sorted(scored, key=lambda row: (row.get("verdict") == SHOWN, -float(row["psi"])))
    finding = f"Drift: {drift.verdict.replace('_', ' ')} over the last {count(drift.n_recent)} bars."
    if rows:
        finding += f" {rows[0]['feature']} moved most, to a PSI of {decimal(rows[0]['psi'])}."
    reasons = [sentence(reason) for reason in drift.reasons or (str(drift.detail.get("reason") or ""),) if reason]
    charts = (_sizes(records, rows), _shapes(records), _over_time(records), _heat_map(records))
    return Section(
        anchor="drift",
        title="Drift",
        finding=finding,
        parts=(
            bullets(reasons) if reasons else Html(""),
            _compared(records),
            _features(rows),
            *(chart for chart in charts if chart is not None),
            paragraph(
                "Features are compared as the model sees them, scaled by its scaler. A change counts only where it is large "
                "and rarer than such windows of the training bars show by themselves, over all features together. Raw levels "
                "(prices, volumes) wander and are shown as information.",
                kind="note",
            ),
        ),
    )


def _compared(records: ReportRecords) -> Html:
    drift, detail = records.drift, records.drift.detail
    rows: dict[str, object] = {
        "model of fold": drift.fold,
        "training bars": _range(drift.reference, drift.n_reference),
        "recent bars": _range(drift.recent, drift.n_recent),
        "windows that show what is usual": count(detail.get("n_null_windows")),
        "family-wise p-value": decimal(detail.get("family_p_value"), 3),
    }
    parts = {"together": drift.multivariate, "outputs": drift.predictions, "errors": drift.performance}
    for name, part in parts.items():
        if part is not None:
            rows[name] = str(part.get("verdict", "")).replace("_", " ")
    if drift.multivariate is not None:
        rows["AUC of recent against training bars"] = decimal(drift.multivariate.get("auc"))
    if drift.performance is not None:
        measure = str(drift.performance.get("measure", "")).replace("_", " ")
        rows[f"{measure}, recent"] = decimal(drift.performance.get("recent"), 5)
        rows[f"{measure}, before"] = decimal(drift.performance.get("reference"), 5)
    return facts(rows, caption="What was compared")


def _range(span: Mapping[str, Any], n_bars: int) -> str:
    if not span.get("first"):
        return f"{count(n_bars)} bars"
    return f"{day(str(span['first']))} to {day(str(span['last']))}, {count(n_bars)} bars"


def _features(rows: Sequence[Mapping[str, Any]]) -> Html:
    if not rows:
        return paragraph("No feature could be scored.", kind="note")
    columns = [
        Column("feature", lambda row: row["feature"], False),
        Column("PSI", lambda row: decimal(row["psi"], 3)),
        Column("usual PSI", lambda row: decimal(row.get("psi_null_median"), 3)),
        Column("p, all features", lambda row: decimal(row.get("psi_p_value_family"), 3)),
        Column("JS distance", lambda row: decimal(row.get("js_distance"), 3)),
        Column("JS, nats", lambda row: decimal(row.get("js_divergence_nats"), 3)),
        Column("KS", lambda row: decimal(row.get("ks"), 3)),
        Column("p of KS", lambda row: decimal(row.get("ks_p_value"), 3)),
        Column("Wasserstein, σ", lambda row: decimal(row.get("wasserstein"), 3)),
        Column("missing", lambda row: percent(row.get("missing_recent"))),
        Column("verdict", lambda row: str(row["verdict"]).replace("_", " "), False),
    ]
    return table(columns, rows, caption="Features by PSI, recent bars against training bars")


def _sizes(records: ReportRecords, rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    import plotly.graph_objects as go

    if not rows:
        return None
    drawn, limit = rows[:MOST_BARS], records.experiment.drift.psi_threshold
    trace = go.Bar(
        orientation="h",
        y=list(range(len(drawn))),
        x=[row["psi"] for row in drawn],
        marker={"color": COLOURS[0]},
        hoverinfo="text",
        hovertext=[label(f"{row['feature']}: {row['verdict']}") for row in drawn],
        textposition="none",
        showlegend=False,
    )
    beyond, n_judged = sum(row["psi"] > limit for row in judged_rows(rows)), len(judged_rows(rows))
    judged = sum(row["verdict"] == "retrain" for row in rows)
    return Chart(
        anchor="chart-drift",
        title=f"{beyond} of {n_judged} features have a PSI above {limit:g}; for {judged} the change asks for a retrain",
        figure=figure(
            [trace],
            x=axis("PSI of the newest bars against training"),
            y=named_axis([row["feature"] for row in drawn]),
            more={"shapes": [_line(x=limit)], "bargap": 0.3},
        ),
        height=bar_height(len(drawn), each=18),
        note=f"The largest {len(drawn)}; the line is the threshold, which alone decides nothing on few bars.",
    )


def _shapes(records: ReportRecords) -> Chart | None:
    """Small histograms side by side: both sides as outlines over the same bins."""
    import plotly.graph_objects as go

    shown = records.drift.shapes[:MOST_SHAPES]
    if not shown:
        return None
    n_rows = -(-len(shown) // A_ROW)
    traces: list[Any] = []
    more: dict[str, Any] = {"annotations": []}
    for k, shape in enumerate(shown):
        suffix = "" if k == 0 else str(k + 1)
        column, row = k % A_ROW, k // A_ROW
        across = [column / A_ROW + 0.03, (column + 1) / A_ROW - 0.02]
        down = [1.0 - (row + 1) / n_rows + 0.10, 1.0 - row / n_rows - 0.09]
        for side, colour, dash in (("reference", COLOURS[0], "solid"), ("recent", COLOURS[1], "dot")):
            traces.append(
                go.Scatter(
                    x=shape["edges"],
                    y=[*shape[side], shape[side][-1]],
                    mode="lines",
                    line={"shape": "hv", "color": colour, "width": 2, "dash": dash},
                    name="training bars" if side == "reference" else "recent bars",
                    legendgroup=side,
                    showlegend=k == 0,
                    xaxis=f"x{suffix}",
                    yaxis=f"y{suffix}",
                    hoverinfo="skip",
                )
            )
        more[f"xaxis{suffix}"] = axis() | {"domain": across, "anchor": f"y{suffix}"}
        more[f"yaxis{suffix}"] = axis() | {
            "domain": down,
            "anchor": f"x{suffix}",
            "showticklabels": False,
            "rangemode": "tozero",
        }
        more["annotations"].append(
            {
                "text": short_label(shape["feature"]),
                "x": sum(across) / 2.0,
                "y": down[1],
                "xref": "paper",
                "yref": "paper",
                "xanchor": "center",
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"size": 12},
            }
        )
    first = {name: more.pop(name) for name in ("xaxis", "yaxis")}
    return Chart(
        anchor="chart-drift-shapes",
        title=f"{shown[0]['feature']} has the largest PSI: how its recent values lie against those of training",
        figure=figure(traces, x=first["xaxis"], y=first["yaxis"], more=more),
        height=60 + 190 * n_rows,
        note="Share of the values by size, as the model sees them: in deviations of its training bars. The features with the "
        "largest PSI.",
    )


def _over_time(records: ReportRecords) -> Chart | None:
    import plotly.graph_objects as go

    windows = records.drift.over_time
    if not windows.get("psi"):
        return None
    limit, before = records.experiment.drift.psi_threshold, windows["of_reference"]
    places = list(range(len(before)))
    names = [day(str(stamp)) for stamp in windows["last"]]
    lines = list(windows["psi"].items())[:MOST_LINES]
    traces = [
        go.Scatter(
            x=places,
            y=values,
            name=short_label(name),
            mode="lines+markers",
            line={"color": colour, "width": 1.6, "dash": dash},
            marker={"symbol": mark, "size": 6, "color": colour},
            hoverinfo="text",
            hovertext=[
                label(f"{name}, window to {stamp}: PSI {decimal(value)}")
                for stamp, value in zip(names, values, strict=True)
            ],
        )
        for (name, values), colour, dash, mark in zip(lines, COLOURS, DASHES, MARKS, strict=False)
    ]
    usual = [
        value for _, values in lines for value, old in zip(values, before, strict=True) if old and value is not None
    ]
    above = sum(value > limit for value in usual)
    recent = {
        "type": "rect",
        "x0": sum(before) - 0.5,
        "x1": len(before) - 0.5,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "fillcolor": GRID,
        "opacity": 0.6,
        "line": {"width": 0},
        "layer": "below",
    }
    return Chart(
        anchor="chart-drift-over-time",
        title=f"Within training, {above} of {len(usual)} windows of these features are above a PSI of {limit:g} by themselves",
        figure=figure(
            traces,
            x=_few(named_axis(names, top_down=False)),
            y=axis(f"PSI of windows of {windows['window_bars']} bars") | {"rangemode": "tozero"},
            more={"shapes": [recent, _line(y=limit), _line(y=MODERATE, dash="dot")]},
        ),
        height=340,
        note=f"Each window against the other training bars; recent windows on grey. Dashed: PSI {limit:g}, large; dotted: "
        f"{MODERATE:g}, moderate.",
    )


def _heat_map(records: ReportRecords) -> Chart | None:
    import plotly.graph_objects as go

    windows = records.drift.over_time
    if not windows.get("psi"):
        return None
    names, stamps = list(windows["psi"]), [day(str(stamp)) for stamp in windows["last"]]
    grid = [windows["psi"][name] for name in names]
    trace = go.Heatmap(
        z=grid,
        x=list(range(len(stamps))),
        y=list(range(len(names))),
        zmin=0.0,
        colorscale=[[0.0, "#f4f7fa"], [1.0, COLOURS[0]]],
        colorbar={"title": {"text": "PSI"}, "thickness": 10},
        xgap=1,
        ygap=1,
        hoverinfo="text",
        hovertext=[
            [label(f"{name}, window to {stamp}: {decimal(value)}") for stamp, value in zip(stamps, line, strict=True)]
            for name, line in zip(names, grid, strict=True)
        ],
    )
    newest = sum(line[-1] is not None and line[-1] == max(v for v in line if v is not None) for line in grid)
    return Chart(
        anchor="chart-drift-windows",
        title=f"For {newest} of {len(names)} features the newest window is the one furthest from training",
        figure=figure([trace], x=_few(named_axis(stamps, top_down=False)), y=named_axis(names)),
        height=bar_height(len(names), each=17) + 60,
        note="PSI by feature and window; the last is the newest.",
    )


def _few(named: dict[str, Any], most: int = 12) -> dict[str, Any]:
    """An axis of names with room between them: every few are written."""
    step = max(1, -(-len(named["tickvals"]) // most))
    return named | {"tickvals": named["tickvals"][::-step], "ticktext": named["ticktext"][::-step], "tickangle": -45}


def _line(*, x: float | None = None, y: float | None = None, dash: str = "dash") -> dict[str, Any]:
    ends: dict[str, Any] = (
        {"x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1}
        if x is not None
        else {"y0": y, "y1": y, "xref": "paper", "x0": 0, "x1": 1}
    )
    return {"type": "line", **ends, "line": {"color": ALERT, "width": 1.5, "dash": dash}}
