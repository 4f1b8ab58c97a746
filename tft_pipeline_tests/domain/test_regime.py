import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.regime import (
    UNKNOWN,
    Permission,
    Regime,
    RegimeContext,
    RegimeSettings,
    RegimeState,
    next_regime,
    regimes_at,
    restrained,
)
from tft_pipeline.domain.signal import Signal

START, DAY, MINUTE = datetime(2026, 1, 5, 21, tzinfo=UTC), timedelta(days=1), timedelta(minutes=1)
BULL, BEAR, NEUTRAL = Regime.BULL, Regime.BEAR, Regime.NEUTRAL


def daily(positions: list[float], *, lasts: timedelta = DAY, delay: timedelta = timedelta(0)) -> list[Signal]:
    """One signal a day, usable from its close."""
    return [
        Signal(
            ts=START + day * DAY,
            symbol="AAA",
            target_position=position,
            mu=None,
            sigma=None,
            probability=None,
            model_id="daily",
            valid_from=START + day * DAY + delay,
            valid_until=START + day * DAY + delay + lasts,
        )
        for day, position in enumerate(positions)
    ]


def walked(positions: list[float], settings: RegimeSettings) -> list[Regime]:
    """Regime after each signal."""
    state, found = None, []
    for signal in daily(positions):
        state = next_regime(state, signal, settings)
        found.append(state.regime)
    return found


def by_table(positions: list[float], settings: RegimeSettings) -> list[str]:
    """The rules once more, as cases written out."""
    regime, stay, found = "neutral", settings.min_stay, []
    for position in positions:
        s = position / settings.full_position
        high, low = s >= settings.enter, s <= -settings.enter
        wanted = {
            "neutral": "bull" if high else "bear" if low else "neutral",
            "bull": "bear" if low else "neutral" if s < settings.exit else "bull",
            "bear": "bull" if high else "neutral" if s > -settings.exit else "bear",
        }[regime]
        if wanted == regime or stay < settings.min_stay:
            stay += 1
        else:
            regime, stay = wanted, 1
        found.append(regime)
    return found


shares = st.floats(0, 1)
limits = st.floats(0, 10) | st.just(math.inf)


@st.composite
def permissions(draw: st.DrawFn, below: Permission | None = None) -> Permission:
    most = below or Permission(scale=1.0)
    return Permission(scale=draw(shares) * most.scale, limit=min(draw(limits), most.limit))


@st.composite
def settings_(draw: st.DrawFn) -> RegimeSettings:
    enter = draw(st.floats(0.01, 1.0))
    favour = draw(permissions())
    neutral = draw(permissions(favour))
    return RegimeSettings(
        enter=enter,
        exit=draw(shares) * enter,
        min_stay=draw(st.integers(1, 5)),
        full_position=draw(st.floats(0.05, 1.0)),
        in_favour=favour,
        neutral=neutral,
        against=draw(permissions(neutral)),
        stale=draw(permissions(neutral)),
    )


positions_ = st.lists(st.floats(-1, 1), min_size=1, max_size=25)


def test_the_context_follows_thresholds_with_hysteresis() -> None:
    knobs = RegimeSettings(enter=0.3, exit=0.1, min_stay=1)
    assert walked([0.2, 0.3, 0.2, 0.1, 0.09, 0.29, -0.3, -0.11, -0.05], knobs) == [
        NEUTRAL,
        BULL,
        BULL,
        BULL,
        NEUTRAL,
        NEUTRAL,
        BEAR,
        BEAR,
        NEUTRAL,
    ]


def test_a_regime_stays_its_least_number_of_signals() -> None:
    flips = [0.5, -0.5, -0.5, -0.5, 0.0, 0.0, 0.0]
    assert walked(flips, RegimeSettings(min_stay=1)) == [BULL, BEAR, BEAR, BEAR, NEUTRAL, NEUTRAL, NEUTRAL]
    assert walked(flips, RegimeSettings(min_stay=3)) == [BULL, BULL, BULL, BEAR, BEAR, BEAR, NEUTRAL]


def test_strength_is_measured_in_the_models_largest_position() -> None:
    assert walked([0.1], RegimeSettings(enter=0.3)) == [NEUTRAL]
    assert walked([0.1], RegimeSettings(enter=0.3, full_position=0.29)) == [BULL]


@given(positions_, settings_())
def test_the_regimes_are_those_of_the_rules_written_out(positions: list[float], knobs: RegimeSettings) -> None:
    assert [str(regime) for regime in walked(positions, knobs)] == by_table(positions, knobs)


