"""What the selection network looked at in the research period, and whether it looked at the same things every time."""

from collections.abc import Sequence
from typing import Any

from tft_pipeline.pipeline.report.charts import (
    ALERT,
    COLOURS,
    Chart,
    axis,
    bar_height,
    figure,
    hatched,
    label,
    named_axis,
)
from tft_pipeline.pipeline.report.markup import Column, Html, decimal, figure_of, percent, several, span, table
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.verdict import sentence

MOST_BARS = 30
"""Features in a drawing; the table holds all."""
OF_ROWS = "selected_features.rows"


def features_section(records: ReportRecords) -> Section:
    """Variable Selection Network weights, by feature and by fold."""
    selected = records.selected
    folds = sorted(records.exploration)
    rows = [{key: figure_of(row, key, of=OF_ROWS) for key in KEYS} for row in selected.rows]
    weights = {
        row["feature"]: [
            float(figure_of(records.exploration[key].weights, row["feature"], of=f"exploration_fold {key}"))
            for key in folds
        ]
        for row in rows
    }
    drawn = rows[:MOST_BARS]
    return Section(
        anchor="features",
        title="VSN weights and stability",
        finding=_finding(records, len(folds)),
        parts=(
            _weight_chart(records, drawn, weights, len(rows)),
            _heat_map(drawn, weights, folds),
            _stability_chart(records, rows),
            _feature_table(rows),
            _group_table(records),
        ),
    )


KEYS = ("rank", "feature", "weight", "stability", "kept", "reason")


def _finding(records: ReportRecords, n_folds: int) -> str:
    selected = records.selected
    kept = f"{len(selected.features)} of {len(selected.rows)} features are kept, judged on {several(n_folds, 'research fold')}."
    if selected.nogueira is None:
        stable = "Nogueira's stability is undefined (one fold, or no or every feature above its threshold)."
    else:
        found = {
            key: figure_of(selected.nogueira, key, of="selected_features.nogueira") for key in ("phi", "lower", "upper")
        }
        stable = (
            f"Nogueira's stability of the choice is {decimal(found['phi'])} (95 % interval "
            f"{span(found['lower'], found['upper'])}; 1 always the same, 0 as if drawn by lot)."
        )
    w = selected.kendall_w
    ranks = (
        "Kendall's W of the rankings is undefined."
        if w is None
        else f"Kendall's W of the rankings is {decimal(w)} (1 full agreement)."
    )
    return f"{kept} {stable} {ranks}"


def _threshold(records: ReportRecords) -> float | None:
    limits = list(records.selected.thresholds.values())
    return sum(limits) / len(limits) if limits else None


def _weight_chart(records: ReportRecords, rows: Sequence[Any], weights: dict[str, list[float]], n: int) -> Chart:
    import plotly.graph_objects as go

    limit = _threshold(records)
    traces: list[Any] = []
    for kept, colour, pattern in ((True, "#7ba5d6", ""), (False, "#aab4be", "/")):
        mine = [(y, row) for y, row in enumerate(rows) if row["kept"] is kept]
        if not mine:
            continue
        ends = [(min(weights[row["feature"]]), max(weights[row["feature"]])) for _, row in mine]
        traces.append(
            go.Bar(
                orientation="h",
                name="kept" if kept else "dropped",
                y=[y for y, _ in mine],
                x=[row["weight"] for _, row in mine],
                marker={"color": colour, "pattern": hatched(pattern)},
                error_x={
                    "type": "data",
                    "array": [max(high - row["weight"], 0.0) for (_, high), (_, row) in zip(ends, mine, strict=True)],
                    "arrayminus": [
                        max(row["weight"] - low, 0.0) for (low, _), (_, row) in zip(ends, mine, strict=True)
                    ],
                    "thickness": 1,
                    "width": 3,
                },
                hoverinfo="text",
                hovertext=[label(f"{row['feature']}: {row['weight']:.4f}, {row['reason']}") for _, row in mine],
                textposition="none",
            )
        )
    shapes = (
        []
        if limit is None
        else [
            {
                "type": "line",
                "x0": limit,
                "x1": limit,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": ALERT, "width": 1.5, "dash": "dash"},
            }
        ]
    )
    first = f"the first {len(rows)} of {n} by weight; " if n > len(rows) else ""
    share = sum(row["weight"] for row in rows[:3])
    return Chart(
        anchor="chart-weights",
        title=f"The three largest features hold {percent(share)} of the selection weight",
        figure=figure(
            traces,
            x=axis("VSN weight, share of 1") | {"rangemode": "tozero"},
            y=named_axis([row["feature"] for row in rows]),
            more={"barmode": "overlay", "bargap": 0.3, "shapes": shapes},
        ),
        height=bar_height(len(rows), each=19),
        note=f"Mean over folds; {first}whiskers from the smallest to the largest fold; the dashed line is the mean threshold"
        f"{'' if limit is None else f', {limit:.4f}'}, set by shadow features that cannot help.",
    )


