"""Who looked at the production period before."""

from tft_pipeline.pipeline.report.markup import free_table, paragraph
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords


def looks_section(records: ReportRecords) -> Section:
    """Every distinct scoring of this period, by any experiment on the same bars."""
    performance = records.performance
    finding = (
        f"The production period was scored {performance.looks} times with different results; the PSR of the verdict is "
        "lowered for each."
        if performance.looks > 1
        else "This is the first look at the production period."
    )
    shown = (
        free_table(performance.looks_seen, caption="Looks at this period")
        if performance.looks_seen
        else paragraph("The record names no look.", kind="note")
    )
    return Section(anchor="looks", title="Looks at the production period", finding=finding, parts=(shown,))
