import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr, ttest_1samp

from tft_pipeline.domain.agreement import fold_agreement, kendall_w, nogueira_stability, rank_agreement
from tft_pipeline_tests.oracles.selection import (
    chance_corrected_overlap,
    equal_size_overlap,
    interval_width_by_derivative,
    mean_rank_correlation,
)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), folds=st.integers(2, 9), share=st.floats(0.2, 0.8))
def test_nogueira_equals_the_chance_corrected_variance_of_membership(seed, folds, share):
    chosen = np.random.default_rng(seed).random((folds, 30)) < share
    assert nogueira_stability(chosen).phi == pytest.approx(chance_corrected_overlap(chosen))


def test_nogueira_equals_kuncheva_for_sets_of_one_size():
    rng = np.random.default_rng(1)
    chosen = np.zeros((6, 20), dtype=bool)
    for row in chosen:
        row[rng.choice(20, 7, replace=False)] = True
    assert nogueira_stability(chosen).phi == pytest.approx(equal_size_overlap(chosen))


def test_equal_sets_are_fully_stable_and_random_ones_not_at_all():
    same = nogueira_stability(np.tile(np.arange(10) < 4, (5, 1)))
    assert (same.phi, same.lower, same.upper) == pytest.approx((1.0, 1.0, 1.0))
    rng = np.random.default_rng(2)
    assert abs(nogueira_stability(rng.random((50, 200)) < 0.3).phi) < 0.02


def test_the_stability_interval_covers_the_true_value_of_a_known_process():
    rng = np.random.default_rng(3)
    chance = np.concatenate([np.full(10, 0.9), np.full(40, 0.1)])
    # of infinitely many sets: 1 - mean p(1-p) / (share (1-share))
    truth = 1.0 - np.mean(chance * (1 - chance)) / (chance.mean() * (1 - chance.mean()))
    inside = 0
    for _ in range(300):
        found = nogueira_stability(rng.random((40, 50)) < chance)
        inside += found.lower <= truth <= found.upper
    assert 0.90 < inside / 300 < 0.985


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), folds=st.integers(2, 7))
def test_kendalls_w_equals_the_mean_rank_correlation(seed, folds):
    weights = np.random.default_rng(seed).random((folds, 12))
    assert kendall_w(weights) == pytest.approx(mean_rank_correlation(weights))


def test_the_stability_interval_is_as_wide_as_its_numeric_derivative_says_for_sets_of_many_sizes():
    rng = np.random.default_rng(4)
    chance = rng.uniform(0.02, 0.98, 60)
    chosen = rng.random((400, 60)) < chance * rng.uniform(0.1, 1.0, (400, 1))
    found = nogueira_stability(chosen)
    assert (found.upper - found.lower) / 2 == pytest.approx(interval_width_by_derivative(chosen), rel=0.01)


def test_kendalls_w_is_one_for_equal_rankings_with_ties_too():
    assert kendall_w(np.tile([0.1, 0.1, 0.3, 0.5], (3, 1))) == pytest.approx(1.0)


def test_rank_agreement_reads_order_only():
    assert rank_agreement(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 1e6])) == pytest.approx(1.0)
    assert rank_agreement(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 4.0, 3.0])) == pytest.approx(0.8)


def test_sets_and_rankings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least 2 sets"):
        nogueira_stability(np.ones((1, 4), dtype=bool))
    with pytest.raises(ValueError, match="stability is undefined"):
        nogueira_stability(np.zeros((3, 4), dtype=bool))
    with pytest.raises(ValueError, match="all ties"):
        kendall_w(np.ones((2, 4)))
    with pytest.raises(ValueError, match="no ranking"):
        rank_agreement(np.ones(4), np.arange(4.0))
    with pytest.raises(ValueError, match="of one shape"):
        fold_agreement(np.ones((2, 4)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="at least 3 features"):
        fold_agreement(np.array([[1.0, 2.0]]), np.array([[1.0, 2.0]]))


def test_weights_and_importance_are_held_together_fold_by_fold():
    rng = np.random.default_rng(0)
    weights = rng.exponential(1.0, (6, 30))
    gains = weights + rng.normal(0.0, 1.0, (6, 30))
    found = fold_agreement(weights, gains)
    by_fold = [float(spearmanr(a, b).statistic) for a, b in zip(weights, gains, strict=True)]
    assert found.by_fold == pytest.approx(by_fold)
    expected = ttest_1samp(by_fold, 0.0).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(by_fold), expected.low, expected.high))
    assert found.standard_error == pytest.approx(np.std(by_fold, ddof=1) / np.sqrt(6))
    assert found.of_means == pytest.approx(float(spearmanr(weights.mean(axis=0), gains.mean(axis=0)).statistic))


def test_a_fold_without_a_ranking_is_left_out_of_the_mean_and_named_none():
    weights = np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [1.0, 2.0, 3.0]])
    gains = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    found = fold_agreement(weights, gains)
    assert found.by_fold == pytest.approx((1.0, None, None))
    assert (found.mean, found.standard_error, found.low) == (pytest.approx(1.0), None, None)
    assert fold_agreement(weights[1:], gains[1:]).mean is None
    same = fold_agreement(np.vstack([weights[:1]] * 3), np.vstack([gains[:1]] * 3))
    assert (same.low, same.high) == pytest.approx((1.0, 1.0))
