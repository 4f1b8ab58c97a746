"""The guide's table: what is measured, what passes, and that what is not known never does."""

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from tft_pipeline.domain.classification import describe_probabilities, wilson_interval
from tft_pipeline.domain.findings import DriftRecord, LatencyBenchmark, LeakageAudit
from tft_pipeline.domain.performance_targets import (
    DEPLOY,
    METRICS,
    absent_targets,
    deploy_target,
    performance_targets,
    target_sentence,
)
from tft_pipeline.domain.phases import DriftSection, EvaluationSection
from tft_pipeline_tests.report_records import made_records

RECORDS = made_records()


def direction(hits: int, n: int, ups: int) -> dict[str, Any]:
    """n rows, one a bar, of which `hits` are right and `ups` go up; ups come first."""
    y = (np.arange(n) < ups).astype(int)
    right = np.arange(n) < hits
    found = describe_probabilities(y, np.where(right, y, 1 - y) * 0.2 + 0.4)
    return {"tft": found | {"n_bars": n, "accuracy_ci_bars": wilson_interval(found["accuracy"] * n, n)}}


def latency(p95: float | None, upper: float | None) -> LatencyBenchmark:
    figures = {**RECORDS.latency.latency_ms, "p95": p95, "p95_ci": None if p95 is None else [p95 - 1, upper]}
    return RECORDS.latency.model_copy(update={"latency_ms": figures, "max_p95_ms": 40.0, "n": 200})


def drift(rows: list[tuple[str, float | None, float | None, str]]) -> DriftRecord:
    made = tuple({"feature": f, "psi": psi, "js_distance": js, "verdict": v} for f, psi, js, v in rows)
    return RECORDS.drift.model_copy(update={"rows": made})


def audit(**states: str) -> LeakageAudit:
    passed = {"held": True, "leak": False}
    rows = tuple(
        {"guard": name, "claim": "", "tried": "", "state": state, "passed": passed.get(state), "detail": ""}
        for name, state in states.items()
    )
    return LeakageAudit(rows=rows, passed="leak" not in states.values())


GOOD: dict[str, Any] = {
    "direction": direction(650, 1000, 500),
    "latency": latency(12.0, 15.0),
    "drift": drift([("a", 0.05, 0.1, "stable"), ("b", 0.2, 0.05, "stable")]),
    "audit": audit(one="held", two="held", three="not_used"),
}


def rows(validation: float | None = None, limits: dict[str, Any] | None = None, **changes: Any) -> dict[str, dict]:
    given = GOOD | changes
    found = performance_targets(
        evaluation=EvaluationSection(**(limits or {})),
        drift_limits=DriftSection(),
        performance=RECORDS.performance.model_copy(update={"direction": given["direction"]}),
        audit=given["audit"],
        latency=given["latency"],
        drift=given["drift"],
        validation_accuracy=validation,
    )
    return {row["metric"]: row for row in found}


def test_the_table_has_the_guides_rows_in_its_order_and_is_json():
    made = (*rows().values(), deploy_target([], release="r1"))
    assert tuple(row["metric"] for row in made) == METRICS
    assert all(row["passed"] is True for row in made)
    assert all(row["detail"] and row["source"] and row["target"] for row in made)
    assert json.loads(json.dumps(made, allow_nan=False)) == list(made)


@pytest.mark.parametrize(
    ("hits", "ups", "passed"),
    [(600, 500, True), (599, 500, False), (650, 649, True), (650, 650, False), (650, 700, False), (650, 320, False)],
)
def test_accuracy_must_reach_the_target_and_beat_always_guessing_one_class(hits, ups, passed):
    row = rows(direction=direction(hits, 1000, ups))["accuracy"]
    assert row["value"] == hits / 1000
    assert row["passed"] is passed
    assert ("which is as good" in row["detail"]) is (hits <= max(ups, 1000 - ups))


