import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap
from arch.bootstrap import optimal_block_length as arch_block_length
from scipy.signal import lfilter

from tft_pipeline.domain.bootstrap import (
    bootstrap_sharpe_interval,
    bootstrap_sharpes,
    optimal_block_length,
    resample_indices,
)


def autoregressive(phi: float, n: int, seed: int) -> np.ndarray:
    return lfilter([1.0], [1.0, -phi], np.random.default_rng(seed).normal(0.0005, 0.01, n))


@pytest.mark.parametrize("phi", [-0.4, 0.0, 0.2, 0.6, 0.9])
@pytest.mark.parametrize("n", [60, 500, 3000])
def test_the_block_length_equals_that_of_arch(phi, n):
    x = autoregressive(phi, n, seed=n)
    expected = max(1.0, float(arch_block_length(x)["stationary"].iloc[0]))
    assert optimal_block_length(x) == pytest.approx(expected, rel=0.02)


def test_the_interval_agrees_with_arch_on_an_autocorrelated_series():
    x = autoregressive(0.4, 1200, seed=7)
    length = optimal_block_length(x)
    peer = StationaryBootstrap(length, x, seed=1)
    expected = peer.conf_int(lambda r: r.mean() / r.std(ddof=1), reps=1500, method="percentile")[:, 0]
    found = bootstrap_sharpe_interval(x, n_resamples=4000, seed=2)
    np.testing.assert_allclose(found, expected, atol=0.12 * (expected[1] - expected[0]))


def test_autocorrelation_widens_the_interval():
    x = autoregressive(0.6, 2000, seed=3)
    narrow = np.ptp(bootstrap_sharpe_interval(x, block_length=1.0, seed=0))
    wide = np.ptp(bootstrap_sharpe_interval(x, seed=0))
    assert wide > 1.5 * narrow


def test_the_spread_of_iid_resamples_is_the_standard_error():
    x = autoregressive(0.0, 900, seed=4)
    spread = bootstrap_sharpes(x, n_resamples=4000, block_length=1.0, seed=5).std()
    assert spread == pytest.approx(1.0 / 30.0, rel=0.06)


def test_blocks_run_on_around_the_end_and_have_the_wanted_mean_length():
    indices = resample_indices(200, 500, block_length=8.0, generator=np.random.default_rng(0))
    assert indices.shape == (500, 200)
    follows = (np.diff(indices, axis=1) % 200) == 1
    assert follows.mean() == pytest.approx(1.0 - 1.0 / 8.0 + (1.0 / 8.0) / 200.0, abs=0.005)
    assert ((indices[:, :-1] == 199) & (indices[:, 1:] == 0)).any()
    np.testing.assert_allclose(np.bincount(indices.ravel(), minlength=200), 500, rtol=0.4)


def test_equal_seeds_give_equal_resamples_and_others_do_not():
    x = autoregressive(0.1, 100, seed=6)
    first, again, other = (bootstrap_sharpes(x, n_resamples=50, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_resamples_without_variance_are_drawn_again():
    x = np.array([0.0] * 9 + [1.0])
    sharpes = bootstrap_sharpes(x, n_resamples=200, block_length=3.0, seed=0)
    assert sharpes.shape == (200,)
    assert np.isfinite(sharpes).all()


def test_a_series_that_cannot_be_resampled_is_refused():
    with pytest.raises(ValueError, match="at least 8"):
        optimal_block_length(np.arange(7.0))
    with pytest.raises(ValueError, match="zero variance"):
        optimal_block_length(np.ones(20))
    with pytest.raises(ValueError, match="zero variance"):
        bootstrap_sharpes(np.ones(20), block_length=2.0, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        bootstrap_sharpes(np.arange(20.0), n_resamples=0, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        bootstrap_sharpes(np.arange(20.0), block_length=0.5, seed=0)
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_sharpe_interval(np.arange(20.0), confidence=95.0, seed=0)


def test_a_ratio_of_a_resample_is_its_mean_over_its_standard_deviation_with_one_degree_of_freedom_less() -> None:
    returns = autoregressive(0.1, 12, seed=4)
    drawn = resample_indices(12, 50, block_length=2.0, generator=np.random.default_rng(9))
    expected = [returns[row].mean() / np.sqrt(((returns[row] - returns[row].mean()) ** 2).sum() / 11) for row in drawn]
    np.testing.assert_allclose(
        bootstrap_sharpes(returns, n_resamples=50, block_length=2.0, seed=9), expected, rtol=1e-12
    )
