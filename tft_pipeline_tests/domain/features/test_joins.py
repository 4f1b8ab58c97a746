"""Which bar of another calendar counts: never a later one, never a stale one."""

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.features.joins import NOWHERE, SPACINGS, newest_bar, same_bar, usual_spacing

DAY = 1440
MINUTES = st.lists(st.integers(0, 3000), min_size=1, max_size=80, unique=True).map(sorted)
DAYS = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from((0, 0, 0, 300, 1260))), min_size=1, max_size=12, unique=True
).map(lambda found: sorted(DAY * day + minute for day, minute in found))
"""Daily bars, most of them stamped with their date."""


def stamps(minutes: list[int]) -> np.ndarray:
    return np.datetime64("2024-01-01", "us") + np.array(minutes) * np.timedelta64(60, "s")


def usual_by_hand(row: int, known: list[int]) -> float:
    spacings = [known[k] - known[k - 1] for k in range(1, row + 1)][-SPACINGS:]
    return float(np.median(spacings)) if spacings else 0.0


def newest_by_hand(at: int, known: list[int]) -> int:
    """The rule, read aloud; minutes count from a midnight of UTC."""
    before = []
    for row, minute in enumerate(known):
        of_a_day = row == 0 or usual_by_hand(row, known) >= 20 * 60
        if minute + (DAY if minute % DAY == 0 and of_a_day else 0) <= at:
            before.append(row)
    if not before:
        return NOWHERE
    row = before[-1]
    return row if at - known[row] <= 5 * usual_by_hand(row, known) else NOWHERE


@settings(max_examples=80, deadline=None, derandomize=True)
@given(bars=MINUTES | DAYS, known=MINUTES | DAYS)
def test_the_newest_bar_is_that_of_the_rule(bars: list[int], known: list[int]) -> None:
    expected = [newest_by_hand(at, known) for at in bars]
    assert newest_bar(stamps(bars), stamps(known)).tolist() == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    bars=MINUTES | DAYS, known=MINUTES | DAYS, cut=st.integers(0, 3000) | st.integers(0, 12).map(lambda day: DAY * day)
)
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


def local_midnights(first: str, n: int, zone: str) -> np.ndarray:
    days = np.datetime64(first, "D") + np.arange(n)
    at = [datetime.combine(day.astype(object), time(0), ZoneInfo(zone)).astimezone(UTC) for day in days]
    return np.array([when.replace(tzinfo=None) for when in at], dtype="datetime64[us]")


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Europe/London"])
def test_a_daily_bar_stamped_with_its_date_counts_from_the_end_of_that_day(zone: str) -> None:
    known = local_midnights("2018-10-20", 25, zone)  # clocks change
    hour, second = np.timedelta64(3_600_000_000, "us"), np.timedelta64(1_000_000, "us")
    for row in range(1, 24):
        end = known[row + 1]
        assert newest_bar(np.array([known[row], end - second, end, end + hour]), known, zone).tolist() == [
            row - 1 if row > 1 else NOWHERE,
            row - 1 if row > 1 else NOWHERE,
            row,
            row,
        ]


def test_where_a_date_lies_in_the_time_zone_it_is_no_date_without_it() -> None:
    known = local_midnights("2024-01-10", 10, "America/New_York")
    assert newest_bar(known[5:6], known, "America/New_York").tolist() == [4]
    assert newest_bar(known[5:6], known, None).tolist() == [5]


def test_a_bar_that_is_over_before_an_older_one_with_a_date_is_used_at_once() -> None:
    known = stamps([0, DAY, 2 * DAY, 3 * DAY, 3 * DAY + 1260, 4 * DAY])
    for at, row in ((3 * DAY + 1259, 2), (3 * DAY + 1260, 4), (4 * DAY - 1, 4), (4 * DAY, 4), (5 * DAY, 5)):
        assert newest_bar(stamps([at]), known).tolist() == [row]


def test_bars_of_hours_close_at_midnight_too() -> None:
    hours = [60 * hour for hour in range(72)]
    assert newest_bar(stamps([DAY, 2 * DAY]), stamps(hours)).tolist() == [24, 48]


@pytest.mark.parametrize(("at", "row"), [(4, NOWHERE), (5, 0), (6, NOWHERE), (9, 1), (10, NOWHERE)])
def test_the_same_bar_is_the_one_of_the_same_time(at: int, row: int) -> None:
    assert same_bar(stamps([at]), stamps([5, 9])).tolist() == [row]
