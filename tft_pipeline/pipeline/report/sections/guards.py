"""What was tried to catch the pipeline looking ahead, and what the purge is worth."""

from collections.abc import Mapping
from typing import Any

from tft_pipeline.domain.reports import PurgeComparison
from tft_pipeline.pipeline.report.markup import (
    Column,
    Html,
    bullets,
    figure_of,
    free_table,
    join,
    paragraph,
    table,
    tag,
)
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.verdict import sentence

OF = "leakage_audit.rows"
STATES = {True: ("✓ pass", "good"), False: ("✗ FAIL", "bad"), None: ("? not verifiable", "note")}


def audit_section(records: ReportRecords) -> Section:
    """One row a guard: the claim, what was tried, whether it held."""
    rows = records.audit.rows
    found = [figure_of(row, "passed", of=OF) for row in rows]
    failed, unknown = found.count(False), found.count(None)
    finding = (
        f"{found.count(True)} of {len(rows)} guards pass, {failed} fail, {unknown} cannot be verified."
        if rows
        else "No guard was run: nothing is known about leakage."
    )
    columns = [
        Column("guard", lambda row: tag("code", str(figure_of(row, "guard", of=OF))), False),
        Column("result", _state, False),
        Column("what must hold", lambda row: sentence(str(figure_of(row, "claim", of=OF))), False),
        Column("what was tried", lambda row: sentence(str(figure_of(row, "tried", of=OF))), False),
        Column("found", lambda row: sentence(str(figure_of(row, "detail", of=OF))), False),
    ]
    return Section(
        anchor="audit",
        title="Leakage audit",
        finding=finding,
        parts=(table(columns, rows, caption="Guards"), _purge(records.purge_comparison, records.experiment.name)),
    )


def _state(row: Mapping[str, Any]) -> Html:
    text, kind = STATES[row["passed"]]
    return tag("span", text, attributes={"class": kind})


def _purge(comparison: PurgeComparison | None, experiment: str) -> Html:
    if comparison is None:
        return paragraph(
            "With and without purge was not compared. To do so, materialise ",
            tag("code", f"{experiment}/purge_comparison"),
            ", then this report again.",
            kind="note",
        )
    said = [sentence(str(row["words"])) for row in comparison.differences if row.get("words")]
    return join(
        [
            free_table(comparison.variants, caption="Production folds with and without purge"),
            bullets(said) if said else Html(""),
            free_table(
                [{key: value for key, value in row.items() if key != "words"} for row in comparison.differences],
                caption="Paired differences to the first variant, Sharpe ratio a year",
            ),
        ]
    )
