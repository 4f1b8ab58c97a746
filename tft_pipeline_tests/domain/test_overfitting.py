from itertools import combinations

import numpy as np
import pytest

from tft_pipeline.domain.overfitting import effective_trials, probability_of_backtest_overfitting


def by_concatenation(x: np.ndarray, n_blocks: int) -> tuple[list[float], list[float], list[float]]:
    """Logits, in- and out-of-sample ratios, each split put together row by row."""
    blocks = np.array_split(np.arange(len(x)), n_blocks)
    logits, inside, outside = [], [], []
    for chosen in combinations(range(n_blocks), n_blocks // 2):
        rows_in = np.concatenate([blocks[b] for b in chosen])
        rows_out = np.concatenate([blocks[b] for b in range(n_blocks) if b not in chosen])
        ratio_in, ratio_out = (x[rows].mean(axis=0) / x[rows].std(axis=0, ddof=1) for rows in (rows_in, rows_out))
        best = int(np.argmax(ratio_in))
        rank = 1 + int((ratio_out < ratio_out[best]).sum())
        share = rank / (x.shape[1] + 1)
        logits.append(float(np.log(share / (1 - share))))
        inside.append(float(ratio_in[best]))
        outside.append(float(ratio_out[best]))
    return logits, inside, outside


def test_block_sums_give_what_concatenated_rows_give_also_when_blocks_are_uneven():
    x = np.random.default_rng(0).normal(0.3, 1.0, (47, 5))
    found = probability_of_backtest_overfitting(x, n_blocks=6)
    logits, inside, outside = by_concatenation(x, 6)
    np.testing.assert_allclose(found.logits, logits)
    np.testing.assert_allclose(found.in_sample, inside)
    np.testing.assert_allclose(found.out_of_sample, outside)
    assert found.pbo == np.mean(np.array(logits) <= 0)
    assert found.probability_of_loss == np.mean(np.array(outside) < 0)
    slope, intercept = np.polyfit(inside, outside, 1)
    assert (found.degradation_slope, found.degradation_intercept) == pytest.approx((slope, intercept))
    assert found.degradation == pytest.approx(1.0 - np.mean(outside) / np.mean(inside))


def test_sixteen_blocks_give_all_splits_by_default():
    found = probability_of_backtest_overfitting(np.random.default_rng(1).normal(0, 1, (320, 8)))
    assert found.logits.size == 12_870


def test_one_good_trial_among_noise_is_found_again_out_of_sample():
    x = np.random.default_rng(2).normal(0, 1, (1000, 10))
    x[:, 3] += 0.3
    found = probability_of_backtest_overfitting(x, n_blocks=10)
    assert found.pbo < 0.01
    assert found.probability_of_loss < 0.01


def test_pure_noise_is_overfitted_about_half_of_the_time_or_more():
    shares = [
        probability_of_backtest_overfitting(np.random.default_rng(s).normal(0, 1, (400, 20)), n_blocks=10).pbo
        for s in range(30)
    ]
    assert 0.4 < np.mean(shares) < 0.65


def test_scaling_a_trial_changes_nothing():
    x = np.random.default_rng(3).normal(0.1, 1.0, (120, 4))
    first = probability_of_backtest_overfitting(x, n_blocks=6)
    second = probability_of_backtest_overfitting(x * np.array([1.0, 5.0, 0.1, 2.0]), n_blocks=6)
    np.testing.assert_allclose(first.logits, second.logits)


def test_tables_that_cannot_be_split_are_refused():
    x = np.random.default_rng(4).normal(0, 1, (40, 3))
    with pytest.raises(ValueError, match="at least 2 trials"):
        probability_of_backtest_overfitting(x[:, :1], n_blocks=4)
    with pytest.raises(ValueError, match="even number"):
        probability_of_backtest_overfitting(x, n_blocks=5)
    with pytest.raises(ValueError, match="fewer than 2 bars a block"):
        probability_of_backtest_overfitting(x, n_blocks=22)
    x[0, 0] = np.nan
    with pytest.raises(ValueError, match="common bars"):
        probability_of_backtest_overfitting(x, n_blocks=4)
    x[0, 0] = 0.0
    x[:, 1] = 0.0
    with pytest.raises(ValueError, match="trial 1 has no variance"):
        probability_of_backtest_overfitting(x, n_blocks=4)


def test_a_skilled_trial_loses_little_of_its_ratio_and_noise_loses_about_all_of_it():
    def lost(skill: float, seed: int) -> float:
        x = np.random.default_rng(seed).normal(0, 1, (800, 12))
        x[:, 3] += skill
        found = probability_of_backtest_overfitting(x, n_blocks=10).degradation
        assert found is not None
        return found

    assert abs(np.mean([lost(0.4, seed) for seed in range(10)])) < 0.05
    noise = [lost(0.0, seed) for seed in range(20)]
    assert np.mean(noise) > 0.9
    assert min(noise) > 0.4


def test_the_loss_of_trials_that_all_lose_in_sample_is_not_a_number():
    x = np.random.default_rng(5).normal(-2.0, 1.0, (200, 4))
    assert probability_of_backtest_overfitting(x, n_blocks=6).degradation is None


def test_effective_trials_follow_the_mean_correlation():
    x = np.random.default_rng(6).normal(0, 1, (500, 6)) + np.random.default_rng(7).normal(0, 1, (500, 1))
    pairs = [np.corrcoef(x[:, i], x[:, j])[0, 1] for i, j in combinations(range(6), 2)]
    rho = float(np.mean(pairs))
    assert effective_trials(x) == pytest.approx(rho + (1 - rho) * 6)
    assert 3.0 < effective_trials(x) < 4.0


def test_copies_are_one_trial_strangers_are_many_and_opposites_are_not_more_than_there_are():
    one = np.random.default_rng(8).normal(0, 1, 5000)
    assert effective_trials(np.column_stack([one, 3 * one, 0.1 * one + 1])) == pytest.approx(1.0)
    assert effective_trials(np.random.default_rng(9).normal(0, 1, (5000, 10))) == pytest.approx(10.0, abs=0.2)
    assert effective_trials(np.column_stack([one, -one])) == 2.0
    assert effective_trials(one[:, None]) == 1.0


def test_trials_without_a_correlation_are_refused():
    x = np.random.default_rng(10).normal(0, 1, (40, 3))
    with pytest.raises(ValueError, match=r"\(bars, trials\)"):
        effective_trials(x[:, 0])
    with pytest.raises(ValueError, match="at least 3 bars"):
        effective_trials(x[:2])
    with pytest.raises(ValueError, match="trial 2 does not vary"):
        effective_trials(np.column_stack([x[:, :2], np.ones(40)]))
    x[3, 1] = np.inf
    with pytest.raises(ValueError, match="common bars"):
        effective_trials(x)
