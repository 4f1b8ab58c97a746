"""Sharpe ratios with their intervals, tests against the baselines, the track record, and how often the sign was right."""

from collections.abc import Mapping
from typing import Any

from tft_pipeline.pipeline.report.charts import COLOURS, INK, MARKS, Chart, axis, bar_height, figure, named_axis
from tft_pipeline.pipeline.report.markup import (
    DASH,
    Column,
    Html,
    count,
    decimal,
    facts,
    figure_of,
    free,
    join,
    line,
    paragraph,
    percent,
    span,
    table,
    words,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.verdict import headline, interval_annual, sentence

RECORD = (
    ("total_return", "total return", percent),
    ("return_annual", "return, a year", percent),
    ("volatility_annual", "volatility, a year", percent),
    ("sortino_annual", "Sortino ratio, a year", decimal),
    ("calmar", "Calmar ratio", decimal),
    ("max_drawdown", "largest drawdown", percent),
    ("max_drawdown_bars", "longest time under water, bars", count),
    ("hit_rate", "bars that gained, of those that moved", percent),
    ("profit_factor", "profit factor", decimal),
    ("best_bar", "best bar", percent),
    ("worst_bar", "worst bar", percent),
    ("average_win", "average gain of a bar", lambda share: percent(share, 2)),
    ("average_loss", "average loss of a bar", lambda share: percent(share, 2)),
)
SHAPE = (
    ("skew", "skew", decimal),
    ("kurtosis", "kurtosis, normal 3", lambda value: decimal(value, 1)),
    ("autocorrelation_1", "autocorrelation, one bar", decimal),
    ("ljung_box_p", "Ljung-Box p: no autocorrelation", lambda value: decimal(value, 3)),
)
TESTS = {
    "spa_p_consistent": "SPA p, the one to quote: no baseline has the higher Sharpe ratio",
    "spa_p_lower": "SPA p, lower bound",
    "spa_p_upper": "SPA p, upper bound",
    "alpha": "level",
    "block_length": "mean block of the bootstrap, bars",
    "n": "bars",
    "n_resamples": "resamples",
}
OF_RECORD = "oos_performance.track_record"


def statistics_section(records: ReportRecords) -> Section:
    """The model, before costs and against each baseline."""
    performance = records.performance
    superiority = performance.superiority
    tested = {
        "superior to the model (StepM)": free(figure_of(superiority, "superior", of="oos_performance.superiority"))
    }
    tested |= {title: free(superiority[key]) for key, title in TESTS.items() if key in superiority}
    tests = join(
        [
            paragraph(sentence(str(figure_of(superiority, "sentence", of="oos_performance.superiority")))),
            facts(tested, caption="Is any baseline superior to the model?"),
        ]
    )
    return Section(
        anchor="statistics",
        title="Statistics with intervals",
        finding=_against_baselines(records),
        parts=(
            _forest(records),
            _ratio_table(records),
            tests,
            _track_record_table(records),
            _direction_table(performance.direction),
        ),
    )


def _series(records: ReportRecords) -> dict[str, Mapping[str, Any]]:
    performance = records.performance
    baselines = {name.replace("_", " "): row for name, row in performance.baselines.items()}
    return {"model, net": performance.net, "model, gross": performance.gross, **baselines}


def _undefined(row: Mapping[str, Any]) -> bool:
    """A series that never moved has no ratio and says why."""
    return row["sharpe_annual"] is None


def _against_baselines(records: ReportRecords) -> str:
    own = figure_of(records.performance.net, "sharpe_annual", of="oos_performance.net")
    defined = {name: row["sharpe_annual"] for name, row in records.performance.baselines.items() if not _undefined(row)}
    if own is None or not defined:
        return "There is no baseline with a Sharpe ratio to compare with."
    beaten = sum(own > ratio for ratio in defined.values())
    return (
        f"The model's net Sharpe ratio of {decimal(own)} a year is above that of {beaten} of {len(defined)} baselines on "
        "the same bars at the same costs."
    )


def _forest(records: ReportRecords) -> Chart:
    import plotly.graph_objects as go

    series = _series(records)
    names = list(series)
    traces: list[Any] = []
    for k, (name, row) in enumerate(series.items()):
        if _undefined(row):
            continue
        low, high = interval_annual(row, of=f"oos_performance, {name}")
        ratio = row["sharpe_annual"]
        bars = None if low is None or high is None else [high - ratio, ratio - low]
        traces.append(
            go.Scatter(
                x=[ratio],
                y=[k],
                mode="markers",
                showlegend=False,
                marker={"size": 11, "color": COLOURS[0 if k == 0 else 5], "symbol": MARKS[0 if k < 2 else 1]},
                error_x=None
                if bars is None
                else {"type": "data", "array": bars[:1], "arrayminus": bars[1:], "thickness": 1.8, "width": 6},
                hoverinfo="text",
                hovertext=[f"{decimal(ratio)}, {span(low, high)}"],
            )
        )
    zero = [{"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": INK, "width": 1}}]
    return Chart(
        anchor="chart-forest",
        title=headline(records),
        figure=figure(traces, x=axis("Sharpe ratio, a year"), y=named_axis(names), more={"shapes": zero}),
        height=bar_height(len(names), each=30),
        note="Bars are 95 % intervals of a stationary bootstrap; intervals of different series overlap even where their paired "
        "difference is clear: see the table.",
    )