def _heat_map(rows: Sequence[Any], weights: dict[str, list[float]], folds: Sequence[str]) -> Chart:
    import plotly.graph_objects as go

    grid = [weights[row["feature"]] for row in rows]
    trace = go.Heatmap(
        z=grid,
        x=list(range(len(folds))),
        y=list(range(len(rows))),
        colorscale=[[0.0, "#f4f7fa"], [1.0, COLOURS[0]]],
        colorbar={"title": {"text": "weight"}, "thickness": 10},
        xgap=1,
        ygap=1,
        hoverinfo="text",
        hovertext=[
            [label(f"{row['feature']}, {key}: {value:.4f}") for key, value in zip(folds, line, strict=True)]
            for row, line in zip(rows, grid, strict=True)
        ],
    )
    firsts = sum(grid[0][k] == max(line[k] for line in grid) for k in range(len(folds)))
    return Chart(
        anchor="chart-weights-by-fold",
        title=f"The feature with the largest mean weight is the largest in {firsts} of {len(folds)} folds",
        figure=figure(
            [trace],
            x=named_axis(folds, top_down=False) | {"tickangle": -45},
            y=named_axis([row["feature"] for row in rows]),
        ),
        height=bar_height(len(rows), each=17) + 60,
        note="Weight by feature and research fold; features as above.",
    )


def _stability_chart(records: ReportRecords, rows: Sequence[Any]) -> Chart:
    import plotly.graph_objects as go

    least = records.experiment.pruning.min_stability
    traces = []
    for kept, colour, mark in ((True, COLOURS[0], "circle"), (False, "#7c8894", "x-thin")):
        mine = [row for row in rows if row["kept"] is kept]
        traces.append(
            go.Scatter(
                x=[row["weight"] for row in mine],
                y=[100.0 * row["stability"] for row in mine],
                name="kept" if kept else "dropped",
                mode="markers",
                marker={"symbol": mark, "size": 9, "color": colour, "line": {"width": 1.5, "color": colour}},
                hoverinfo="text",
                hovertext=[label(f"{row['feature']}: {row['reason']}") for row in mine],
            )
        )
    line = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": 100.0 * least, "y1": 100.0 * least}
    always = sum(row["stability"] == 1.0 for row in rows)
    return Chart(
        anchor="chart-stability",
        title=f"{always} of {len(rows)} features are above the threshold in every fold",
        figure=figure(
            traces,
            x=axis("mean VSN weight, share of 1"),
            y=axis("folds above the threshold, %") | {"range": [-6, 106]},
            more={"shapes": [line | {"line": {"color": ALERT, "width": 1.2, "dash": "dash"}}]},
        ),
        height=340,
        note=f"A feature stays from {percent(least, 0)} of the folds on (dashed).",
    )


def _feature_table(rows: Sequence[Any]) -> Html:
    columns = [
        Column("feature", lambda row: row["feature"], False),
        Column("rank", lambda row: str(row["rank"])),
        Column("weight", lambda row: decimal(row["weight"], 4)),
        Column("stability", lambda row: percent(row["stability"], 0)),
        Column("kept", lambda row: "✓ kept" if row["kept"] else "✗ dropped", False),
        Column("why", lambda row: sentence(str(row["reason"])), False),
    ]
    return table(columns, rows, caption="Features by weight")


def _group_table(records: ReportRecords) -> Html:
    of = "selected_features.groups"
    columns = [
        Column("group", lambda row: figure_of(row, "group", of=of), False),
        Column("kept", lambda row: str(figure_of(row, "kept", of=of))),
        Column("of", lambda row: str(figure_of(row, "initial", of=of))),
        Column("weight of those kept", lambda row: decimal(figure_of(row, "weight", of=of), 3)),
    ]
    return table(columns, records.selected.groups, caption="Groups")
