"""Places and runs of windows against loops over each window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tft_pipeline.domain.features.window_places import best_run, deepest_fall, last_rank, rows_since_max

RNG = np.random.default_rng(12)
STEPS = RNG.integers(-2, 3, 300).astype(np.float64)
"""Few values, so that there are ties."""
PRICES = np.exp(0.05 * STEPS.cumsum())
WINDOWS = (2, 5, 21, 63, 100)


def windows_of(values: np.ndarray, window: int) -> list[list[float]]:
    return [values[t - window + 1 : t + 1].tolist() for t in range(window - 1, len(values))]


def page(values: list[float]) -> float:
    total = 0.0
    for value in values:
        total = max(0.0, total + value)
    return total


@pytest.mark.parametrize("window", WINDOWS)
def test_age_fall_run_and_rank_equal_loops_over_each_window(window: int) -> None:
    ages = [part[::-1].index(max(part)) for part in windows_of(STEPS, window)]
    np.testing.assert_array_equal(rows_since_max(STEPS, window)[window - 1 :], ages)
    falls = [min(b / a for j, a in enumerate(part) for b in part[j:]) for part in windows_of(PRICES[:140], window)]
    np.testing.assert_array_equal(deepest_fall(PRICES[:140], window)[window - 1 :], falls)
    runs = [page(part) for part in windows_of(STEPS, window)]
    np.testing.assert_allclose(best_run(STEPS, window)[window - 1 :], runs)
    places = [stats.percentileofscore(part[:-1], part[-1], kind="mean") / 50 - 1 for part in windows_of(STEPS, window)]
    np.testing.assert_allclose(last_rank(STEPS, window)[window - 1 :], places, atol=1e-12)


@pytest.mark.parametrize("place", [rows_since_max, deepest_fall, best_run, last_rank])
def test_short_windows_and_those_with_a_missing_value_have_no_place(place) -> None:
    holed = PRICES[:100].copy()
    holed[50] = np.nan
    blank = np.flatnonzero(np.isnan(place(holed, 21))).tolist()
    assert blank == [*range(20), *range(50, 71)]
    assert np.isnan(place(PRICES[:10], 21)).all()


@settings(deadline=None, max_examples=30)
@given(start=st.integers(0, 150), length=st.integers(63, 150), window=st.sampled_from((2, 21, 63)))
def test_rows_outside_the_window_change_no_bit(start: int, length: int, window: int) -> None:
    for place in (rows_since_max, deepest_fall, best_run, last_rank):
        piece = place(PRICES[start : start + length], window)
        whole = place(PRICES, window)[start : start + length]
        np.testing.assert_array_equal(piece[window - 1 :], whole[window - 1 :])
