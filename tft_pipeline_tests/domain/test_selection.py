import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.agreement import kendall_w, nogueira_stability
from tft_pipeline.domain.selection import FILLED_UP, select_features, shadow_rank, standing

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
    assert found.thresholds == pytest.approx([0.03] * 5)
    assert found.shadow_level == 0.75
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
    assert reasons == {FILLED_UP} == {"below threshold, kept to reach min_features"}
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


def test_weights_and_limits_that_make_no_sense_are_refused():
    good = {"max_features": 5, "min_features": 1}
    with pytest.raises(ValueError, match="expected \\(folds, features\\)"):
        select_features(WEIGHTS, SHADOW, NAMES[:3], **good)
    with pytest.raises(ValueError, match="with 5 folds"):
        select_features(WEIGHTS, SHADOW[:3], NAMES, **good)
    nan = np.where(WEIGHTS > 0.89, np.nan, WEIGHTS)
    with pytest.raises(ValueError, match=r"not finite, first nan of late_bloom in fold 3 of 5: .* must be repeated"):
        select_features(nan, SHADOW, NAMES, **good)
    with pytest.raises(ValueError, match=r"first -1\.0 of shadow 2 in fold 1 of 5"):
        select_features(WEIGHTS, np.where(SHADOW == 0.03, -1.0, SHADOW), NAMES, **good)
    with pytest.raises(ValueError, match=r"importance .* other folds or features"):
        select_features(WEIGHTS, SHADOW, NAMES, importance=WEIGHTS[:2], **good)
    with pytest.raises(ValueError, match=r"by_seed .* other folds or features"):
        select_features(WEIGHTS, SHADOW, NAMES, by_seed=WEIGHTS, **good)
    with pytest.raises(ValueError, match="min_features 9"):
        select_features(WEIGHTS, SHADOW, NAMES, max_features=5, min_features=9)
    with pytest.raises(ValueError, match="without shadow features"):
        select_features(WEIGHTS, np.zeros((5, 0)), NAMES, **good)
    for wrong in (-1.0, float("nan"), float("inf"), "fixed", True, False, np.bool_(True)):
        with pytest.raises(ValueError, match="neither 'shadow' nor a weight"):
            select_features(WEIGHTS, SHADOW, NAMES, threshold=wrong, **good)


def test_more_features_wanted_than_there_are_is_refused_with_both_numbers():
    for threshold in ("shadow", 0.01):
        with pytest.raises(ValueError, match=r"min_features 7 > 6 features: .* lower min_features to 6"):
            select_features(WEIGHTS, SHADOW, NAMES, threshold=threshold, max_features=7, min_features=7)
    assert len(select_features(WEIGHTS, SHADOW, NAMES, max_features=7, min_features=6).kept) == 6


def test_a_feature_stands_as_kept_filled_up_or_dropped():
    found = select_features(WEIGHTS, SHADOW, NAMES, max_features=5, min_features=4)
    ended = {row["feature"]: standing(row) for row in found.to_dict()["rows"]}
    assert ended == {
        "vix_level": "kept",
        "px_ret_1": "kept",
        "px_ret_5": "kept",
        "late_bloom": "filled up",
        "noise_a": "dropped",
        "noise_b": "dropped",
    }


@pytest.mark.parametrize(("n_shadows", "quantile"), [(20, 0.95), (19, 0.95), (40, 0.95), (6, 0.95), (20, 0.8)])
def test_a_feature_exchangeable_with_the_shadows_exceeds_the_threshold_as_often_as_the_level_says(n_shadows, quantile):
    """The interpolated quantile of 20 shadows is exceeded by 9 % of useless features, not by 5 %."""
    rng = np.random.default_rng(n_shadows)
    rank, level = shadow_rank(n_shadows, quantile)
    assert rank <= n_shadows
    drawn = rng.lognormal(0.0, 0.8, (20_000, n_shadows + 1))  # skewed, as softmax weights are
    real, shadow = drawn[:, 0], np.sort(drawn[:, 1:], axis=1)
    over = (real > shadow[:, rank - 1]).sum()
    interpolated = (real > np.quantile(shadow, quantile, axis=1)).sum()
    assert over / 20_000 == pytest.approx(1.0 - level, abs=0.008)
    if n_shadows * (1.0 - quantile) >= 0.95:
        assert level >= quantile - 1e-9
    if (n_shadows, quantile) == (20, 0.95):
        assert interpolated / 20_000 > 0.08