def test_the_interval_of_accuracy_is_that_of_bars_and_a_target_inside_it_is_said():
    found = direction(620, 1000, 500)
    found["tft"] |= {"n_bars": 250, "accuracy_ci_bars": wilson_interval(155, 250)}
    row = rows(direction=found)["accuracy"]
    oracle = binomtest(155, 250).proportion_ci(method="wilson")
    assert "on 250 bars" in row["detail"]
    assert row["interval"] == pytest.approx([oracle.low, oracle.high])
    assert "the lower end of the interval is below the target" in row["detail"]
    found["tft"] |= {"trials": 82.6, "accuracy_ci_bars": wilson_interval(0.62 * 82.6, 82.6)}
    overlapping = rows(direction=found)["accuracy"]
    assert "on 83 trials, for labels of 250 bars overlap" in overlapping["detail"]
    assert overlapping["interval"][0] < row["interval"][0]
    assert "below the target" not in rows(direction=direction(700, 1000, 500))["accuracy"]["detail"]


def test_the_target_of_accuracy_is_a_key_of_the_experiment():
    assert rows(limits={"min_accuracy": 0.7})["accuracy"]["passed"] is False
    assert rows(limits={"min_accuracy": 0.7})["accuracy"]["target"] == ">= 0.70"


def test_the_accuracy_of_validation_bars_is_shown_and_not_judged():
    row = rows(validation=0.99, direction=direction(500, 1000, 400))["accuracy"]
    assert row["passed"] is False
    assert "for which the guide asks >= 0.60, it is 0.990" in row["detail"]
    assert "not judged" in row["detail"]
    assert "on the validation bars it is not known" in rows()["accuracy"]["detail"]


@pytest.mark.parametrize("found", [{}, {"lgbm": direction(900, 1000, 500)["tft"]}])
def test_a_network_without_probabilities_has_no_accuracy_and_does_not_pass(found):
    row = rows(direction=found)["accuracy"]
    assert (row["value"], row["passed"]) == (None, None)
    assert "no probability" in row["detail"]


@pytest.mark.parametrize(
    ("p95", "upper", "passed", "words"),
    [
        (12.0, 40.0, True, "upper end"),
        (12.0, 40.1, False, "above 40 ms"),
        (41.0, 45.0, False, "above 40 ms"),
        (12.0, None, None, "too few"),
        (41.0, None, False, "too few"),
        (None, None, None, "run it again"),
    ],
)
def test_latency_is_judged_by_the_upper_end_of_its_interval(p95, upper, passed, words):
    row = rows(latency=latency(p95, upper))["latency_p95_ms"]
    assert (row["value"], row["passed"]) == (p95, passed)
    assert words in row["detail"]


def test_latency_names_the_form_and_the_bound_of_eager_torch_beside_it():
    timed = latency(12.0, 15.0)
    eager = {"form": "eager", "p95_ci": [50.0, 61.23]}
    quick = timed.model_copy(
        update={"form": "onnx_stream", "forms": (eager, {"form": "onnx_stream", "p95_ci": [11, 15]})}
    )
    detail = rows(latency=quick)["latency_p95_ms"]["detail"]
    assert "of the form onnx_stream; that of eager torch is at most 61.2 ms" in detail
    unbounded = quick.model_copy(update={"forms": ({**eager, "p95_ci": [50.0, None]},)})
    assert "eager torch has no upper bound" in rows(latency=unbounded)["latency_p95_ms"]["detail"]
    alone = timed.model_copy(update={"form": "eager", "forms": (eager,)})
    assert "of the form eager; the upper end" in rows(latency=alone)["latency_p95_ms"]["detail"]


@pytest.mark.parametrize(
    ("made", "psi", "js"),
    [
        ([("a", 0.25, 0.3, "stable")], True, True),
        ([("a", 0.26, 0.1, "stable"), ("b", 0.1, 0.31, "stable")], False, False),
        ([("a", 0.1, 0.1, "insufficient_data")], None, None),
        ([("a", 0.9, 0.9, "insufficient_data")], None, None),
        ([("a", None, None, "insufficient_data")], None, None),
        ([("a", None, 0.2, "stable"), ("b", 0.2, None, "retrain")], True, True),
        ([], None, None),
    ],
)
def test_drift_is_judged_as_given_and_too_few_bars_never_pass(made, psi, js):
    found = rows(drift=drift(made))
    assert (found["psi_max"]["passed"], found["js_max"]["passed"]) == (psi, js)
    values = [row[1] for row in made if row[1] is not None]
    assert found["psi_max"]["value"] == (max(values) if values else None)


