"""Every null of a card has its reason, and no number is left that JSON has not."""

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.card_nulls import at, finite, leaves, spelled, with_null_reasons
from tft_pipeline_tests.made_cards import completed, made_card, overridden

CARDS: dict[str, Any] = {
    "of a run": made_card,
    "without a probability": lambda: made_card(probabilities=False),
    "without an upper bound of the p95": lambda: made_card(p95=None),
    "of a release": completed,
    "of a release with nothing to compare with": lambda: completed(compared=False),
    "after an override": overridden,
}


@pytest.mark.parametrize("name", CARDS)
def test_every_null_has_a_reason_and_no_reason_is_left_over(name: str) -> None:
    card = CARDS[name]()
    nulls = {(spelled(path), spelled(path, general=True)) for path in leaves(card) if at(card, path) is None}
    reasons = card["null_reasons"]
    assert [own for own, general in nulls if not reasons.get(own, reasons.get(general))] == []
    assert set(reasons) <= {place for both in nulls for place in both}


def test_no_reason_is_the_last_resort_on_a_card_of_a_run() -> None:
    reasons = made_card()["null_reasons"]
    assert [place for place, reason in reasons.items() if reason.endswith("recorded none")] == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_becomes_null_with_the_reason(value: float) -> None:
    card = with_null_reasons({"metrics": {"costs": {"break_even_bps": value, "symbols": [1.0, value]}}})
    assert card["metrics"]["costs"] == {"break_even_bps": None, "symbols": [1.0, None]}
    assert card["null_reasons"] == {
        "metrics.costs.break_even_bps": "the record holds a number that is not finite",
        "metrics.costs.symbols[]": "the record holds a number that is not finite",
    }
    json.dumps(card, allow_nan=False)


def test_a_reason_beside_the_null_comes_before_a_declared_one() -> None:
    card = with_null_reasons(
        {"release_id": None, "release_id_reason": "lost", "latency": {"p999": None, "reason": "few calls"}}
    )
    assert card["null_reasons"] == {"release_id": "lost", "latency.p999": "few calls"}


def test_reasons_by_name_are_found_for_the_items_of_a_list_too() -> None:
    card = with_null_reasons({"latency_ms": {"p99_ci": [1.0, None], "unbounded": {"p99_ci": "20 calls"}}})
    assert card["null_reasons"] == {"latency_ms.p99_ci[]": "20 calls"}


def test_rows_with_reasons_of_their_own_are_told_one_by_one() -> None:
    rows = [{"value": None, "value_reason": "a"}, {"value": None, "value_reason": "b"}, {"value": 1}]
    assert with_null_reasons({"gates": rows})["null_reasons"] == {"gates[0].value": "a", "gates[1].value": "b"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES)
def test_a_finite_value_stays_as_it_is_and_any_other_is_told(value: Any) -> None:
    plain, lost = finite(value)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert all(at(plain, path) is None for path in lost)
    written = json.dumps(value)
    assert bool(lost) == bool(re.search(r"NaN|Infinity", re.sub(r'"(\\.|[^"\\])*"', '""', written)))
    if not lost:
        assert plain == value
