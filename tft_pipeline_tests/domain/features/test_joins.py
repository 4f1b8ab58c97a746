"""Which bar of another calendar counts: never a later one, never a stale one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.features.joins import NOWHERE, SPACINGS, newest_bar, same_bar, usual_spacing

MINUTES = st.lists(st.integers(0, 3000), min_size=1, max_size=80, unique=True).map(sorted)


def stamps(minutes: list[int]) -> np.ndarray:
    return np.datetime64("2024-01-01", "us") + np.array(minutes) * np.timedelta64(60, "s")


def newest_by_hand(at: int, known: list[int]) -> int:
    """The rule, read aloud."""
    before = [row for row, minute in enumerate(known) if minute <= at]
    if not before:
        return NOWHERE
    row = before[-1]
    spacings = [known[k] - known[k - 1] for k in range(1, row + 1)][-SPACINGS:]
    usual = float(np.median(spacings)) if spacings else 0.0
    return row if at - known[row] <= 5 * usual else NOWHERE


@settings(max_examples=60, deadline=None, derandomize=True)
@given(bars=MINUTES, known=MINUTES)
def test_the_newest_bar_is_that_of_the_rule(bars: list[int], known: list[int]) -> None:
    expected = [newest_by_hand(at, known) for at in bars]
    assert newest_bar(stamps(bars), stamps(known)).tolist() == expected


@settings(max_examples=40, deadline=None, derandomize=True)
@given(bars=MINUTES, known=MINUTES, cut=st.integers(0, 3000))
def test_later_bars_of_either_calendar_change_no_choice(bars: list[int], known: list[int], cut: int) -> None:
    early = [minute for minute in known if minute <= cut]
    upto = [minute for minute in bars if minute <= cut]
    if early and upto:
        whole = newest_bar(stamps(bars), stamps(known))[: len(upto)]
        assert newest_bar(stamps(upto), stamps(early)).tolist() == whole.tolist()


def test_the_usual_spacing_is_the_median_of_the_last_ones_and_a_pause_does_not_move_it() -> None:
    days = [0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 14]
    assert (usual_spacing(stamps(days))[1:] == 60e6).all()
    faster = [*range(0, 600, 10), *range(600, 700)]
    spacing = usual_spacing(stamps(faster)) / 60e6
    assert (spacing[30], spacing[-1]) == (10.0, 1.0)


def test_the_first_bar_has_no_spacing_and_counts_at_its_own_time_only() -> None:
    assert newest_bar(stamps([9, 10, 11]), stamps([10])).tolist() == [NOWHERE, 0, NOWHERE]
    assert newest_bar(stamps([15, 70, 71]), stamps([10, 20])).tolist() == [NOWHERE, 1, NOWHERE]


@pytest.mark.parametrize(("at", "row"), [(4, NOWHERE), (5, 0), (6, NOWHERE), (9, 1), (10, NOWHERE)])
def test_the_same_bar_is_the_one_of_the_same_time(at: int, row: int) -> None:
    assert same_bar(stamps([at]), stamps([5, 9])).tolist() == [row]
