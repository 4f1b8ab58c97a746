"""From when to when a decision counts."""

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.bar_calendar import calendar_of
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.bar_features import refuse_untimely
from tft_pipeline.live.refusals import WrongFrequencyError
from tft_pipeline.live.signal_times import next_due, signal_times
from tft_pipeline_tests.signatures import made_signature

NY = "America/New_York"
NEW_YORK = ZoneInfo(NY)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MONDAY = datetime(2023, 1, 2)
LENGTHS = {"1d": DAY, "1h": HOUR, "1m": timedelta(minutes=1)}


def market(times: Iterable[datetime], interval: str = "1d", timezone: str | None = None) -> Signature:
    """A release of a market with these bars."""
    stamps = pl.Series([each.astimezone(UTC) for each in times], dtype=pl.Datetime("us", "UTC"))
    calendar = calendar_of(stamps, LENGTHS[interval], timezone=timezone)
    return made_signature(interval=interval, timezone=timezone, calendar=calendar)


def trading_days(at: time, zone: ZoneInfo | Any, n: int = 400) -> list[datetime]:
    """Monday to Friday."""
    found = (datetime.combine(MONDAY + k * DAY, at, zone) for k in range(n))
    return [day for day in found if day.weekday() < 5]


CLOSES = market(trading_days(time(16), NEW_YORK), timezone=NY)
DATES = market(trading_days(time(0), UTC), timezone=NY)
COINS = market((MONDAY.replace(tzinfo=UTC) + k * DAY for k in range(400)), timezone=NY)
MINUTES = market((MONDAY.replace(tzinfo=UTC) + k * timedelta(minutes=1) for k in range(30_000)), "1m")
HOURS = market(
    (day.replace(hour=hour) for day in trading_days(time(0), NEW_YORK) for hour in range(10, 17)), "1h", timezone=NY
)


def new_york(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)


def test_a_minute_counts_until_the_second_close_after_it() -> None:
    at = datetime(2024, 1, 5, 12, 30, tzinfo=UTC)
    assert signal_times(at, MINUTES) == (at, at + timedelta(minutes=2))
    assert next_due(at, MINUTES) == at + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("closed", "due", "until"),
    [
        ("2024-01-03", "2024-01-04", "2024-01-05"),
        ("2024-01-04", "2024-01-05", "2024-01-08"),
        ("2024-01-05", "2024-01-08", "2024-01-09"),
        ("2024-03-08", "2024-03-11", "2024-03-12"),  # clocks change on the Sunday between
    ],
)
def test_a_day_of_trading_counts_over_the_weekend_and_one_holiday(closed: str, due: str, until: str) -> None:
    """Stamped with its close, 16:00 in New York; 2024-01-05 is a Friday."""
    at, following, end = (new_york(f"{day}T16:00") for day in (closed, due, until))
    assert signal_times(at, CLOSES) == (at, end)
    assert next_due(at, CLOSES) == following


@pytest.mark.parametrize(
    ("day", "until"),
    [("2024-01-03", "2024-01-06"), ("2024-01-04", "2024-01-09"), ("2024-01-05", "2024-01-10")],
)
def test_a_day_stamped_with_its_date_alone_is_known_when_it_ends(day: str, until: str) -> None:
    """Thursday counts until Monday's bar is known, at the end of Monday, whatever the zone of the data."""
    at = datetime.fromisoformat(day).replace(tzinfo=UTC)
    assert signal_times(at, DATES) == (at + DAY, datetime.fromisoformat(until).replace(tzinfo=UTC))
    local = market(trading_days(time(0), NEW_YORK), timezone=NY)
    stamp = new_york(f"{day}T00:00")
    assert signal_times(stamp, local) == (stamp + DAY, new_york(f"{until}T00:00"))


def test_a_close_at_midnight_of_a_market_that_never_closes_is_a_close() -> None:
    at = datetime(2024, 1, 5, tzinfo=UTC)
    assert signal_times(at, COINS) == (at, at + 2 * DAY)
    evenings = market((datetime.combine(MONDAY + k * DAY, time(20), NEW_YORK) for k in range(400)), timezone=NY)
    for text in ("2024-01-10T20:00", "2024-07-10T20:00"):  # 01:00 and 00:00 UTC
        assert signal_times(new_york(text), evenings) == (new_york(text), new_york(text) + 2 * DAY)


def test_hours_of_sessions_count_over_the_pause_only_where_it_is() -> None:
    wednesday = new_york("2024-03-06T12:00")
    assert signal_times(wednesday, HOURS)[1] == wednesday + 2 * HOUR
    assert signal_times(new_york("2024-03-06T16:00"), HOURS)[1] == new_york("2024-03-07T11:00")
    assert signal_times(new_york("2024-03-08T15:00"), HOURS)[1] == new_york("2024-03-11T10:00")
    friday = new_york("2024-03-08T16:00")
    assert signal_times(friday, HOURS) == (friday, new_york("2024-03-11T11:00"))
    assert next_due(friday, HOURS) == new_york("2024-03-11T10:00")


def test_an_outage_in_the_data_does_not_stretch_what_counts() -> None:
    times = [MONDAY.replace(tzinfo=UTC) + k * HOUR for k in range(3000) if not 2000 <= k < 2072]
    at = datetime(2023, 6, 1, 5, tzinfo=UTC)
    assert signal_times(at, market(times, "1h"))[1] == at + 2 * HOUR


def test_a_days_bar_is_not_refused_because_clocks_changed() -> None:
    evenings = market((datetime.combine(MONDAY + k * DAY, time(20), NEW_YORK) for k in range(400)), timezone=NY)
    assert evenings.calendar["kind"] == "regular"
    before, after = new_york("2024-03-09T20:00"), new_york("2024-03-10T20:00")
    assert after - before == timedelta(hours=23)
    refuse_untimely(after, evenings, before)
    refuse_untimely(new_york("2024-03-11T16:00"), CLOSES, new_york("2024-03-08T16:00"))
    with pytest.raises(WrongFrequencyError):
        refuse_untimely(after + HOUR, evenings, before)


def test_a_calendar_without_pauses_ends_a_decision_after_two_steps() -> None:
    old = made_signature(calendar={"kind": "observed", "step_s": 86_400, "words": "days"})
    at = datetime(2024, 1, 5, 21, tzinfo=UTC)
    assert signal_times(at, old) == (at, at + 2 * DAY)


@given(
    at=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2040, 1, 1), timezones=st.just(UTC)),
    signature=st.sampled_from([CLOSES, DATES, COINS, MINUTES, HOURS]),
)
def test_a_decision_counts_after_its_bar_and_longer_than_until_the_next_one_is_due(
    at: datetime, signature: Signature
) -> None:
    begin, end = signal_times(at, signature)
    assert at <= begin < next_due(at, signature) < end
