import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from tft_pipeline.domain.panel import rows_a_block
from tft_pipeline.domain.scaling import Scaler


def gappy(seed: int, rows: int = 200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal([0.0, 50.0, -3.0], [1.0, 4.0, 0.01], (rows, 3))
    x[rng.random(x.shape) < 0.1] = np.nan
    return x


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_scaling_equals_scikit_learn_on_values_with_gaps(seed):
    x = gappy(seed)
    peer = StandardScaler().fit(x)
    scaler = Scaler.fit(x, ["a", "b", "c"])
    np.testing.assert_allclose(scaler.mean, peer.mean_)
    np.testing.assert_allclose(scaler.std, peer.scale_)
    np.testing.assert_array_equal(scaler.n, (~np.isnan(x)).sum(axis=0))
    np.testing.assert_allclose(scaler.transform(x), peer.transform(x), rtol=1e-5, atol=1e-6)


def test_gaps_stay_and_extremes_are_cut():
    scaler = Scaler.fit(np.array([[0.0], [2.0]]), ["a"], clip=3.0)
    z = scaler.transform(np.array([[np.nan], [100.0], [-np.inf], [2.0]]))
    np.testing.assert_array_equal(z, np.array([[np.nan], [3.0], [-3.0], [1.0]], dtype=np.float32))
    assert z.dtype == np.float32


def test_a_panel_is_scaled_like_its_rows():
    x = gappy(1).reshape(4, 50, 3)
    scaler = Scaler.fit(x, ["a", "b", "c"])
    assert scaler == Scaler.fit(x.reshape(-1, 3), ["a", "b", "c"])
    np.testing.assert_array_equal(scaler.transform(x).reshape(-1, 3), scaler.transform(x.reshape(-1, 3)))


def several_blocks(seed: int = 0) -> np.ndarray:
    """Four symbols over more than three blocks of rows, in columns that are hard on a mean or a deviation."""
    rng = np.random.default_rng(seed)
    n = 1 + 3 * rows_a_block(6) // 4
    noise = rng.standard_normal((4, n, 6))
    late = np.where(np.arange(4 * n).reshape(4, n) < 2 * rows_a_block(6) + 7, np.nan, noise[..., 4])
    x = np.stack(
        [
            noise[..., 0],
            1e6 + noise[..., 1],  # a large level
            np.linspace(-50.0, 90.0, n) + 1e-3 * noise[..., 2],  # blocks that differ in their means only
            np.abs(noise[..., 3]) ** -0.5,  # heavy tail
            late,
            noise[..., 5],
        ],
        axis=-1,
    )
    x[0, 0, 5] = 1e5  # an outlier comes first
    x[rng.random(x.shape) < 0.05] = np.nan
    x[0, 0, 5] = 1e5
    return x.astype(np.float32)


def test_joined_blocks_have_the_moments_of_all_rows_at_once():
    x = several_blocks()
    rows = x.reshape(-1, 6).astype(np.longdouble)
    mean = np.nansum(rows, axis=0) / (~np.isnan(rows)).sum(axis=0)
    std = np.sqrt(np.nansum((rows - mean) ** 2, axis=0) / (~np.isnan(rows)).sum(axis=0))
    scaler = Scaler.fit(x, list("abcdef"))
    assert (np.abs(scaler.mean - mean) <= 1e-12 * np.maximum(np.abs(mean), std)).all()
    np.testing.assert_allclose(scaler.std, std.astype(np.float64), rtol=1e-12)
    np.testing.assert_array_equal(scaler.n, (~np.isnan(rows)).sum(axis=0))
    assert scaler.flat == ()


def test_observed_rows_alone_are_fitted_on_whatever_stands_in_the_others():
    x = several_blocks()
    observed = np.random.default_rng(1).random(x.shape[:2]) < 0.7
    observed[1] = False
    observed[2, :100] = False
    gathered = Scaler.fit(x[observed], list("abcdef"))
    x[~observed] = np.inf
    x.setflags(write=False)
    assert Scaler.fit(x, list("abcdef"), observed=observed) == gathered
    cut = slice(50, -50)
    assert Scaler.fit(x[:, cut], list("abcdef"), observed=observed[:, cut]) == Scaler.fit(
        x[:, cut][observed[:, cut]], list("abcdef")
    )


def test_a_feature_that_moves_between_blocks_only_is_not_flat_and_one_that_never_moves_is():
    n = rows_a_block(2)
    x = np.full((3 * n, 2), 0.1)
    x[n:, 0] = 0.3
    x[: n + 5, 1] = np.nan
    scaler = Scaler.fit(x, ["steps", "constant"])
    assert scaler.flat == ("constant",)
    np.testing.assert_allclose(scaler.mean, [0.7 / 3, 0.1], rtol=1e-12)
    np.testing.assert_allclose(scaler.std, [0.2 * np.sqrt(2) / 3, 1.0], rtol=1e-12)
    assert scaler.mean[1] == 0.1
    assert scaler.n.tolist() == [3 * n, 2 * n - 5]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), clip=st.floats(0.5, 20.0))
def test_a_scaler_survives_json_to_the_bit(seed, clip):
    scaler = Scaler.fit(gappy(seed), ["a", "b", "c"], clip=clip)
    again = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict(), allow_nan=False)))
    assert again == scaler
    assert hash(again) == hash(scaler)
    assert again.mean.tobytes() == scaler.mean.tobytes()
    assert again.std.tobytes() == scaler.std.tobytes()


