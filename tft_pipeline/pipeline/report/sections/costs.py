"""How much of the result is left when trading is dearer or slower, and which symbols it came from."""

from collections.abc import Mapping
from typing import Any

from tft_pipeline.pipeline.report.charts import COLOURS, Chart, axis, bar_height, figure, hatched, label, named_axis
from tft_pipeline.pipeline.report.markup import (
    DASH,
    Column,
    Html,
    count,
    decimal,
    facts,
    figure_of,
    free,
    paragraph,
    percent,
    table,
    words,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords

OF = "oos_performance.costs"
VARIANTS = (
    ("no trading costs", "sharpe_annual_at_0x"),
    ("costs as set", "sharpe_annual_at_1x"),
    ("fee and slippage twice", "sharpe_annual_at_2x"),
    ("one bar late", "sharpe_annual_one_bar_late"),
)
MOST_SYMBOLS = 15
"""Symbols at each end of the drawing; the table holds all."""


def costs_section(records: ReportRecords) -> Section:
    """0x, 1x, 2x costs, one bar late, break-even; then symbols."""
    costs = records.performance.costs
    even = figure_of(costs, "break_even_bps", of=OF)
    charged = figure_of(costs, "cost_bps", of=OF)
    finding = (
        "Nothing was traded, so costs do not matter."
        if even is None
        else f"The mean net return reaches zero at {decimal(even, 1)} bps of fee and slippage; the fee is set to "
        f"{decimal(charged, 1)} bps."
    )
    return Section(
        anchor="costs",
        title="Costs and symbols",
        finding=finding,
        parts=(_variant_chart(costs), _cost_facts(costs), *_symbols(records)),
    )


def _variant_chart(costs: Mapping[str, Any]) -> Chart:
    import plotly.graph_objects as go

    values = [figure_of(costs, key, of=OF) for _, key in VARIANTS]
    trace = go.Bar(
        orientation="h",
        y=list(range(len(VARIANTS))),
        x=values,
        text=[decimal(value) for value in values],
        textposition="outside",
        cliponaxis=False,
        marker={"color": [COLOURS[0] if value is not None and value > 0.0 else COLOURS[1] for value in values]},
        hoverinfo="skip",
        showlegend=False,
    )
    once, twice, late = (decimal(value) for value in values[1:])
    reach = [value for value in values if value is not None] or [0.0]
    low, high = min(*reach, 0.0), max(*reach, 0.0)
    room = 0.18 * max(high - low, 0.1)
    return Chart(
        anchor="chart-costs",
        title=f"Net Sharpe {once} a year as set, {twice} at twice the costs, {late} when every order is one bar late",
        figure=figure(
            [trace],
            x=axis("Sharpe ratio, a year", zero=True) | {"range": [low - (room if low < 0.0 else 0.0), high + room]},
            y=named_axis([name for name, _ in VARIANTS]),
        ),
        height=230,
    )


def _cost_facts(costs: Mapping[str, Any]) -> Html:
    even = figure_of(costs, "break_even_bps", of=OF)
    shown: dict[str, object] = {
        "break-even fee and slippage, bps of the weight traded": DASH if even is None else decimal(even, 2),
        "capital traded a bar, mean": percent(figure_of(costs, "mean_turnover", of=OF), 2),
        "gross exposure, mean": percent(figure_of(costs, "mean_gross_exposure", of=OF)),
        "net exposure, mean": percent(figure_of(costs, "mean_net_exposure", of=OF)),
        "borrowing and funding paid, a year": percent(figure_of(costs, "financing_annual", of=OF), 2),
    }
    said = {"break_even_bps", "mean_turnover", "mean_gross_exposure", "mean_net_exposure", "financing_annual"}
    said |= {key for _, key in VARIANTS}
    shown |= {words(key): free(value) for key, value in costs.items() if key not in said}
    return facts(shown, caption="Trading and what it is charged")


def _symbols(records: ReportRecords) -> tuple[Html | Chart, ...]:
    rows = records.performance.symbols
    if not rows:
        return (paragraph("No symbol was scored.", kind="note"),)
    of = "oos_performance.symbols"
    ordered = sorted(rows, key=lambda row: -float(figure_of(row, "contribution", of=of)))
    columns = [
        Column("symbol", lambda row: figure_of(row, "symbol", of=of), False),
        Column("bars", lambda row: count(figure_of(row, "n_bars", of=of))),
        Column("contribution, % of capital", lambda row: decimal(100.0 * row["contribution"], 2)),
        Column("Sharpe, a year", lambda row: decimal(figure_of(row, "sharpe_annual", of=of))),
        Column("hit rate", lambda row: percent(figure_of(row, "hit_rate", of=of))),
        Column("mean |weight|", lambda row: decimal(figure_of(row, "mean_abs_weight", of=of), 3)),
        Column("traded a bar", lambda row: percent(figure_of(row, "mean_turnover", of=of), 2)),
    ]
    return (_symbol_chart(ordered), table(columns, ordered, caption="Symbols by what they contributed, net"))


def _symbol_chart(ordered: list[Any]) -> Chart:
    import plotly.graph_objects as go

    drawn = ordered if len(ordered) <= 2 * MOST_SYMBOLS else [*ordered[:MOST_SYMBOLS], *ordered[-MOST_SYMBOLS:]]
    values = [100.0 * row["contribution"] for row in drawn]
    traces = []
    for kind, colour, shape, mine in (
        ("gained", COLOURS[0], "", [k for k, value in enumerate(values) if value > 0.0]),
        ("lost", COLOURS[1], "/", [k for k, value in enumerate(values) if value <= 0.0]),
    ):
        traces.append(
            go.Bar(
                orientation="h",
                name=kind,
                y=mine,
                x=[values[k] for k in mine],
                marker={"color": colour, "pattern": hatched(shape)},
                hoverinfo="text",
                hovertext=[label(f"{drawn[k]['symbol']}: {decimal(values[k])} %") for k in mine],
                textposition="none",
            )
        )
    gained = sum(row["contribution"] > 0.0 for row in ordered)
    cut = "" if len(drawn) == len(ordered) else f"The best and the worst {MOST_SYMBOLS} of {len(ordered)}. "
    return Chart(
        anchor="chart-symbols",
        title=f"{gained} of {len(ordered)} symbols contributed a gain",
        figure=figure(
            traces,
            x=axis("sum of net returns contributed, % of capital", zero=True),
            y=named_axis([row["symbol"] for row in drawn]),
            more={"bargap": 0.3, "barmode": "overlay"},
        ),
        height=bar_height(len(drawn), each=18),
        note=cut.strip(),
    )
