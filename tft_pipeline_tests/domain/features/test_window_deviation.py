"""The mean deviation of windows against a loop, and Wilder's mean over holes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.features.smoothing import wilder_over_known
from tft_pipeline.domain.features.window_deviation import window_mean_deviation
from tft_pipeline.domain.features.windows import wilder_mean

SERIES = np.random.default_rng(4).normal(2.0, 3.0, 200)


@pytest.mark.parametrize("window", [1, 2, 14, 20])
def test_mean_deviation_equals_that_of_each_window(window: int) -> None:
    got = window_mean_deviation(SERIES, window)
    assert np.isnan(got[: window - 1]).all()
    for t in range(window - 1, len(SERIES)):
        part = SERIES[t - window + 1 : t + 1].tolist()
        mean = math.fsum(part) / window
        assert got[t] == pytest.approx(math.fsum(abs(v - mean) for v in part) / window, rel=1e-12, abs=1e-15)


@given(start=st.integers(0, 100), length=st.integers(20, 90))
def test_rows_outside_the_window_change_no_bit(start: int, length: int) -> None:
    part = window_mean_deviation(SERIES[start : start + length], 14)
    np.testing.assert_array_equal(part[13:], window_mean_deviation(SERIES, 14)[start + 13 : start + length])


def test_a_missing_value_blanks_the_windows_that_hold_it_and_a_flat_one_deviates_by_zero() -> None:
    holed = SERIES.copy()
    holed[50] = np.nan
    assert np.flatnonzero(np.isnan(window_mean_deviation(holed, 14))).tolist() == [*range(13), *range(50, 64)]
    assert (window_mean_deviation(np.full(40, 0.1), 14)[13:] == 0.0).all()
    assert np.isnan(window_mean_deviation(SERIES[:5], 14)).all()


def test_wilder_goes_on_behind_a_hole_as_if_it_had_not_been_there() -> None:
    holed = np.insert(SERIES, [0, 3, 60, 60], np.nan)
    known = np.isfinite(holed)
    got = wilder_over_known(holed, 14)
    assert np.isnan(got[~known]).all()
    np.testing.assert_array_equal(got[known], wilder_mean(SERIES, 14))


def test_wilder_has_no_value_before_enough_are_known() -> None:
    assert np.isnan(wilder_over_known(np.full(30, np.nan), 14)).all()
    assert np.isnan(wilder_over_known(SERIES[:13], 14)).all()
    assert np.isfinite(wilder_over_known(SERIES[:14], 14)).tolist() == [*[False] * 13, True]
