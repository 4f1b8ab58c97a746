import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.signal import SIGNAL_FIELDS, Signal, validity

CLOSE = datetime(2026, 1, 2, 21, tzinfo=UTC)
DAY = timedelta(days=1)


def made(**changes: Any) -> Signal:
    values = {
        "ts": CLOSE,
        "symbol": "AAA",
        "target_position": 0.4,
        "mu": 0.1,
        "sigma": 1.2,
        "probability": 0.55,
        "model_id": "r1",
        "valid_from": CLOSE,
        "valid_until": CLOSE + DAY,
    }
    return Signal(**values | changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target_position": 1.1}, r"outside \[-1, 1\]"),
        ({"target_position": -1.00001}, r"outside \[-1, 1\]"),
        ({"target_position": float("nan")}, "not a finite number"),
        ({"target_position": None}, r"outside \[-1, 1\]"),
        ({"target_position": True}, "not a finite number"),
        ({"target_position": "0.5"}, "not a finite number"),
        ({"mu": float("inf")}, "mu inf"),
        ({"sigma": 0.0}, "not above 0"),
        ({"sigma": -1.0}, "not above 0"),
        ({"probability": 1.01}, r"outside \[0, 1\]"),
        ({"probability": -0.01}, r"outside \[0, 1\]"),
        ({"symbol": ""}, "symbol '' of a signal"),
        ({"model_id": ""}, "model_id '' of a signal"),
        ({"ts": CLOSE.replace(tzinfo=None)}, "no time zone"),
        ({"valid_from": CLOSE.replace(tzinfo=None)}, "no time zone"),
        ({"ts": "2026-01-02"}, "not a datetime"),
        ({"valid_from": CLOSE - timedelta(seconds=1)}, "before it was known"),
        ({"valid_until": CLOSE}, "would never count"),
    ],
)
def test_a_signal_that_cannot_be_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(**change)


def test_what_a_loss_does_not_train_is_none() -> None:
    signal = made(mu=None, sigma=None, probability=None)
    assert Signal.from_dict(json.loads(json.dumps(signal.to_dict(), allow_nan=False))) == signal


def test_rounding_beyond_one_is_cut_and_numpy_numbers_become_plain() -> None:
    signal = made(target_position=np.float64(1.0 + 5e-7), mu=np.float32(0.5))
    assert signal.target_position == 1.0
    assert json.loads(json.dumps(signal.to_dict()))["mu"] == 0.5


def test_times_of_another_zone_are_the_same_moment_in_utc() -> None:
    local = CLOSE.astimezone(timezone(timedelta(hours=-5)))
    assert made(ts=local, valid_from=local) == made()
    assert made(ts=local, valid_from=local).to_dict()["ts"] == "2026-01-02T21:00:00+00:00"


def test_a_signal_counts_from_its_first_moment_to_before_its_last() -> None:
    signal = made()
    moments = [CLOSE - timedelta(microseconds=1), CLOSE, CLOSE + DAY - timedelta(microseconds=1), CLOSE + DAY]
    assert [signal.valid_at(moment) for moment in moments] == [False, True, True, False]
    with pytest.raises(ValueError, match="no time zone"):
        signal.valid_at(datetime(2026, 1, 3))


@given(
    st.floats(-1, 1),
    st.none() | st.floats(-1e6, 1e6),
    st.none() | st.floats(1e-9, 1e6),
    st.none() | st.floats(0, 1),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.integers(0, 10**9),
    st.integers(1, 10**9),
)
def test_a_signal_survives_json_to_the_bit(position, mu, sigma, probability, ts, late, long) -> None:
    signal = made(
        target_position=position,
        mu=mu,
        sigma=sigma,
        probability=probability,
        ts=ts,
        valid_from=ts + timedelta(microseconds=late),
        valid_until=ts + timedelta(microseconds=late + long),
    )
    written = signal.to_dict()
    assert tuple(written) == SIGNAL_FIELDS
    assert Signal.from_dict(json.loads(json.dumps(written, allow_nan=False))) == signal


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ts": "yesterday"}, "ISO 8601"),
        ({"ts": None}, "ISO 8601"),
        ({"extra": 1}, r"unknown \['extra'\]"),
        ({"sigma": ...}, r"missing \['sigma'\]"),
        ({"target_position": 2.0}, "outside"),
        ({"ts": "2026-01-02T21:00:00"}, "no time zone"),
    ],
)
def test_a_record_that_is_no_signal_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    record = {name: value for name, value in (made().to_dict() | change).items() if value is not ...}
    with pytest.raises(ValueError, match=said):
        Signal.from_dict(record)


def test_validity_begins_when_a_bar_is_known_and_lasts_its_bars() -> None:
    assert validity(CLOSE, step=DAY) == {"valid_from": CLOSE, "valid_until": CLOSE + DAY}
    assert validity(CLOSE, step=DAY, delay=DAY, bars=1.5) == {
        "valid_from": CLOSE + DAY,
        "valid_until": CLOSE + 2.5 * DAY,
    }
    for wrong in ({"step": timedelta(0)}, {"step": DAY, "delay": -DAY}, {"step": DAY, "bars": 0.0}):
        with pytest.raises(ValueError, match="a signal needs"):
            validity(CLOSE, **wrong)