@given(k=st.integers(1, 200), quantile=st.floats(0.0, 1.0))
def test_the_threshold_is_the_lowest_shadow_that_holds_the_quantile(k, quantile):
    rank, level = shadow_rank(k, quantile)
    assert 1 <= rank <= k
    assert level == rank / (k + 1)
    if quantile <= k / (k + 1):
        assert level >= quantile - 1e-8
        assert rank == 1 or (rank - 1) / (k + 1) < quantile
    else:
        assert rank == k
    with pytest.raises(ValueError, match="without shadow features"):
        shadow_rank(0, quantile)


def test_the_rows_say_how_far_each_weight_is_known():
    rng = np.random.default_rng(0)
    by_seed = WEIGHTS[:, None, :] * (1.0 + rng.uniform(-0.1, 0.1, (5, 3, 6)))
    by_seed += (WEIGHTS - by_seed.mean(axis=1))[:, None, :]
    gains = rng.normal(0.0, 0.1, (5, 6)) + np.array([1.0, 0.5, 0.3, 0.0, 0.0, 0.0])
    found = select_features(WEIGHTS, SHADOW, NAMES, max_features=5, by_seed=by_seed, importance=gains)
    bare = select_features(WEIGHTS, SHADOW, NAMES, max_features=5)
    assert found.kept == bare.kept
    for row, plain in zip(found.rows, bare.rows, strict=True):
        f = NAMES.index(row.feature)
        assert row.standard_error == plain.standard_error == pytest.approx(WEIGHTS[:, f].std(ddof=1) / np.sqrt(5))
        assert 0.0 <= row.low <= row.weight <= row.high
        assert row.seed_spread == pytest.approx(np.sqrt(by_seed[:, :, f].var(axis=1, ddof=1).mean()))
        assert row.importance == pytest.approx(gains[:, f].mean())
        assert row.importance_error == pytest.approx(gains[:, f].std(ddof=1) / np.sqrt(5))
        assert (plain.seed_spread, plain.importance, plain.importance_error) == (None, None, None)
        assert row.group == row.feature.split("_")[0]
    assert found.undefined == {}
    assert found.agreement.mean > 0.4
    assert "permutation importance was not measured" in bare.undefined["agreement"]


def test_one_fold_chooses_and_says_what_it_cannot_tell():
    found = select_features(WEIGHTS[:1], SHADOW[:1], NAMES, max_features=5, min_features=0)
    assert found.kept == ("vix_level", "px_ret_1", "px_ret_5")
    assert {row.stability for row in found.rows} == {0.0, 1.0}
    assert {row.standard_error for row in found.rows} == {row.low for row in found.rows} == {None}
    assert found.undefined["nogueira"] == found.undefined["kendall_w"] == found.undefined["standard_error"]
    assert "one fold" in found.undefined["nogueira"]


def test_one_feature_may_be_all_that_is_kept_and_many_shadows_judge_few_features():
    found = select_features(WEIGHTS, SHADOW, NAMES, max_features=1, min_features=1)
    assert found.kept == ("vix_level",)
    shadow = np.random.default_rng(0).uniform(0.0, 0.03, (5, 200))
    many = select_features(WEIGHTS, shadow, NAMES, max_features=5, min_features=0)
    assert many.kept == ("vix_level", "px_ret_1", "px_ret_5")
    assert many.shadow_level == 191 / 201


def test_why_a_figure_is_missing_is_said():
    noise = np.random.default_rng(0).uniform(0.01, 0.02, (4, 8))
    names = [f"n_{i}" for i in range(8)]
    none = select_features(noise, np.full((4, 3), 0.5), names, max_features=6)
    assert none.undefined["nogueira"] == "no feature is above the threshold in all folds"
    every = select_features(noise, np.zeros((4, 3)), names, max_features=6)
    assert every.undefined["nogueira"] == "every feature is above the threshold in all folds"
    flat = select_features(np.vstack([noise[:3], np.full((1, 8), 0.1)]), np.zeros((4, 3)), names, max_features=6)
    assert "no ranking" in flat.undefined["kendall_w"]
    two = select_features(
        noise[:, :2], np.zeros((4, 3)), names[:2], max_features=6, min_features=2, importance=noise[:, :2]
    )
    assert two.undefined["agreement"] == "2 features: a ranking needs 3"
