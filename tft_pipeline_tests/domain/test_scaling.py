import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

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