def test_the_calibrated_verdict_and_the_feature_stand_beside_the_given_thresholds():
    found = rows(drift=drift([("quiet", 0.1, 0.1, "stable"), ("loud", 0.9, 0.2, "investigate")]))
    assert "of loud" in found["psi_max"]["detail"]
    assert "say investigate" in found["psi_max"]["detail"]


@pytest.mark.parametrize(
    ("states", "passed", "value"),
    [
        ({"one": "held", "two": "not_used"}, True, "1 of 1"),
        ({"one": "held", "two": "leak"}, False, "1 of 2"),
        ({"one": "held", "two": "not_verifiable"}, None, "1 of 2"),
        ({"one": "not_used"}, None, None),
        ({}, None, None),
    ],
)
def test_guards_pass_when_every_one_that_applies_was_tried_and_held(states, passed, value):
    row = rows(audit=audit(**states))["leakage_guards"]
    assert (row["passed"], row["value"]) == (passed, value)
    for name, state in states.items():
        assert (name in row["detail"]) is (state in ("leak", "not_verifiable"))


def test_rows_of_an_older_audit_are_read():
    old = LeakageAudit(rows=({"guard": "one", "passed": True}, {"guard": "two", "passed": None}), passed=True)
    assert rows(audit=old)["leakage_guards"]["passed"] is None


def test_a_deployment_is_ready_only_with_a_live_release_and_no_problem():
    assert deploy_target([], release="r1")["passed"] is True
    assert deploy_target(["best_tft.safetensors is missing"], release="r1")["passed"] is False
    nothing = deploy_target([], release=None)
    assert deploy_target(["no version was written yet"], release=None) == nothing
    assert nothing["detail"] == "nothing is live"
    assert (nothing["passed"], nothing["value"], nothing["detail"]) == (False, "not ready", "nothing is live")
    assert "held back" in deploy_target([], release="r1", note="held back")["detail"]


def test_a_row_in_words_says_result_value_interval_target_and_why():
    said = target_sentence(rows(latency=latency(12.0, None))["latency_p95_ms"])
    assert said.startswith("latency_p95_ms: not known, 12 (11 to unbounded), target <= 40 ms; ")
    assert target_sentence(rows()["accuracy"]).startswith("accuracy: pass, 0.65 (")
    absent = absent_targets("nothing is live")
    assert [target_sentence(row) for row in absent] == [
        f"{m}: not known; nothing is live" for m in METRICS if m != DEPLOY
    ]


def test_a_candidate_is_no_deployment_and_passes_and_fails_nothing():
    """Only a live version that readers cannot get fails; that nothing is live yet is no fault of a candidate."""
    nothing = deploy_target(["no version was written yet"], release=None, candidate="r2", note="2 gate(s) say no")
    assert (nothing["passed"], nothing["value"]) == (None, "not deployed")
    assert nothing["detail"] == "r2 is not deployed; nothing is live; 2 gate(s) say no"
    beside = deploy_target([], release="r1", candidate="r2")
    assert (beside["passed"], beside["detail"]) == (None, "r2 is not deployed; live is r1")
    broken = deploy_target(["r1: a file was changed"], release="r1", candidate="r2")
    assert (broken["passed"], broken["value"]) == (False, "not ready")
    assert broken["detail"] == "r2 is not deployed; r1: a file was changed"
    assert deploy_target([], release="r2", candidate="r2") == deploy_target([], release="r2")
    assert target_sentence(nothing).startswith("symlink_deploy: not known, not deployed, target ready; r2 is not")
