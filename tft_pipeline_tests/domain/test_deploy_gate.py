import copy
from dataclasses import replace
from typing import get_args

import pytest

from tft_pipeline.domain import release_gates
from tft_pipeline.domain.deploy_gate import (
    RULES,
    SCHEMA_VERSION,
    admitted,
    card_problems,
    failed_gates,
    gate_problems,
    gate_sentence,
    judged_against_live,
    overridden_gates,
)
from tft_pipeline.domain.gate_names import GATES
from tft_pipeline.domain.gate_row import GateRow, Rule
from tft_pipeline.domain.release_gates import gate_document
from tft_pipeline_tests.released import OFF, gate_file, judged_card

WEIGHTS = "ab" * 32


def document(*failed: str) -> dict:
    return gate_file("r1", WEIGHTS, failed)


def problems(content: object) -> list[str]:
    return gate_problems(content, release_id="r1", weights_sha256=WEIGHTS)


def test_a_gate_file_of_this_version_has_no_problems_whatever_it_says():
    assert problems(document()) == []
    assert problems(document("sharpe_lower_bound")) == []


def test_what_a_run_writes_is_read_as_it_is_meant():
    rows = [GateRow(name=name, value=1, threshold=1, verdict="pass", why="measured", source="here") for name in GATES]
    rows[1] = replace(rows[1], verdict="fail")
    rows[2] = replace(rows[2], verdict="not_applicable", value=None)
    written = gate_document(rows, release_id="r1", weights_sha256=WEIGHTS, fold="f1", created_at="2025-10-10T12:00:00Z")
    assert problems(written) == []
    assert [row["name"] for row in failed_gates(written)] == [GATES[1]]
    assert admitted(written) is None
    rows[1] = replace(rows[1], verdict="pass")
    passed = gate_document(rows, release_id="r1", weights_sha256=WEIGHTS, fold="f1", created_at="2025-10-10T12:00:00Z")
    assert problems(passed) == []
    assert admitted(passed) == "passed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"release_id": "r2"}, "about release_id r2, this version is r1"),
        ({"weights_sha256": "cd" * 32}, "about weights_sha256 cdcd"),
        ({"gates": []}, "lists no gates"),
        ({"gates": None}, "lists no gates"),
        ({"gates": [{"verdict": "pass"}]}, "lists no gates that can be read"),
        ({"gates": [{"name": "a", "verdict": None}]}, "lists no gates that can be read"),
        ({"gates": ["a"]}, "lists no gates that can be read"),
        ({"schema_version": 2}, "about schema_version 2, this version is 1"),
        ({"schema_version": None}, "about schema_version None"),
        ({"champion": "r7"}, "names r7 as champion, its row another"),
        ({"override": {"reason": "x"}}, "no list of what it overrides"),
        ({"override": "x"}, "has no reason"),
        ({"passed": False}, "says passed False, its rows say otherwise"),
        ({"passed": "yes"}, "says passed yes"),
        ({"passed": 1}, "says passed 1"),
    ],
)
def test_a_gate_file_about_something_else_or_that_contradicts_itself_is_named(change, words):
    assert any(words in problem for problem in problems(document() | change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[:1], "absent ['accuracy_lower_bound', "),
        (lambda rows: [*rows, rows[0] | {"name": "mine"}], "unknown ['mine']"),
        (lambda rows: [*rows, rows[3]], "twice ['probabilistic_sharpe_ratio']"),
        (lambda rows: [rows[0] | {"value": None}, *rows[1:]], "pass of bundle_verified, whose value does not hold"),
        (lambda rows: [rows[0] | {"value": 0.5}, *rows[1:]], "pass of bundle_verified"),
        (lambda rows: [rows[0] | {"value": "GO"}, *rows[1:]], "pass of bundle_verified"),
        (lambda rows: [rows[0] | {"rule": "~"}, *rows[1:]], "pass of bundle_verified"),
        (lambda rows: [rows[0] | {"threshold": None}, *rows[1:]], "pass of bundle_verified"),
    ],
)
def test_rows_that_are_not_each_gate_once_or_pass_without_a_value_are_named(change, words):
    content = document()
    content["gates"] = change(content["gates"])
    assert any(words in problem for problem in problems(content)), problems(content)


@pytest.mark.parametrize(("rule", "threshold"), [(">=", 1.5), (">", 1.4), ("<=", 1.5), ("==", 1.5), ("in", [1.5, 2])])
def test_every_rule_of_a_row_can_hold(rule, threshold):
    content = document()
    content["gates"][0] |= {"rule": rule, "threshold": threshold}
    assert problems(content) == []


def test_the_rules_and_gates_are_those_that_a_run_judges_by():
    assert set(RULES) == set(get_args(Rule))
    assert release_gates.GATES == GATES
    assert release_gates.SCHEMA_VERSION == SCHEMA_VERSION


