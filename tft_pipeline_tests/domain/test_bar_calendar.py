"""How bars follow each other is found in all of them, once: dates or closes, usual pauses, and the clock they keep."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.bar_calendar import calendar_of
from tft_pipeline.domain.calendar_record import check_calendar

NY, TOKYO = "America/New_York", "Asia/Tokyo"
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
MONDAY = date(2023, 1, 2)
FRIDAY = {"weekday": 4, "time": None, "gap_s": 3 * 86_400}


def series(times: Iterable[datetime]) -> pl.Series:
    return pl.Series([each.astimezone(UTC) for each in times], dtype=pl.Datetime("us", "UTC"))


def days(
    n: int, at: time = time(0), zone: str = "UTC", *, when: Callable[[date], bool] = lambda day: True
) -> pl.Series:
    dates = [MONDAY + k * DAY for k in range(n)]
    return series(datetime.combine(day, at, ZoneInfo(zone)) for day in dates if when(day))


def weekday(day: date) -> bool:
    return day.weekday() < 5


def sessions(n: int, hours: range, zone: str) -> pl.Series:
    dates = [MONDAY + k * DAY for k in range(n)]
    return series(datetime.combine(d, time(h), ZoneInfo(zone)) for d in dates if weekday(d) for h in hours)


@pytest.mark.parametrize(
    ("stamps", "zone", "dated", "kind"),
    [
        (days(400), None, False, "regular"),  # coins, closes
        (days(400), NY, False, "regular"),
        (
            days(400, zone=NY),
            NY,
            False,
            "regular",
        ),  # coins, closes at midnight of New York: 23 and 25 hours twice a year
        (days(400, when=weekday), None, True, "observed"),  # dates
        (days(400, when=weekday), NY, True, "observed"),
        (days(60, when=weekday), NY, True, "observed"),  # clocks do not change in it
        (days(400, zone=NY, when=weekday), NY, True, "observed"),
        (days(400, time(16), NY, when=weekday), NY, False, "observed"),
        (days(400, time(20), NY), NY, False, "regular"),
        (
            days(400, when=lambda d: 0 < d.weekday() < 6),
            None,
            False,
            "observed",
        ),  # Monday to Friday, closes at midnight
        (days(400, when=lambda d: d.weekday() not in (4, 5)), None, True, "observed"),  # Sunday to Thursday, dates
        (days(400, when=lambda d: d.day != 13), None, False, "regular"),  # a day missing now and then
    ],
)
def test_daily_bars_are_dates_when_all_are_midnights_and_saturdays_are_missing(
    stamps: pl.Series, zone: str | None, dated: bool, kind: str
) -> None:
    found = calendar_of(stamps.sample(fraction=1.0, shuffle=True, seed=0), DAY, timezone=zone)
    assert (found["dated"], found["kind"], found["step_s"]) == (dated, kind, 86_400)
    check_calendar(found, "1d")


def test_one_stamp_with_a_time_of_day_makes_closes_of_them() -> None:
    stamps = days(400, when=weekday)
    assert not calendar_of(stamps.append(series([datetime(2022, 12, 30, 21, tzinfo=UTC)])), DAY, timezone=None)["dated"]


def test_the_weekend_is_a_pause_and_a_holiday_none() -> None:
    holidays = {date(2023, 1, 16), date(2023, 2, 20), date(2023, 5, 29), date(2023, 7, 4), date(2023, 11, 23)}
    stamps = days(365, time(16), NY, when=lambda d: weekday(d) and d not in holidays)
    found = calendar_of(stamps, DAY, timezone=NY)
    assert found["pauses"] == [FRIDAY]
    assert found["zone"] == NY


def test_early_closes_do_not_hide_the_weekend() -> None:
    dates = [MONDAY + k * DAY for k in range(400)]
    closes = [datetime.combine(d, time(13 if d.day == 24 else 16), ZoneInfo(NY)) for d in dates if weekday(d)]
    assert calendar_of(series(closes), DAY, timezone=NY)["pauses"] == [FRIDAY]


def test_two_fridays_are_not_usual() -> None:
    assert calendar_of(days(19, when=weekday), DAY, timezone=None)["pauses"] == []
    assert calendar_of(days(22, when=weekday), DAY, timezone=None)["pauses"] == [FRIDAY]


@pytest.mark.parametrize(("zone", "hours"), [(NY, range(10, 17)), (TOKYO, range(9, 16))])
def test_nights_and_weekends_of_sessions_are_pauses_on_the_clock_of_the_market(zone: str, hours: range) -> None:
    found = calendar_of(sessions(365, hours, zone), HOUR, timezone=zone)
    night = (24 - len(hours) + 1) * 3600
    last = f"{hours[-1]:02d}:00:00"
    assert found["pauses"] == [{"weekday": d, "time": last, "gap_s": night + (d == 4) * 2 * 86_400} for d in range(5)]
    assert (found["kind"], found["zone"], found["dated"]) == ("observed", zone, False)
    check_calendar(found, "1h")


def test_an_outage_of_a_market_that_never_closes_is_no_pause() -> None:
    minutes = np.delete(np.arange(30 * 1440), np.arange(20_000, 25_000))
    stamps = series(datetime(2024, 2, 20, tzinfo=UTC) + int(k) * MINUTE for k in minutes)
    for zone in (None, NY):
        found = calendar_of(stamps, MINUTE, timezone=zone)
        assert (found["kind"], found["pauses"]) == ("regular", [])
    off = calendar_of(stamps.append(series([datetime(2024, 1, 1, 0, 0, 30, tzinfo=UTC)])), MINUTE, timezone=None)
    assert off["kind"] == "observed", "its steps are no multiples of a minute"


@given(st.sets(st.integers(0, 24 * 7 * 6), min_size=2, max_size=400))
@settings(max_examples=40)
def test_pauses_are_those_of_a_count_by_hand(hours: set[int]) -> None:
    start = datetime(2024, 2, 26, tzinfo=UTC)
    times = [start + k * HOUR for k in sorted(hours)]
    cases: Counter[tuple[int, str]] = Counter()
    longer: dict[tuple[int, str], list[int]] = {}
    for now, following in pairwise(times):
        key = now.weekday(), now.strftime("%H:%M:%S")
        cases[key] += 1
        if following - now > HOUR:
            longer.setdefault(key, []).append(int((following - now).total_seconds()))
    expected = [
        {"weekday": key[0], "time": key[1], "gap_s": sorted(gaps)[(len(gaps) - 1) // 2]}
        for key, gaps in sorted(longer.items())
        if len(gaps) >= 3 and 2 * len(gaps) >= cases[key]
    ]
    assert calendar_of(series(times), HOUR, timezone=None)["pauses"] == expected
