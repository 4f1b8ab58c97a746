"""The soak's rules about the book: each planted defect is found, and what is right is let through. Made-up looks."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tft_pipeline.live.kill_switch import Reading
from tft_pipeline.live.soak_book import BookWatch, Sight
from tft_pipeline.live.switch_states import ACTIVE, HALTED, REDUCING
from tft_pipeline.live.target_book import Targets

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Look:
    """Looks one after the other, a tenth of a second apart."""

    def __init__(self) -> None:
        self.watch = BookWatch(largest_weight=0.2, flat_within_s=5.0)
        self._at, self._sequence = 100.0, 0

    def __call__(
        self,
        state: str,
        raw: dict[str, float],
        *,
        read: dict[str, float] | None = None,
        written: str | None = None,
        entry: int = 2,
        then: str | None = None,
        sequence: int | None = None,
        why: str = "",
        later: float = 0.1,
    ) -> list[str]:
        self._at += later
        self._sequence = self._sequence + 1 if sequence is None else sequence
        given: dict[str, Any] = {"sequence": self._sequence, "state": written or state}
        seen = read if read is not None else {} if state == HALTED else raw
        before = Reading(state=state, why="", trigger="manual", sequence=entry)
        after = Reading(state=then or state, why="", trigger="manual", sequence=entry + (then is not None))
        return self.watch.see(
            Sight(
                at=self._at,
                before=before,
                after=after,
                raw=targets(raw, **given),
                read=targets(seen, **given, why=why),
            )
        )


def targets(weights: dict[str, float], **given: Any) -> Targets:
    values: dict[str, Any] = {name: None for name in Targets.__dataclass_fields__}
    values |= {"epoch": 1, "ts": NOW, "valid_until": NOW + timedelta(seconds=5), "weights": weights, "why": ""}
    if "held" in values:
        values["held"] = weights
    return Targets(**values | given)


def test_a_book_that_is_flat_soon_after_a_halt_and_stays_so_is_right() -> None:
    look = Look()
    assert look(ACTIVE, {"A": 0.1}, entry=1) == []
    assert look(ACTIVE, {"A": 0.1}, then=HALTED) == []
    assert look(HALTED, {"A": 0.1}, written=ACTIVE) == []
    assert not look.watch.settled
    assert look(HALTED, {"A": 0.0}) == []
    assert look.watch.settled
    assert look(HALTED, {"A": 0.0}) == []
    assert look(ACTIVE, {"A": 0.2}, entry=3) == []
    assert not look.watch.settled


def test_a_writer_that_never_flattens_is_found() -> None:
    look = Look()
    assert look(HALTED, {"A": 0.1}) == []
    assert look(HALTED, {"A": 0.1}, later=4.0) == []
    assert "the book says" in look(HALTED, {"A": 0.1}, later=2.0)[0]


def test_a_writer_behind_whom_somebody_else_flattens_is_found() -> None:
    look = Look()
    assert look(HALTED, {"A": 0.0}) == []
    assert "again" in look(HALTED, {"A": 0.1})[0]


def test_a_book_that_ran_out_before_the_halt_is_settled_only_after_a_while() -> None:
    look = Look()
    assert look(HALTED, {"A": 0.0}, written=ACTIVE) == []
    assert look(HALTED, {"A": 0.1}, written=ACTIVE) == []  # it was on its way
    assert look(HALTED, {}, written=ACTIVE, later=6.0) == []
    assert look.watch.settled


def test_a_reader_that_lets_something_through_while_halted_is_found() -> None:
    look = Look()
    assert "is read" in look(HALTED, {"A": 0.1}, read={"A": 0.1})[0]


@pytest.mark.parametrize("grown", [{"A": 0.11}, {"A": -0.05}, {"A": 0.05, "B": 0.01}])
def test_growing_while_reducing_is_found_in_the_file_and_in_what_is_read(grown: dict[str, float]) -> None:
    look = Look()
    assert look(REDUCING, {"A": 0.1, "B": 0.0}) == []
    assert look(REDUCING, {"A": 0.1}) == []
    assert [what.split(" went")[0] for what in look(REDUCING, grown)] == [
        "REDUCING, and the book as written",
        "REDUCING, and the book as read",
    ]
    only_read = Look()
    assert only_read(REDUCING, {"A": 0.2}, read={"A": 0.1}) == []
    assert "as read went" in only_read(REDUCING, {"A": 0.15})[0]


def test_shrinking_and_what_another_trip_begins_are_right_while_reducing() -> None:
    look = Look()
    for weight in (0.1, 0.1, 0.04, 0.0, 0.0):
        assert look(REDUCING, {"A": weight}) == []
    assert look(ACTIVE, {"A": 0.1}, entry=3) == []
    assert look(REDUCING, {"A": 0.1}, entry=4) == []
    # one that ran out and is renewed is no growth
    assert look(REDUCING, {"A": 0.1}, read={"A": 0.0}, why="ran out", entry=4) == []
    assert look(REDUCING, {"A": 0.1}, entry=4) == []


def test_a_sequence_that_goes_back_and_a_weight_out_of_bounds_are_found() -> None:
    look = Look()
    assert look(ACTIVE, {"A": 0.2}, sequence=7) == []
    assert "back to 6" in look(ACTIVE, {"A": 0.2}, sequence=6)[0]
    assert "above 0.2" in look(ACTIVE, {"A": 0.3})[0]
    assert "above 0.2" in look(ACTIVE, {"A": float("nan")})[0]
