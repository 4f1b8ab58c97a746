import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.selection import kendall_w, nogueira_stability, rank_agreement, select_features
from tft_pipeline_tests.oracles.selection import (
    chance_corrected_overlap,
    equal_size_overlap,
    interval_width_by_derivative,
    mean_rank_correlation,
)

NAMES = ("vix_level", "px_ret_1", "px_ret_5", "noise_a", "noise_b", "late_bloom")
WEIGHTS = np.array(
    [
        [0.30, 0.20, 0.10, 0.010, 0.012, 0.02],
        [0.28, 0.02, 0.12, 0.011, 0.010, 0.01],
        [0.31, 0.22, 0.11, 0.012, 0.011, 0.90],
        [0.29, 0.21, 0.01, 0.010, 0.013, 0.01],
        [0.30, 0.20, 0.12, 0.011, 0.010, 0.02],
    ]
)
SHADOW = np.tile([0.01, 0.02, 0.03], (5, 1))


def test_rank_weight_stability_and_reason_of_every_feature():
    found = select_features(WEIGHTS, SHADOW, NAMES, max_features=73, min_features=0)
    assert found.thresholds == pytest.approx([np.quantile([0.01, 0.02, 0.03], 0.95)] * 5)
    assert found.kept == ("vix_level", "px_ret_1", "px_ret_5")
    table = {row.feature: row for row in found.rows}
    assert [row.rank for row in found.rows] == [1, 2, 3, 4, 5, 6]
    assert [row.feature for row in found.rows][:3] == ["vix_level", "late_bloom", "px_ret_1"]
    assert table["px_ret_1"].weight == pytest.approx(0.17)
    assert table["px_ret_1"].stability == pytest.approx(0.8)
    assert table["vix_level"].reason == "above threshold"
    assert "stability 20% is below 25%" in table["late_bloom"].reason
    assert "not above the threshold" in table["noise_a"].reason
    assert [(row.group, row.kept, row.initial) for row in found.groups] == [
        ("px", 2, 2),
        ("vix", 1, 1),
        ("late", 0, 1),
        ("noise", 0, 2),
    ]
    assert found.groups[0].weight == pytest.approx(0.17 + 0.092)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["kept"] == list(found.kept)


def test_a_fixed_threshold_replaces_the_shadows():
    found = select_features(WEIGHTS, np.zeros((5, 0)), NAMES, threshold=0.15, max_features=73, min_features=0)
    assert found.kept == ("vix_level", "px_ret_1")


def test_the_largest_weights_come_first_when_too_many_pass():
    found = select_features(WEIGHTS, SHADOW, NAMES, max_features=2, min_features=0)
    assert found.kept == ("vix_level", "px_ret_1")
    assert {row.feature: row.reason for row in found.rows}["px_ret_5"] == "beyond max_features 2"


def test_noise_is_filled_up_to_the_minimum_and_says_so():
    weights = np.random.default_rng(0).uniform(0.01, 0.02, (4, 8))
    found = select_features(weights, np.full((4, 3), 0.5), [f"n_{i}" for i in range(8)], max_features=6)
    assert len(found.kept) == 5
    reasons = {row.reason for row in found.rows if row.kept}
    assert reasons == {"below threshold, kept to reach min_features"}
    assert found.kept == tuple(row.feature for row in found.rows[:5])
    assert found.nogueira is None


def test_nothing_above_the_threshold_is_an_error_when_no_minimum_is_wanted():
    with pytest.raises(ValueError, match="no feature is above the shadow threshold"):
        select_features(WEIGHTS, np.full((5, 2), 2.0), NAMES, max_features=5, min_features=0)


def test_each_fold_is_held_against_its_own_shadows():
    shadow = SHADOW.copy()
    shadow[0] = 1.0
    found = select_features(WEIGHTS, shadow, NAMES, max_features=5, min_features=1, min_stability=0.0)
    assert found.rows[0].stability == pytest.approx(0.8)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), folds=st.integers(1, 6), quantile=st.floats(0, 1), least=st.integers(0, 4))
def test_kept_features_pass_both_limits_or_are_filled_up(seed, folds, quantile, least):
    rng = np.random.default_rng(seed)
    weights, shadow = rng.dirichlet(np.ones(7), folds), rng.dirichlet(np.ones(7), folds)[:, :3]
    try:
        found = select_features(
            weights, shadow, list("abcdefg"), shadow_quantile=quantile, max_features=4, min_features=least
        )
    except ValueError:
        assert least == 0
        return
    assert least <= len(found.kept) <= 4
    limit = np.mean(found.thresholds)
    for row in found.rows:
        passes = row.weight > limit and row.stability >= 0.25
        assert row.reason != "above threshold" or passes
        assert row.kept == (row.feature in found.kept)
        assert not row.kept or passes or row.reason.startswith("below threshold")
    assert sum(row.kept for row in found.groups) == len(found.kept)


def test_agreement_measures_are_those_of_the_sets_and_rankings():
    found = select_features(WEIGHTS, SHADOW, NAMES, max_features=5, min_features=0)
    above = np.array(found.thresholds)[:, None] < WEIGHTS
    assert found.nogueira == nogueira_stability(above)
    assert found.kendall_w == kendall_w(WEIGHTS)
    single = select_features(WEIGHTS[:1], SHADOW[:1], NAMES, max_features=5, min_features=0)
    assert single.nogueira is None
    assert single.kendall_w is None


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


def test_weights_and_limits_that_make_no_sense_are_refused():
    good = {"max_features": 5, "min_features": 1}
    with pytest.raises(ValueError, match="expected \\(folds, features\\)"):
        select_features(WEIGHTS, SHADOW, NAMES[:3], **good)
    with pytest.raises(ValueError, match="with 5 folds"):
        select_features(WEIGHTS, SHADOW[:3], NAMES, **good)
    with pytest.raises(ValueError, match="negative or not finite"):
        select_features(np.where(WEIGHTS > 0.3, np.nan, WEIGHTS), SHADOW, NAMES, **good)
    with pytest.raises(ValueError, match="min_features 9"):
        select_features(WEIGHTS, SHADOW, NAMES, max_features=5, min_features=9)
    with pytest.raises(ValueError, match="without shadow features"):
        select_features(WEIGHTS, np.zeros((5, 0)), NAMES, **good)
    with pytest.raises(ValueError, match="neither 'shadow' nor a weight"):
        select_features(WEIGHTS, SHADOW, NAMES, threshold=-1.0, **good)
    with pytest.raises(ValueError, match="at least 2 sets"):
        nogueira_stability(np.ones((1, 4), dtype=bool))
    with pytest.raises(ValueError, match="stability is undefined"):
        nogueira_stability(np.zeros((3, 4), dtype=bool))
    with pytest.raises(ValueError, match="all ties"):
        kendall_w(np.ones((2, 4)))
    with pytest.raises(ValueError, match="no ranking"):
        rank_agreement(np.ones(4), np.arange(4.0))
