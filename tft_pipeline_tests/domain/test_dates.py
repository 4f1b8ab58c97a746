"""Times that are dates alone: when a day's bar is over, and which publications are refused."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.dates import known_since, refusal_of_dates, refusal_of_midnights, stamped_with_their_date

STAMP = pl.Datetime("us", "UTC")
ZONES = st.sampled_from((None, "UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata"))


def over_by_hand(stamp: datetime, zone: str | None) -> datetime:
    """The rule with the standard library."""
    over = stamp
    for name in ("UTC", zone or "UTC"):
        local = stamp.astimezone(ZoneInfo(name))
        if local.time() == time(0):
            tomorrow = (local.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=ZoneInfo(name))
            over = tomorrow.astimezone(UTC)
    return over


def as_stamps(times: list[datetime]) -> np.ndarray:
    return np.array([when.replace(tzinfo=None) for when in times], dtype="datetime64[us]")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(hours=st.lists(st.integers(0, 366 * 48), min_size=1, max_size=40), zone=ZONES)
def test_a_stamp_of_midnight_is_over_when_its_day_ends_and_any_other_at_once(
    hours: list[int], zone: str | None
) -> None:
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=30 * half) for half in hours]
    expected = as_stamps([over_by_hand(when, zone) for when in times])
    assert (known_since(as_stamps(times), zone) == expected).all()


def test_a_day_ends_also_where_the_clock_skips_the_midnight_after_it() -> None:
    saturday = datetime(2018, 11, 3, tzinfo=ZoneInfo("America/Sao_Paulo")).astimezone(UTC)
    found = known_since(as_stamps([saturday]), "America/Sao_Paulo")
    assert found.tolist() == [datetime(2018, 11, 4, 3)], "at 24:00, when clocks showed 1:00"
    assert known_since(as_stamps([]), "America/Sao_Paulo").tolist() == []


@pytest.mark.parametrize(("zone", "dated"), [("America/New_York", True), (None, False), ("Europe/Berlin", False)])
def test_all_midnights_of_one_zone_are_dates(zone: str | None, dated: bool) -> None:
    days = pl.datetime_range(datetime(2024, 3, 1), datetime(2024, 3, 20), "1d", time_unit="us", eager=True)
    eastern = days.dt.replace_time_zone("America/New_York").dt.convert_time_zone("UTC")
    assert stamped_with_their_date(eastern, zone) is dated
    assert stamped_with_their_date(days.dt.replace_time_zone("UTC"), zone)
    assert not stamped_with_their_date(eastern.append(eastern.tail(1) + timedelta(hours=1)), zone)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 100), st.integers(0, 47), st.integers(-1, 3), st.booleans()), min_size=1, max_size=8
    ),
    zone=ZONES,
)
def test_midnights_are_refused_unless_each_ends_the_day_its_row_speaks_of(
    rows: list[tuple[int, int, int, bool]], zone: str | None
) -> None:
    place = ZoneInfo(zone or "UTC")
    first = datetime(2024, 2, 1)
    about = [(first + timedelta(days=day, minutes=30 * half)).replace(tzinfo=place) for day, half, _, _ in rows]
    public = [(first + timedelta(days=day + later)).replace(tzinfo=place) for day, _, later, _ in rows]
    stamps = pl.Series([when.astimezone(UTC) for when in about], dtype=STAMP)
    midnights = pl.Series([when.astimezone(UTC) for when in public], dtype=STAMP)
    assert (refusal_of_midnights(midnights, stamps, zone) == "") == all(later == 1 for _, _, later, _ in rows)
    timed = midnights + timedelta(minutes=7)
    assert refusal_of_midnights(timed, stamps, zone) == ""
    assert refusal_of_midnights(midnights.append(timed), stamps.append(stamps), zone) == ""


def test_a_refusal_of_midnights_counts_the_rows_that_have_both_times_and_names_the_first_of_them() -> None:
    day = datetime(2024, 3, 4, tzinfo=UTC)
    midnights = pl.Series([None, day, None, day + timedelta(days=1), day], dtype=STAMP)
    stamps = pl.Series([day, None, None, day, day], dtype=STAMP)
    said = refusal_of_midnights(midnights, stamps, None)
    assert "00:00 UTC in all 2 rows (such as 2024-03-04T00:00:00+00:00)" in said
    assert refusal_of_midnights(midnights[:3], stamps[:3], None) == ""


def test_dates_as_they_came_are_refused_and_times_and_nothing_pass() -> None:
    assert "first 2024-01-02" in refusal_of_dates(pl.Series([None, datetime(2024, 1, 2).date()]))
    assert "first 20240103" in refusal_of_dates(pl.Series(["2024-01-02T10:00:00Z", "20240103"]))
    for fine in (pl.Series(["2024-01-02T00:00:00Z", None]), pl.Series([], dtype=pl.Date), pl.Series([5])):
        assert refusal_of_dates(fine) == ""
    empty = pl.Series([None], dtype=STAMP)
    assert refusal_of_midnights(empty, empty, None) == ""