def card(content: dict, **change: object) -> dict:
    return {**judged_card(content), **change}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gates": []}, "gates of model_card.json is not what gate.json says"),
        ({"gates_passed": False}, "gates_passed of model_card.json"),
        ({"files": None}, "lists no files"),
        ({"files": {"weights.safetensors": "cd" * 32}}, "about other files of the names weights.safetensors"),
        ({"files": {"weights.safetensors": WEIGHTS, "gone.onnx": WEIGHTS}}, "names gone.onnx"),
    ],
)
def test_a_card_of_other_gates_or_files_is_named(change, words):
    content, files = document(), {"weights.safetensors": WEIGHTS, "gate.json": "ef" * 32}
    assert card_problems(card(content), content, files) == []
    (problem,) = card_problems(card(content, **change), content, files)
    assert words in problem
    assert "no object" in card_problems([], content, files)[0]


def against(champion: str | None, live: str | None, live_weights: str | None = "77" * 32, **change: object) -> str:
    """What `challenger` says, once it is held against what is live."""
    content = gate_file("r2", WEIGHTS, champion=champion, champion_weights="55" * 32) | change
    kept = copy.deepcopy(content)
    now = judged_against_live(content, live=live, live_weights=live_weights)
    assert content == kept
    assert now["passed"] is (admitted(now) == "passed")
    return next((gate_sentence(row) for row in failed_gates(now)), "")


def test_the_challenger_counts_only_against_what_is_live():
    assert against("r1", "r1") == ""
    assert against("r1", "r1-override") == "", "the same files"
    assert against("r1-override-2", "r1") == ""
    assert against("r1", None) == "", "nothing to be worse than"
    assert against(OFF, "r7") == ""
    assert against("r1", "r7", "55" * 32) == "", "the live one has the weights of the champion"
    assert against("r1", "r7", WEIGHTS) == "", "the live one has its own weights"
    said = against("r1", "r7")
    assert said.startswith("challenger: judged against r1, r7 is live: run the release again")
    assert "tft materialize EXPERIMENT release" in said
    assert "judged against nothing, for nothing was live, r7 is live" in against(None, "r7")
    assert against("r1", "r7", None) != "", "weights that nobody knows are no one's"
    assert against("r1", "r7", None, champion_weights_sha256=None) != ""


def test_a_gate_that_failed_keeps_its_own_words():
    content = gate_file("r2", WEIGHTS, ["challenger"], champion="r1")
    assert judged_against_live(content, live="r7", live_weights=None) == content


def test_an_override_covers_the_gates_that_it_names_and_no_other():
    before = gate_file("r1", WEIGHTS, ["drift"], champion="r0")
    after = overridden_gates(before, release_id="r1-override", reason="needed", who="tester", at="2025-10-11T00:00:00Z")
    assert admitted(judged_against_live(after, live="r0", live_weights=None)) == "override: needed"
    stale = judged_against_live(after, live="r7", live_weights=None)
    assert admitted(stale) is None
    again = overridden_gates(stale, release_id="r1-override-2", reason="so", who="tester", at="2025-10-12T00:00:00Z")
    assert admitted(judged_against_live(again, live="r7", live_weights=None)) == "override: so"
    assert gate_problems(again, release_id="r1-override-2", weights_sha256=WEIGHTS) == []


def test_a_file_that_says_passed_although_a_row_failed_is_no_gate_file():
    assert "its rows say otherwise" in problems(document("sharpe_lower_bound") | {"passed": True})[0]


@pytest.mark.parametrize("content", [None, [], "passed", 1])
def test_what_is_no_object_is_no_gate_file(content):
    assert "no object" in problems(content)[0]


@pytest.mark.parametrize("verdict", ["fail", "PASS", "unknown", ""])
def test_only_pass_and_not_applicable_let_a_version_go_live(verdict):
    content = document()
    content["gates"][0]["verdict"] = verdict
    assert admitted(content) is None
    assert failed_gates(content) == [content["gates"][0]]


def test_a_failed_gate_is_a_sentence_with_its_name_and_reason():
    assert (
        gate_sentence(failed_gates(document("sharpe_lower_bound"))[0])
        == "sharpe_lower_bound: sharpe_lower_bound was measured"
    )


def test_an_override_is_written_beside_the_judgement_which_stays():
    before = document("sharpe_lower_bound", "bundle_verified")
    kept = copy.deepcopy(before)
    after = overridden_gates(before, release_id="r1-override", reason="needed", who="tester", at="2025-10-11T00:00:00Z")
    assert before == kept
    assert after["override"] == {
        "reason": "needed",
        "who": "tester",
        "at": "2025-10-11T00:00:00Z",
        "failed": ["bundle_verified", "sharpe_lower_bound"],
    }
    marked = [row["name"] for row in after["gates"] if row["override"] == "needed"]
    assert marked == ["bundle_verified", "sharpe_lower_bound"]
    assert [row["verdict"] for row in after["gates"]] == [row["verdict"] for row in before["gates"]]
    assert after["passed"] is False
    assert admitted(after) == "override: needed"
    assert gate_problems(after, release_id="r1-override", weights_sha256=WEIGHTS) == []
    assert problems(after), "it is about the new version only"
