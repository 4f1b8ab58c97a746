"""From when to when a decision counts."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.signal_times import signal_times

NEW_YORK = ZoneInfo("America/New_York")


def _signature(calendar: dict[str, Any], interval: str = "1d", timezone: str | None = None) -> Signature:
    return Signature(
        experiment="x",
        features=("a",),
        feature_versions={},
        user_columns=("a",),
        max_lookback=1,
        lookback=4,
        horizon=1,
        interval=interval,
        timezone=timezone,
        calendar=calendar,
        symbols=("S",),
        loss_mode="sharpe",
        outputs=("forecast_position",),
        forms={},
        left_out={"onnx_window": "none", "onnx_stream": "none"},
        form="eager",
        scaler=Scaler(names=("a",), mean=np.zeros(1), std=np.ones(1), n=np.ones(1)),
        max_position=1.0,
        position_smooth=0.0,
        target_volatility=0.15,
        volatility_span=20,
        max_weight=10.0,
        bars_per_year=252.0,
        weights_sha256="0" * 64,
        production_start="2020-01-01",
    )


SESSIONS = _signature({"kind": "observed", "step_s": 86400}, timezone="America/New_York")
MINUTES = _signature({"kind": "regular", "step_s": 60}, "1m")


def test_a_minute_counts_until_the_second_close_after_it() -> None:
    at = datetime(2024, 1, 5, 12, 30, tzinfo=UTC)
    assert signal_times(at, MINUTES) == (at, at + timedelta(minutes=2))


@pytest.mark.parametrize(
    ("closed", "until"),
    [
        ("2024-01-03", "2024-01-05"),
        ("2024-01-04", "2024-01-08"),
        ("2024-01-05", "2024-01-09"),
        ("2024-01-06", "2024-01-09"),
    ],
)
def test_a_day_of_trading_counts_over_the_weekend_and_one_holiday(closed: str, until: str) -> None:
    """Stamped with its close, 16:00 in New York; 2024-01-05 is a Friday."""
    at, end = (
        datetime.fromisoformat(f"{day}T16:00").replace(tzinfo=NEW_YORK).astimezone(UTC) for day in (closed, until)
    )
    assert signal_times(at, SESSIONS) == (at, end)


def test_the_local_hour_is_kept_where_clocks_change() -> None:
    """Friday before the second Sunday of March to Tuesday behind it."""
    at = datetime(2024, 3, 8, 16, tzinfo=NEW_YORK).astimezone(UTC)
    until = signal_times(at, SESSIONS)[1].astimezone(NEW_YORK)
    assert (until.day, until.hour) == (12, 16)
    assert signal_times(at, SESSIONS)[1] - at == timedelta(days=4, hours=-1)


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_a_day_stamped_with_its_date_alone_is_known_when_it_ends(zone: str | None) -> None:
    signature = _signature({"kind": "observed", "step_s": 86400}, timezone=zone)
    for at in (datetime(2024, 1, 5, tzinfo=UTC), datetime(2024, 1, 5, tzinfo=ZoneInfo(zone or "UTC")).astimezone(UTC)):
        begin, end = signal_times(at, signature)
        assert begin == at + timedelta(days=1)
        assert end == at + timedelta(days=5)  # Tuesday's bar, known on Wednesday


def test_every_day_of_a_market_that_never_closes_is_a_day() -> None:
    signature = _signature({"kind": "regular", "step_s": 86400})
    at = datetime(2024, 1, 5, 12, tzinfo=UTC)
    assert signal_times(at, signature) == (at, at + timedelta(days=2))


def test_hours_of_sessions_count_over_the_pause_that_the_calendar_states() -> None:
    at = datetime(2024, 1, 5, 21, tzinfo=UTC)
    brief = _signature({"kind": "observed", "step_s": 3600}, "1h")
    assert signal_times(at, brief)[1] == at + timedelta(hours=2)
    stated = _signature({"kind": "observed", "step_s": 3600, "longest_gap_s": 66 * 3600}, "1h")
    assert signal_times(at, stated)[1] == at + timedelta(hours=67)


@given(
    at=st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2040, 1, 1), timezones=st.just(UTC)),
    signature=st.sampled_from([SESSIONS, MINUTES]),
)
def test_a_decision_counts_after_its_bar_and_until_the_next_one_is_due_at_least(
    at: datetime, signature: Signature
) -> None:
    begin, end = signal_times(at, signature)
    assert at <= begin < end
    assert end - at >= timedelta(seconds=signature.calendar["step_s"])