@given(positions_, settings_())
def test_mirrored_signals_make_mirrored_regimes(positions: list[float], knobs: RegimeSettings) -> None:
    mirror = {BULL: BEAR, BEAR: BULL, NEUTRAL: NEUTRAL}
    assert walked([-p for p in positions], knobs) == [mirror[regime] for regime in walked(positions, knobs)]


@given(
    st.dictionaries(st.sampled_from("ABCD"), st.floats(-1e6, 1e6)),
    st.dictionaries(
        st.sampled_from("ABCD"), st.builds(RegimeContext, regime=st.sampled_from(Regime), stale=st.booleans())
    ),
    settings_(),
)
def test_the_overlay_only_shrinks_and_never_turns_a_weight(weights, contexts, knobs) -> None:
    kept = restrained(weights, contexts, knobs)
    assert set(kept) == set(weights)
    for symbol, weight in weights.items():
        assert abs(kept[symbol]) <= abs(weight)
        assert kept[symbol] * weight >= 0.0
        assert abs(kept[symbol]) <= contexts.get(symbol, UNKNOWN).permission(weight, knobs).limit


@given(st.floats(-10, 10), settings_())
def test_a_stale_signal_permits_no_more_than_neutral(weight: float, knobs: RegimeSettings) -> None:
    stale = restrained({"A": weight}, {}, knobs)["A"]
    neutral = restrained({"A": weight}, {"A": RegimeContext(regime=NEUTRAL, stale=False)}, knobs)["A"]
    assert abs(stale) <= abs(neutral)


def test_it_filters_direction_scales_size_and_limits_weights() -> None:
    knobs = RegimeSettings(in_favour=Permission(scale=1.0, limit=2.0), neutral=Permission(scale=0.5, limit=0.6))
    weights = {"A": 3.0, "B": -3.0, "C": 1.0, "D": -0.4}

    def kept(regime: Regime) -> dict[str, float]:
        return restrained(weights, dict.fromkeys(weights, RegimeContext(regime=regime, stale=False)), knobs)

    assert kept(BULL) == {"A": 2.0, "B": 0.0, "C": 1.0, "D": 0.0}
    assert kept(BEAR) == {"A": 0.0, "B": -2.0, "C": 0.0, "D": -0.4}
    assert kept(NEUTRAL) == {"A": 0.6, "B": -0.6, "C": 0.5, "D": -0.2}
    assert restrained(weights, {}, knobs) == dict.fromkeys(weights, 0.0)


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        restrained({"A": float("nan")}, {"A": UNKNOWN}, RegimeSettings())


def test_minutes_know_a_daily_signal_only_from_its_first_moment_and_lose_it_at_its_last() -> None:
    signals = daily([0.9, 0.9], lasts=timedelta(hours=20), delay=timedelta(hours=1))
    minutes = [START + k * MINUTE for k in range(2 * 24 * 60)]
    contexts = regimes_at(minutes, signals, RegimeSettings(min_stay=1))
    bull = RegimeContext(regime=BULL, stale=False)
    expected = [bull if any(s.valid_at(minute) for s in signals) else UNKNOWN for minute in minutes]
    assert contexts == expected
    assert contexts[:60] == [UNKNOWN] * 60
    assert contexts[60] == bull
    assert contexts[21 * 60 - 1 : 21 * 60 + 1] == [bull, UNKNOWN]


@given(positions_, settings_(), st.integers(0, 24), st.floats(-1, 1))
def test_a_later_signal_changes_no_earlier_context(positions, knobs, day, other) -> None:
    signals = daily(positions)
    hours = [START + k * DAY / 4 for k in range(4 * len(positions))]
    changed = [s if k < day else replace(s, target_position=other) for k, s in enumerate(signals)]
    before = 4 * min(day, len(positions))
    assert regimes_at(hours, signals, knobs)[:before] == regimes_at(hours, changed, knobs)[:before]


@given(positions_, settings_(), st.integers(0, 20))
def test_a_state_read_back_from_json_goes_on_as_if_nothing_happened(positions, knobs, cut) -> None:
    state, again = None, None
    for k, signal in enumerate(daily(positions)):
        state = next_regime(state, signal, knobs)
        again = next_regime(again, signal, knobs)
        if k == cut:
            again = RegimeState.from_dict(json.loads(json.dumps(again.to_dict())))
            again = next_regime(again, signal, knobs)  # the same signal twice counts once
        assert state == again


