"""Lines and parabolas of windows against numpy's and scipy's fits of each window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tft_pipeline.domain.features.window_lines import (
    bend_squares,
    time_squares,
    weighted_mean,
    window_bend,
    window_line,
)

SERIES = np.random.default_rng(11).normal(2.0, 3.0, 300).cumsum()
WINDOWS = (3, 5, 10, 21, 63, 100)


@pytest.mark.parametrize("window", WINDOWS)
def test_line_and_parabola_equal_a_fit_of_each_window(window: int) -> None:
    mean, squares, tilt = window_line(SERIES, window)
    bend = window_bend(SERIES, window)
    u = np.arange(window) - (window - 1) / 2
    for t in range(window - 1, len(SERIES), 7):
        x = SERIES[t - window + 1 : t + 1]
        fitted = stats.linregress(u, x)
        assert mean[t] == pytest.approx(x.mean(), rel=1e-12)
        assert squares[t] == pytest.approx(((x - x.mean()) ** 2).sum(), rel=1e-10)
        assert tilt[t] / time_squares(window) == pytest.approx(fitted.slope, rel=1e-9, abs=1e-10)
        assert tilt[t] ** 2 / time_squares(window) / squares[t] == pytest.approx(fitted.rvalue**2, abs=1e-12)
        assert bend[t] / bend_squares(window) == pytest.approx(np.polyfit(u, x, 2)[0], rel=1e-8, abs=1e-10)
        assert weighted_mean(SERIES, window)[t] == pytest.approx(np.average(x, weights=np.arange(1, window + 1)))


def test_a_flat_window_has_neither_tilt_nor_bend_at_all() -> None:
    flat = np.full(100, 0.1)
    for part in (*window_line(flat, 21)[1:], window_bend(flat, 21)):
        assert (part[20:] == 0.0).all()


def test_a_missing_value_blanks_the_windows_that_hold_it_and_no_other() -> None:
    holed = SERIES[:100].copy()
    holed[50] = np.nan
    for part in (*window_line(holed, 21), window_bend(holed, 21)):
        assert np.flatnonzero(np.isnan(part)).tolist() == [*range(20), *range(50, 71)]


@settings(deadline=None, max_examples=30)
@given(start=st.integers(0, 150), length=st.integers(63, 150), window=st.sampled_from((3, 21, 63)))
def test_rows_outside_the_window_change_no_bit(start: int, length: int, window: int) -> None:
    piece = SERIES[start : start + length]
    for fit in (lambda values: window_line(values, window)[2], lambda values: window_bend(values, window)):
        np.testing.assert_array_equal(fit(piece)[window - 1 :], fit(SERIES)[start + window - 1 : start + length])
