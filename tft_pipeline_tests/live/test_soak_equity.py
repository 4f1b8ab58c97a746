"""The soak tells equity again: a loop that earns what it did not is found, what cannot be known is left out."""

import random
from dataclasses import replace

import pytest

from tft_pipeline.live.kill_switch import Reading
from tft_pipeline.live.soak_equity import EquityCheck
from tft_pipeline.live.target_book import Targets
from tft_pipeline_tests.live.test_soak_book import targets

ACTIVE = Reading(state="ACTIVE", why="", trigger="arm", sequence=1)


def played(
    *, times: float = 1.0, flat: bool = False, of: str = "", switch: str = "", missing: bool = False
) -> EquityCheck:
    """Twenty bars of a loop whose positions earn `times` what they do."""
    rng, check, equity = random.Random(1), EquityCheck(), 1.0
    book: Targets | None = None
    closes = {"A": 100.0, "B": 10.0}
    for number in range(20):
        new = {name: close * (1.0 + rng.uniform(-0.01, 0.01)) for name, close in closes.items()}
        earned = 0.0 if book is None else sum(w * (new[s] / closes[s] - 1.0) for s, w in book.weights.items())
        after = equity * (1.0 + times * earned)
        entry = replace(ACTIVE, sequence=number) if switch == "between bars" else ACTIVE
        changed = replace(entry, sequence=99, state="HALTED") if switch == "at a bar" else entry
        brought = {"A": new["A"]} if missing and number % 2 else new
        check.decided(bar=str(number), closes=brought, book=book, before=entry, after=changed, equity=(equity, after))
        weights = {"A": 0.0 if flat else rng.uniform(-1, 1), "B": 0.0 if flat else rng.uniform(-1, 1)}
        book = targets(weights, sequence=number + 1, state="ACTIVE", bar=of or str(number))
        equity, closes = after, new
    return check


def test_a_loop_that_earns_what_its_book_earns_is_right() -> None:
    check = played()
    assert (check.told, check.wrong) == (19, "")


@pytest.mark.parametrize("times", [2.0, 0.0, -1.0, 1.000001])
def test_a_loop_that_earns_anything_else_is_found(times: float) -> None:
    assert "book and closes make it" in played(times=times).wrong


def test_bars_of_which_it_is_not_known_what_was_held_are_left_out() -> None:
    for unknown in (
        played(times=2.0, flat=True),
        played(times=2.0, of="another"),
        played(times=2.0, switch="at a bar"),
        played(times=2.0, switch="between bars"),
        played(times=2.0, missing=True),
    ):
        assert (unknown.told, unknown.wrong) == (0, "")
