"""The section on the blend and on what probabilities mean."""

import dataclasses

import pytest

from tft_pipeline.domain.findings import EnsembleWeights
from tft_pipeline.pipeline.report.markup import decimal
from tft_pipeline.pipeline.report.page import Section
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.ensemble import ensemble_section
from tft_pipeline_tests.report_records import made_records


def text_of(section: Section) -> str:
    return " ".join(str(part) for part in section.parts)


def with_direction(records: ReportRecords, direction: dict) -> ReportRecords:
    performance = records.performance.model_copy(update={"direction": direction})
    return dataclasses.replace(records, performance=performance)


def test_weights_intervals_metrics_and_the_comparison_are_shown_as_recorded():
    records = made_records(n_folds=4)
    section, found = ensemble_section(records), records.ensemble
    assert section.finding == found.comparison["sentence"]
    shown = text_of(section)
    for name, weight in found.weights.items():
        assert decimal(weight, 3) in shown
        interval = found.intervals["weights"][name]
        assert interval is None or f"{decimal(interval[0], 3)} to {decimal(interval[1], 3)}" in shown
    assert decimal(found.metrics["log_loss"], 5) in shown
    assert found.measured_on in shown
    assert "Class balance out of sample: 460 up, 440 not" in shown


def test_the_reliability_diagram_holds_every_bin_with_its_interval():
    records = made_records()
    charts = {chart.anchor: chart for chart in ensemble_section(records).charts}
    rows = records.performance.direction["tft"]["reliability"]
    trace = charts["chart-reliability"].figure["data"][0]
    assert trace["y"] == pytest.approx([row["share_up"] for row in rows], rel=1e-5)
    assert trace["x"] == pytest.approx([row["mean_probability"] for row in rows], rel=1e-5)
    tops = [y + up for y, up in zip(trace["y"], trace["error_y"]["array"], strict=True)]
    assert tops == pytest.approx([row["interval"][1] for row in rows], rel=1e-4)
    sources = [records.performance.direction[name]["reliability"] for name in ("tft", "lgbm")]
    outside = [r for rows in sources for r in rows if not r["interval"][0] <= r["mean_probability"] <= r["interval"][1]]
    assert charts["chart-reliability"].title.startswith(f"In {len(outside)} of {2 * len(rows)} bins")


def test_the_chart_of_weights_has_a_line_a_source_and_a_point_a_scored_fold():
    records = made_records(n_folds=5)
    (chart,) = (c for c in ensemble_section(records).charts if c.anchor == "chart-ensemble-weights")
    assert len(chart.figure["data"]) == 3
    assert chart.figure["data"][0]["y"] == pytest.approx(
        [row["weights"]["lgbm"] for row in records.ensemble.folds], rel=1e-5
    )


def test_one_fold_and_no_probabilities_say_so_instead_of_showing_nothing():
    records = with_direction(made_records(n_folds=1), {"class_balance": {"pos": 1, "neg": 1}})
    section = ensemble_section(records)
    assert "could not be compared" in str(section.finding)
    assert "The blend was not scored: one fold only" in text_of(section)
    assert "No source gives a probability of an upward move." in text_of(section)
    assert section.charts == ()


def test_a_record_from_before_is_refused_by_name_and_names_of_sources_are_text():
    records = made_records()
    old = {name: dict(row) for name, row in records.performance.direction.items()}
    del old["tft"]["reliability"]
    with pytest.raises(ValueError, match=r"oos_performance\.direction has no 'reliability'"):
        ensemble_section(with_direction(records, old))
    hostile = EnsembleWeights(weights={"<b>x</b>": 1.0}, metrics={}, available={}, folds=(), calibration={})
    assert "<b>x</b>" not in text_of(ensemble_section(dataclasses.replace(records, ensemble=hostile)))
