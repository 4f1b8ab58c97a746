import copy

import pytest

from tft_pipeline.domain.deploy_gate import admitted, failed_gates, gate_problems, gate_sentence, overridden_gates
from tft_pipeline.domain.gate_row import GateRow
from tft_pipeline.domain.release_gates import gate_document
from tft_pipeline_tests.released import gate_file

WEIGHTS = "ab" * 32


def document(*failed: str) -> dict:
    return gate_file("r1", WEIGHTS, failed)


def problems(content: object) -> list[str]:
    return gate_problems(content, release_id="r1", weights_sha256=WEIGHTS)


def test_a_gate_file_of_this_version_has_no_problems_whatever_it_says():
    assert problems(document()) == []
    assert problems(document("sharpe")) == []


def test_what_a_run_writes_is_read_as_it_is_meant():
    rows = [
        GateRow(name=name, value=1, threshold=1, verdict=verdict, why="measured", source="here")
        for name, verdict in (("a", "pass"), ("b", "fail"), ("c", "not_applicable"))
    ]
    written = gate_document(rows, release_id="r1", weights_sha256=WEIGHTS, fold="f1", created_at="2025-10-10T12:00:00Z")
    assert problems(written) == []
    assert [row["name"] for row in failed_gates(written)] == ["b"]
    assert admitted(written) is None
    passed = gate_document(
        [rows[0], rows[2]], release_id="r1", weights_sha256=WEIGHTS, fold="f1", created_at="2025-10-10T12:00:00Z"
    )
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
        ({"passed": False}, "says passed False, its rows say otherwise"),
        ({"passed": "yes"}, "says passed yes"),
        ({"passed": 1}, "says passed 1"),
    ],
)
def test_a_gate_file_about_something_else_or_that_contradicts_itself_is_named(change, words):
    assert any(words in problem for problem in problems(document() | change))


def test_a_file_that_says_passed_although_a_row_failed_is_no_gate_file():
    assert "its rows say otherwise" in problems(document("sharpe") | {"passed": True})[0]


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
    assert gate_sentence(failed_gates(document("sharpe"))[0]) == "sharpe: sharpe was measured"


def test_an_override_is_written_beside_the_judgement_which_stays():
    before = document("sharpe", "bundle")
    kept = copy.deepcopy(before)
    after = overridden_gates(before, release_id="r1-override", reason="needed", who="tester", at="2025-10-11T00:00:00Z")
    assert before == kept
    assert after["override"] == {
        "reason": "needed",
        "who": "tester",
        "at": "2025-10-11T00:00:00Z",
        "failed": ["bundle", "sharpe"],
    }
    assert [row["override"] for row in after["gates"]] == ["needed", "needed", None]
    assert [row["verdict"] for row in after["gates"]] == [row["verdict"] for row in before["gates"]]
    assert after["passed"] is False
    assert admitted(after) == "override: needed"
    assert gate_problems(after, release_id="r1-override", weights_sha256=WEIGHTS) == []
    assert problems(after), "it is about the new version only"
