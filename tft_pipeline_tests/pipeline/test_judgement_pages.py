"""Pictures and tables of latency, gates, nights and checks: each value beside its limit, the verdict in words."""

from datetime import date
from typing import Any

import pytest

from tft_pipeline.domain.gate_row import GateRow
from tft_pipeline.pipeline import gate_plots, latency_plots
from tft_pipeline.pipeline.assets.blend import weight_rows
from tft_pipeline.pipeline.gate_plots import gates_picture, nights_picture
from tft_pipeline.pipeline.judgement_metadata import check_metadata, gate_metadata, headline_rows
from tft_pipeline.pipeline.latency_plots import latency_picture
from tft_pipeline_tests.drawings import axes_of, figure_of, legend_of, line_of, png_of
from tft_pipeline_tests.report_records import made_records

FORMS = (
    {"form": "eager", "chosen": False, "p95": 9.0, "distribution": {"ms": [1.0, 5.0, 9.0], "share": [0.2, 0.9, 1.0]}},
    {"form": "onnx", "chosen": True, "p95": 2.0, "distribution": {"ms": [0.5, 2.0], "share": [0.5, 1.0]}},
)


def test_latency_is_the_share_of_calls_that_took_no_longer_beside_its_limit() -> None:
    figure, title = figure_of(latency_plots, lambda: latency_picture(FORMS, limit_ms=40.0, p95_ci=[1.5, 2.5]))
    (axes,) = figure.axes
    assert line_of(axes, "eager: p95 9.00 ms").get_xydata().tolist() == [[1.0, 20.0], [5.0, 90.0], [9.0, 100.0]]
    assert line_of(axes, "onnx, chosen: p95 2.00 ms").get_linewidth() == 2.0
    assert line_of(axes, "limit of the p95: 40 ms").get_xdata() == [40.0, 40.0]
    (interval,) = axes.collections
    assert interval.get_segments()[0].tolist() == [[1.5, 95.0], [2.5, 95.0]]  # type: ignore[attr-defined]
    assert "chosen: onnx" in title


def test_a_p95_that_too_few_calls_bound_says_so() -> None:
    axes = axes_of(latency_plots, lambda: latency_picture(FORMS, limit_ms=40.0, p95_ci=[1.5, None]))
    assert legend_of(axes)[-1] == "its p95, 95 %: 1.50 ms to not bounded"
    axes = axes_of(latency_plots, lambda: latency_picture(FORMS, limit_ms=40.0, p95_ci=[None, None]))
    assert not axes.collections


def gate(**changes: Any) -> dict[str, Any]:
    return {
        "name": "latency_p95",
        "verdict": "fail",
        "value": 51.23456,
        "rule": "<=",
        "threshold": 40.0,
        "unit": "ms",
        "why": "too slow",
    } | changes


def test_every_gate_says_its_verdict_its_value_and_its_limit_in_words() -> None:
    rows = [
        gate(),
        gate(name="drift", verdict="pass", value="stable", rule="in", threshold=["stable", "investigate"], unit=""),
        gate(name="challenger", verdict="not_applicable", value=None, threshold=None, why="nothing is live: $1"),
        gate(name="accuracy", value=None, unit="share"),
    ]
    figure, title = figure_of(gate_plots, lambda: gates_picture(rows))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == [
        "FAIL",
        "51.23 ms (asked: <= 40)",
        "pass",
        "stable (asked: in stable, investigate)",
        "does not apply",
        r"nothing is live: \$1",
        "FAIL",
        "no value (asked: <= 40)",
    ]
    assert title == "4 gates, 2 of them fail"
    hatches = [bar.get_hatch() for bar in axes.patches]
    assert hatches[0] == "//"
    assert not any(hatches[1:3])
    assert len(png_of(gates_picture(rows * 5))) < 60_000


def test_a_night_stands_at_its_largest_psi_with_its_verdict_as_the_mark() -> None:
    nights = [
        {"day": date(2026, 1, 1), "verdict": "stable", "psi": 0.1},
        {"day": date(2026, 1, 2), "verdict": "retrain", "psi": 0.4},
        {"day": date(2026, 1, 5), "verdict": "insufficient_data", "psi": None},
    ]
    figure, title = figure_of(gate_plots, lambda: nights_picture(nights, limit=0.25))
    (axes,) = figure.axes
    assert line_of(axes, "stable (1)").get_xydata().tolist() == [[0.0, 0.1]]
    assert line_of(axes, "retrain (1)").get_xydata().tolist() == [[1.0, 0.4]]
    assert line_of(axes, "stable (1)").get_marker() != line_of(axes, "retrain (1)").get_marker()
    assert line_of(axes, "limit 0.25").get_ydata() == [0.25, 0.25]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2026-01-01", "2026-01-02", "2026-01-05"]
    assert title == "drift of the last 3 judged night(s)"


def test_a_check_shows_value_limit_unit_and_a_sentence_and_nothing_is_left_blank() -> None:
    assert check_metadata(None, 40.0, unit="ms", finding="no value") == {
        "value": "none",
        "limit": 40.0,
        "unit": "ms",
        "finding": "no value",
    }
    row = GateRow(
        name="drift",
        value="stable",
        threshold=("stable", "investigate"),
        verdict="pass",
        why="w",
        source="s",
        rule="in",
    )
    assert gate_metadata(row) == {
        "value": "stable",
        "limit": "stable, investigate",
        "unit": "",
        "finding": "w",
        "verdict": "pass",
        "rule": "in",
        "source": "s",
    }


def test_the_headline_is_of_the_records_and_says_what_is_undefined() -> None:
    records = made_records()
    assert isinstance(records.card.card, dict)
    told = (records.card.card, records.performance, records.audit, records.latency, records.drift)
    rows = {row["figure"]: row["value"] for row in headline_rows(*told)}
    net = records.performance.net
    assert rows["verdict"] == "NO-GO"
    assert float(rows["Sharpe ratio a year, net, out of sample"]) == pytest.approx(net["sharpe_annual"], abs=5e-4)
    assert rows["bars scored"] == str(net["n"])
    assert rows["latency p95, ms"].startswith(f"{records.latency.latency_ms['p95']:.2f} (limit")
    without = records.performance.model_copy(update={"net": {**net, "bootstrap_ci_annual": None}})
    rows = {row["figure"]: row["value"] for row in headline_rows(told[0], without, *told[2:])}
    assert rows["its 95 % interval"] == "undefined to undefined"


def test_a_weight_has_its_interval_and_an_absent_source_has_none() -> None:
    record = made_records().ensemble
    rows = {row["name"]: row for row in weight_rows(record)}
    assert rows["sentiment"] == {"name": "sentiment", "value": 0.0, "low": None, "high": None}
    assert rows["tft"]["low"] <= rows["tft"]["value"] <= rows["tft"]["high"]
