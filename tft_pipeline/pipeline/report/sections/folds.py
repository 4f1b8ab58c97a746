"""The walk forward: which bars each fold saw, and how much of its validation result was chance."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tft_pipeline.pipeline.report.charts import (
    ALERT,
    COLOURS,
    INK,
    MUTED,
    Chart,
    axis,
    bar_height,
    figure,
    hatched,
    named_axis,
)
from tft_pipeline.pipeline.report.markup import (
    Column,
    Html,
    count,
    day,
    decimal,
    figure_of,
    line,
    percent,
    several,
    table,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.verdict import sentence

PARTS = (("train", COLOURS[0], ""), ("validation", COLOURS[1], "/"), ("test", COLOURS[2], "x"))
OF_FOLDS = "oos_performance.folds"


def folds_section(records: ReportRecords) -> Section:
    """Train, validation and test of every production fold, with the purge between them."""
    specs, purge = records.plan.specs, records.plan.purge
    first, last = day(specs[0].dates["test"]["first"]), day(specs[-1].dates["test"]["last"])
    finding = (
        f"{several(len(specs), 'fold')}, scored {first} to {last}; before every validation and test part "
        f"{several(purge, 'bar')} left out."
    )
    return Section(
        anchor="folds",
        title="Folds",
        finding=finding,
        parts=(_timeline(records), _fold_table(records)),
    )


def _timeline(records: ReportRecords) -> Chart:
    import plotly.graph_objects as go

    specs = records.plan.specs
    traces = []
    for part, colour, pattern in PARTS:
        first = [datetime.fromisoformat(spec.dates[part]["first"]) for spec in specs]
        last = [datetime.fromisoformat(spec.dates[part]["last"]) for spec in specs]
        traces.append(
            go.Bar(
                orientation="h",
                name=part,
                y=list(range(len(specs))),
                base=[stamp.strftime("%Y-%m-%d %H:%M") for stamp in first],
                x=[1000.0 * (end - start).total_seconds() for start, end in zip(first, last, strict=True)],
                marker={
                    "color": colour,
                    "pattern": hatched(pattern),
                },
                hoverinfo="text",
                hovertext=[f"{part}: {spec.dates[part]['n_bars']} bars" for spec in specs],
                textposition="none",
            )
        )
    return Chart(
        anchor="chart-folds",
        title="Each fold is scored after everything it learnt from",
        figure=figure(
            traces,
            x=axis("date (UTC)") | {"type": "date"},
            y=named_axis([spec.key for spec in specs]),
            more={"barmode": "overlay", "bargap": 0.35},
        ),
        height=bar_height(len(specs), each=26),
        note=f"Gaps between the parts of a fold are the purge of {records.plan.purge} bars.",
    )


def _fold_table(records: ReportRecords) -> Html:
    scores = _by_fold(records.performance.folds)

    def dates(part: str) -> Column:
        def cell(row: Mapping[str, Any]) -> Html:
            spans = row["dates"][part]
            return line(f"{day(spans['first'])} to {day(spans['last'])}")

        return Column(part, cell, False)

    def bars(part: str) -> Column:
        return Column("bars", lambda row: count(row["dates"][part]["n_bars"]))

    rows = [{"fold": spec.key, "dates": spec.dates, **_score(scores, spec.key)} for spec in records.plan.specs]
    columns = [Column("fold", lambda row: line(row["fold"]), False)]
    for part, _, _ in PARTS:
        columns += [dates(part), bars(part)]
    columns += [
        Column("net Sharpe, a year", lambda row: decimal(row["oos_sharpe_annual"])),
        Column("scored bars", lambda row: count(row["n_oos_bars"])),
    ]
    return table(columns, rows, caption="Production folds, oldest first")


def inflation_section(records: ReportRecords) -> Section:
    """Validation and out-of-sample Sharpe ratio of each fold, and what the best epoch shows without any skill."""
    rows = records.performance.folds
    summary = figure_of(records.performance.research, "inflation", of="oos_performance.research")
    both = [row for row in rows if row["validation_sharpe_annual"] is not None and row["oos_sharpe_annual"] is not None]
    below = sum(row["oos_sharpe_annual"] < row["validation_sharpe_annual"] for row in both)
    title = f"Out of sample is below validation in {below} of {len(both)} folds that have both"
    return Section(
        anchor="inflation",
        title="Validation against out of sample",
        finding=sentence(str(summary["sentence"])),
        parts=(_inflation_chart(rows, title), _inflation_table(rows)),
    )


def _inflation_chart(rows: Sequence[Mapping[str, Any]], title: str) -> Chart:
    import plotly.graph_objects as go

    names = [figure_of(row, "fold", of=OF_FOLDS) for row in rows]
    place = list(range(len(rows)))
    kinds = (
        ("validation, chosen epoch", "validation_sharpe_annual", "circle-open", COLOURS[1]),
        ("best of as many null epochs, expected", "null_best_annual", "line-ns", ALERT),
        ("out of sample, net", "oos_sharpe_annual", "diamond", COLOURS[0]),
    )
    traces: list[Any] = []
    joined_x: list[float | None] = []
    joined_y: list[float | None] = []
    for y, row in enumerate(rows):
        joined_x += [row["validation_sharpe_annual"], row["oos_sharpe_annual"], None]
        joined_y += [y, y, None]
    traces.append(
        go.Scatter(
            x=joined_x, y=joined_y, mode="lines", line={"color": MUTED, "width": 1}, showlegend=False, hoverinfo="skip"
        )
    )
    for name, key, mark, colour in kinds:
        values = [figure_of(row, key, of=OF_FOLDS) for row in rows]
        traces.append(
            go.Scatter(
                x=values,
                y=place,
                name=name,
                mode="markers",
                marker={"symbol": mark, "size": 11, "color": colour, "line": {"width": 2.5, "color": colour}},
                hoverinfo="text",
                hovertext=[f"{name}: {decimal(value)}" for value in values],
            )
        )
    zero = [{"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": INK, "width": 1}}]
    return Chart(
        anchor="chart-inflation",
        title=title,
        figure=figure(traces, x=axis("Sharpe ratio, a year"), y=named_axis(names), more={"shapes": zero}),
        height=bar_height(len(rows), each=30, least=240),
        note="Left of the upright mark, a validation result is what choosing the best of so many worthless epochs gives.",
    )


def _inflation_table(rows: Sequence[Mapping[str, Any]]) -> Html:
    def value(key: str) -> Any:
        return lambda row: decimal(figure_of(row, key, of=OF_FOLDS))

    def whole(key: str) -> Any:
        return lambda row: count(figure_of(row, key, of=OF_FOLDS))

    columns = [
        Column("fold", lambda row: line(figure_of(row, "fold", of=OF_FOLDS)), False),
        Column("epochs", whole("epochs")),
        Column("validation bars", whole("n_validation_bars")),
        Column("validation", value("validation_sharpe_annual")),
        Column("null best", value("null_best_annual")),
        Column("chance without skill", lambda row: percent(figure_of(row, "null_probability", of=OF_FOLDS), 0)),
        Column("out of sample", value("oos_sharpe_annual")),
        Column("finding", lambda row: sentence(str(figure_of(row, "finding", of=OF_FOLDS) or "")), False),
    ]
    return table(columns, rows, caption="Net Sharpe ratios a year, by fold")


def _by_fold(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(figure_of(row, "fold", of=OF_FOLDS)): row for row in rows}


def _score(scores: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, Any]:
    row = figure_of(scores, key, of=OF_FOLDS)
    return {name: figure_of(row, name, of=OF_FOLDS) for name in ("oos_sharpe_annual", "n_oos_bars")}
