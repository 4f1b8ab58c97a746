"""The guide's performance targets, each with what was measured and whether it was met. The table informs."""

from typing import Any

from tft_pipeline.domain.performance_targets import STATES
from tft_pipeline.pipeline.report.markup import DASH, Column, Html, figure_of, free, paragraph, table, tag
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.verdict import sentence

OF = "release.targets"
MARKS = {True: ("✓", "good"), False: ("✗", "bad"), None: ("?", "note")}


def targets_section(records: ReportRecords) -> Section:
    """One row a target, as it stood when the model was released."""
    rows = records.release.targets
    passed = [figure_of(row, "passed", of=OF) for row in rows]
    counts = [(True, "met"), (False, "missed"), (None, "not known")]
    said = ", ".join(f"{sum(one is state for one in passed)} {words}" for state, words in counts if state in passed)
    finding = f"Of {len(rows)} performance targets {said}." if rows else "The release holds no performance targets."
    columns = [
        Column("metric", lambda row: str(figure_of(row, "metric", of=OF)).replace("_", " "), False),
        Column("target", lambda row: figure_of(row, "target", of=OF) or DASH, False),
        Column("measured", lambda row: _number(figure_of(row, "value", of=OF))),
        Column("interval", lambda row: _interval(figure_of(row, "interval", of=OF))),
        Column("result", lambda row: _mark(figure_of(row, "passed", of=OF)), False),
        Column("what it says", lambda row: sentence(str(figure_of(row, "detail", of=OF))), False),
        Column("taken from", lambda row: str(row["source"]).partition(".")[0].replace("_", " ") or DASH, False),
    ]
    note = paragraph(
        "The table informs. The verdict has conditions of its own; latency, drift and the leakage audit are among them. What "
        "is not known is not met.",
        kind="note",
    )
    shown = table(columns, rows, caption="Performance targets") if rows else Html("")
    return Section(anchor="targets", title="Performance targets", finding=finding, parts=(shown, note))


def _mark(passed: bool | None) -> Html:
    sign, kind = MARKS[passed]
    return tag("span", f"{sign} {STATES[passed]}", attributes={"class": kind})


def _number(value: Any) -> str:
    return DASH if value is None else free(value)


def _interval(ends: Any) -> str:
    if ends is None:
        return DASH
    return " to ".join("unbounded" if end is None else free(end) for end in ends)