def test_scalers_that_differ_are_unequal_and_none_can_be_changed():
    scaler = Scaler.fit(gappy(0), ["a", "b", "c"])
    assert scaler != Scaler.fit(gappy(1), ["a", "b", "c"])
    assert scaler != Scaler.fit(gappy(0), ["a", "b", "c"], clip=5.0)
    with pytest.raises(ValueError, match="read-only"):
        scaler.mean[0] = 1.0


@pytest.mark.fault("bad_bars")
@pytest.mark.parametrize("value", [3.0, 0.1, 0.0, -7e15])
def test_a_feature_that_never_moves_is_flat_and_zero_wherever_it_has_a_value(value):
    x = np.column_stack([np.arange(30.0), np.full(30, value)])
    x[4, 1] = np.nan
    scaler = Scaler.fit(x, ["ret_1", "vix_level"])
    assert scaler.flat == ("vix_level",)
    assert (scaler.mean[1], scaler.std[1], scaler.n[1]) == (value, 1.0, 29)
    later = np.array([[0.0, value], [1.0, value + 5.0], [2.0, np.nan], [3.0, np.inf]])
    np.testing.assert_array_equal(scaler.transform(later)[:, 1], [0.0, 0.0, np.nan, 0.0])
    np.testing.assert_array_equal(scaler.transform(x)[:, 1], np.where(np.isnan(x[:, 1]), np.nan, 0.0))
    alone = Scaler.fit(x[:, :1], ["ret_1"])
    np.testing.assert_array_equal(scaler.transform(x)[:, :1], alone.transform(x[:, :1]))


def test_a_feature_that_moves_by_rounding_only_is_flat():
    x = np.column_stack([np.arange(30.0), 0.3 + 1e-16 * (np.arange(30) % 2 == 0), 1e15 + np.arange(30.0) % 2])
    assert np.unique(x[:, 2]).size == 2
    scaler = Scaler.fit(x, ["a", "b", "c"])
    assert scaler.flat == ("b", "c")
    assert not scaler.transform(x)[:, 1:].any()


def test_a_feature_without_a_value_is_flat_and_stays_missing():
    scaler = Scaler.fit(np.array([[1.0, np.nan], [2.0, np.nan]]), ["a", "b"])
    assert scaler.flat == ("b",)
    assert (scaler.mean[1], scaler.std[1], scaler.n[1]) == (0.0, 1.0, 0)
    np.testing.assert_array_equal(scaler.transform(np.array([[1.5, np.nan], [1.5, 9.0]])), [[0.0, np.nan], [0.0, 0.0]])


def test_flat_features_survive_json_and_a_record_of_before_has_none():
    scaler = Scaler.fit(np.array([[1.0, 4.0], [2.0, 4.0]]), ["a", "b"])
    record = json.loads(json.dumps(scaler.to_dict(), allow_nan=False))
    again = Scaler.from_dict(record)
    assert again == scaler
    assert hash(again) == hash(scaler)
    assert again.flat == ("b",)
    del record["flat"]
    assert Scaler.from_dict(record).flat == ()
    assert Scaler.from_dict(record) != scaler


def test_values_that_cannot_be_measured_are_refused_by_name():
    with pytest.raises(ValueError, match="without a row no feature has a mean"):
        Scaler.fit(np.zeros((0, 2)), ["a", "b"])
    with pytest.raises(ValueError, match="b holds an infinite value"):
        Scaler.fit(np.array([[1.0, np.inf], [2.0, 1.0]]), ["a", "b"])
    later = np.ones((2 * rows_a_block(2), 2))
    later[-1, 1] = -np.inf
    with pytest.raises(ValueError, match="b holds an infinite value"):
        Scaler.fit(later, ["a", "b"])
    with pytest.raises(ValueError, match="without a row no feature has a mean"):
        Scaler.fit(np.ones((2, 3, 1)), ["a"], observed=np.zeros((2, 3), dtype=bool))
    with pytest.raises(ValueError, match=r"observed has shape \(3, 2\), values \(2, 3, 1\)"):
        Scaler.fit(np.ones((2, 3, 1)), ["a"], observed=np.ones((3, 2), dtype=bool))
    with pytest.raises(ValueError, match="last axis"):
        Scaler.fit(np.zeros((3, 2)), ["a"])
    with pytest.raises(ValueError, match="last axis"):
        Scaler.fit(gappy(0), ["a", "b", "c"]).transform(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="unique names"):
        Scaler.fit(gappy(0), ["a", "a", "c"])
    with pytest.raises(ValueError, match="clip"):
        Scaler.fit(gappy(0), ["a", "b", "c"], clip=0.0)
    with pytest.raises(ValueError, match="mean has shape"):
        Scaler(names=("a",), mean=np.array([np.nan]), std=np.ones(1), n=np.ones(1))
    with pytest.raises(ValueError, match=r"zero standard deviation \(a\)"):
        Scaler(names=("a",), mean=np.ones(1), std=np.zeros(1), n=np.ones(1))
    with pytest.raises(ValueError, match=r"flat names \['z'\]"):
        Scaler(names=("a",), mean=np.ones(1), std=np.ones(1), n=np.ones(1), flat=("z",))
