"""Charts of the choice of features: weights with intervals, stability, the grid of folds, reasons of phase 1.

Not here: tables and findings (`features`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tft_pipeline.domain.selection import Standing, standing
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
from tft_pipeline.pipeline.report.markup import percent, several

MOST_BARS, MOST_ROWS = 25, 40
"""Features in a drawing of bars and in the grid; the table holds all."""
STANDINGS: tuple[tuple[Standing, str, tuple[str, str], tuple[str, str]], ...] = (
    ("kept", "kept", ("#7ba5d6", ""), (COLOURS[0], "circle")),
    ("filled up", "kept to reach min_features", ("#e0a878", "x"), (COLOURS[1], "diamond-open")),
    ("dropped", "dropped", ("#aab4be", "/"), ("#7c8894", "x-thin")),
)
"""How a feature ended: its standing, what the legend says, colour and strokes of its bar, colour and form of its mark."""
FILLED_NOTE = (
    " Where fewer stay than pruning.min_features, the largest weights fill up, whatever they are: open diamonds."
)


def weight_chart(rows: Sequence[Mapping[str, Any]], limit: float | None, n_folds: int) -> Chart:
    """Mean weights with their intervals over folds; the mean threshold as a line."""
    import plotly.graph_objects as go

    drawn = rows[:MOST_BARS]
    traces: list[Any] = []
    for ended, name, (colour, pattern), _ in STANDINGS:
        mine = [(y, row) for y, row in enumerate(drawn) if standing(row) == ended]
        if not mine:
            continue
        traces.append(
            go.Bar(
                orientation="h",
                name=name,
                y=[y for y, _ in mine],
                x=[row["weight"] for _, row in mine],
                marker={"color": colour, "pattern": hatched(pattern)},
                error_x={
                    "type": "data",
                    "array": [_reach(row["weight"], row["high"]) for _, row in mine],
                    "arrayminus": [_reach(row["low"], row["weight"]) for _, row in mine],
                    "thickness": 1,
                    "width": 3,
                },
                hoverinfo="text",
                hovertext=[label(f"{row['feature']}: {row['weight']:.4f}, {row['reason']}") for _, row in mine],
                textposition="none",
            )
        )
    shapes = [] if limit is None else [_line(x=limit)]
    first = f"the first {len(drawn)} of {len(rows)} by weight; " if len(rows) > len(drawn) else ""
    share = sum(row["weight"] for row in drawn[:3])
    interval = (
        "no whiskers, for one fold has no spread"
        if n_folds < 2
        else "whiskers: 95 % interval of the mean over folds, too short rather than too long, for folds share training bars"
    )
    return Chart(
        anchor="chart-weights",
        title=f"The three largest features hold {percent(share)} of the selection weight",
        figure=figure(
            traces,
            x=axis("VSN weight, share of 1") | {"rangemode": "tozero"},
            y=named_axis([row["feature"] for row in drawn]),
            more={"barmode": "overlay", "bargap": 0.3, "shapes": shapes},
        ),
        height=bar_height(len(drawn), each=19),
        note=f"Mean over folds; {first}{interval}; the dashed line is the mean threshold"
        f"{'' if limit is None else f', {limit:.4f}'}.",
    )


def stability_chart(rows: Sequence[Mapping[str, Any]], least: float, limit: float | None) -> Chart:
    """Share of folds above the threshold against mean weight, by how each feature ended."""
    import plotly.graph_objects as go

    traces = []
    for ended, name, _, (colour, mark) in STANDINGS:
        mine = [row for row in rows if standing(row) == ended]
        if ended == "filled up" and not mine:
            continue
        traces.append(
            go.Scatter(
                x=[row["weight"] for row in mine],
                y=[100.0 * row["stability"] for row in mine],
                name=name,
                mode="markers",
                marker={"symbol": mark, "size": 9, "color": colour, "line": {"width": 1.5, "color": colour}},
                hoverinfo="text",
                hovertext=[label(f"{row['feature']}: {row['reason']}") for row in mine],
            )
        )
    always = sum(row["stability"] == 1.0 for row in rows)
    return Chart(
        anchor="chart-stability",
        title=f"{always} of {len(rows)} features are above the threshold in every fold",
        figure=figure(
            traces,
            x=axis("mean VSN weight, share of 1, log scale") | {"type": "log"},
            y=axis("folds above the threshold, %") | {"range": [-6, 106]},
            more={"shapes": [_line(y=100.0 * least), *([] if limit is None else [_line(x=limit)])]},
        ),
        height=340,
        note=f"A feature stays from {percent(least, 0)} of the folds on, with a mean weight above the mean threshold (dashed)."
        f"{FILLED_NOTE if any(standing(row) == 'filled up' for row in rows) else ''}",
    )


def heat_map(rows: Sequence[Mapping[str, Any]], weights: Mapping[str, list[float]], folds: Sequence[str]) -> Chart:
    """Weight by feature and fold."""
    import plotly.graph_objects as go

    drawn = rows[:MOST_ROWS]
    grid = [weights[row["feature"]] for row in drawn]
    trace = go.Heatmap(
        z=grid,
        x=list(range(len(folds))),
        y=list(range(len(drawn))),
        colorscale=[[0.0, "#f4f7fa"], [1.0, COLOURS[0]]],
        colorbar={"title": {"text": "weight"}, "thickness": 10},
        xgap=1,
        ygap=1,
        hoverinfo="text",
        hovertext=[
            [label(f"{row['feature']}, {key}: {value:.4f}") for key, value in zip(folds, line, strict=True)]
            for row, line in zip(drawn, grid, strict=True)
        ],
    )
    firsts = sum(grid[0][k] == max(line[k] for line in grid) for k in range(len(folds)))
    first = f"The first {len(drawn)} of {len(rows)} features by weight." if len(rows) > len(drawn) else "All features."
    return Chart(
        anchor="chart-weights-by-fold",
        title=f"The feature with the largest mean weight is the largest in {firsts} of {len(folds)} folds",
        figure=figure(
            [trace],
            x=named_axis(folds, top_down=False) | {"tickangle": -45},
            y=named_axis([row["feature"] for row in drawn]),
        ),
        height=bar_height(len(drawn), each=17) + 60,
        note=f"Weight by feature and research fold. {first}",
    )


def reasons_chart(dropped: Sequence[Mapping[str, Any]], n_kept: int) -> Chart:
    """How many features phase 1 kept, and why it dropped the others."""
    import plotly.graph_objects as go

    counts = [("kept", n_kept), *Counter(str(row["reason"]) for row in dropped).most_common()]
    names = [name.replace("_", " ") for name, _ in counts]
    bars = go.Bar(
        orientation="h",
        y=list(range(len(counts))),
        x=[n for _, n in counts],
        marker={"color": ["#7ba5d6", *["#aab4be"] * (len(counts) - 1)]},
        text=[str(n) for _, n in counts],
        textposition="auto",
        hoverinfo="skip",
    )
    return Chart(
        anchor="chart-reasons",
        title=f"Phase 1 dropped {several(len(dropped), 'feature')} of {n_kept + len(dropped)} before anything was trained",
        figure=figure([bars], x=axis("features") | {"rangemode": "tozero"}, y=named_axis(names), more={"bargap": 0.3}),
        height=bar_height(len(counts), least=140),
        note="By the first reason that held, on bars before any validation bar of the research period.",
    )


def _reach(low: float | None, high: float | None) -> float:
    return 0.0 if low is None or high is None else max(high - low, 0.0)


def _line(*, x: float | None = None, y: float | None = None) -> dict[str, Any]:
    """A dashed limit across the drawing."""
    if x is not None:
        ends: dict[str, Any] = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
    else:
        ends = {"x0": 0, "x1": 1, "xref": "paper", "y0": y, "y1": y}
    return {"type": "line", **ends, "line": {"color": ALERT, "width": 1.5, "dash": "dash"}}
