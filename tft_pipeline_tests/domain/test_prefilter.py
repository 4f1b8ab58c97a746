import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import qr

from tft_pipeline.domain.prefilter import pairwise_correlation, prefilter


def noise(rows: int = 400, features: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (rows, features))


def test_each_kind_of_degenerate_feature_goes_with_its_reason_value_and_partner():
    x = noise()
    columns = {
        "px_a": x[:, 0],
        "px_constant": np.full(400, 0.1),
        "px_infinite": np.where(np.arange(400) == 7, np.inf, x[:, 1]),
        "px_missing": np.where(np.arange(400) < 201, np.nan, x[:, 1]),
        "px_empty": np.full(400, np.nan),
        "px_b": x[:, 2],
        "px_like_a": -3.0 * x[:, 0] + 0.01 * x[:, 3] + 5.0,
        "px_sum": x[:, 0] - 2.0 * x[:, 2] + 4.0,
        "px_c": x[:, 4],
    }
    found = prefilter(columns)
    assert found.kept == ("px_a", "px_b", "px_c")
    drops = {drop.feature: drop for drop in found.dropped}
    assert list(drops) == [name for name in columns if name not in found.kept]
    assert {name: drop.reason for name, drop in drops.items()} == {
        "px_constant": "constant",
        "px_infinite": "infinite",
        "px_missing": "missing",
        "px_empty": "missing",
        "px_like_a": "collinear",
        "px_sum": "rank_deficient",
    }
    assert (drops["px_missing"].value, drops["px_missing"].limit) == (201 / 400, 0.5)
    assert drops["px_infinite"].value == 1.0
    assert drops["px_like_a"].partner == "px_a"
    correlation = abs(np.corrcoef(columns["px_a"], columns["px_like_a"])[0, 1])
    assert drops["px_like_a"].value == pytest.approx(correlation)
    assert drops["px_sum"].partner == "px_a, px_b"
    assert found.rank_unchecked == ()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["kept"] == ["px_a", "px_b", "px_c"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 0.6))
def test_pairwise_correlation_equals_pandas_where_both_are_present(seed, share):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (120, 4)) @ rng.normal(0, 1, (4, 6))
    x[:, 2:][rng.random((120, 4)) < share] = np.nan
    expected = pd.DataFrame(x).corr(min_periods=30).to_numpy()
    np.testing.assert_allclose(pairwise_correlation(x), expected, rtol=1e-7, atol=1e-9)


def test_rows_in_many_blocks_give_what_one_block_gives():
    x = noise(9_001, 4, seed=3)
    x[:5_000:7, 2] = np.nan
    np.testing.assert_allclose(pairwise_correlation(x), pd.DataFrame(x).corr().to_numpy(), atol=1e-12)
    x = np.column_stack([x, x[:, 0] + x[:, 1]])
    assert [drop.reason for drop in prefilter(x, list("abcde")).dropped] == ["rank_deficient"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rank=st.integers(1, 6))
def test_what_is_left_has_the_rank_that_pivoted_qr_finds(seed, rank):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (150, rank)) @ rng.normal(0, 1, (rank, 8)) * rng.uniform(0.1, 100, 8) + 3.0
    found = prefilter(x, [f"f_{i}" for i in range(8)], max_correlation=1.0)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    diagonal = np.abs(np.diag(qr(z, mode="r", pivoting=True)[0]))
    assert len(found.kept) == int((diagonal > 1e-8 * diagonal[0]).sum()) == rank
    assert found.kept[0] == "f_0"


def test_features_rounded_to_single_precision_are_still_seen_as_a_combination():
    x = noise(3_000, 3).astype(np.float32)
    found = prefilter(np.column_stack([x, x[:, 0] + x[:, 1] + x[:, 2]]), list("abcd"))
    assert [(drop.feature, drop.partner) for drop in found.dropped] == [("d", "a, b, c")]


