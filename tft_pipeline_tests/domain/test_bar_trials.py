"""What overlapping labels leave of a number of bars, against pairs of rows and against simulated markets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from tft_pipeline.domain.bar_trials import effective_trials
from tft_pipeline.domain.classification import wilson_interval


def pairwise_variance(right: np.ndarray, bar: np.ndarray, horizon: int) -> float:
    """Of the share: every pair of rows less than `horizon` bars apart, added up one by one."""
    share = right.mean()
    total = 0.0
    for i in range(right.size):
        for j in range(right.size):
            if abs(int(bar[i]) - int(bar[j])) < horizon:
                total += (right[i] - share) * (right[j] - share)
    return total / right.size**2 / (1.0 - (2 * horizon - 1) / (bar.max() + 1))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), horizon=st.integers(2, 4))
def test_the_variance_is_that_of_all_pairs_of_rows_whose_labels_overlap(seed, horizon):
    rng = np.random.default_rng(seed)
    n_bars = 30 * horizon + 5
    bar = np.concatenate([np.arange(n_bars), rng.integers(0, n_bars, 40)])  # bars with one row and with several
    right = (lfilter([1.0], [1.0, -0.8], rng.normal(size=n_bars))[bar] > 0.0).astype(float)
    variance = pairwise_variance(right, bar, horizon)
    share = right.mean()
    expected = min(n_bars, share * (1.0 - share) / variance) if variance > 0.0 else n_bars
    assert effective_trials(right, bar, horizon=horizon) == pytest.approx(max(expected, 1.0))


def test_labels_of_one_bar_leave_every_bar_and_copies_of_a_symbol_add_none():
    rng = np.random.default_rng(0)
    right, bar = rng.uniform(size=400) < 0.6, np.arange(400)
    assert effective_trials(right, bar, horizon=1) == 400.0
    assert effective_trials(np.repeat(right, 3), np.repeat(bar, 3), horizon=1) == 400.0
    once = effective_trials(right, bar, horizon=5)
    assert effective_trials(np.repeat(right, 3), np.repeat(bar, 3), horizon=5) == pytest.approx(once)


def test_what_cannot_be_measured_counts_one_trial_a_horizon():
    right, bar = np.arange(299) % 2 == 0, np.arange(299)
    assert effective_trials(right, bar, horizon=10) == 29.9
    assert effective_trials(right, bar, horizon=999) == 1.0
    assert effective_trials(np.ones(1000), np.arange(1000), horizon=20) == 50.0
    assert effective_trials(np.zeros(1000), np.arange(1000), horizon=20) == 50.0
    assert effective_trials(np.arange(300) % 2 == 0, np.arange(300), horizon=10) == 300.0  # changes every bar


def market(seed: int, n_bars: int, horizon: int, persistence: float) -> np.ndarray:
    """Right or wrong a bar: a forecast without skill of the sign of a random walk over the next `horizon` bars."""
    rng = np.random.default_rng(seed)
    path = np.concatenate([[0.0], np.cumsum(rng.normal(size=n_bars + horizon))])
    up = path[horizon : horizon + n_bars] > path[:n_bars]
    forecast = lfilter([1.0], [1.0, -persistence], rng.normal(size=n_bars + 200))[200:]
    return up == (forecast > 0.0)


@pytest.mark.parametrize(
    ("n_bars", "horizon", "persistence", "most", "alone"),
    [
        (1000, 20, 0.95, 0.99, (0.4, 0.55)),
        (600, 20, 0.999, 0.99, (0.35, 0.6)),
        (200, 5, 0.9, 0.99, (0.65, 0.85)),
        (1000, 20, 0.0, 0.99, (0.9, 0.99)),  # nothing persists, nothing widens
        (200, 20, 0.95, 1.0, (0.4, 0.6)),  # too few spans: wide, for the worst is assumed
    ],
)
def test_the_interval_on_these_trials_covers_as_often_as_it_says_and_one_on_bars_does_not(
    n_bars, horizon, persistence, most, alone
):
    n_markets, bar = 400, np.arange(n_bars)
    covered = on_bars = 0
    for seed in range(n_markets):
        right = market(seed, n_bars, horizon, persistence)
        share = float(right.mean())
        trials = effective_trials(right, bar, horizon=horizon)
        low, high = wilson_interval(share * trials, trials)
        covered += low <= 0.5 <= high
        low, high = wilson_interval(share * n_bars, n_bars)
        on_bars += low <= 0.5 <= high
    assert 0.915 <= covered / n_markets <= most
    assert alone[0] <= on_bars / n_markets <= alone[1]


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="horizon 0"):
        effective_trials(np.ones(3), np.arange(3), horizon=0)
    with pytest.raises(ValueError, match="a bar a row"):
        effective_trials(np.ones(3), np.arange(2), horizon=1)
    with pytest.raises(ValueError, match="a bar a row"):
        effective_trials(np.ones(0), np.arange(0), horizon=1)
