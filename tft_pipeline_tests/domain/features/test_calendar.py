"""Calendar features on dates that anybody can look up."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from tft_pipeline.domain.features import build_features, catalogue, resolve_features
from tft_pipeline.domain.features.feature import PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline_tests.oracles.feature_bars import OracleBars, OraclePanel
from tft_pipeline_tests.oracles.feature_calendar import CALENDAR_ORACLES

FEATURES = {feature.name: feature for feature in catalogue()}


def on(name: str, *times: str) -> list[float]:
    stamps = np.array([datetime.fromisoformat(time) for time in times], dtype="datetime64[us]")
    source = FEATURES[name].source
    assert isinstance(source, PerSymbol)
    return source.formula(History(timestamps=stamps, close=np.ones(len(stamps)), bars_per_year=252.0)).tolist()


def test_the_week_of_the_third_friday_runs_from_its_monday_to_its_friday() -> None:
    days = ("2024-03-08", "2024-03-11", "2024-03-15", "2024-03-16", "2024-03-18")  # the 15th is the third Friday
    assert on("cal_expiry_week", *days) == [0.0, 1.0, 1.0, 0.0, 0.0]
    assert on("cal_expiry_week", "2024-06-17", "2024-06-21", "2024-06-14") == [1.0, 1.0, 0.0]


def test_quarters_and_years_turn_where_months_do_but_not_at_each() -> None:
    days = ("2023-12-29", "2024-01-02", "2024-01-31", "2024-03-29", "2024-04-01", "2024-04-10", "2024-12-31")
    assert on("cal_turn_of_month", *days) == [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    assert on("cal_turn_of_quarter", *days) == [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert on("cal_turn_of_year", *days) == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]


def test_days_are_places_in_their_own_month_and_quarter() -> None:
    assert on("cal_day_cos", "2024-02-01", "2023-02-15")[0] == 1.0
    assert on("cal_day_sin", "2023-02-08") == pytest.approx([1.0])  # a quarter of 28 days on
    assert on("cal_quarter_cos", "2024-04-01", "2024-07-01", "2024-08-16") == pytest.approx([1.0, 1.0, -1.0])
    assert on("cal_week_of_month", "2024-02-07", "2024-02-08", "2024-02-29") == [0.0, 1.0, 4.0]


def test_the_gap_counts_days_and_a_week_begins_on_monday() -> None:
    times = ("2024-01-05T21:00", "2024-01-08T21:00", "2024-01-09T21:00", "2024-01-09T22:00")
    assert on("cal_gap", *times)[1:] == pytest.approx([np.log(3.0), 0.0, -np.log(24.0)])
    assert on("cal_new_week", *times)[1:] == [1.0, 0.0, 0.0]
    assert np.isnan([on("cal_gap", *times)[0], on("cal_new_week", *times)[0]]).all()


def test_minutes_turn_once_an_hour() -> None:
    times = ("2024-01-05T21:00", "2024-01-05T21:15", "2024-01-05T22:30")
    assert on("cal_hour_sin", *times) == pytest.approx([0.0, 1.0, 0.0], abs=1e-15)
    assert on("cal_hour_cos", *times) == pytest.approx([1.0, 0.0, -1.0], abs=1e-15)


def built(days: list[datetime], timezone: str | None) -> pl.DataFrame:
    stamps = pl.Series([day.astimezone(UTC) for day in days]).dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    bars = pl.DataFrame({"timestamp": stamps, "symbol": "A", "close": 1.0})
    chosen = resolve_features(bars.columns, groups=("cal",), names=None, has_market=False)
    return build_features(bars, chosen, market_symbol=None, bars_per_year=252.0, timezone=timezone)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("at", [time(0), time(23, 30)], ids=str)
def test_the_calendar_is_that_of_the_zone_on_either_side_of_a_change_of_clocks(zone: str, at: time) -> None:
    place = ZoneInfo(zone)
    days = [datetime.combine(date(2024, 1, 1) + timedelta(days=k), at, place) for k in range(366)]
    assert zone == "Asia/Tokyo" or len({day.utcoffset() for day in days}) == 2
    frame = built(days, zone)
    panel = OraclePanel({"A": OracleBars(times=days, close=[1.0] * 366)}, OracleBars([], []), 252.0)
    local = [name for name in frame.columns[2:] if name != "cal_gap"]
    assert len(local) == 18
    for name in local:
        expected = np.array([CALENDAR_ORACLES[name](panel, "A", row) for row in range(1, 366)], dtype=np.float64)
        np.testing.assert_allclose(frame[name].to_numpy()[1:], expected, rtol=2e-6, atol=2e-7, err_msg=name)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Tokyo"])
def test_a_bar_stamped_with_its_date_has_that_dates_weekday_and_week(zone: str) -> None:
    days = [datetime(2024, 3, day, tzinfo=ZoneInfo(zone)) for day in (28, 29)]
    days += [datetime(2024, 4, day, tzinfo=ZoneInfo(zone)) for day in (1, 2, 8)]  # Berlin changes clocks on 31 March
    there, utc = built(days, zone), built(days, None)
    assert there["cal_new_week"].to_list() == [None, 0.0, 1.0, 0.0, 1.0]
    assert there["cal_week_of_month"].to_list() == [3.0, 4.0, 0.0, 0.0, 1.0]
    assert there["cal_weekday_cos"][2] == 1.0, "a Monday"
    assert utc["cal_weekday_cos"][2] != 1.0, "a Sunday evening in UTC"
    assert there["cal_gap"].equals(utc["cal_gap"]), "time that passed is the same everywhere"


def test_without_a_zone_and_in_utc_are_the_same_bits() -> None:
    days = [datetime(2024, 3, 25, 22, tzinfo=UTC) + timedelta(hours=7 * k) for k in range(60)]
    assert built(days, None).equals(built(days, "UTC"), null_equal=True)
