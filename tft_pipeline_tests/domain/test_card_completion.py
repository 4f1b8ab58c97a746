"""What a release and an override add to a card, and that nothing else changes."""

import copy
from typing import Any

import pytest

from tft_pipeline.domain.card_completion import complete_card, override_card
from tft_pipeline.domain.gate_names import GATES, PERFORMANCE
from tft_pipeline_tests.made_cards import (
    FILES,
    RELEASE_ID,
    completed,
    made_card,
    made_gates,
    made_signature,
    overridden,
)

ADDED = {"status", "release_id", "gates", "gates_passed", "override", "files", "change_log", "null_reasons"}


def without(card: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {key: value for key, value in card.items() if key not in names}


def test_a_release_adds_gates_files_signature_and_the_comparison_and_changes_nothing_else() -> None:
    card = made_card()
    kept = copy.deepcopy(card)
    done = completed(card)
    assert card == kept
    assert (done["status"], done["release_id"], done["gates_passed"]) == ("candidate", RELEASE_ID, True)
    assert done["gates"] == made_gates()["gates"]
    assert done["files"] == FILES
    signature = done["architecture"].pop("signature")
    assert signature["inputs"] == {"onnx_window.values": [1, 16, 3], "onnx_window.observed": [1, 16]}
    assert signature["outputs"] == ["mean", "scale"]
    assert "scaler" not in signature
    delta = done["metrics"].pop("champion_delta")
    assert (delta["value"], delta["ci"], delta["n"], delta["against"]) == (0.5, [-0.25, 1.25], 40, "older")
    del kept["architecture"]["signature"], kept["metrics"]["champion_delta"]
    assert without(done, ADDED) == without(kept, ADDED)


def test_nothing_to_compare_with_is_null_with_the_gates_reason() -> None:
    done = completed(compared=False)
    assert done["metrics"]["champion_delta"]["value"] is None
    assert done["null_reasons"]["metrics.champion_delta.value"] == "nothing is live"
    assert done["change_log"][-1]["since_reason"] == "nothing was live before"


def test_a_failed_gate_leaves_a_candidate_whose_gates_did_not_pass() -> None:
    done = completed(failed=("sharpe_lower_bound",))
    assert (done["status"], done["gates_passed"], done["override"]) == ("candidate", False, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"release_id": "other"}, "gates are of release"),
        ({"signature": {"inputs": {}}}, "signature has no outputs"),
        ({"signature": {**made_signature(), "weights_sha256": "f" * 64}}, "signature are of weights ffffffffffff"),
        ({"gates": {**made_gates(), "weights_sha256": "e" * 64}}, "gates are of weights eeeeeeeeeeee"),
    ],
)
def test_gates_or_a_signature_of_something_else_are_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"gates": made_gates(), "files": {}, "release_id": RELEASE_ID, "signature": made_signature()}
    with pytest.raises(ValueError, match=words):
        complete_card(made_card(), **arguments | change)


@pytest.mark.parametrize("name", PERFORMANCE)
def test_a_card_and_gates_that_disagree_are_refused_with_what_each_says(name: str) -> None:
    stated: dict[str, Any] = {"files": FILES, "release_id": RELEASE_ID, "signature": made_signature()}
    with pytest.raises(
        ValueError, match=rf"says GO \(nothing against it\), the performance gates NO-GO \({name}\): .* release"
    ):
        complete_card(made_card(), gates=made_gates(failed=(name,)), **stated)
    bad = made_card(reasons=("production: no",))
    with pytest.raises(ValueError, match=r"says NO-GO \(production: no\), the performance gates GO \(all pass\)"):
        complete_card(bad, gates=made_gates(), **stated)
    without = made_gates()
    without["gates"] = [row for row in without["gates"] if row["name"] != name]
    with pytest.raises(ValueError, match=rf"the performance gates NO-GO \({name}\)"):
        complete_card(made_card(), gates=without, **stated)
    assert complete_card(bad, gates=made_gates(failed=(name,)), **stated)["verdict"] == "NO-GO"


def test_the_change_log_lists_what_differs_from_the_live_model() -> None:
    live = completed()
    card = made_card(features=("past_return", "mean_5", "news"), experiment={"target.horizon": 2, "seed": 9})
    entry = completed(card, previous=live)["change_log"][-1]
    assert (entry["event"], entry["since"]) == ("release", RELEASE_ID)
    changes = {row["what"]: (row["from"], row["to"]) for row in entry["changes"]}
    assert changes["features"] == (["range_10"], ["news"])
    assert changes["target.horizon"] == (1, 2)
    assert "verdict" not in changes


def test_a_live_card_of_an_older_form_or_a_damaged_one_does_not_stop_a_release() -> None:
    old = {"version": "2", "train": {"snapshot_id": "s"}, "verdict": "GO"}
    entry = completed(previous=old)["change_log"][-1]
    assert (entry["since"], entry["since_reason"]) == (
        None,
        "the live version's card does not say which release it is of",
    )
    damaged = completed(previous={})["change_log"][-1]
    assert (damaged["changes"], damaged["since_reason"]) == ([], "the live version's card cannot be trusted or read")


def test_an_override_marks_status_gates_and_change_log_and_names_the_person() -> None:
    before, after = completed(failed=("checkpoints",)), overridden()
    assert (after["status"], after["gates_passed"]) == ("deployed by override", False)
    assert after["release_id"] == f"{RELEASE_ID}-override"
    marked = {row["name"]: row["override"] for row in after["gates"]}
    assert marked == dict.fromkeys(GATES) | {"checkpoints": "a drill"}
    assert (after["override"]["who"], after["override"]["reason"]) == ("me", "a drill")
    entry = after["change_log"][-1]
    assert (entry["event"], entry["since"], entry["changes"][0]["what"]) == ("override", RELEASE_ID, "gate checkpoints")
    assert without(after, ADDED) == without(before, ADDED)


def test_an_override_without_a_reason_or_of_a_card_that_was_not_released_is_refused() -> None:
    with pytest.raises(ValueError, match="carries no override"):
        override_card(completed(), made_gates())
    with pytest.raises(ValueError, match="of no release"):
        override_card(made_card(), made_gates() | {"override": {"reason": "r", "who": "w", "at": "t", "failed": []}})