def test_a_combination_is_found_on_the_rows_all_share():
    x = noise(3_000, 2)
    x[1_000:, 0] += 4.0  # the rows without b have another mean
    a, b = x[:, 0], np.where(np.arange(3_000) < 1_500, np.nan, x[:, 1])
    found = prefilter({"a": a, "b": b, "sum": a + b})
    assert [(drop.feature, drop.reason, drop.partner) for drop in found.dropped] == [("sum", "rank_deficient", "a, b")]


def test_a_nearly_exact_combination_is_information_and_stays():
    x = noise(3_000, 3)
    blend = x[:, 0] + x[:, 1] + 1e-3 * x[:, 2]
    assert prefilter(np.column_stack([x[:, :2], blend]), list("abc")).dropped == ()


def test_the_earlier_of_two_features_stays_whatever_the_order():
    x = noise(200, 2)
    a, b, twin = x[:, 0], x[:, 1], x[:, 0] * 2.0
    assert prefilter({"a": a, "b": b, "twin": twin}).kept == ("a", "b")
    assert prefilter({"twin": twin, "b": b, "a": a}).kept == ("twin", "b")


def test_a_dropped_feature_does_not_drop_others():
    rng = np.random.default_rng(1)
    a, e = rng.normal(0, 1, (2, 5_000))
    b = a + 0.2 * e
    c = a + 0.4 * e
    # b is close to both, a and c are not close to each other
    assert abs(np.corrcoef(a, c)[0, 1]) < 0.97 < abs(np.corrcoef(a, b)[0, 1])
    assert abs(np.corrcoef(b, c)[0, 1]) > 0.97
    found = prefilter({"a": a, "b": b, "c": c})
    assert [(drop.feature, drop.reason) for drop in found.dropped] == [("b", "collinear")]


def test_two_features_that_hardly_overlap_are_not_called_collinear():
    x = noise(100, 1)[:, 0]
    early = np.where(np.arange(100) < 60, x, np.nan)
    late = np.where(np.arange(100) >= 40, x, np.nan)
    apart = prefilter({"early": early, "late": late})
    assert apart.kept == ("early", "late")
    assert apart.rank_unchecked == ("late",)
    overlapping = np.where(np.arange(100) >= 20, x, np.nan)
    assert prefilter({"early": early, "late": overlapping}).kept == ("early",)


def test_features_without_enough_common_rows_are_named_as_unchecked():
    x = noise(100, 4)
    x[:48, 2] = np.nan
    x[52:, 3] = np.nan
    found = prefilter(x, list("abcd"))
    assert found.rank_unchecked == ("d",)
    assert found.kept == ("a", "b", "c", "d")


def test_the_knobs_move_the_result():
    x = noise(200, 2)
    close = np.column_stack([x[:, 0], x[:, 0] + 0.5 * x[:, 1], np.where(x[:, 1] > 0, 1.0, 0.0)])
    close[:60, 1] = np.nan
    names = list("abc")
    assert prefilter(close, names).kept == ("a", "b", "c")
    assert prefilter(close, names, max_correlation=0.8).kept == ("a", "c")
    assert prefilter(close, names, max_missing=0.2).kept == ("a", "c")
    assert prefilter(close, names, min_unique=3).kept == ("a", "b")


def test_tables_and_limits_that_make_no_sense_are_refused():
    x = noise(50, 2)
    with pytest.raises(ValueError, match="different names"):
        prefilter(x, ["a"])
    with pytest.raises(ValueError, match="different names"):
        prefilter(x, ["a", "a"])
    with pytest.raises(ValueError, match="has its own"):
        prefilter({"a": x[:, 0]}, ["a"])
    with pytest.raises(ValueError, match="max_missing"):
        prefilter(x, ["a", "b"], max_missing=1.5)
    with pytest.raises(ValueError, match="all 2 features are degenerate"):
        prefilter(np.zeros((50, 2)), ["a", "b"])
