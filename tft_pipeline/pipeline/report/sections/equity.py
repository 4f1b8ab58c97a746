"""What the portfolio earned, beside its baselines and month by month."""

from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.track_record import drawdowns
from tft_pipeline.pipeline.figures import thinned
from tft_pipeline.pipeline.report.charts import (
    COLOURS,
    DASHES,
    MOST_POINTS,
    Chart,
    axis,
    bar_height,
    figure,
    label,
    named_axis,
    thinning_note,
)
from tft_pipeline.pipeline.report.markup import Html, count, decimal, figure_of, paragraph, percent
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords

MODEL = "model, net"
WIDE = 5.0
"""Highest by lowest capital from which the axis is logarithmic."""
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LOSS_TO_GAIN = [[0.0, "#b5552f"], [0.25, "#e6b89f"], [0.5, "#f7f7f5"], [0.75, "#a9c6e3"], [1.0, "#3a75b0"]]


def equity_section(records: ReportRecords) -> Section:
    """Compounded net return of the model and each baseline, drawdown of the model, monthly returns."""
    grown = {name: float(line[-1]) - 1.0 for name, line in _equities(records).items()}
    grown.pop(MODEL)
    record, of = records.performance.track_record, "oos_performance.track_record"
    total = percent(figure_of(record, "total_return", of=of))
    best = max(grown, key=lambda name: grown[name], default=None)
    against = "" if best is None else f"; the baseline that earned most, {best}, {percent(grown[best])}"
    title = f"Net of costs the model earned {total} over {count(records.portfolio.height)} bars{against}"
    finding = (
        f"{percent(figure_of(record, 'return_annual', of=of))} a year, net of costs, at a volatility of "
        f"{percent(figure_of(record, 'volatility_annual', of=of))} and a largest drawdown of "
        f"{percent(figure_of(record, 'max_drawdown', of=of))}. Lines differ in risk: compare Sharpe ratios below, not heights."
    )
    return Section(
        anchor="equity",
        title="Equity against baselines",
        finding=finding,
        parts=(_equity_chart(records, title), _drawdown_chart(records), _monthly(records)),
    )


def _equities(records: ReportRecords) -> dict[str, np.ndarray]:
    """Capital after each bar, 1 before the first, by name, the model first; compounded as the track record is."""
    frame = records.portfolio
    columns = {MODEL: "net", **{name.replace("_", " "): f"{name}_net" for name in records.performance.baselines}}
    absent = sorted(set(columns.values()) - set(frame.columns))
    if absent:
        raise ValueError(f"oos_portfolio has no column {absent}: a baseline would be left out; materialise it again")
    return {name: np.cumprod(np.maximum(1.0 + _net(frame, column), 0.0)) for name, column in columns.items()}


def _net(frame: pl.DataFrame, column: str) -> np.ndarray:
    return frame[column].to_numpy().astype(np.float64)


def _equity_chart(records: ReportRecords, title: str) -> Chart:
    import plotly.graph_objects as go

    stamps = _stamps(records)
    ends = thinned(len(stamps), MOST_POINTS)
    equities = _equities(records)
    lines: list[Any] = [
        go.Scatter(
            x=[stamps[i] for i in ends],
            y=equity[ends].tolist(),
            name=label(name),
            mode="lines",
            line={"color": COLOURS[k % len(COLOURS)], "dash": DASHES[k % len(DASHES)], "width": 1.4 if k else 2.4},
        )
        for k, (name, equity) in enumerate(equities.items())
    ]
    lowest, highest = min(map(np.min, equities.values())), max(map(np.max, equities.values()))
    logarithmic = lowest > 0.0 and highest > WIDE * lowest
    capital = axis(f"capital, 1 at the start{', logarithmic' if logarithmic else ''}")
    return Chart(
        anchor="chart-equity",
        title=title,
        figure=figure(
            lines, x=axis("date (UTC)", grid=False), y=capital | {"type": "log" if logarithmic else "linear"}
        ),
        height=430,
        note="Compounded; costs are taken off every line. " + thinning_note(len(stamps), len(ends)),
    )


def _stamps(records: ReportRecords) -> list[str]:
    return records.portfolio["timestamp"].dt.strftime("%Y-%m-%d %H:%M").to_list()


def _drawdown_chart(records: ReportRecords) -> Chart:
    import plotly.graph_objects as go

    depth = -100.0 * drawdowns(_net(records.portfolio, "net"))
    stamps = _stamps(records)
    ends = thinned(len(depth), MOST_POINTS)
    worst_since = np.minimum.reduceat(depth, [0, *(end + 1 for end in ends[:-1])])
    worst = int(depth.argmin())
    trace = go.Scatter(
        x=[stamps[i] for i in ends],
        y=worst_since.tolist(),
        mode="lines",
        fill="tozeroy",
        line={"color": COLOURS[0], "width": 1.2},
        showlegend=False,
    )
    return Chart(
        anchor="chart-drawdown",
        title=f"Largest drawdown of the model {decimal(-depth[worst], 1)} %, on {stamps[worst][:10]}",
        figure=figure([trace], x=axis("date (UTC)", grid=False), y=axis("below the last high, %")),
        height=230,
        note="Net of costs; the deepest point since the last one drawn. " + thinning_note(len(depth), len(ends)),
    )


def _monthly(records: ReportRecords) -> Chart | Html:
    import plotly.graph_objects as go

    rows = records.performance.monthly
    if not rows:
        return paragraph("No monthly table: the record holds no month.", kind="note")
    of = "oos_performance.monthly"
    cells = {
        (int(figure_of(row, "year", of=of)), int(figure_of(row, "month", of=of))): figure_of(row, "net_return", of=of)
        for row in rows
    }
    years = sorted({year for year, _ in cells})
    grid = [[_in_percent(cells.get((year, month))) for month in range(1, 13)] for year in years]
    known = [value for value in cells.values() if value is not None]
    size = 100.0 * float(np.quantile(np.abs(known), 0.98)) if known else 1.0
    trace = go.Heatmap(
        z=grid,
        x=list(range(12)),
        y=list(range(len(years))),
        text=[["" if value is None else decimal(value, 1) for value in line] for line in grid],
        texttemplate="%{text}",
        textfont={"size": 10},
        colorscale=LOSS_TO_GAIN,
        zmin=-size,
        zmax=size,
        showscale=False,
        xgap=2,
        ygap=2,
        hoverinfo="text",
    )
    months = named_axis(MONTHS, top_down=False) | {"side": "top"}
    gains = sum(value > 0.0 for value in known)
    return Chart(
        anchor="chart-monthly",
        title=f"{gains} of {len(known)} months gained",
        figure=figure([trace], x=months, y=named_axis(years)),
        height=bar_height(len(years), each=26, least=140),
        note="Net return of each month, %, compounded; brown lost, blue gained.",
    )


def _in_percent(value: float | None) -> float | None:
    return None if value is None else 100.0 * value
