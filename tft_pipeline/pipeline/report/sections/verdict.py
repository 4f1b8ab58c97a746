"""GO or NO-GO, every reason, and the one table a headline Sharpe ratio never goes without."""

from collections.abc import Mapping
from typing import Any

from tft_pipeline.domain.backtest import BASELINES
from tft_pipeline.domain.verdict import GO
from tft_pipeline.pipeline.report.markup import (
    DASH,
    Column,
    Html,
    bullets,
    count,
    decimal,
    figure_of,
    join,
    paragraph,
    percent,
    several,
    span,
    table,
    tag,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords


def verdict_section(records: ReportRecords) -> Section:
    """The verdict of the model card, which adds latency and drift to that of performance."""
    verdict = str(figure_of(records.card.card, "verdict", of="model_card"))
    reasons = list(figure_of(records.card.card, "reasons", of="model_card"))
    go = verdict == GO
    asked = "Every condition holds." if go else f"{several(len(reasons), 'reason')} against it:"
    banner = tag(
        "div",
        tag("strong", f"{'✓' if go else '✗'} {verdict}"),
        paragraph(asked),
        attributes={"class": f"verdict {'go' if go else 'stop'}"},
    )
    notes = records.performance.notes
    parts = [
        banner,
        bullets(sentence(reason) for reason in reasons) if reasons else Html(""),
        headline_table(records),
        join([paragraph("Noted, without a veto:"), bullets(sentence(note) for note in notes)]) if notes else Html(""),
    ]
    return Section(anchor="verdict", title="Verdict", finding=headline(records), parts=tuple(parts))


def headline(records: ReportRecords) -> str:
    """The Sharpe ratio with its interval, in a sentence."""
    net = records.performance.net
    low, high = interval_annual(net, of="oos_performance.net")
    ratio = decimal(figure_of(net, "sharpe_annual", of="oos_performance.net"))
    interval = "no interval" if low is None else f"95 % interval {span(low, high)}"
    crosses = low is not None and high is not None and low <= 0.0 <= high
    return f"Out of sample, net of costs: Sharpe ratio {ratio} a year, {interval}, on {count(net['n'])} bars." + (
        " The interval holds zero." if crosses else ""
    )


def interval_annual(statistics: Mapping[str, Any], *, of: str) -> tuple[float | None, float | None]:
    """The bootstrap interval of a Sharpe ratio a year; both ends None where there is none."""
    found = figure_of(statistics, "bootstrap_ci_annual", of=of)
    low, high = (None, None) if found is None else found
    return low, high


def headline_table(records: ReportRecords) -> Html:
    """The ratio, its error, n, interval, PSR, trials, DSR and PBO; one row a figure, its stored value in `data-value`."""
    performance = records.performance
    net, research, years = performance.net, performance.research, records.experiment.data.bars_per_year
    low, high = interval_annual(net, of="oos_performance.net")

    def row(key: str, name: str, meaning: str, write: Any, source: Mapping[str, Any] = net) -> dict[str, Any]:
        of = "oos_performance.net" if source is net else "oos_performance.research"
        value = figure_of(source, key, of=of)
        shown = write(value) if value is not None else f"{DASH} {source.get(f'{key}_reason', 'undefined')}"
        return {"key": f"{of}.{key}", "name": name, "value": value, "shown": shown, "meaning": meaning}

    def length(bars: float) -> str:
        return f"{count(bars)} ({decimal(bars / years, 1)} years)"

    interval = row("bootstrap_ci_annual", "95 % bootstrap interval", "stationary bootstrap of the bars, a year", str)
    interval["shown"] = span(low, high)
    trl = row("min_trl", "bars needed", "to be above zero at 95 % (MinTRL)", length)
    if trl["value"] is None:
        trl["shown"] = f"{DASH} not above zero: no record is long enough"
    ratio_of = decimal
    rows = [
        row("sharpe_annual", "Sharpe ratio, a year", "net of costs, production period, square-root rule", ratio_of),
        row("se_annual", "standard error, a year", "skew and kurtosis counted (Mertens)", ratio_of),
        interval,
        row("n", "bars", "one portfolio return each", count),
        row("psr", "PSR", "confidence that the true ratio is above zero", lambda v: decimal(v, 3)),
        row(
            "psr_after_looks",
            "PSR after looks",
            f"the same after {several(performance.looks, 'look')} at this period; GO needs "
            f"{records.experiment.evaluation.min_psr}",
            lambda v: decimal(v, 3),
        ),
        trl,
        row("n_trials_started", "trials started", "in the research period", count, research),
        row(
            "dsr",
            "DSR",
            f"of the chosen trial among them; GO needs {records.experiment.evaluation.min_dsr}",
            lambda v: decimal(v, 3),
            research,
        ),
        row("pbo", "PBO", "the best trial falls below the median afterwards (CSCV)", percent, research),
        row("probability_of_loss", "probability of loss", "of the best trial afterwards (CSCV)", percent, research),
    ]
    columns = [
        Column("figure", lambda r: r["name"], False),
        Column("value", _value),
        Column("what it says", lambda r: r["meaning"], False),
    ]
    return table(columns, rows, caption="The headline and what it is worth")


def _value(row: Mapping[str, Any]) -> Html:
    value = row["value"]
    stored = "" if value is None else repr(value)
    return tag("span", row["shown"], attributes={"data-figure": row["key"], "data-value": stored})


def sentence(text: str) -> str:
    """First letter capital, unless the first word is a name of ours such as long_only; a full stop at the end."""
    text = text.strip().replace("+-", "±")
    if not text:
        return text
    first = text.split()[0].rstrip(".,:;!?")
    named = first in BASELINES or "_" in first or "." in first
    return (text if named else text[0].upper() + text[1:]) + ("" if text[-1] in ".!?" else ".")
