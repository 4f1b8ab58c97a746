"""What was tried to catch the pipeline looking ahead, and what the purge is worth."""

from collections.abc import Mapping
from typing import Any

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
STATES = {
    "held": ("✓ pass", "good"),
    "leak": ("✗ FAIL", "bad"),
    "not_used": ("– not used", "note"),
    "not_verifiable": ("? not verifiable", "note"),
}
COUNTED = {"held": "held", "leak": "found a leak", "not_used": "not used", "not_verifiable": "not verifiable"}
OF_PASSED = {True: "held", False: "leak", None: "not_verifiable"}


def audit_section(records: ReportRecords) -> Section:
    """One row a guard: the claim, what was tried, whether it held."""
    rows = records.audit.rows
    found = [_state_of(row) for row in rows]
    counts = [f"{found.count(state)} {words}" for state, words in COUNTED.items() if state in found]
    finding = (
        f"Of {len(rows)} guards {', '.join(counts)}." if rows else "No guard was run: nothing is known about leakage."
    )
    columns = [
        Column("guard", lambda row: tag("span", str(figure_of(row, "guard", of=OF)).replace("_", " ")), False),
        Column("result", _state, False),
        Column("what must hold", lambda row: sentence(str(figure_of(row, "claim", of=OF))), False),
        Column("what was tried", lambda row: sentence(str(figure_of(row, "tried", of=OF))), False),
        Column("found", lambda row: sentence(str(figure_of(row, "detail", of=OF))), False),
    ]
    return Section(
        anchor="audit",
        title="Leakage audit",
        finding=finding,
        parts=(table(columns, rows, caption="Guards"), _purge(records)),
    )


def _state_of(row: Mapping[str, Any]) -> str:
    """State of a guard; rows of older audits say only whether it passed."""
    return str(row["state"]) if "state" in row else OF_PASSED[figure_of(row, "passed", of=OF)]


def _state(row: Mapping[str, Any]) -> Html:
    text, kind = STATES[_state_of(row)]
    return tag("span", text, attributes={"class": kind})


def _purge(records: ReportRecords) -> Html:
    """The comparison of this plan's folds; one of another plan says nothing of this run and is not shown."""
    comparison, asset = records.purge_comparison, tag("code", f"{records.experiment.name}/purge_comparison")
    if comparison is None:
        return paragraph(
            "With and without purge was not compared. To do so, materialise ",
            asset,
            ", then this report again.",
            kind="note",
        )
    if comparison.plan_sha256 != records.plan.content_sha256():
        return paragraph(
            "The stored comparison with and without purge was made of another plan, so it is not shown; run it again: "
            "materialise ",
            asset,
            ", then this report.",
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
