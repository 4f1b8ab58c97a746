import json

import numpy as np
import pytest
from scipy.signal import lfilter

from tft_pipeline.model import two_sample
from tft_pipeline.model.two_sample import MultivariateDrift, multivariate_drift

V = 6
NAMES = [f"f_{v}" for v in range(V)]


def persistent(seed: int, bars: int, phi: float, symbols: int = 2) -> np.ndarray:
    """(bars, S, V) AR(1) of unit variance."""
    noise = np.random.default_rng(seed).normal(0, 1, (bars + 200, symbols, V))
    return np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=0)[200:] * np.sqrt(1 - phi**2))


def judged(x: np.ndarray, n: int = 60, alpha: float = 0.05, **options: int) -> MultivariateDrift:
    return multivariate_drift(x[:-n], x[-n:], names=NAMES, max_rows=200, alpha=alpha, **options)


def test_a_change_that_no_single_feature_shows_is_found_and_its_features_named():
    x = persistent(0, 1260, 0.0)
    x[:, :, 1] = 0.95 * x[:, :, 0] + 0.31 * x[:, :, 1]
    same = judged(x)
    assert same.verdict == "stable", same.reason
    x[-60:, :, 1] *= -1.0  # the same marginal distribution, the opposite correlation
    found = judged(x)
    assert (found.verdict, found.p_value) == ("investigate", pytest.approx(0.05))
    assert {name for name, _ in found.top_features[:2]} == {"f_0", "f_1"}
    assert found.auc > 0.8 > found.auc_null_median
    assert "f_0" in found.reason


def test_persistence_lets_any_window_be_told_apart_and_is_no_drift():
    found = judged(persistent(1, 1260, 0.99))
    assert found.auc_null_median > 0.6
    assert found.verdict == "stable", found.reason


@pytest.mark.slow
@pytest.mark.parametrize("phi", [0.0, 0.95])
def test_without_drift_the_rate_of_alarms_is_the_one_asked_for(phi):
    alarms = [judged(persistent(100 + seed, 1260, phi, 1)).verdict == "investigate" for seed in range(80)]
    assert np.mean(alarms) <= 0.125  # 5 % and three standard errors


def test_the_same_seed_gives_the_same_bits_and_another_one_other_draws():
    x = persistent(2, 700, 0.5)
    assert judged(x, n=40, alpha=0.25, min_null_windows=3) == judged(x, n=40, alpha=0.25, min_null_windows=3)
    assert (
        judged(x, n=40, alpha=0.25, min_null_windows=3).auc
        != judged(x, n=40, alpha=0.25, min_null_windows=3, seed=1).auc
    )


def test_blocks_are_contiguous_in_time_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model only ever scores rows that lie between, before or after those it was trained on, never among them."""
    seen = []
    x = np.arange(660.0)[:, None, None] + np.zeros((660, 1, V))  # every value says its bar
    data_set = two_sample.lightgbm.Dataset

    def spy(data: np.ndarray, label: np.ndarray) -> object:
        seen.append((data[:, 0], label))
        return data_set(data, label)

    monkeypatch.setattr(two_sample.lightgbm, "Dataset", spy)
    judged(x)
    (fold_bars, fold_labels) = seen[1]  # the middle block of the recent window is left out
    for label, first, last in ((1.0, 600, 660), (0.0, 0, 600)):
        bars = np.sort(fold_bars[fold_labels == label])
        gap = np.diff(bars).max()
        assert gap >= (last - first) / 4
        assert np.flatnonzero(np.diff(bars) > (last - first) / 4).size == 1


def test_rows_without_a_value_are_left_out_and_missing_single_values_are_seen():
    x = persistent(3, 1260, 0.0)
    x[:600, 1] = np.nan  # a symbol that was listed later
    assert judged(x).verdict == "stable"
    x[-60:, :, 3][np.random.default_rng(4).random((60, 2)) < 0.7] = np.nan
    found = judged(x)
    assert (found.verdict, found.top_features[0][0]) == ("investigate", "f_3")


def test_rows_of_a_window_and_all_others_are_the_rows_with_a_value():
    x = persistent(8, 40, 0.0)
    x[:10, 0] = np.nan
    x[12] = np.nan
    rows = two_sample._Rows(x[:30], x[30:])
    there = [bar * 2 + symbol for bar in range(40) for symbol in range(2) if not np.isnan(x[bar, symbol]).all()]
    assert rows.known(5, 15).tolist() == [row for row in there if 10 <= row < 30]
    assert rows.others(5, 15).tolist() == [row for row in there if not 10 <= row < 30]
    np.testing.assert_array_equal(rows.values(np.array(there)), x.reshape(80, V)[there])


def test_windows_of_the_null_do_not_overlap_where_there_is_room():
    assert np.diff(np.sort(two_sample._windows(3000, 100, 19))).min() >= 100
    assert np.diff(np.sort(two_sample._windows(1200, 100, 19))).min() == 50
    assert two_sample._windows(700, 100, 19).size == 19
    assert two_sample._windows(500, 100, 19).size < 19


def test_too_few_rows_or_windows_are_insufficient_and_never_a_pass():
    x = persistent(5, 500, 0.0)
    few = judged(x, n=20)
    assert (few.verdict, few.auc, few.p_value, few.top_features) == ("insufficient_data", None, None, ())
    assert "40 recent rows" in few.reason
    short = judged(x, n=100)
    assert short.verdict == "insufficient_data"
    assert "null windows" in short.reason
    none = multivariate_drift(x, x[:0], names=NAMES)
    assert none.verdict == "insufficient_data"
    json.dumps(none.to_dict(), allow_nan=False)


def test_the_record_is_plain_json_with_named_shares():
    record = json.loads(json.dumps(judged(persistent(6, 1260, 0.0)).to_dict(), allow_nan=False))
    assert set(record["top_features"][0]) == {"feature", "share"}
    assert sum(row["share"] for row in record["top_features"]) == pytest.approx(1.0)
    assert (record["n_null"], record["rows_a_side"], record["n_features"]) == (19, 100, V)


def test_shapes_and_limits_that_do_not_fit_are_refused():
    x = persistent(7, 100, 0.0)
    with pytest.raises(ValueError, match="last two equal"):
        multivariate_drift(x, x[:, :1], names=NAMES)
    with pytest.raises(ValueError, match="every feature needs its own"):
        multivariate_drift(x, x, names=NAMES[:2])
    with pytest.raises(ValueError, match="alpha"):
        multivariate_drift(x, x, names=NAMES, alpha=1.0)
    with pytest.raises(ValueError, match="max_rows"):
        multivariate_drift(x, x, names=NAMES, max_rows=10)