def test_a_short_gap_keeps_the_hysteresis_and_a_long_one_forgets_it() -> None:
    first, *_, late = daily([0.5, *[0.0] * 8, 0.2])
    for forget, found in ((8 * DAY, BULL), (7 * DAY, NEUTRAL)):
        knobs = RegimeSettings(min_stay=1, forget_after_s=forget.total_seconds())
        state = next_regime(next_regime(None, first, knobs), late, knobs)
        assert state.regime == found


def test_a_regime_is_not_told_before_its_signal_could_be_known() -> None:
    state = next_regime(None, daily([0.5], delay=timedelta(hours=1))[0], RegimeSettings())
    with pytest.raises(ValueError, match="look ahead"):
        state.at(START)
    assert state.at(START + timedelta(hours=1)).regime == BULL


def test_signals_out_of_order_and_of_several_symbols_are_refused() -> None:
    one, two = daily([0.5, 0.5])
    knobs = RegimeSettings()
    with pytest.raises(ValueError, match="in order"):
        next_regime(next_regime(None, two, knobs), one, knobs)
    with pytest.raises(ValueError, match="several symbols"):
        regimes_at([START], [one, replace(two, symbol="BBB")], knobs)
    with pytest.raises(ValueError, match="two different signals"):
        regimes_at([START], [one, replace(one, target_position=0.1)], knobs)
    with pytest.raises(ValueError, match="give times in order"):
        regimes_at([START + DAY, START], [one], knobs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target_position": -0.5}, "two different signals of AAA"),
        ({"model_id": "other"}, "of daily and other"),
        ({"valid_until": START + 2 * DAY}, "two different signals"),
        ({"symbol": "BBB"}, "a signal of BBB after those of AAA"),
    ],
)
def test_another_signal_of_the_same_bar_is_refused_and_the_same_one_changes_nothing(
    change: dict[str, Any], said: str
) -> None:
    one, two = daily([0.5, 0.5])
    state = next_regime(None, one, RegimeSettings())
    state = RegimeState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert next_regime(state, replace(one), RegimeSettings()) == state
    with pytest.raises(ValueError, match=said):
        next_regime(state, replace(one, **change), RegimeSettings())
    with pytest.raises(ValueError, match="a signal of BBB after"):
        next_regime(state, replace(two, symbol="BBB"), RegimeSettings())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"enter": 0.0}, "enter above 0"),
        ({"enter": 1.1}, "enter 1.1"),
        ({"enter": 0.2, "exit": 0.3}, "would flicker"),
        ({"exit": -0.1}, "exit -0.1"),
        ({"min_stay": 0}, "min_stay 0"),
        ({"full_position": 0.0}, "full_position"),
        ({"full_position": 1.5}, "full_position"),
        ({"forget_after_s": -1.0}, "forget_after_s"),
        ({"forget_after_s": math.inf}, "forget_after_s"),
        ({"against": Permission(scale=0.6)}, "against permits more than neutral"),
        ({"neutral": Permission(scale=0.5), "in_favour": Permission(scale=0.4)}, "neutral permits more than in_favour"),
        ({"stale": Permission(scale=0.6)}, "stale permits more than neutral"),
        ({"in_favour": Permission(scale=1.0, limit=1.0)}, "neutral permits more than in_favour"),
    ],
)
def test_settings_that_could_add_risk_are_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RegimeSettings(**change)


@pytest.mark.parametrize(
    "values", [{"scale": 1.01}, {"scale": -0.1}, {"scale": math.nan}, {"scale": 1.0, "limit": -1.0}]
)
def test_a_permission_that_could_add_risk_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"scale|limit"):
        Permission(**values)


@pytest.mark.parametrize(
    "change",
    [
        {"regime": "sideways"},
        {"stay": 0},
        {"position": 2.0},
        {"ts": "never"},
        {"valid_until": "2020-01-01T00:00:00+00:00"},
    ],
)
def test_a_damaged_state_is_refused(change: dict[str, Any]) -> None:
    record = next_regime(None, daily([0.5])[0], RegimeSettings()).to_dict() | change
    with pytest.raises(ValueError, match="not the state of a regime"):
        RegimeState.from_dict(record)
    del record["ts"]
    with pytest.raises(ValueError, match="not the state of a regime"):
        RegimeState.from_dict(record)
