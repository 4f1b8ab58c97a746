"""Window statistics against direct numpy on each window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tft_pipeline.domain.features import windows

WINDOWS = (1, 2, 3, 5, 8, 21, 63, 252)
RNG = np.random.default_rng(3)
SERIES = RNG.normal(2.0, 3.0, 400)
OTHER = 0.5 * SERIES + RNG.normal(0.0, 1.0, 400)


def loop(values: np.ndarray, window: int, statistic) -> np.ndarray:
    out = np.full(len(values), np.nan)
    for t in range(window - 1, len(values)):
        out[t] = statistic(values[t - window + 1 : t + 1])
    return out


@pytest.mark.parametrize("window", WINDOWS)
def test_sum_mean_and_extremes_equal_those_of_each_window(window: int) -> None:
    np.testing.assert_allclose(windows.window_sum(SERIES, window), loop(SERIES, window, np.sum), rtol=1e-12)
    np.testing.assert_allclose(windows.window_mean(SERIES, window), loop(SERIES, window, np.mean), rtol=1e-11)
    np.testing.assert_array_equal(windows.window_max(SERIES, window), loop(SERIES, window, np.max))
    np.testing.assert_array_equal(windows.window_min(SERIES, window), loop(SERIES, window, np.min))


@pytest.mark.parametrize("window", WINDOWS[1:])
def test_spread_skew_kurtosis_and_score_equal_those_of_each_window(window: int) -> None:
    _, second, third, fourth = windows.window_moments(SERIES, window)
    sd = loop(SERIES, window, lambda x: np.std(x, ddof=1))
    np.testing.assert_allclose(windows.window_std(SERIES, window), sd, rtol=1e-12)
    np.testing.assert_allclose(np.sqrt(second / (window - 1)), sd, rtol=1e-12)
    np.testing.assert_allclose(
        windows.window_zscore(SERIES, window),
        loop(SERIES, window, lambda x: (x[-1] - x.mean()) / x.std(ddof=1)),
        rtol=1e-9,
    )
    if window > 2:
        np.testing.assert_allclose(
            third / window / (second / window) ** 1.5, loop(SERIES, window, stats.skew), atol=1e-12
        )
        np.testing.assert_allclose(
            fourth / window / (second / window) ** 2 - 3.0, loop(SERIES, window, stats.kurtosis), atol=1e-12
        )


@pytest.mark.parametrize("window", [5, 21, 63])
def test_correlation_uses_the_known_pairs_only_and_needs_enough_of_them(window: int) -> None:
    x, y = SERIES.copy(), OTHER.copy()
    x[100:103], y[200:240] = np.nan, np.nan
    needed = window // 2
    got = windows.window_correlation(x, y, window, pairs_needed=needed)
    for t in range(len(x)):
        part = slice(max(t - window + 1, 0), t + 1)
        known = np.isfinite(x[part]) & np.isfinite(y[part])
        if t < window - 1 or known.sum() < needed:
            assert np.isnan(got[t])
        else:
            assert got[t] == pytest.approx(np.corrcoef(x[part][known], y[part][known])[0, 1], abs=1e-12)


def test_trough_is_searched_from_the_latest_peak_on() -> None:
    peak, trough = windows.window_since_peak(np.array([1.0, 9.0, 2.0, 9.0, 5.0, 6.0]), 5)
    assert peak[4:].tolist() == [9.0, 9.0]
    assert trough[4:].tolist() == [5.0, 5.0]


@given(value=st.floats(1e-6, 1e6), window=st.sampled_from(WINDOWS[1:]))
def test_a_flat_window_has_no_spread_at_all_and_its_mean_is_its_value(value: float, window: int) -> None:
    flat = np.full(300, value)
    assert (windows.window_std(flat, window)[window - 1 :] == 0.0).all()
    assert (windows.window_mean(flat, window)[window - 1 :] == value).all()
    assert np.isnan(windows.window_zscore(flat, window)).all()
    assert np.isnan(windows.window_correlation(flat, np.arange(300.0), window, pairs_needed=2)).all()


def test_a_spike_leaves_no_trace_once_it_has_left_the_window() -> None:
    spiked = SERIES.copy()
    spiked[50] = 1e12
    np.testing.assert_array_equal(windows.window_std(spiked, 21)[71:], windows.window_std(SERIES, 21)[71:])
    running = np.cumsum(spiked**2)
    assert not np.allclose(running[71:] - running[50:-21], windows.window_sum(SERIES**2, 21)[71:], rtol=0.5)


def test_a_missing_value_blanks_the_windows_that_hold_it_and_no_other() -> None:
    holed = SERIES.copy()
    holed[50] = np.nan
    for statistic in (windows.window_sum, windows.window_mean, windows.window_std, windows.window_max):
        assert np.flatnonzero(np.isnan(statistic(holed, 21))).tolist() == [*range(20), *range(50, 71)]


@settings(deadline=None)
@given(start=st.integers(0, 150), length=st.integers(63, 250), window=st.sampled_from((2, 21, 63)))
def test_rows_outside_the_window_change_no_bit(start: int, length: int, window: int) -> None:
    part, other = SERIES[start : start + length], OTHER[start : start + length]
    for whole, piece in (
        (windows.window_sum(SERIES, window), windows.window_sum(part, window)),
        (windows.window_mean(SERIES, window), windows.window_mean(part, window)),
        (windows.window_moments(SERIES, window)[3], windows.window_moments(part, window)[3]),
        (
            windows.window_correlation(SERIES, OTHER, window, pairs_needed=2),
            windows.window_correlation(part, other, window, pairs_needed=2),
        ),
    ):
        np.testing.assert_array_equal(piece[window - 1 :], whole[start + window - 1 : start + length])


def test_ewm_statistics_equal_explicitly_weighted_sums() -> None:
    values = np.concatenate(([np.nan], SERIES[:150]))
    mean, sd = windows.ewm_mean(values, 1 / 8, rows_needed=8), windows.ewm_std(values, 20)
    assert np.isnan(mean[:8]).all()
    assert np.isnan(sd[:20]).all()
    for t in (8, 20, 60, 150):
        x = values[1 : t + 1]
        w = (1 - 1 / 8) ** np.arange(t - 1, -1, -1.0)
        assert mean[t] == pytest.approx((w * x).sum() / w.sum(), rel=1e-12)
    for t in (20, 60, 150):
        x = values[1 : t + 1]
        w = (1 - 2 / 21) ** np.arange(t - 1, -1, -1.0)
        var = (w * (x - (w * x).sum() / w.sum()) ** 2).sum() / w.sum() / (1 - (w**2).sum() / w.sum() ** 2)
        assert sd[t] == pytest.approx(np.sqrt(var), rel=1e-10)


def test_wilder_smoothing_starts_from_a_plain_mean() -> None:
    got = windows.wilder_mean(np.array([np.nan, 1.0, 2.0, 6.0, 0.0]), 3)
    assert np.isnan(got[:3]).all()
    assert got[3:].tolist() == pytest.approx([3.0, 2.0])
    assert np.isnan(windows.wilder_mean(np.array([np.nan, 1.0]), 3)).all()


def test_a_window_longer_than_the_series_has_no_value_and_an_empty_one_is_refused() -> None:
    assert np.isnan(windows.window_std(SERIES[:10], 63)).all()
    with pytest.raises(ValueError, match="window 0 < 1"):
        windows.window_sum(SERIES, 0)
    with pytest.raises(ValueError, match="lag -1 < 0 would read a later row"):
        windows.lag(SERIES, -1)
