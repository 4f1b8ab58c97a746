"""The report's section on latency: the gate's finding, every form, both loops drawn with their percentiles."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tft_pipeline.domain.latency import latency_figures
from tft_pipeline.pipeline.report.page import document
from tft_pipeline.pipeline.report.records import ReportRecords
from tft_pipeline.pipeline.report.sections.latency import latency_section
from tft_pipeline_tests.report_records import made_records


@pytest.fixture(scope="module")
def records() -> ReportRecords:
    return made_records()


def with_latency(records: ReportRecords, **changes: Any) -> ReportRecords:
    return replace(records, latency=records.latency.model_copy(update=changes))


def test_the_finding_is_the_upper_bound_against_the_limit(records: ReportRecords) -> None:
    upper = records.latency.latency_ms["p95_ci"][1]
    assert f"at most {upper:.3g} ms by its interval: within the limit of 40.0 ms" in str(
        latency_section(records).finding
    )
    strict = latency_section(with_latency(records, max_p95_ms=0.5))
    assert f"the upper bound {upper:.1f} ms of the p95 is above 0.5 ms" in str(strict.finding)
    few = {**records.latency.latency_ms, "p95_ci": [1.0, None]}
    assert "too few to bound the p95" in str(latency_section(with_latency(records, latency_ms=few, n=30)).finding)


def test_both_loops_are_drawn_up_to_their_longest_call_and_marked_at_their_percentiles(records: ReportRecords) -> None:
    (chart,) = latency_section(records).charts
    closed, closed_marks, opened, opened_marks = chart.figure["data"]
    chosen, loop = records.latency.forms[1], records.latency.open_loop
    for line, marks, figures in ((closed, closed_marks, chosen), (opened, opened_marks, loop)):
        assert max(line["x"]) == pytest.approx(figures["max"], rel=1e-5)
        assert max(line["y"]) == 100.0
        assert marks["x"] == pytest.approx([figures[name] for name in ("p50", "p95", "p99")], rel=1e-5)
        assert marks["y"] == [50.0, 95.0, 99.0]
        ends = zip(marks["x"], marks["error_x"]["array"], marks["error_x"]["arrayminus"], strict=True)
        for (centre, up, down), name in zip(ends, ("p50", "p95", "p99"), strict=True):
            low, high = figures[f"{name}_ci"]
            assert centre - down == pytest.approx(low, rel=1e-4)
            assert up == 0.0 if high is None else centre + up == pytest.approx(high, rel=1e-4)


def test_every_form_has_a_row_and_what_was_not_timed_or_bounded_is_told(records: ReportRecords) -> None:
    section = latency_section(records)
    text = "".join(str(part) for part in section.parts if isinstance(part, str))
    for words in (
        "eager",
        "onnx_window (chosen)",
        "onnx_stream was not timed: an lstm starts from zero states",
        "needs 1,000 calls, there are 200",
        "100 decisions a second, poisson arrivals",
        "load 0.40 before, 0.50 after",
    ):
        assert words in text, words


def test_text_from_the_record_is_no_markup_and_the_section_fits_a_page(records: ReportRecords) -> None:
    nasty = with_latency(records, left_out={"compiled": "<script>alert(1)</script>"})
    section = latency_section(nasty)
    assert not any("<script>alert" in part for part in section.parts if isinstance(part, str))
    assert 'id="latency"' in document(title="t", lead=section.parts[0], sections=[section])  # type: ignore[arg-type]


def test_a_record_of_eager_torch_alone_without_its_fresh_process_is_shown(records: ReportRecords) -> None:
    figures = latency_figures(records.latency.forms[0]["p50"] * (1.0 + 0.01 * np.arange(20.0)))
    row = {**records.latency.forms[0], **figures, "chosen": True, "cold_start": None}
    section = latency_section(with_latency(records, forms=(row,), form="eager", latency_ms=figures, left_out={}, n=20))
    assert len(section.charts) == 1