def _ratio_table(records: ReportRecords) -> Html:
    def cell(key: str, write: Any) -> Any:
        return lambda row: write(None if row["undefined"] else figure_of(row["of"], key, of=row["series"]))

    def interval(row: Mapping[str, Any]) -> str:
        return DASH if row["undefined"] else span(*interval_annual(row["of"], of=row["series"]))

    def paired(row: Mapping[str, Any]) -> object:
        found = row["of"].get("model_minus_this")
        if row["undefined"]:
            return sentence(str(row["of"].get("reason", "undefined")))
        if found is None:
            return ""
        return line(f"{decimal(found['difference_annual'])} ({span(found['low_annual'], found['high_annual'])})")

    columns = [
        Column("series", lambda row: line(row["series"]), False),
        Column("Sharpe, a year", cell("sharpe_annual", decimal)),
        Column("standard error", cell("se_annual", decimal)),
        Column("95 % interval", interval),
        Column("n", cell("n", count)),
        Column("PSR", cell("psr", lambda value: decimal(value, 3))),
        Column("t (Newey-West)", cell("t_newey_west", decimal)),
        Column("Sharpe, autocorrelation counted", cell("sharpe_annual_eta", decimal)),
        Column("model less this", paired, False),
    ]
    rows = [{"series": name, "of": row, "undefined": _undefined(row)} for name, row in _series(records).items()]
    return table(columns, rows, caption="Sharpe ratios a year on the same bars, 95 % intervals")


def _track_record_table(records: ReportRecords) -> Html:
    performance = records.performance
    held: dict[str, Mapping[str, Any] | None] = {"model, net": {**performance.net, **performance.track_record}}
    for name, row in performance.baselines.items():
        held[name.replace("_", " ")] = None if _undefined(row) else {**row, **figure_of(row, "track_record", of=name)}

    def column(name: str) -> Column:
        found = held[name]

        def cell(row: Mapping[str, Any]) -> str:
            return DASH if found is None else str(row["write"](figure_of(found, row["key"], of=f"{OF_RECORD}, {name}")))

        return Column(name, cell)

    known = {"n", *(key for key, _, _ in RECORD)}
    others = [(key, words(key), free) for key in records.performance.track_record if key not in known]
    rows = [{"key": key, "title": title, "write": write} for key, title, write in (*RECORD, *others, *SHAPE)]
    columns = [Column("", lambda row: row["title"], False), *(column(name) for name in held)]
    costs = records.performance.costs
    book = (
        f"The model's book: {percent(figure_of(costs, 'mean_turnover', of='oos_performance.costs'), 2)} of the capital traded "
        f"a bar, gross exposure {percent(figure_of(costs, 'mean_gross_exposure', of='oos_performance.costs'))}, net exposure "
        f"{percent(figure_of(costs, 'mean_net_exposure', of='oos_performance.costs'))}, means over bars."
    )
    return join([table(columns, rows, caption="Track record, net of costs, compounded"), paragraph(book)])


def _direction_table(direction: Mapping[str, Any]) -> Html:
    """How often the sign of the next move was right, beside the base rate and what pays, by source of probabilities."""
    of = "oos_performance.direction"
    rows = [{"source": name, **row} for name, row in direction.items() if "accuracy" in row]
    if not rows:
        return paragraph("No source gives a probability of an upward move.", kind="note")

    def digits(key: str) -> Any:
        return lambda row: decimal(figure_of(row, key, of=of), 3)

    def interval(key: str) -> Any:
        return lambda row: "{} to {}".format(*map(percent, figure_of(row, key, of=of)))

    columns = [
        Column("source", lambda row: row["source"], False),
        Column("n", lambda row: count(figure_of(row, "n", of=of))),
        Column("accuracy", lambda row: percent(row["accuracy"])),
        Column("95 % (Wilson), rows", interval("accuracy_ci")),
        Column("bars", lambda row: count(figure_of(row, "n_bars", of=of))),
        Column("95 % (Wilson), bars", interval("accuracy_ci_bars")),
        Column("break-even", lambda row: percent(figure_of(row, "break_even_accuracy", of=of))),
        Column("share of ups", lambda row: percent(figure_of(row, "base_rate", of=of))),
        Column("always the larger class", lambda row: percent(figure_of(row, "majority_rate", of=of))),
        Column("AUC", digits("auc_roc")),
        Column("log loss", digits("log_loss")),
        Column("Brier", digits("brier")),
    ]
    note = paragraph(
        "Rows of one bar move together, so the interval on bars is the one to believe; where labels look several bars ahead it "
        "rests on fewer trials than bars. "
        "Break-even: accuracy at which equal bets, each opened and closed once, pay fee and slippage.",
        kind="note",
    )
    return join([table(columns, rows, caption="Direction of the next move"), note])
