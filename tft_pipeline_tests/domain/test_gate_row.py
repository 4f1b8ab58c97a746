"""A row of the gates: what passes, what never does, and that a stranger can read it."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.gate_row import GateRow, judged, not_applicable

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


def row(value: float | None, rule: Any = ">=", threshold: float = 0.5, missing: str = "") -> GateRow:
    return judged("g", value, rule, threshold, why="what it is", source="asset.field", unit="ms", missing=missing)


@given(NUMBERS, NUMBERS)
def test_a_number_passes_when_it_stands_to_the_limit_as_the_rule_says(value, threshold):
    oracle = {">=": not value < threshold, ">": not value <= threshold, "<=": not value > threshold}
    for rule, holds in oracle.items():
        found = row(value, rule, threshold)
        assert (found.verdict == "pass") is holds
        assert found.blocks is not holds
        assert (found.value, found.threshold, found.rule, found.unit) == (value, threshold, rule, "ms")


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rule", [">=", ">", "<="])
def test_what_is_not_a_number_never_passes_and_says_why(value, rule):
    found = row(value, rule)
    assert found.verdict == "fail"
    assert found.value is None
    assert found.value_reason
    assert found.value_reason in found.why
    assert row(value, rule, missing="too few calls").value_reason == "too few calls"


def test_the_sentence_holds_both_numbers_and_on_which_side_the_limit_is():
    assert row(0.25).why == "what it is: 0.25 is below 0.5"
    assert row(0.5).why == "what it is: 0.5 is at least 0.5"
    assert row(0.5, ">").why == "what it is: 0.5 is not above 0.5"
    assert row(0.75, "<=").why == "what it is: 0.75 is above 0.5"


def test_a_row_is_json_with_every_key_and_nothing_that_is_not_finite():
    made = judged(
        "g", 0.1, "<=", 1.0, why="w", source="s", unit="", figures={"high": math.inf, "ends": (1.0, math.nan)}
    )
    found = made.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["figures"] == {"high": None, "ends": [1.0, None]}
    assert set(found) == {field for field in GateRow.__dataclass_fields__}
    assert set(not_applicable("g", "why", source="s").to_dict()) == set(found)
    assert found["override"] is None


def test_a_gate_that_does_not_apply_blocks_nothing_and_says_why_it_has_no_value():
    found = not_applicable("g", "nothing is live", source="s")
    assert not found.blocks
    assert (found.value, found.threshold, found.value_reason) == (None, None, "nothing is live")


def test_a_value_that_is_not_finite_cannot_pass_by_hand_and_an_unknown_verdict_is_refused():
    with pytest.raises(ValueError, match="nan cannot pass"):
        GateRow(name="g", value=math.nan, threshold=0, verdict="pass", why="", source="")
    assert GateRow(name="g", value=math.inf, threshold=0, verdict="fail", why="", source="").to_dict()["value"] is None
    with pytest.raises(ValueError, match="'maybe' is none of pass, fail, not_applicable"):
        GateRow(name="g", value=1, threshold=0, verdict="maybe", why="", source="")  # type: ignore[arg-type]
