"""The blend of several models' probabilities, and whether any of these probabilities mean what they say."""

from collections.abc import Mapping
from typing import Any

from tft_pipeline.pipeline.report.charts import COLOURS, DASHES, INK, MARKS, Chart, axis, figure, label, named_axis
from tft_pipeline.pipeline.report.markup import (
    DASH,
    Column,
    Html,
    count,
    decimal,
    figure_of,
    paragraph,
    percent,
    span,
    table,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.verdict import sentence

OF = "ensemble_weights"
OF_DIRECTION = "oos_performance.direction"
NAMES = {"lgbm": "LightGBM", "tft": "network", "sentiment": "sentiment"}


def ensemble_section(records: ReportRecords) -> Section:
    """Weights with intervals, the blend against its best source, class balance, accuracy and calibration of each source."""
    record = records.ensemble
    told = record.comparison.get("sentence")
    parts: list[Html | Chart] = [_weights_table(records), _metrics_table(records)]
    if record.measured_on:
        parts.append(paragraph(f"The blend is measured on {record.measured_on}.", kind="note"))
    parts += [*_weights_by_fold(records), _direction_table(records), *_reliability(records)]
    return Section(
        anchor="ensemble",
        title="Ensemble and calibration",
        finding=sentence(str(told)) if told else "The blend could not be compared with its sources.",
        parts=tuple(parts),
    )


def _weights_table(records: ReportRecords) -> Html:
    record = records.ensemble
    intervals = record.intervals.get("weights") or {}

    def known(row: Mapping[str, Any]) -> str:
        interval = intervals.get(row["source"])
        return DASH if interval is None else span(interval[0], interval[1], 3)

    def calibration(row: Mapping[str, Any]) -> str:
        found = record.calibration.get(row["source"])
        if found is None:
            return DASH
        slope, intercept = figure_of(found, "slope", of=OF), figure_of(found, "intercept", of=OF)
        return f"{decimal(slope, 3)} and {decimal(intercept, 3)}"

    columns = [
        Column("source", lambda row: NAMES.get(row["source"], row["source"]), False),
        Column("weight", lambda row: decimal(row["weight"], 3)),
        Column("95 % interval", known),
        Column("Caruana", lambda row: decimal(record.greedy_weights.get(row["source"]), 3)),
        Column("calibration: slope and intercept", calibration),
        Column("available", lambda row: "yes" if record.available.get(row["source"]) else "no", False),
        Column("rows without a value", lambda row: count(record.missing.get(row["source"]))),
    ]
    rows = [{"source": name, "weight": weight} for name, weight in record.weights.items()]
    return table(columns, rows, caption="Ensemble weights, from all folds")


def _metrics_table(records: ReportRecords) -> Html:
    record = records.ensemble
    if record.metrics.get("log_loss") is None:
        reason = record.metrics.get("reason", "the record holds no metrics")
        return paragraph(sentence(f"The blend was not scored: {reason}"), kind="note")
    rows = [{"source": "blend", **record.metrics, "interval": record.intervals.get("log_loss")}]
    rows += [{"source": NAMES.get(name, name), **found} for name, found in record.sources.items()]

    def cell(key: str, write: Any) -> Any:
        return lambda row: write(figure_of(row, key, of=f"{OF}, {row['source']}"))

    def interval(row: Mapping[str, Any]) -> str:
        return DASH if row.get("interval") is None else span(row["interval"][0], row["interval"][1], 5)

    columns = [
        Column("source, calibrated", lambda row: row["source"], False),
        Column("n", cell("n", count)),
        Column("log loss", cell("log_loss", lambda value: decimal(value, 5))),
        Column("95 % (blocks of bars)", interval),
        Column("AUC", cell("auc_roc", lambda value: decimal(value, 3))),
        Column("accuracy", cell("accuracy", percent)),
        Column("F1", cell("f1", lambda value: decimal(value, 3))),
        Column("share of ups", cell("base_rate", percent)),
    ]
    return table(
        columns, rows, caption="Blend and sources, scored on later folds than they were calibrated and weighed on"
    )


def _weights_by_fold(records: ReportRecords) -> tuple[Chart, ...]:
    import plotly.graph_objects as go

    folds = records.ensemble.folds
    if not folds:
        return ()
    keys = [figure_of(row, "fold", of=f"{OF}.folds") for row in folds]
    traces = [
        go.Scatter(
            x=list(range(len(folds))),
            y=[figure_of(row, "weights", of=f"{OF}.folds").get(name, 0.0) for row in folds],
            mode="lines+markers",
            name=label(NAMES.get(name, name)),
            line={"color": COLOURS[k % len(COLOURS)], "dash": DASHES[k % len(DASHES)]},
            marker={"symbol": MARKS[k % len(MARKS)], "size": 7},
            hoverinfo="text",
            hovertext=[label(f"{NAMES.get(name, name)}, {key}") for key in keys],
        )
        for k, name in enumerate(records.ensemble.weights)
    ]
    first, last = folds[0]["weights"], folds[-1]["weights"]
    moved = max(abs(last.get(name, 0.0) - first.get(name, 0.0)) for name in records.ensemble.weights)
    chart = Chart(
        anchor="chart-ensemble-weights",
        title=f"From the first to the last scored fold a weight moved by at most {decimal(moved)}",
        figure=figure(
            traces,
            x=named_axis(keys, top_down=False),
            y=axis("weight") | {"range": [-0.03, 1.03]},
        ),
        height=280,
        note="Each fold is blended with weights from the folds before it.",
    )
    return (chart,)


def _sources(records: ReportRecords) -> dict[str, Mapping[str, Any]]:
    return {name: row for name, row in records.performance.direction.items() if "accuracy" in row}


def _direction_table(records: ReportRecords) -> Html:
    direction = records.performance.direction
    sources = _sources(records)
    if not sources:
        return paragraph("No source gives a probability of an upward move.", kind="note")
    balance = figure_of(direction, "class_balance", of=OF_DIRECTION)
    rows = [{"source": name, **row} for name, row in sources.items()]
    columns = [
        Column("source, as it came", lambda row: NAMES.get(row["source"], row["source"]), False),
        Column("accuracy", lambda row: percent(row["accuracy"])),
        Column("95 % (Wilson), bars", lambda row: "{} to {}".format(*map(percent, row["accuracy_ci_bars"]))),
        Column("always the larger class", lambda row: percent(figure_of(row, "majority_rate", of=OF_DIRECTION))),
        Column("bars", lambda row: count(figure_of(row, "n_bars", of=OF_DIRECTION))),
        Column("calibration error", lambda row: percent(figure_of(row, "ece", of=OF_DIRECTION), 2)),
    ]
    caption = f"Class balance out of sample: {count(balance['pos'])} up, {count(balance['neg'])} not"
    return table(columns, rows, caption=caption)


def _reliability(records: ReportRecords) -> tuple[Chart, ...]:
    """What was said against what came, uncalibrated: the diagonal is a probability that means what it says."""
    import plotly.graph_objects as go

    sources = {name: row for name, row in _sources(records).items() if figure_of(row, "reliability", of=OF_DIRECTION)}
    if not sources:
        return ()
    traces: list[Any] = []
    points: list[float] = []
    off = wide = 0
    for k, (name, source) in enumerate(sources.items()):
        rows = source["reliability"]
        said, came = [row["mean_probability"] for row in rows], [row["share_up"] for row in rows]
        highs = [row["interval"][1] - row["share_up"] for row in rows]
        lows = [row["share_up"] - row["interval"][0] for row in rows]
        points += [*said, *(bound for row in rows for bound in row["interval"])]
        wide += len(rows)
        off += sum(not row["interval"][0] <= row["mean_probability"] <= row["interval"][1] for row in rows)
        traces.append(
            go.Scatter(
                x=said,
                y=came,
                mode="lines+markers",
                name=label(NAMES.get(name, name)),
                line={"color": COLOURS[k], "dash": DASHES[k], "width": 1.2},
                marker={"symbol": MARKS[k], "size": 8},
                error_y={"type": "data", "array": highs, "arrayminus": lows, "thickness": 1.2, "width": 4},
                hoverinfo="text",
                hovertext=[
                    f"said {percent(row['mean_probability'])}, came {percent(row['share_up'])} of {count(row['n'])} rows, "
                    f"{count(row['n_bars'])} bars"
                    for row in rows
                ],
            )
        )
    low, high = min(points), max(points)
    diagonal = {"type": "line", "x0": low, "x1": high, "y0": low, "y1": high, "line": {"color": INK, "width": 1}}
    chart = Chart(
        anchor="chart-reliability",
        title=f"In {off} of {wide} bins the probability that was said lies outside the interval of the share that came",
        figure=figure(
            traces,
            x=axis("probability of an upward move, mean of the bin"),
            y=axis("share of upward moves"),
            more={"shapes": [diagonal]},
        ),
        height=380,
        note="Bins of about as many rows each, before calibration; bars are 95 % Wilson intervals on distinct bars. On the "
        "line a probability means what it says; where the model knows little all points crowd near one half.",
    )
    return (chart,)
