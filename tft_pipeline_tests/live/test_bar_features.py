"""What a predictor refuses, each with its own kind, and that a refusal leaves the state as it was."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
import torch

from tft_pipeline.live.bar_features import BarFeatures, accepted
from tft_pipeline.live.predictor import Predictor
from tft_pipeline.live.predictor_state import PredictorState
from tft_pipeline.live.refusals import (
    KINDS,
    DuplicateBarError,
    MissingFeatureError,
    NaiveTimeError,
    NotFiniteError,
    RefusedBarError,
    StaleBarError,
    UnknownFeatureError,
    UnknownSymbolError,
    WrongFrequencyError,
    WrongShapeError,
)
from tft_pipeline_tests.live_models import a_day_later, bar_of, bars_of, predictor_of, signature_of
from tft_pipeline_tests.oracles.model_panels import random_panel, small_fit

PANEL = random_panel()
LAST, NEXT = PANEL.calendar[40], PANEL.calendar[41]
ROW = np.zeros(4)
F = PANEL.features


@pytest.fixture(scope="module")
def predictor() -> Iterator[Predictor]:
    before = torch.get_num_threads()
    fitted = small_fit(PANEL, epochs=1)
    yield predictor_of(fitted, signature_of(fitted, PANEL.symbols, {"untraded": ("INDEX",), "market_symbol": "INDEX"}))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def state(predictor: Predictor) -> PredictorState:
    return predictor.warm(predictor.start(), bars_of(PANEL, range(41)))


def _bar(at: datetime = NEXT, values: Any = None, features: tuple[str, ...] | None = F) -> BarFeatures:
    return BarFeatures(timestamp=at, values={"S0": ROW} if values is None else values, features=features)


REFUSED: dict[str, tuple[type[RefusedBarError], str, Any]] = {
    "missing feature": (MissingFeatureError, "f3", lambda: _bar(values={"S0": ROW[:3]}, features=F[:3])),
    "unknown feature": (UnknownFeatureError, "f9", lambda: _bar(values={"S0": np.zeros(5)}, features=(*F, "f9"))),
    "feature twice": (UnknownFeatureError, "f0", lambda: _bar(values={"S0": np.zeros(5)}, features=(*F, "f0"))),
    "infinite value": (NotFiniteError, "f1 of S0", lambda: _bar(values={"S0": np.array([0.0, -np.inf, 0.0, np.nan])})),
    "beyond Float32": (NotFiniteError, "f0 of S1", lambda: _bar(values={"S0": ROW, "S1": np.array([1e39, 0, 0, 0])})),
    "unknown symbol": (UnknownSymbolError, "XXX", lambda: _bar(values={"S0": ROW, "XXX": ROW})),
    "context": (UnknownSymbolError, "never traded", lambda: _bar(values={"INDEX": ROW})),
    "older": (StaleBarError, "older than the last", lambda: _bar(PANEL.calendar[39])),
    "the last again": (DuplicateBarError, "taken already", lambda: _bar(LAST)),
    "half a day later": (WrongFrequencyError, "no multiple of", lambda: _bar(LAST + timedelta(hours=12))),
    "a day and a minute": (WrongFrequencyError, "no multiple of", lambda: _bar(NEXT + timedelta(minutes=1))),
    "naive time": (NaiveTimeError, "no time zone", lambda: _bar(NEXT.replace(tzinfo=None))),
    "a row too short": (WrongShapeError, "3 values", lambda: _bar(values={"S0": ROW[:3]}, features=None)),
    "a matrix": (WrongShapeError, r"\(1, 4\)", lambda: _bar(values={"S0": ROW[None]})),
    "words": (WrongShapeError, "no numbers", lambda: _bar(values={"S0": np.array(["a"] * 4)})),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bar_that_cannot_be_decided_on_is_refused_by_kind_and_changes_nothing(
    case: str, predictor: Predictor, state: PredictorState
) -> None:
    error, said, bar = REFUSED[case]
    before = state.to_bytes()
    for take in (lambda: predictor.step(state, bar()), lambda: predictor.warm(state, [bar()])):
        with pytest.raises(error, match=said) as refused:
            take()
        assert type(refused.value) is error
        assert ";" in str(refused.value)  # consequence; remedy
    assert state.to_bytes() == before
    signals, _ = predictor.step(state, bar_of(PANEL, 41))
    assert any(signal.target_position != 0.0 for signal in signals)


def test_every_refusal_has_a_name_of_its_own() -> None:
    names = [kind.kind for kind in KINDS]
    assert len(set(names)) == len(names) == len(RefusedBarError.__subclasses__())
    assert {error for error, _, _ in REFUSED.values()} <= set(KINDS)


def test_missing_values_are_legal_and_features_are_read_by_name(predictor: Predictor, state: PredictorState) -> None:
    row = np.array([0.5, np.nan, -1.0, 2.0], dtype=np.float32)
    shuffled = BarFeatures(timestamp=NEXT, values={"S1": row[[2, 0, 3, 1]]}, features=("f2", "f0", "f3", "f1"))
    unnamed = BarFeatures(timestamp=NEXT, values={"S1": row})
    assert predictor.step(state, shuffled)[0] == predictor.step(state, unnamed)[0]
    taken = accepted(shuffled, predictor.signature, LAST)
    np.testing.assert_array_equal(taken.values, row[None])
    assert taken.place.tolist() == [1]


def test_a_time_of_any_zone_is_the_same_bar(predictor: Predictor, state: PredictorState) -> None:
    elsewhere = NEXT.astimezone(timezone(timedelta(hours=-5)))
    bar = bar_of(PANEL, 41)
    same = BarFeatures(timestamp=elsewhere, values=bar.values)
    assert same.timestamp == NEXT
    assert same.timestamp.tzinfo is UTC
    assert predictor.step(state, same)[0] == predictor.step(state, bar)[0]


def test_what_is_given_may_change_afterwards() -> None:
    row = np.zeros(4)
    bar = BarFeatures(timestamp=NEXT, values={"S0": row})
    row[:] = 7.0
    assert not bar.values["S0"].any()
    with pytest.raises(ValueError, match="read-only"):
        bar.values["S0"][0] = 1.0


def test_days_of_sessions_may_stand_further_and_half_a_day_nearer() -> None:
    observed = {"kind": "observed", "step_s": 86400, "words": "days of trading"}
    sessions = signature_of(small_fit(PANEL, epochs=1), PANEL.symbols, {"calendar": observed})
    for hours in (21.0, 24.0, 72.0, 81.5, 96.0):
        accepted(_bar(LAST + timedelta(hours=hours)), sessions, LAST)
    for hours in (1.0, 11.9):
        with pytest.raises(WrongFrequencyError, match="another length"):
            accepted(_bar(LAST + timedelta(hours=hours)), sessions, LAST)


def test_after_a_bar_that_came_for_nobody_a_regular_calendar_goes_on_as_the_backtest_does(
    predictor: Predictor, state: PredictorState
) -> None:
    """Steps of several intervals are gaps: the window holds the bars that there were, and the signal before has run out."""
    last = predictor.step(predictor.warm(predictor.start(), bars_of(PANEL, range(40))), bar_of(PANEL, 40))[0]
    there = predictor.step(state, bar_of(PANEL, 41))[0]
    for days in (2, 3, 30):
        later = a_day_later(bar_of(PANEL, 40), days)
        moved = BarFeatures(timestamp=later.timestamp, values=bar_of(PANEL, 41).values)
        found = predictor.step(state, moved)[0]
        assert [each.target_position for each in found] == [each.target_position for each in there]
        assert all(each.valid_until <= found[0].valid_from for each in last)
