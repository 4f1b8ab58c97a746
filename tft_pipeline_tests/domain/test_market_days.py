"""Calendars found in bars: weeks, sessions, holidays, gaps, bars a year; what is missing and what stands alone."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.market_days import market_days, missing_and_alone
from tft_pipeline.domain.plausible_bars import implausible_bars
from tft_pipeline.domain.symbol_names import alike

FIRST = datetime(2020, 1, 1, tzinfo=UTC)


def every(n: int, step: timedelta, first: datetime = FIRST) -> list[datetime]:
    return [first + k * step for k in range(n)]


def weekdays(n: int) -> list[datetime]:
    return [day for day in every(3 * n, timedelta(days=1)) if day.weekday() < 5][:n]


def bars_of(stamps: dict[str, list[datetime]]) -> pl.DataFrame:
    parts = [pl.DataFrame({"timestamp": one, "symbol": name, "close": 1.0}) for name, one in stamps.items()]
    return pl.concat(parts).with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC"))).sort("symbol", "timestamp")


def days_of(stamps: list[datetime], interval: str = "1d", timezone: str | None = None):  # type: ignore[no-untyped-def]
    return market_days(pl.Series("timestamp", stamps), interval, timezone=timezone)  # type: ignore[arg-type]


def test_a_coin_trades_every_day_and_has_365_bars_a_year_and_each_missing_day_is_a_gap() -> None:
    whole = every(900, timedelta(days=1))
    found = days_of(whole)
    assert (found.week, found.bars_per_year, found.gaps, found.holidays) == ("every day", 365.0, (), 0)
    lacking = days_of([day for day in whole if day != FIRST + timedelta(days=500)])
    assert lacking.gaps == (((FIRST + timedelta(days=500)).date(), 1),)


@pytest.mark.parametrize("n", [15, 120])
def test_a_week_of_five_days_counts_holidays_and_calls_a_longer_hole_a_gap(n: int) -> None:
    whole = weekdays(1000)
    feasts = {day for day in whole if (day.month, day.day) in ((1, 1), (12, 25))}
    hole = set(whole[400 : 400 + n])
    found = days_of([day for day in whole if day not in feasts | hole])
    assert found.week == "Monday to Friday"
    assert found.gaps == ((whole[400].date(), n),)
    # the first day is a feast: nothing shows that it is missing
    assert found.holidays == len(feasts - hole - {whole[0]})
    assert found.bars_per_year == 260.0


def test_a_gap_of_an_intraday_market_is_no_time_in_which_it_traded() -> None:
    session = [day + timedelta(hours=9 + k) for day in weekdays(500) for k in range(1, 8)]
    whole, lacking = days_of(session, "1h"), days_of(session[: 7 * 200] + session[7 * 330 :], "1h")
    assert lacking.gaps == ((session[7 * 200].date(), 130),)
    assert lacking.bars_per_year == pytest.approx(whole.bars_per_year, rel=0.01)
    assert lacking.years == whole.years


@given(st.integers(300, 2000), st.integers(0, 6))
def test_bars_a_year_are_what_was_counted_within_two_hundredths(n: int, shift: int) -> None:
    stamps = [day for day in every(2 * n, timedelta(days=1), FIRST + timedelta(days=shift)) if day.weekday() < 5][:n]
    counted = (n - 1) / ((stamps[-1] - stamps[0]) / timedelta(days=365.25))
    assert days_of(stamps).bars_per_year == pytest.approx(counted, rel=0.02)


def test_hours_of_a_session_are_those_at_which_usually_a_bar_closes_in_the_zone_given() -> None:
    stamps = [
        datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=k, hours=14, minutes=30) + j * timedelta(minutes=15)
        for k in range(60)
        for j in range(1, 27)
        if (datetime(2024, 1, 1) + timedelta(days=k)).weekday() < 5
    ]
    found = days_of(stamps, "15m", "America/New_York")
    assert found.session == ("09:45", "16:00")
    assert (found.week, found.bars_a_day) == ("Monday to Friday", 26)
    assert "closes from 09:45 to 16:00 America/New_York" in found.words
    around = days_of(every(20_000, timedelta(minutes=5)), "5m")
    assert (around.session, around.bars_a_day, around.bars_per_year) == (None, 288, 105_120.0)
    assert "around the clock" in around.words


def test_one_timestamp_is_no_calendar() -> None:
    with pytest.raises(ValueError, match="needs two"):
        days_of([FIRST, FIRST])


def test_what_one_symbol_lacks_is_told_by_its_own_name_and_number() -> None:
    whole = weekdays(300)
    bars = bars_of({"A": whole, "B": whole[:100] + whole[110:], "C": whole[50:]})
    (one,) = missing_and_alone(bars, days_of(whole), "1d")
    assert (one.kind, one.symbol, one.bars) == ("missing", "B", 10)
    assert f"{whole[100]:%Y-%m-%d}" in one.sentence


def test_a_bar_where_the_others_have_none_is_told_and_is_not_missing_from_them() -> None:
    whole = weekdays(300)
    saturday = next(day for day in every(400, timedelta(days=1)) if day.weekday() == 5 and day > whole[50])
    bars = bars_of({"A": whole, "B": whole, "C": [*whole, saturday], "D": whole, "E": whole})
    (one,) = missing_and_alone(bars, days_of(bars["timestamp"].to_list()), "1d")
    assert (one.kind, one.symbol, one.bars) == ("alone", "C", 1)
    assert f"Sat {saturday:%Y-%m-%d}" in one.sentence


def test_symbols_that_begin_and_end_at_other_times_lack_nothing() -> None:
    whole = weekdays(400)
    bars = bars_of({"A": whole[:200], "B": whole[150:], "C": whole[:250], "D": whole})
    assert missing_and_alone(bars, days_of(whole), "1d") == ()


def test_minutes_that_nobody_has_are_counted_inside_days_and_the_night_is_not() -> None:
    session = [
        datetime(2024, 1, 1, 9, tzinfo=UTC) + timedelta(days=k, minutes=5 * j) for k in range(5) for j in range(1, 61)
    ]
    lost = {stamp for stamp in session if stamp.day == 3 and 10 * 60 <= stamp.hour * 60 + stamp.minute < 11 * 60}
    bars = bars_of({"A": [stamp for stamp in session if stamp not in lost]})
    (one,) = missing_and_alone(bars, market_days(bars["timestamp"], "5m", timezone=None), "5m")
    assert (one.kind, one.bars) == ("missing", len(lost))
    full = bars_of({"A": session})
    assert missing_and_alone(full, market_days(full["timestamp"], "5m", timezone=None), "5m") == ()


def lunch(k: int) -> list[datetime]:
    """Closes of a day with a pause, whose clock is put forward by an hour after 60 days."""
    first = datetime(2024, 1, 1, 9 if k < 60 else 8, tzinfo=UTC) + timedelta(days=k)
    return [first + timedelta(minutes=5 * j) for j in (*range(1, 31), *range(43, 73))]


def test_a_pause_that_every_day_has_is_no_hole_and_an_hour_that_is_lost_beside_it_is() -> None:
    stamps = [stamp for k in range(120) for stamp in lunch(k)]
    full = bars_of({"A": stamps})
    assert missing_and_alone(full, market_days(full["timestamp"], "5m", timezone=None), "5m") == ()
    lost = set(lunch(90)[30:42])
    bars = bars_of({"A": [stamp for stamp in stamps if stamp not in lost]})
    (one,) = missing_and_alone(bars, market_days(bars["timestamp"], "5m", timezone=None), "5m")
    assert (one.kind, one.bars) == ("missing", 12)


def test_bars_of_no_usual_weekday_are_said_so() -> None:
    assert "on no day of the week as a rule" in days_of(every(80, timedelta(days=31))).words


def test_a_market_that_never_closes_misses_bars_over_midnight_too() -> None:
    stamps = every(24 * 60, timedelta(hours=1))
    lost = stamps[500:520]
    assert len({stamp.date() for stamp in lost}) == 2
    bars = bars_of({"A": [stamp for stamp in stamps if stamp not in lost]})
    (one,) = missing_and_alone(bars, market_days(bars["timestamp"], "1h", timezone=None), "1h")
    assert one.bars == 20


def test_names_that_differ_in_case_or_blanks_are_told_with_their_rows() -> None:
    bars = pl.DataFrame({"symbol": ["btcusdt"] * 3 + ["BTCUSDT"] * 2 + ["ETH", " ETH", "XRP"]})
    first, second = alike(bars)
    assert "'BTCUSDT' (2 rows) and 'btcusdt' (3 rows) differ in case or blanks only" in first.sentence
    assert "' ETH' (1 rows) and 'ETH' (1 rows)" in second.sentence


def test_bars_of_the_future_are_told_and_those_of_now_are_not() -> None:
    stamps = every(40, timedelta(days=1))
    bars = bars_of({"A": stamps})
    assert implausible_bars(bars, "1d", timezone=None, now=stamps[-1]) == tuple(
        one for one in implausible_bars(bars, "1d", timezone=None, now=stamps[-1]) if one.kind == "still"
    )
    (one,) = (f for f in implausible_bars(bars, "1d", timezone=None, now=stamps[-4]) if f.kind == "future")
    assert one.bars == 3
    assert date(2020, 2, 9).isoformat() in one.sentence
