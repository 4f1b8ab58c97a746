"""The performance gates pass if and only if the card says GO: each condition apart, and drawn together."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.findings import OosPerformance
from tft_pipeline.domain.gate_names import PERFORMANCE
from tft_pipeline.domain.gate_row import GateRow
from tft_pipeline.domain.gates_section import GatesSection
from tft_pipeline.domain.model_card import _operational_reasons
from tft_pipeline.domain.performance_gates import drift_reasons, performance_gates, unknown_reasons
from tft_pipeline.domain.phases import EvaluationSection
from tft_pipeline.domain.release_gates import verdict_of
from tft_pipeline.domain.verdict import GO, NO_GO, RULES, json_ready, reasons_against
from tft_pipeline_tests.report_records import made_records

RECORDS = made_records()
GOOD: dict[str, Any] = {
    "leaks": (),
    "contaminated": False,
    "psr": 0.99,
    "dsr": 0.97,
    "loss": 0.1,
    "degradation": 0.2,
    "sharpe": 0.1,
    "baselines": {"long_only": 0.05, "momentum": None, "macd": -0.1, "ridge": 0.2},
    "superior": (),
    "upper": 12.0,
    "n": 200,
    "drift": "stable",
    "held": True,
    "tested": 0.8,
    "recorded": True,
}
EARLY = "1999-12-31T00:00:00+00:00"
SCORED = RECORDS.plan.specs[0].dates["test"]["first"]


def rows_and_verdict(limits: EvaluationSection | None = None, **changes: Any) -> tuple[dict[str, GateRow], str]:
    """The gates, and the verdict as performance and card make it, one after the other."""
    case, limits = GOOD | changes, limits or EvaluationSection()
    statistics = {"sharpe": case["sharpe"], "sharpe_annual": 15.8 * case["sharpe"], "se_annual": 0.3, "n": 500}
    baselines = {
        name: {
            "sharpe": one,
            "sharpe_annual": None if one is None else 15.8 * one,
            "reason": "" if one is not None and one != one else "never held",
        }
        for name, one in case["baselines"].items()
    }
    research = {
        "dsr": case["dsr"],
        "dsr_reason": "1 completed trial(s)",
        "n_trials_started": 12,
        "probability_of_loss": case["loss"],
        "degradation": case["degradation"],
        "pbo": 0.4,
    }
    reasons = reasons_against(
        leaks=[f"{name} failed, x" for name in case["leaks"]],
        statistics=statistics,
        psr_after_looks=case["psr"],
        looks=3,
        research=research,
        baselines=baselines,
        superior=case["superior"],
        contaminated=case["contaminated"],
        limits=limits,
    )
    performance = RECORDS.performance.model_copy(
        update={
            "verdict": NO_GO if reasons else GO,
            "reasons": reasons,
            "net": json_ready({**statistics, "psr_after_looks": case["psr"]}),
            "research": json_ready(research),
            "baselines": json_ready(baselines),
            "superiority": {"superior": list(case["superior"]), "spa_p_consistent": case["tested"], "sentence": ""},
            "looks": 3,
        }
    )
    audit = RECORDS.audit.model_copy(
        update={
            "rows": (
                *([{"guard": "held", "passed": True, "detail": ""}] if case["held"] else []),
                {"guard": "user_columns", "passed": None, "state": "not_verifiable", "detail": "y"},
                *({"guard": name, "passed": False, "detail": "x"} for name in case["leaks"]),
            ),
            "passed": not case["leaks"],
        }
    )
    figures = {**RECORDS.latency.latency_ms, "p95_ci": [1.0, case["upper"]]}
    latency = RECORDS.latency.model_copy(update={"latency_ms": figures, "n": case["n"], "max_p95_ms": 40.0})
    drift = RECORDS.drift.model_copy(update={"verdict": case["drift"]})
    plan = RECORDS.plan.model_copy(
        update={"research_last": SCORED if case["contaminated"] else EARLY if case["recorded"] else None}
    )
    rows = performance_gates(
        evaluation=limits,
        gates=GatesSection(),
        plan=plan,
        performance=OosPerformance.model_validate(performance.model_dump()),
        audit=audit,
        latency=latency,
        drift=drift,
    )
    unknown = unknown_reasons(plan, performance, audit)
    against = [*reasons, *unknown, *_operational_reasons(latency, drift, GatesSection())]
    assert tuple(row.name for row in rows) == PERFORMANCE
    return {row.name: row for row in rows}, NO_GO if against else GO


def failed(rows: dict[str, GateRow]) -> set[str]:
    return {name for name, row in rows.items() if row.blocks}


def test_where_nothing_speaks_against_a_model_every_performance_gate_passes():
    rows, verdict = rows_and_verdict()
    assert verdict == GO
    assert failed(rows) == set()
    assert all(row.verdict == "pass" and row.why and row.source for row in rows.values())


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"leaks": ("labels",)}, {"leakage_audit", "verdict"}),
        ({"contaminated": True}, {"not_contaminated", "verdict"}),
        ({"psr": 0.949}, {"probabilistic_sharpe_ratio", "verdict"}),
        ({"dsr": 0.949}, {"deflated_sharpe_ratio", "verdict"}),
        ({"dsr": None, "loss": None, "degradation": None}, {"deflated_sharpe_ratio", "verdict"}),
        ({"loss": 0.26}, {"probability_of_loss", "verdict"}),
        ({"degradation": 0.51}, {"degradation", "verdict"}),
        ({"degradation": None}, {"degradation", "verdict"}),
        ({"baselines": {"long_only": 0.1}}, {"baselines", "verdict"}),
        ({"baselines": {"ridge": 0.1}, "superior": ("ridge",)}, {"baselines", "verdict"}),
        ({"psr": math.nan}, {"probabilistic_sharpe_ratio", "verdict"}),
        ({"dsr": math.nan}, {"deflated_sharpe_ratio", "verdict"}),
        ({"loss": math.nan}, {"probability_of_loss", "verdict"}),
        ({"loss": None}, {"probability_of_loss", "verdict"}),
        ({"degradation": math.nan}, {"degradation", "verdict"}),
        ({"sharpe": math.nan}, {"baselines", "verdict"}),
        ({"baselines": {"long_only": math.nan, "macd": -0.1}}, {"baselines", "verdict"}),
        ({"held": False}, {"leakage_audit"}),
        ({"recorded": False}, {"not_contaminated"}),
        ({"baselines": {}}, {"baselines"}),
        ({"baselines": {"long_only": None}}, {"baselines"}),
        ({"tested": None}, {"baselines"}),
        ({"upper": 40.5}, {"latency_p95"}),
        ({"upper": None, "n": 20}, {"latency_p95"}),
        ({"drift": "retrain"}, {"drift"}),
        ({"drift": "insufficient_data"}, {"drift"}),
    ],
)
def test_one_condition_that_does_not_hold_fails_its_own_gate_and_turns_the_verdict(changes, names):
    rows, verdict = rows_and_verdict(**changes)
    assert failed(rows) == names
    assert verdict == NO_GO


@given(
    leaks=st.sampled_from([(), ("labels",)]),
    contaminated=st.booleans(),
    psr=st.sampled_from([0.94, 0.95, 0.96, 1.0, math.nan]),
    research=st.one_of(
        st.just((None, None, None)),
        st.tuples(
            st.sampled_from([0.9, 0.95, 0.97, math.nan]),
            st.sampled_from([None, 0.0, 0.25, 0.3, math.nan]),
            st.sampled_from([None, -0.1, 0.5, 0.6, math.nan]),
        ),
    ),
    baselines=st.dictionaries(
        st.sampled_from([*RULES, "ridge", "lightgbm"]), st.sampled_from([None, 0.0, 0.1, 0.2, math.nan]), max_size=5
    ),
    superior=st.sets(st.sampled_from([*RULES, "ridge"])),
    upper=st.sampled_from([None, 39.0, 40.0, 41.0]),
    drift=st.sampled_from(["stable", "investigate", "retrain", "insufficient_data"]),
    min_psr=st.sampled_from([0.95, 0.99]),
    held=st.booleans(),
    tested=st.sampled_from([None, 0.4]),
    recorded=st.booleans(),
)
def test_the_gates_pass_exactly_where_the_verdict_is_go(
    leaks, contaminated, psr, research, baselines, superior, upper, drift, min_psr, held, tested, recorded
):
    dsr, loss, degradation = research
    better = tuple(sorted(name for name in superior if baselines.get(name) is not None))
    rows, verdict = rows_and_verdict(
        EvaluationSection(min_psr=min_psr),
        leaks=leaks,
        contaminated=contaminated,
        psr=psr,
        dsr=dsr,
        loss=loss,
        degradation=degradation,
        baselines=baselines,
        superior=better,
        upper=upper,
        drift=drift,
        held=held,
        tested=tested,
        recorded=recorded,
    )
    assert verdict_of([row.to_dict() for row in rows.values()]) == verdict
    # and without the row that repeats the record's own verdict: no condition is without a gate
    assert (failed(rows) - {"verdict"} == set()) is (verdict == GO)


def test_a_guard_that_the_data_does_not_let_try_is_named_and_blocks_nothing():
    row = rows_and_verdict()[0]["leakage_audit"]
    assert row.verdict == "pass"
    assert row.why == "1 guards were tried and held; could not be tried: user_columns"
    assert row.figures == {"guards_held": 1, "guards_not_verifiable": ["user_columns"]}


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"held": False}, "leakage_audit", "no guard was tried and held"),
        ({"recorded": False}, "not_contaminated", "is not recorded"),
        ({"baselines": {}}, "baselines", "no baseline that held anything was scored"),
        ({"tested": None}, "baselines", "no test says whether a baseline is superior"),
        ({"loss": None}, "probability_of_loss", "not known"),
    ],
)
def test_what_is_not_known_has_no_value_and_says_so(changes, name, words):
    row = rows_and_verdict(**changes)[0][name]
    assert (row.verdict, row.value) == ("fail", None)
    assert row.value_reason
    assert words in row.why


def test_every_limit_of_the_experiment_moves_its_gate():
    for key, value, changes in (
        ("min_psr", 0.995, {"psr": 0.99}),
        ("min_dsr", 0.98, {"dsr": 0.97}),
        ("max_probability_of_loss", 0.05, {"loss": 0.1}),
        ("max_degradation", 0.1, {"degradation": 0.2}),
    ):
        assert failed(rows_and_verdict(**changes)[0]) == set()
        found = rows_and_verdict(EvaluationSection(**{key: value}), **changes)[0]
        (name,) = failed(found) - {"verdict"}
        assert found[name].threshold == value


def test_a_stricter_drift_gate_holds_back_what_the_default_lets_pass():
    drift = RECORDS.drift.model_copy(update={"verdict": "investigate", "n_recent": 21})
    assert drift_reasons(drift, GatesSection()) == []
    assert drift_reasons(drift, GatesSection(drift="stable")) == ["drift: investigate over the last 21 bars"]


def test_a_gate_says_in_one_sentence_what_blocks_it_with_its_numbers():
    rows, _ = rows_and_verdict(
        leaks=("labels",), psr=0.5, baselines={"long_only": 0.2, "ridge": 0.3}, superior=("ridge",), upper=None, n=20
    )
    assert rows["leakage_audit"].why == "labels: x; could not be tried: user_columns"
    assert rows["leakage_audit"].value == 1
    assert "after 3 look(s)" in rows["probabilistic_sharpe_ratio"].why
    assert "0.5 is below 0.95" in rows["probabilistic_sharpe_ratio"].why
    assert "2 of 2 baselines" in rows["baselines"].why
    assert "long_only (Sharpe 3.16), ridge (Sharpe 4.74, superior)" in rows["baselines"].why
    assert rows["latency_p95"].value is None
    assert "20 timed calls are too few" in rows["latency_p95"].value_reason
    assert "PBO 0.40, which alone blocks nothing" in rows["probability_of_loss"].why
    assert rows["verdict"].value == NO_GO
    assert "leakage audit: labels failed" in rows["verdict"].why
