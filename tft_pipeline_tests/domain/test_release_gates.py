"""Every gate before a model is live, and gate.json: numbers with units, for a stranger."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tft_pipeline.domain.champion import ChallengerFinding
from tft_pipeline.domain.deploy_gate import admitted, gate_problems
from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.gate_row import GateRow
from tft_pipeline.domain.gates_section import GatesSection
from tft_pipeline.domain.paired import paired_sharpe_difference
from tft_pipeline.domain.release_gates import (
    EVIDENCE,
    GATES,
    PERFORMANCE,
    gate_document,
    gate_rows,
    verdict_of,
    why_not_live,
)
from tft_pipeline.domain.verdict import GO, NO_GO
from tft_pipeline_tests.builders import noise, small
from tft_pipeline_tests.report_records import made_records

RECORDS = made_records()
NOTHING_LIVE = ChallengerFinding(champion=None, applies=False, why="nothing is live yet")
WEIGHTS = "b" * 64


def compared(one: np.ndarray, other: np.ndarray) -> ChallengerFinding:
    found = paired_sharpe_difference(one, other, bars_per_year=252.0, seed=1)
    return ChallengerFinding(
        champion="r1", applies=True, why=f"against r1: {found.words()}", difference=found, n_bars=one.size
    )


def gates(
    experiment: Experiment | None = None,
    *,
    loss: str = "joint_mle",
    net: dict[str, Any] | None = None,
    direction: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, GateRow]:
    """The rows of records against which nothing speaks; `changes` replaces arguments of `gate_rows`."""
    spec = RECORDS.plan.specs[-1]
    own = spec.model_copy(update={"training": spec.training.model_copy(update={"loss_mode": loss})})
    plan = RECORDS.plan.model_copy(update={"specs": (own,), "research_last": "1999-12-31T00:00:00+00:00"})
    performance = RECORDS.performance.model_copy(
        update={
            "verdict": GO,
            "reasons": (),
            "net": {
                "n": 500,
                "sharpe": 0.1,
                "sharpe_annual": 1.6,
                "se_annual": 0.3,
                "psr_after_looks": 0.99,
                "bootstrap_ci_annual": [0.4, 2.8],
            }
            | (net or {}),
            "research": {
                "dsr": 0.97,
                "probability_of_loss": 0.1,
                "degradation": 0.2,
                "pbo": 0.5,
                "n_trials_started": 9,
            },
            "baselines": {"long_only": {"sharpe": 0.01, "sharpe_annual": 0.16}},
            "superiority": {"superior": [], "spa_p_consistent": 0.7, "sentence": ""},
            "direction": direction or {},
        }
    )
    stated: dict[str, Any] = {
        "experiment": experiment or small(),
        "plan": plan,
        "performance": performance,
        "audit": RECORDS.audit.model_copy(update={"rows": ({"guard": "g", "passed": True, "detail": ""},)}),
        "latency": RECORDS.latency.model_copy(
            update={"latency_ms": {**RECORDS.latency.latency_ms, "p95_ci": [1.0, 12.0]}, "max_p95_ms": 40.0}
        ),
        "drift": RECORDS.drift.model_copy(update={"verdict": "stable"}),
        "files": 5,
        "problems": (),
        "checkpoints": {"f1": "", "f2": ""},
        "challenger": NOTHING_LIVE,
    }
    rows = gate_rows(**(stated | changes))
    assert tuple(row.name for row in rows) == GATES
    return {row.name: row for row in rows}


def failed(rows: dict[str, GateRow]) -> list[str]:
    return [name for name, row in rows.items() if row.blocks]


def document(rows: dict[str, GateRow]) -> dict[str, Any]:
    return gate_document(
        list(rows.values()), release_id="r2", weights_sha256=WEIGHTS, fold="f2", created_at="2026-01-02T03:04:05+00:00"
    )


def test_where_nothing_speaks_against_a_model_it_goes_live_by_itself():
    rows = gates()
    assert failed(rows) == []
    assert why_not_live(list(rows.values()), GatesSection()) == ""
    assert "`tft deploy` makes it live" in why_not_live(list(rows.values()), GatesSection(deploy="manual"))


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"problems": ["weights.safetensors: SHA-256 is x"]}, "bundle_verified", "SHA-256 is x"),
        ({"net": {"bootstrap_ci_annual": [-0.2, 2.0]}}, "sharpe_lower_bound", "-0.2 is below 0"),
        ({"net": {"bootstrap_ci_annual": [None, 2.0]}}, "sharpe_lower_bound", "not known"),
        ({"checkpoints": {"f1": "", "f2": "No space left on device"}}, "checkpoints", "f2: No space left on device"),
        (
            {"challenger": ChallengerFinding(champion="r1", applies=True, why="5 bars only")},
            "challenger",
            "not known: 5 bars only",
        ),
    ],
)
def test_a_gate_that_the_verdict_does_not_know_holds_a_model_back_and_leaves_the_verdict(changes, name, words):
    rows = gates(**changes)
    assert failed(rows) == [name]
    assert words in rows[name].why
    assert verdict_of([row.to_dict() for row in rows.values()]) == GO
    assert why_not_live(list(rows.values()), GatesSection()) == f"a candidate: 1 gate(s) say no: {name}"


def test_a_performance_gate_turns_the_verdict_too():
    rows = gates(net={"psr_after_looks": 0.5})
    assert failed(rows) == ["probabilistic_sharpe_ratio"]
    assert verdict_of([row.to_dict() for row in rows.values()]) == NO_GO


def test_a_performance_gate_that_is_absent_is_not_known_and_so_no_go():
    rows = [row.to_dict() for row in gates().values()]
    assert verdict_of(rows) == GO
    for name in PERFORMANCE:
        assert verdict_of([row for row in rows if row["name"] != name]) == NO_GO


@pytest.mark.parametrize("loss", ["sharpe", "joint_mle", "joint_quantile", "bce"])
def test_the_lower_end_of_accuracy_is_judged_for_a_direction_and_of_the_sharpe_ratio_for_a_position(loss):
    found = {"tft": {"accuracy": 0.6, "accuracy_ci_bars": [0.55, 0.64], "majority_rate": 0.53, "trials": 400.0}}
    rows = gates(loss=loss, direction=found)
    one, other = EVIDENCE if loss != "bce" else reversed(EVIDENCE)
    assert (rows[one].verdict, rows[other].verdict) == ("pass", "not_applicable")
    assert f"see {one}" in rows[other].why
    assert f"loss_mode {loss}" in rows[other].why


@pytest.mark.parametrize(
    ("low", "majority", "limit", "passes", "threshold"),
    [
        (0.501, 0.5, 0.5, True, 0.5),
        (0.5, 0.5, 0.5, False, 0.5),
        (0.5, 0.4999, 0.5, True, 0.5),
        (0.54, 0.53, 0.5, True, 0.53),
        (0.53, 0.53, 0.5, False, 0.53),
        (0.54, 0.53, 0.55, False, 0.55),
        (0.55, 0.53, 0.55, True, 0.55),
    ],
)
def test_accuracy_must_reach_the_limit_and_beat_always_guessing_the_larger_class(
    low, majority, limit, passes, threshold
):
    found = {"tft": {"accuracy": 0.6, "accuracy_ci_bars": [low, 0.64], "majority_rate": majority, "trials": 82.6}}
    experiment = small({"training.loss_mode": "bce", "gates.min_accuracy_ci_low": limit})
    row = gates(experiment, loss="bce", direction=found)["accuracy_lower_bound"]
    assert (row.verdict == "pass", row.threshold, row.value) == (passes, threshold, low)
    assert "on 83 independent bars" in row.why


def test_a_direction_without_probabilities_is_not_known_and_does_not_pass():
    row = gates(loss="bce")["accuracy_lower_bound"]
    assert row.verdict == "fail"
    assert "a fold gives no probability" in row.why


def test_an_accuracy_beside_an_unknown_share_of_the_larger_class_does_not_pass():
    row = gates(loss="bce", direction={"tft": {"accuracy_ci_bars": [0.52, 0.6]}})["accuracy_lower_bound"]
    assert (row.verdict, row.value) == ("fail", None)
    assert "always guessing the larger class" in row.value_reason


def test_the_limit_of_the_sharpe_ratios_lower_end_is_a_key_of_the_experiment():
    row = gates(small({"gates.min_sharpe_ci_low": 0.5}))["sharpe_lower_bound"]
    assert (row.verdict, row.value, row.threshold, row.unit) == ("fail", 0.4, 0.5, "Sharpe ratio a year")


CLEARLY, SLIGHTLY = noise(600, 2, mean=0.004), noise(600, 2, mean=0.0001)


@pytest.mark.parametrize(
    ("rule", "one", "other", "passes"),
    [
        ("not_worse", CLEARLY, noise(600, 3), True),
        ("not_worse", SLIGHTLY, noise(600, 3), True),
        ("not_worse", -CLEARLY, noise(600, 3), False),
        ("not_worse", CLEARLY, CLEARLY, True),
        ("better", CLEARLY, noise(600, 3), True),
        ("better", SLIGHTLY, noise(600, 3), False),
        ("better", CLEARLY, CLEARLY, False),
    ],
)
def test_the_new_model_must_not_be_worse_or_must_be_better_than_the_live_one(rule, one, other, passes):
    finding = compared(one, other)
    row = gates(small({"gates.challenger": rule}), challenger=finding)["challenger"]
    assert (row.verdict == "pass") is passes
    assert finding.difference is not None
    end = finding.difference.low_annual if rule == "better" else finding.difference.high_annual
    assert (row.value, row.threshold, row.rule) == (end, 0.0, ">" if rule == "better" else ">=")
    assert row.figures["n_bars"] == 600
    assert row.figures["low_annual"] == finding.difference.low_annual
    assert row.figures["champion"] == "r1"


def test_with_nothing_live_or_the_comparison_off_the_gate_does_not_apply():
    assert gates()["challenger"].verdict == "not_applicable"
    assert gates()["challenger"].why == "nothing is live yet"
    off = gates(challenger=None)["challenger"]
    assert (off.verdict, off.why) == ("not_applicable", "gates.challenger is off: the live model is not asked")
    assert "champion" not in off.figures


@pytest.mark.parametrize(
    ("key", "value", "name", "words"),
    [
        ("latency.max_p95_ms", 1e9, "latency_p95", "latency.max_p95_ms 1e+09 ms is looser than the default 40 ms"),
        ("drift.psi_threshold", 50.0, "drift", "drift.psi_threshold 50 is looser than the default 0.25"),
        ("drift.js_threshold", 0.99, "drift", "drift.js_threshold 0.99 is looser than the default 0.3"),
        ("drift.alpha", 0.01, "drift", "drift.alpha 0.01 is looser than the default 0.05"),
        ("gates.challenger", "off", "challenger", "gates.challenger off is looser than the default not_worse"),
    ],
)
def test_a_limit_that_is_laxer_than_the_default_is_accepted_and_told_in_its_row(key, value, name, words):
    found = gates(**laxer(key, value))
    row = found[name].to_dict()
    assert row["looser"] is True
    assert words in row["why"]
    assert list(row["default"]) == [key]
    others = [one.to_dict() for one in found.values() if one.name != name]
    assert not any(one["looser"] or one["default"] for one in others)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("latency.max_p95_ms", 40.0),
        ("latency.max_p95_ms", 5.0),
        ("drift.psi_threshold", 0.25),
        ("drift.psi_threshold", 0.1),
        ("drift.js_threshold", 0.1),
        ("drift.alpha", 0.05),
        ("drift.alpha", 0.2),
        ("gates.challenger", "better"),
    ],
)
def test_a_default_and_a_stricter_limit_are_not_called_looser(key, value):
    assert not any(row.looser or row.default or "looser" in row.why for row in gates(**laxer(key, value)).values())


def laxer(key: str, value: Any) -> dict[str, Any]:
    """Arguments of `gates` for one key of the file, through the record that the gate judges."""
    section, name = key.split(".")
    if section == "latency":
        figures = {**RECORDS.latency.latency_ms, "p95_ci": [1.0, 4.0]}
        return {"latency": RECORDS.latency.model_copy(update={"latency_ms": figures, "max_p95_ms": value})}
    if section == "drift":
        detail = {**RECORDS.drift.detail, name: value}
        return {"drift": RECORDS.drift.model_copy(update={"verdict": "stable", "detail": detail})}
    found = None if value == "off" else NOTHING_LIVE
    return {"experiment": small({key: value}), "challenger": found}


def test_the_file_says_against_whom_it_was_judged():
    finding = replace(compared(CLEARLY, noise(600, 3)), weights_sha256="c" * 64)
    made = document(gates(challenger=finding))
    assert (made["champion"], made["champion_weights_sha256"]) == ("r1", "c" * 64)
    none, off = document(gates()), document(gates(challenger=None))
    for one in (none, off):
        assert (one["champion"], one["champion_weights_sha256"]) == (None, None)
    same = ChallengerFinding(champion="r1", weights_sha256=WEIGHTS, applies=False, why="the same weights")
    assert document(gates(challenger=same))["champion"] == "r1"


def test_the_file_names_weights_fold_and_time_and_holds_every_gate_as_numbers():
    rows = gates(challenger=compared(CLEARLY, noise(600, 3)))
    made = document(rows)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert [made[key] for key in ("schema_version", "release_id", "fold", "weights_sha256", "passed", "override")] == [
        1, "r2", "f2", WEIGHTS, True, None,
    ]  # fmt: skip
    assert [row["name"] for row in made["gates"]] == list(GATES)
    for row in made["gates"]:
        assert row["why"]
        assert row["source"]
        assert row["verdict"] == "not_applicable" or row["threshold"] is not None
        assert row["value"] is not None or row["value_reason"]
        assert row["unit"] or not isinstance(row["value"], float)


def test_what_is_not_finite_is_null_with_its_reason_and_does_not_pass():
    rows = gates(net={"bootstrap_ci_annual": [-math.inf, math.nan], "psr_after_looks": math.nan})
    made = {row["name"]: row for row in document(rows)["gates"]}
    json.dumps(made, allow_nan=False)
    assert made["sharpe_lower_bound"]["value"] is None
    assert made["sharpe_lower_bound"]["value_reason"] == "the record holds -inf"
    assert made["sharpe_lower_bound"]["figures"]["high"] is None
    assert failed(rows) == ["probabilistic_sharpe_ratio", "sharpe_lower_bound"]


def test_a_deployment_reads_the_file_as_it_was_written():
    passed, refused = document(gates()), document(gates(problems=["a file changed"]))
    for made in (passed, refused):
        assert gate_problems(made, release_id="r2", weights_sha256=WEIGHTS) == []
    assert (passed["passed"], admitted(passed)) == (True, "passed")
    assert (refused["passed"], admitted(refused)) == (False, None)
