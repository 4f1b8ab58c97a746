import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon

from tft_pipeline.domain.divergence import bin_codes, jensen_shannon, psi, quantile_edges, smoothed_proportions

TEN = np.full(10, 0.1)
TEN_SHIFTED = np.array([0.05, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.15, 0.15])
SHARES = arrays(np.float64, 6, elements=st.floats(0.01, 1.0)).map(lambda x: x / x.sum())


def test_the_reference_values_of_two_and_ten_bins():
    p, q = np.array([0.5, 0.5]), np.array([0.6, 0.4])
    assert float(psi(p, q)) == pytest.approx(0.0405465108, abs=1e-10)
    assert float(jensen_shannon(p, q)[0]) * math.log(2.0) == pytest.approx(0.0050593899, abs=1e-10)
    assert float(psi(TEN, TEN_SHIFTED)) == pytest.approx(0.1098612289, abs=1e-10)
    assert float(jensen_shannon(TEN, TEN_SHIFTED)[1]) == pytest.approx(0.1397067510, abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(p=SHARES, q=SHARES)
def test_the_distance_is_that_of_scipy_and_both_measures_are_symmetric(p, q):
    divergence, distance = jensen_shannon(p, q)
    with np.errstate(invalid="ignore"):  # scipy takes the root of -1e-17 where p equals q
        expected = np.nan_to_num(jensenshannon(p, q, base=2))
    assert float(distance) == pytest.approx(float(expected), abs=1e-7)
    assert float(divergence) == pytest.approx(float(distance) ** 2)
    assert float(psi(p, q)) == pytest.approx(float(psi(q, p)), abs=1e-12)
    assert 0.0 <= float(divergence) <= 1.0
    assert float(psi(p, q)) >= 0.0
    assert float(psi(p, p)) == 0.0


def test_shares_without_overlap_are_one_bit_apart():
    assert [float(v) for v in jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0]))] == [1.0, 1.0]


def test_psi_needs_positive_shares_and_smoothing_gives_them():
    with pytest.raises(ValueError, match="smoothed_proportions"):
        psi(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    np.testing.assert_allclose(smoothed_proportions(np.array([0, 3])), [0.5 / 4.0, 3.5 / 4.0])
    np.testing.assert_allclose(smoothed_proportions(np.array([[1, 2, 4], [0, 0, 1]])).sum(axis=1), 1.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), bins=st.integers(2, 20))
def test_bins_of_a_continuous_reference_hold_equal_shares(seed, bins):
    x = np.random.default_rng(seed).normal(0, 1, 400)
    edges = quantile_edges(x, bins)
    assert edges.size == bins - 1
    counts = np.bincount(bin_codes(x, edges), minlength=bins + 1)
    assert np.abs(counts[:bins] - 400 / bins).max() <= 1.0
    assert counts[bins] == 0


@pytest.mark.parametrize("share", [0.02, 0.08, 0.5, 0.92, 0.98])
def test_the_two_values_of_a_flag_fall_into_different_bins(share):
    flag = (np.arange(1000) < 1000 * share).astype(float)
    codes = bin_codes(np.array([0.0, 1.0]), quantile_edges(flag, 10))
    assert codes[0] != codes[1]


def test_a_constant_stretch_has_a_bin_of_its_own():
    x = np.concatenate([np.zeros(500), np.linspace(1, 2, 250), np.linspace(-2, -1, 250)])
    codes = bin_codes(np.array([-1e-9, 0.0, 1e-9]), quantile_edges(x, 10))
    assert len(set(codes)) == 3


def test_ends_are_open_and_missing_values_have_the_last_bin():
    edges = np.array([0.0, 1.0])
    np.testing.assert_array_equal(
        bin_codes(np.array([-np.inf, -1, 0, 0.5, 1, np.inf, np.nan]), edges), [0, 0, 1, 1, 2, 2, 3]
    )
    assert quantile_edges(np.full(5, np.nan), 10).size == 0
    with pytest.raises(ValueError, match="n_bins"):
        quantile_edges(np.arange(5.0), 1)
