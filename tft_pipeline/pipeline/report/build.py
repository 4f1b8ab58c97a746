"""The report from its records: every section in the order a sceptic asks. A pure function: no clock, no files."""

from tft_pipeline.pipeline.report.markup import count, day, join, paragraph, tag
from tft_pipeline.pipeline.report.page import HtmlPage, document
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.costs import costs_section
from tft_pipeline.pipeline.report.sections.drift import drift_section
from tft_pipeline.pipeline.report.sections.ensemble import ensemble_section
from tft_pipeline.pipeline.report.sections.equity import equity_section
from tft_pipeline.pipeline.report.sections.features import features_section
from tft_pipeline.pipeline.report.sections.folds import folds_section, inflation_section
from tft_pipeline.pipeline.report.sections.guards import audit_section
from tft_pipeline.pipeline.report.sections.latency import latency_section
from tft_pipeline.pipeline.report.sections.looks import looks_section
from tft_pipeline.pipeline.report.sections.provenance import provenance_section
from tft_pipeline.pipeline.report.sections.resources import resources_section
from tft_pipeline.pipeline.report.sections.statistics import statistics_section
from tft_pipeline.pipeline.report.sections.targets import targets_section
from tft_pipeline.pipeline.report.sections.tuning import tuning_section
from tft_pipeline.pipeline.report.sections.verdict import verdict_section

SECTIONS = (
    verdict_section,
    equity_section,
    folds_section,
    statistics_section,
    inflation_section,
    features_section,
    tuning_section,
    costs_section,
    audit_section,
    latency_section,
    drift_section,
    ensemble_section,
    targets_section,
    looks_section,
    resources_section,
    provenance_section,
)


def build_report(records: ReportRecords) -> str:
    """The page as one HTML string that loads nothing from anywhere.

    Raises:
        ValueError: a record lacks an agreed figure; a figure that is None is shown as a dash with its reason.
    """
    experiment, manifest = records.experiment, records.manifest
    first, last = records.portfolio["timestamp"].min(), records.portfolio["timestamp"].max()
    traded = [name for name in manifest["symbols"] if name not in experiment.data.untraded]
    about = (
        f"Scored {day(str(first).replace(' ', 'T'))} to {day(str(last).replace(' ', 'T'))}, {count(records.portfolio.height)} "
        f"bars of {experiment.data.interval}, {len(traded)} symbols, {len(records.plan.specs)} folds. Snapshot "
        f"{manifest['snapshot_id']}."
    )
    lead = join(
        [
            tag("h1", f"{experiment.name}: out of sample"),
            paragraph(experiment.description) if experiment.description else "",
            paragraph(about, kind="about"),
        ]
    )
    title = f"{records.card.card['verdict']}: {experiment.name}, report of {manifest['snapshot_id']}"
    return document(title=title, lead=lead, sections=[make(records) for make in SECTIONS])


def report_page(records: ReportRecords) -> HtmlPage:
    """The page with its identity and what MLflow is told of it."""
    card, net = records.card.card, records.performance.net
    figures = {
        name: float(net[name])
        for name in ("sharpe_annual", "se_annual", "psr", "psr_after_looks")
        if net.get(name) is not None
    }
    return HtmlPage(
        text=build_report(records),
        content=records.content_sha256(),
        subject=f"report {records.manifest['snapshot_id']}",
        figures=figures,
        tags={
            "verdict": str(card["verdict"]),
            "snapshot": str(records.manifest["snapshot_id"]),
            "content_sha256": records.content_sha256(),
        },
    )
