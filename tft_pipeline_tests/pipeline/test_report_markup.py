"""The pieces of the report's page: text, numbers, sentences, charts and anchors. Not here: the page they make."""

import html as stdlib_html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.pipeline.report.charts import Chart, label
from tft_pipeline.pipeline.report.markup import MINUS, THIN_SPACE, decimal, html, percent, tag
from tft_pipeline.pipeline.report.page import Section, document
from tft_pipeline.pipeline.report.sections.verdict import sentence
from tft_pipeline_tests.report_page import Parsed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("long_only has the higher ratio", "long_only has the higher ratio."),
        ("ridge, trained on the same folds", "ridge, trained on the same folds."),
        ("lightgbm: better", "lightgbm: better."),
        ("position.cost_bps is 5!", "position.cost_bps is 5!"),
        ("no baseline is better.", "No baseline is better."),
        ("small.", "Small."),
        ("", ""),
    ],
)
def test_a_sentence_begins_with_a_capital_unless_a_name_begins_it(text: str, shown: str) -> None:
    assert sentence(text) == shown


def test_data_of_a_chart_cannot_end_its_script() -> None:
    figure = {"data": [{"name": "</script><script>alert(1)</script><!--"}], "layout": {}}
    chart = Chart(anchor="c", title="t", figure=figure, height=100)
    section = Section(anchor="a", title="A", finding="", parts=(chart,))
    page = Parsed(document(title="t", lead=tag("p"), sections=[section]))
    assert len(page.of("script")) == 3
    assert page.charts[0]["data"] == figure["data"]


def test_two_elements_of_one_anchor_are_refused() -> None:
    twice = Section(anchor="a", title="A", finding="", parts=())
    with pytest.raises(ValueError, match="stand twice"):
        document(title="t", lead=tag("p"), sections=[twice, twice])


@given(st.text())
def test_text_comes_back_from_markup_and_labels_as_it_was(text: str) -> None:
    assert stdlib_html.unescape(html(text)) == stdlib_html.unescape(stdlib_html.escape(text))
    assert not set(html(text)) & set("<>\"'")
    assert not set(label(text)) & set("<>")
    if "&" not in text:
        assert stdlib_html.unescape(label(text)) == text


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_a_written_number_is_within_half_of_its_last_digit(value: float, digits: int) -> None:
    text = decimal(value, digits).replace(MINUS, "-")
    assert float(text) == pytest.approx(value, abs=0.5000001 * 10.0**-digits + 1e-9)
    assert text.lstrip("-") == text or float(text) < 0.0
    assert float(percent(value, digits).replace(MINUS, "-").rstrip(f"%{THIN_SPACE}")) == pytest.approx(
        100.0 * value, abs=0.5000001 * 10.0**-digits + 1e-6
    )
