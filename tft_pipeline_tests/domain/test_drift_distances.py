import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, wasserstein_distance

from tft_pipeline.domain.drift_distances import kolmogorov_smirnov, wasserstein

SIZES = st.integers(1, 70)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10_000), n_reference=SIZES, n_recent=SIZES, digits=st.sampled_from([None, 0, 1]))
def test_both_distances_are_those_of_scipy_whatever_the_lengths_and_ties(seed, n_reference, n_recent, digits):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.normal(0, 1, n_reference)), np.sort(rng.normal(0.3, 2, n_recent))
    if digits is not None:
        x, y = np.round(x, digits), np.round(y, digits)
    assert kolmogorov_smirnov(x, y) == pytest.approx(ks_2samp(x, y).statistic, abs=1e-12)
    assert kolmogorov_smirnov(x, y) == pytest.approx(kolmogorov_smirnov(y, x), abs=1e-12)
    apart = wasserstein(x, y)
    if x[0] == x[-1]:
        assert apart is None
    else:
        assert apart * x.std() == pytest.approx(wasserstein_distance(x, y), abs=1e-9)


def test_equal_samples_are_nothing_apart_and_samples_without_overlap_are_all_apart():
    x = np.sort(np.random.default_rng(0).normal(0, 1, 101))
    assert (kolmogorov_smirnov(x, x), wasserstein(x, x)) == (0.0, 0.0)
    assert kolmogorov_smirnov(x, x + 100.0) == 1.0
    assert wasserstein(x, x + 100.0) == pytest.approx(100.0 / x.std())


def test_many_float32_values_at_a_high_level_keep_their_digits():
    x = np.sort(np.random.default_rng(1).normal(1000, 1, 100_000).astype(np.float32))
    y = np.sort(np.random.default_rng(2).normal(1001, 1, 7_001).astype(np.float32))
    expected = wasserstein_distance(x.astype(float), y.astype(float)) / x.astype(float).std()
    assert wasserstein(x, y) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("wrong", [np.array([0.0, np.inf]), np.array([-np.inf, 0.0])])
def test_an_infinite_value_has_no_wasserstein_distance(wrong):
    assert wasserstein(wrong, np.array([0.0, 1.0])) is None
    assert wasserstein(np.array([0.0, 1.0]), wrong) is None
