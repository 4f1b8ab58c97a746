import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tft_pipeline.domain.positions import hold_positions
from tft_pipeline_tests.oracles.portfolio import held_positions

RAW = arrays(np.float64, (3, 12), elements=st.floats(-1, 1) | st.just(float("nan")))
CAP = st.floats(0.05, 1.0)
SMOOTH = st.floats(0.0, 0.95)


@settings(max_examples=60, deadline=None)
@given(raw=RAW, cap=CAP, smooth=SMOOTH, previous=arrays(np.float64, 3, elements=st.floats(-1, 1)))
def test_positions_equal_the_recursion_written_as_a_loop(raw, cap, smooth, previous):
    held = hold_positions(raw, max_position=cap, position_smooth=smooth, previous=previous)
    np.testing.assert_allclose(held, held_positions(raw, cap, smooth, list(previous)), rtol=1e-13, atol=1e-15)


@settings(max_examples=40, deadline=None)
@given(raw=RAW, cap=CAP, smooth=SMOOTH)
def test_one_bar_at_a_time_gives_the_same_bits_as_one_call(raw, cap, smooth):
    whole = hold_positions(raw, max_position=cap, position_smooth=smooth)
    last = None
    for bar in range(raw.shape[1]):
        step = hold_positions(raw[:, [bar]], max_position=cap, position_smooth=smooth, previous=last)
        last = step[:, 0]
        assert (last == whole[:, bar]).all()


@settings(max_examples=40, deadline=None)
@given(raw=RAW, cap=CAP, smooth=SMOOTH)
def test_positions_stay_inside_the_cap_and_mirror_with_their_input(raw, cap, smooth):
    held = hold_positions(raw, max_position=cap, position_smooth=smooth)
    assert (np.abs(held) <= cap).all()
    np.testing.assert_array_equal(hold_positions(-raw, max_position=cap, position_smooth=smooth), -held)


def test_a_worked_example_of_clip_smooth_and_reset():
    raw = np.array([[1.0, 1.0, np.nan, -1.0, 0.1]])
    held = hold_positions(raw, max_position=0.8, position_smooth=0.5, previous=np.array([0.2]))
    np.testing.assert_allclose(held, [[0.5, 0.65, 0.0, -0.4, -0.15]], atol=1e-15)


def test_an_old_position_above_the_cap_is_cut_at_the_first_bar():
    held = hold_positions(np.array([[1.0]]), max_position=0.3, position_smooth=0.9, previous=np.array([1.0]))
    assert held[0, 0] == 0.3


def test_later_bars_do_not_reach_earlier_positions():
    rng = np.random.default_rng(0)
    raw = rng.uniform(-1, 1, (4, 50))
    changed = raw.copy()
    changed[:, 30:] = rng.uniform(-1, 1, (4, 20))
    first, second = (hold_positions(x, max_position=0.5, position_smooth=0.7) for x in (raw, changed))
    np.testing.assert_array_equal(first[:, :30], second[:, :30])
    assert (first[:, 30:] != second[:, 30:]).any()


@pytest.mark.parametrize(("cap", "smooth"), [(0.0, 0.0), (1.1, 0.0), (np.nan, 0.0), (0.5, 1.0), (0.5, -0.1)])
def test_a_knob_outside_its_range_is_refused(cap, smooth):
    with pytest.raises(ValueError, match=r"max_position|position_smooth"):
        hold_positions(np.zeros((1, 2)), max_position=cap, position_smooth=smooth)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1.5])
def test_a_raw_position_outside_one_is_refused(value):
    with pytest.raises(ValueError, match=r"outside \[-1, 1\]"):
        hold_positions(np.array([[0.1, value]]), max_position=1.0, position_smooth=0.0)


def test_shapes_and_previous_positions_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected \\(symbols, bars\\)"):
        hold_positions(np.zeros(3), max_position=1.0, position_smooth=0.0)
    with pytest.raises(ValueError, match="one position for each of 1"):
        hold_positions(np.zeros((1, 2)), max_position=1.0, position_smooth=0.0, previous=np.zeros(2))
    with pytest.raises(ValueError, match="not finite"):
        hold_positions(np.zeros((1, 2)), max_position=1.0, position_smooth=0.0, previous=np.array([np.nan]))


def test_a_symbol_that_is_never_present_is_flat():
    held = hold_positions(np.full((1, 3), np.nan), max_position=1.0, position_smooth=0.5, previous=np.array([0.7]))
    assert (held == 0.0).all()
