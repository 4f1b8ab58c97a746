"""How long each phase took, and what it needed: the timeline and the system's resources."""

from collections.abc import Mapping
from typing import Any

from tft_pipeline.pipeline.report.markup import DASH, Column, Html, count, decimal, figure_of, paragraph, percent, table
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords

OF = "model_card.train.resources"
NOTE = (
    "Elapsed is the time in which at least one step of the phase worked; work is the sum of its steps, failed attempts "
    "included (one that was killed left no trace). Memory is sampled, and shared pages count in each process. Loading, storing "
    "and checks are not in it. Folds that were kept from an earlier run show when they were computed."
)


def resources_section(records: ReportRecords) -> Section:
    """Timeline and resources of what is current."""
    resources = figure_of(figure_of(records.card.card, "train", of="model_card"), "resources", of="model_card.train")
    phases = figure_of(resources, "timeline", of=OF)
    system = figure_of(resources, "system", of=OF)
    work = sum(float(row["work_s"]) for row in phases)
    longest = max(phases, key=lambda row: float(row["work_s"]), default=None)
    finding = (
        "No step has recorded what it took."
        if longest is None
        else f"The steps worked {duration(work)} in all, {percent(longest['work_s'] / work, 0)} of it in "
        f"{longest['phase'][0].lower() + longest['phase'][1:]}."
        if work > 0.0
        else "The steps took no measurable time."
    )
    return Section(
        anchor="resources",
        title="Resources and timeline",
        finding=finding,
        parts=(_timeline(phases), _system(system), paragraph(NOTE, kind="note")) if phases else (_system(system),),
    )


def duration(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s`, `2 h 05 min`: two units at most."""
    if seconds < 59.95:
        return f"{decimal(seconds, 1)} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60.0)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _timeline(phases: Any) -> Html:
    columns = [
        Column("phase", lambda row: row["phase"], False),
        Column("started, UTC", lambda row: row["started_at"][:19].replace("T", " "), False),
        Column("steps", lambda row: count(row["n_steps"])),
        Column("failed attempts", lambda row: count(row["n_failed"])),
        Column("elapsed", lambda row: duration(row["elapsed_s"])),
        Column("work", lambda row: duration(row["work_s"])),
        Column("processor time", lambda row: duration(row["cpu_s"])),
        Column("memory peak, MiB", lambda row: count(row["peak_rss_mib"])),
        Column("GPU peak, MiB", lambda row: count(row["peak_gpu_mib"])),
        Column("stored, MiB", lambda row: decimal(row["disk_mib"], 1)),
    ]
    return table(columns, phases, caption="Timeline")


def _system(rows: Any) -> Html:
    columns = [
        Column("resource", lambda row: row["resource"], False),
        Column("used", _used),
        Column("capacity", lambda row: _amount(row["capacity"], row["unit"])),
        Column("share", lambda row: percent(row["share"])),
    ]
    return table(columns, rows, caption="System resources")


def _used(row: Mapping[str, Any]) -> str:
    low, high, unit = row["used_low"], row["used_high"], row["unit"]
    if high is None:
        return DASH
    return _amount(high, unit) if low == high else f"{_number(low, unit)} to {_amount(high, unit)}"


def _amount(value: float | None, unit: str) -> str:
    return DASH if value is None else f"{_number(value, unit)} {unit}"


def _number(value: float, unit: str) -> str:
    return decimal(value, 2) if unit == "cores" and value != round(value) else count(value)
