import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from tft_pipeline.domain.uncertainty import fold_means, seed_spread


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), n_folds=st.integers(2, 12))
def test_the_interval_over_folds_is_that_of_the_t_test(seed, n_folds):
    values = np.random.default_rng(seed).exponential(0.02, (n_folds, 5))
    found = fold_means(values)
    for f in range(5):
        expected = ttest_1samp(values[:, f], 0.0).confidence_interval(0.95)
        assert (found.low[f], found.high[f]) == pytest.approx((expected.low, expected.high))
        assert found.standard_error[f] == pytest.approx(np.std(values[:, f], ddof=1) / np.sqrt(n_folds))


def test_the_interval_covers_the_truth_of_independent_folds_and_is_too_short_for_folds_that_share_bars():
    rng = np.random.default_rng(1)
    own, shared = rng.normal(0, 1, (6, 4_000)), rng.normal(0, 1, (1, 4_000))

    def coverage(values):
        found = fold_means(values)
        return np.mean((found.low <= 0.0) & (found.high >= 0.0))

    assert coverage(own) == pytest.approx(0.95, abs=0.012)
    assert coverage(np.sqrt(0.5) * (own + shared)) < 0.7


def test_one_fold_has_a_mean_and_no_error():
    found = fold_means(np.array([[0.1, 0.3]]))
    assert found.mean == pytest.approx([0.1, 0.3])
    assert (found.standard_error, found.low, found.high) == (None, None, None)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_the_spread_over_seeds_is_pooled_over_folds_and_ignores_what_folds_differ_by(seed):
    rng = np.random.default_rng(seed)
    values = rng.exponential(1.0, (4, 3, 2))
    pooled = [np.sqrt(np.mean([np.var(values[m, :, f], ddof=1) for m in range(4)])) for f in range(2)]
    assert seed_spread(values) == pytest.approx(pooled)
    assert seed_spread(values + rng.normal(0, 9, (4, 1, 2))) == pytest.approx(pooled)


def test_values_that_are_not_numbers_and_lone_seeds_are_refused():
    with pytest.raises(ValueError, match="repeat the fold"):
        fold_means(np.array([[0.1], [np.nan]]))
    with pytest.raises(ValueError, match="expected \\(folds, features\\)"):
        fold_means(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="at least 2 seeds"):
        seed_spread(np.ones((2, 1, 3)))
