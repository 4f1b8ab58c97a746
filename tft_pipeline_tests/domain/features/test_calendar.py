"""Calendar features on dates that anybody can look up."""

from datetime import datetime

import numpy as np
import pytest

from tft_pipeline.domain.features import catalogue
from tft_pipeline.domain.features.feature import PerSymbol
from tft_pipeline.domain.features.history import History

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
