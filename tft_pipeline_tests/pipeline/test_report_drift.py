"""The report's section on drift, of a record with every part and of one made before there were any."""

import dataclasses
import json

import numpy as np
import pytest

from tft_pipeline.domain.phases import DriftSection
from tft_pipeline.pipeline.drift_evaluation import inputs_record
from tft_pipeline.pipeline.drift_plots import drift_pictures
from tft_pipeline.pipeline.report.page import Section, document
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.drift import drift_section
from tft_pipeline_tests.report_page import Parsed
from tft_pipeline_tests.report_records import made_records

NAMES = ["ret_1", "<b>z_21</b>", "sma_20_gap"]


@pytest.fixture(scope="module")
def records() -> ReportRecords:
    """Made records with a drift record of real figures: one feature of three has moved."""
    random = np.random.default_rng(0)
    reference, recent = random.normal(size=(2, 400, 3)), random.normal(size=(2, 30, 3))
    recent[:, :, 1] += 1.5
    stamps = [f"2024-01-{1 + k // 24:02d}T{k % 24:02d}:00:00+00:00" for k in range(430)]
    performance = {"verdict": "investigate", "reason": "worse", "measure": "log_loss", "recent": 0.8, "reference": 0.7}
    made = inputs_record(NAMES, reference, recent, DriftSection(), stamps=stamps, outputs={"performance": performance})
    return dataclasses.replace(made_records(), drift=made.model_copy(update={"fold": "f2024-01-01"}))


def page(section: Section) -> Parsed:
    """The section as a browser would take it apart."""
    return Parsed(document(title="t", lead=section.parts[0], sections=[section]))  # type: ignore[arg-type]


def test_the_finding_says_the_verdict_and_what_moved_most(records: ReportRecords) -> None:
    section = drift_section(records)
    assert section.finding.startswith("Drift: retrain over the last 30 bars. <b>z_21</b> moved most, to a PSI of")  # type: ignore[attr-defined]
    shown = page(section)
    assert not shown.of("b"), "names are text, not markup"
    reasons = [text for _, text in shown.of("li") if text.startswith(("Features", "Multivariate", "Performance"))]
    assert len(set(reasons)) == 3


def test_four_charts_show_what_the_record_holds(records: ReportRecords) -> None:
    section = drift_section(records)
    charts = {chart.anchor: chart for chart in section.charts}
    assert set(charts) == {"chart-drift", "chart-drift-shapes", "chart-drift-over-time", "chart-drift-windows"}
    assert charts["chart-drift"].title.startswith("1 of 3 features have a PSI above 0.25; for 1 the change")
    assert len(charts["chart-drift-shapes"].figure["data"]) == 6, "two sides of three features"
    heat = charts["chart-drift-windows"].figure["data"][0]["z"]
    assert [line[-1] for line in heat] == pytest.approx(
        [values[-1] for values in records.drift.over_time["psi"].values()], rel=1e-4
    )
    assert charts["chart-drift-windows"].title.startswith("For ")
    json.dumps([chart.figure for chart in section.charts], allow_nan=False)


def test_a_record_without_parts_and_windows_still_has_a_section() -> None:
    shown = page(drift_section(made_records()))
    assert len(shown.charts) == 1
    assert any("Features by PSI" in text for attributes, text in shown.of("p"))


def test_the_pictures_of_the_asset_are_those_the_record_has_figures_for(records: ReportRecords) -> None:
    assert set(drift_pictures(records.drift)) == {"shapes", "psi_over_time", "psi_by_window"}
    assert drift_pictures(made_records().drift) == {}
