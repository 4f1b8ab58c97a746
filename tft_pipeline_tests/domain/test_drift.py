import json
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest
from scipy.signal import lfilter
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from tft_pipeline.domain import drift
from tft_pipeline.domain.divergence import quantile_edges, smoothed_proportions
from tft_pipeline.domain.drift_null import null_starts, turned_starts
from tft_pipeline.model.feature_threads import feature_threads
from tft_pipeline_tests.oracles.drift import gap_at, null_pairs, null_psis, p_of, psi_of_counts, shares


def gappy(seed: int, bars: int, symbols: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (bars, symbols))
    x[rng.random(x.shape) < 0.05] = np.nan
    return x


def test_every_number_equals_a_count_value_by_value():
    reference = {"a": gappy(0, 300, 3), "b": np.round(gappy(1, 300, 3)), "c": np.full((300, 3), 2.0)}
    recent = {"a": gappy(2, 23, 3) + 0.4, "b": np.round(gappy(3, 23, 3)), "c": np.full((23, 3), 2.0)}
    found = drift.drift_report(reference, recent, n_bins=8)
    far, observed = {}, {}
    for row in found.features:
        before, after = reference[row.feature], recent[row.feature]
        edges = list(quantile_edges(before, 8))
        then, now = shares(list(before.ravel()), edges), shares(list(after.ravel()), edges)
        used = [a + b > 0 for a, b in zip(then, now, strict=True)]
        size = psi_of_counts(then, now, used)
        null = null_psis(before.tolist(), after.tolist(), edges)
        assert found.n_null_windows == len(null)
        assert row.psi == pytest.approx(size, abs=1e-12)
        assert row.psi_null_median == pytest.approx(np.median(null), abs=1e-12)
        assert row.psi_p_value == pytest.approx(p_of([v + 1e-12 for v in null], size, 300, 23))
        p, q = (smoothed_proportions(np.array(c)[np.array(used)]) for c in (then, now))
        assert row.js_distance == pytest.approx(float(jensenshannon(p, q, base=2)), abs=1e-9)
        assert row.js_divergence_bits == pytest.approx(row.js_distance**2)
        assert row.js_divergence_nats == pytest.approx(float(jensenshannon(p, q)) ** 2, abs=1e-9)
        assert row.missing_reference == pytest.approx(np.isnan(before).mean())
        assert row.missing_recent == pytest.approx(np.isnan(after).mean())
        centre = sum([*null, size]) / (1 + len(null))
        spread = max(0.1, (sum((v - centre) ** 2 for v in [*null, size]) / (1 + len(null))) ** 0.5)
        far[row.feature] = [(v - centre) / spread for v in null]
        observed[row.feature] = (size - centre) / spread
    best = [max(window) for window in zip(*far.values(), strict=True)]
    for row in found.features:
        assert row.psi_p_value_family == pytest.approx(p_of(best, observed[row.feature], 300, 23))
    assert found.family_p_value == pytest.approx(p_of(best, max(observed.values()), 300, 23))
    assert observed["c"] == 0.0


@pytest.mark.parametrize("rounded", [False, True])
def test_ks_and_wasserstein_are_those_of_scipy_and_their_p_value_counts_windows(rounded):
    before, after = gappy(20, 200, 2) * 3, gappy(21, 25, 2) + 0.3
    if rounded:
        before, after = np.round(before), np.round(after)
    (row,) = drift.drift_report({"a": before}, {"a": after}).features
    x, y = before[~np.isnan(before)], after[~np.isnan(after)]
    assert row.ks == pytest.approx(ks_2samp(x, y).statistic, abs=1e-12)
    assert row.wasserstein == pytest.approx(wasserstein_distance(x, y) / x.std(), abs=1e-9)
    points = sorted({*quantile_edges(before, 10), *quantile_edges(before, 50)})  # as many as recent values
    seen = gap_at(points, list(after.ravel()), list(before.ravel()))
    null = [gap_at(points, *pair) for pair in null_pairs(before.tolist(), after.tolist())]
    assert seen <= row.ks + 1e-12
    assert row.ks_p_value == pytest.approx(p_of(null, seen - 1e-12, 200, 25))


def test_a_distance_that_is_not_defined_is_none_and_the_record_stays_json():
    rng = np.random.default_rng(22)
    x = rng.normal(0, 1, 1000)
    sides = [
        {"empty": np.full(1000, np.nan), "still": np.ones(1000), "endless": np.append(x[1:], np.inf), "x": x},
        {"empty": np.full(60, np.nan), "still": np.full(60, 2.0), "endless": x[:60], "x": x[:60]},
    ]
    found = drift.drift_report(*sides)
    empty, still, endless, fine = found.features
    assert (empty.ks, empty.ks_p_value, empty.wasserstein, empty.psi, empty.verdict) == (
        None,
        None,
        None,
        0.0,
        "insufficient_data",
    )
    assert (still.ks, still.wasserstein, still.verdict) == (1.0, None, "retrain")
    assert endless.wasserstein is None
    assert endless.ks == pytest.approx(ks_2samp(*(side["endless"] for side in sides)).statistic)
    assert fine.wasserstein is not None
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_shift_by_one_deviation_is_a_wasserstein_distance_of_one_in_any_unit():
    x = np.random.default_rng(23).normal(5, 3, 2000)
    for scale, level in ((1.0, 0.0), (1e-4, 0.0), (1.0, 1e6)):
        before = x * scale + level
        (row,) = drift.drift_report({"a": before}, {"a": before + before.std()}).features
        assert row.wasserstein == pytest.approx(1.0, abs=1e-6)


def test_threads_and_the_order_of_features_change_nothing_and_float32_keeps_its_bins():
    rng = np.random.default_rng(24)
    reference = {f"f{i}": rng.standard_normal((900, 2), dtype=np.float32) for i in range(7)}
    recent = {f"f{i}": rng.standard_normal((70, 2), dtype=np.float32) for i in range(7)}
    alone = drift.drift_report(reference, recent)
    for workers in (1, 2, 5):
        with feature_threads(workers) as each:
            assert drift.drift_report(reference, recent, each=each) == alone
    turned = drift.drift_report(*({k: side[k] for k in reversed(side)} for side in (reference, recent)))
    assert turned.features == alone.features[::-1]
    double = drift.drift_report(*({k: v.astype(float) for k, v in side.items()} for side in (reference, recent)))
    for single, wide in zip(alone.features, double.features, strict=True):
        assert (single.psi, single.ks, single.ks_p_value) == (wide.psi, wide.ks, wide.ks_p_value)
        assert single.wasserstein == pytest.approx(wide.wasserstein, rel=1e-5)


def test_null_windows_start_every_third_of_their_length_back_from_the_recent_bars():
    assert null_starts(30, 9).tolist() == [21, 18, 15, 12, 9, 6, 3, 0]
    assert null_starts(30, 9, a_window=1).tolist() == [21, 12, 3]
    assert null_starts(9, 9).size == null_starts(9, 0).size == 0
    for starts in (null_starts(1_000_000, 50), turned_starts(1_000_000, 50)[0]):
        assert 900 < starts.size <= 999
        assert np.ptp(np.diff(starts)) <= 1


def test_null_windows_are_all_that_the_recent_one_becomes_when_the_ring_of_bars_is_turned():
    starts, whole = turned_starts(27, 9)
    assert starts.tolist() == [24, 21, 18, 15, 12, 9, 6, 3, 0, 33, 30]  # and 27 is the recent one
    assert starts[whole].tolist() == [18, 9, 0]
    starts, whole = turned_starts(28, 10)
    assert starts.tolist() == [25, 22, 18, 15, 12, 8, 5, 2, 36, 33]
    assert starts[whole].tolist() == [18, 8]
    assert turned_starts(3, 1)[0].tolist() == [2, 1, 0]
    for none in (turned_starts(9, 9), turned_starts(9, 0)):
        assert none[0].size == none[1].size == 0


def test_days_rank_among_days_where_bars_change_from_day_to_day():
    """Days of different levels in random order: a window across two of them is less far out than either."""
    alarms = 0
    for seed in range(150):
        rng = np.random.default_rng([35, seed])
        x = (rng.normal(0, 1, (21, 60)) + rng.normal(0, 1, (21, 1))).ravel()
        alarms += drift.drift_report({"a": x[:1200]}, {"a": x[1200:]}).family_p_value <= 0.05
    assert 1 <= alarms <= 20  # the first two of 21 days are 9.5 %; without days among days it were the first three


def test_a_shift_asks_for_retraining_and_names_its_feature():
    rng = np.random.default_rng(4)
    reference = {f"f_{i}": rng.normal(0, 1, 3000) for i in range(10)}
    recent = {f"f_{i}": rng.normal(1.5 if i == 6 else 0, 1, 120) for i in range(10)}
    found = drift.drift_report(reference, recent)
    assert found.verdict == "retrain"
    assert [row.feature for row in found.features if row.verdict != "stable"] == ["f_6"]
    assert "f_6" in found.reason
    assert found.family_p_value == pytest.approx(1 / (1 + found.n_null_windows))


def test_a_moderate_significant_shift_asks_for_a_look():
    rng = np.random.default_rng(5)
    found = drift.drift_report({"a": rng.normal(0, 1, 40_000)}, {"a": rng.normal(0.4, 1, 1000)})
    assert drift.PSI_INVESTIGATE < found.features[0].psi < 0.25
    assert found.verdict == "investigate"


def test_a_tiny_significant_shift_is_stable():
    rng = np.random.default_rng(6)
    found = drift.drift_report({"a": rng.normal(0, 1, 100_000)}, {"a": rng.normal(0.15, 1, 4000)})
    assert found.features[0].psi_p_value_family < 0.05
    assert found.verdict == "stable"
    assert "significant but small" in found.features[0].reason


def test_a_large_change_that_the_reference_knows_too_is_reported_as_insignificant():
    wander = lfilter([1.0], [1.0, -0.995], np.random.default_rng(7).normal(0, 1, 4060))
    found = drift.drift_report({"level": wander[:4000]}, {"level": wander[4000:]})
    assert found.features[0].psi > 0.25
    assert found.verdict == "stable"
    assert "a large change, but not significant" in found.features[0].reason


def test_missing_values_that_appear_are_drift():
    rng = np.random.default_rng(9)
    recent = rng.normal(0, 1, 200)
    recent[:100] = np.nan
    found = drift.drift_report({"a": rng.normal(0, 1, 6000)}, {"a": recent})
    assert found.verdict == "retrain"
    assert (found.features[0].missing_reference, found.features[0].missing_recent) == (0.0, 0.5)


def test_a_constant_feature_is_stable_until_it_moves():
    rng = np.random.default_rng(10)
    reference = {"flag": np.zeros(3000), "x": rng.normal(0, 1, 3000)}
    same = drift.drift_report(reference, {"flag": np.zeros(100), "x": rng.normal(0, 1, 100)})
    assert same.features[0].psi == 0.0
    assert same.verdict == "stable"
    moved = drift.drift_report(reference, {"flag": np.ones(100), "x": rng.normal(0, 1, 100)})
    assert moved.features[0].verdict == "retrain"


@pytest.mark.fault("short_window")
def test_too_few_recent_bars_are_insufficient_and_never_a_pass():
    rng = np.random.default_rng(11)
    week = drift.drift_report({"a": rng.normal(0, 1, 2000)}, {"a": rng.normal(0, 1, 7)})
    assert week.verdict == "insufficient_data"
    assert week.features[0].verdict == "insufficient_data"
    assert week.features[0].psi_p_value is None
    assert "longer recent window" in week.reason
    short = drift.drift_report({"a": rng.normal(0, 1, 500)}, {"a": rng.normal(0, 1, 99)})
    assert short.verdict == "insufficient_data"
    assert "17 null windows" in short.reason
    assert short.features[0].ks_p_value is None
    empty = drift.drift_report({"a": rng.normal(0, 1, 900)}, {"a": np.empty(0)})
    assert (empty.verdict, empty.features) == ("insufficient_data", ())
    panel = drift.drift_report({"a": rng.normal(0, 1, (900, 8))}, {"a": rng.normal(0, 1, (7, 8))})
    assert panel.verdict == "stable"


def test_more_windows_can_be_demanded_and_the_thresholds_move_the_verdict():
    rng = np.random.default_rng(12)
    reference, recent = {"a": rng.normal(0, 1, 20_000)}, {"a": rng.normal(0.7, 1, 500)}
    size = drift.drift_report(reference, recent).features[0].psi
    assert size > 0.25
    assert drift.drift_report(reference, recent).verdict == "retrain"
    assert drift.drift_report(reference, recent, psi_threshold=1.0).verdict == "investigate"
    assert drift.drift_report(reference, recent, psi_threshold=1.0, js_threshold=0.1).verdict == "retrain"
    out_of_reach = drift.drift_report(reference, recent, alpha=0.001)
    assert out_of_reach.verdict == "insufficient_data"  # 118 windows cannot give a p-value below 1/119
    assert "999 are needed" in out_of_reach.reason
    strict = drift.drift_report({"a": reference["a"][-5000:]}, {"a": recent["a"] - 0.65}, alpha=0.04)
    assert strict.verdict == "stable"
    assert drift.drift_report(reference, recent, min_null_windows=200).verdict == "insufficient_data"
    assert drift.drift_report(reference, recent, n_bins=3).features[0].psi < size


def test_a_frame_and_a_mapping_say_the_same():
    rng = np.random.default_rng(13)
    before, after = rng.normal(0, 1, (2000, 2)), rng.normal(0, 1, (80, 2))
    frames = [pl.DataFrame({"a": x[:, 0], "b": x[:, 1]}) for x in (before, after)]
    frames[1] = frames[1].with_columns(pl.when(pl.col("a") > 0).then("a"))
    after[after[:, 0] <= 0, 0] = np.nan
    by_name = drift.drift_report({"a": before[:, 0], "b": before[:, 1]}, {"a": after[:, 0], "b": after[:, 1]})
    assert drift.drift_report(*frames) == by_name
    record = json.loads(json.dumps(by_name.to_dict(), allow_nan=False))
    assert record["verdict"] == by_name.verdict
    assert [row["feature"] for row in record["features"]] == ["a", "b"]
    assert (record["n_reference"], record["n_recent"], record["window"]) == (2000, 80, 80)


def test_units_and_any_rising_transform_change_nothing():
    rng = np.random.default_rng(14)
    before, after = rng.normal(0, 1, 2000), rng.normal(0.2, 1, 80)
    first = drift.drift_report({"a": before}, {"a": after})
    for curved in (np.exp, lambda x: 1e6 + 100.0 * x):
        found = drift.drift_report({"a": curved(before)}, {"a": curved(after)})
        rows = [asdict(report.features[0]) for report in (first, found)]
        apart = [row.pop("wasserstein") for row in rows]
        assert rows[0] == rows[1]
    assert apart[0] == pytest.approx(apart[1], rel=1e-6)  # of units alone it does not depend either


def test_inputs_that_cannot_be_compared_are_refused():
    x = np.zeros(100)
    with pytest.raises(ValueError, match="same features"):
        drift.drift_report({"a": x}, {"b": x})
    with pytest.raises(ValueError, match="symbols in the reference"):
        drift.drift_report({"a": np.zeros((100, 2))}, {"a": x})
    with pytest.raises(ValueError, match="equal for all"):
        drift.drift_report({"a": x, "b": x[:50]}, {"a": x, "b": x})
    with pytest.raises(ValueError, match="alpha"):
        drift.drift_report({"a": x}, {"a": x}, alpha=1.5)


def beside_flags(x: np.ndarray, window: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Ordinary features, a flag that is on for a third of every tenth window, and a calendar flag of one window in all."""
    rare, calendar = np.zeros(len(x)), np.zeros(len(x))
    for start in range(5 * window, len(x) - window, 10 * window):
        rare[start + 5 : start + 5 + window // 3] = 1.0
    calendar[3 * window : 4 * window] = 1.0
    gaps = np.where(rng.random(len(x)) < 0.01, rng.normal(0, 1, len(x)), 0.0)
    return {f"x{v}": x[:, v] for v in range(x.shape[1])} | {"rare": rare, "calendar": calendar, "bar_gap": gaps}


def test_a_rare_flag_a_near_constant_and_a_duplicated_feature_hide_no_shift():
    found = 0
    for seed in range(20):
        rng = np.random.default_rng([30, seed])
        x = rng.normal(0, 1, (21 * 60, 6))
        x[20 * 60 :, 2] += 1.0
        bars = beside_flags(x, 60, rng)
        bars |= {"again": bars["x1"], "flag_again": bars["rare"]}
        report = drift.drift_report(*({k: v[part] for k, v in bars.items()} for part in np.s_[:1200, 1200:]))
        found += [row.feature for row in report.features if row.verdict == "retrain"] == ["x2"]
    assert found >= 15  # with PSI / median as the common scale: none


def test_a_feature_whose_own_p_value_is_the_least_says_so_where_the_family_hides_it():
    rng = np.random.default_rng(31)
    x = rng.normal(0, 1, (1260, 40))
    x[1200:, 0] += 0.8
    for window, start in enumerate(range(60, 1140, 180)):  # windows of the reference in which one other feature moved
        x[start : start + 60, 1 + window] += 4.0
    report = drift.drift_report(*({str(v): part[:, v] for v in range(40)} for part in (x[:1200], x[1200:])))
    row = report.features[0]
    assert row.psi_p_value == pytest.approx(1 / (1 + report.n_null_windows))
    assert row.psi_p_value_family > 0.05
    assert "no window of this feature is as far" in row.reason
    assert "no window" not in report.features[1].reason


@pytest.mark.parametrize("late", [0.3, 0.7, 0.97])
def test_a_symbol_that_starts_late_is_no_drift_and_hides_none(late):
    alarms = found = 0
    for seed in range(25):
        rng = np.random.default_rng([32, seed])
        x = rng.normal(0, 1, (21 * 60, 3, 3))
        seen = np.ones((21 * 60, 3), dtype=bool)
        seen[: int(late * 1200), 2] = False
        masks = seen[:1200], seen[1200:]
        for shift in (0.0, 1.0):
            y = np.where(seen[:, None], x, np.nan)
            y[1200:, 0] += shift
            sides = [{str(v): part[:, v] for v in range(3)} for part in (y[:1200], y[1200:])]
            report = drift.drift_report(*sides, observed=masks)
            assert all(row.missing_reference == row.missing_recent == 0.0 for row in report.features)
            alarms += shift == 0.0 and report.family_p_value <= 0.05
            found += shift > 0.0 and report.features[0].verdict == "retrain"
    assert alarms <= 5
    assert found >= 24


def test_unobserved_bars_count_nowhere_and_missing_values_of_observed_bars_do():
    rng = np.random.default_rng(33)
    x = rng.normal(0, 1, (1260, 2))
    seen = rng.random(x.shape) < 0.8
    missing = rng.random(x.shape) < 0.1
    x[missing] = np.nan
    (row,) = drift.drift_report({"a": x[:1200]}, {"a": x[1200:]}, observed=(seen[:1200], seen[1200:])).features
    edges = list(quantile_edges(np.where(seen, x, np.nan)[:1200], 10))
    then, now = (shares(list(x[part][seen[part]]), edges) for part in np.s_[:1200, 1200:])
    assert row.psi == pytest.approx(psi_of_counts(then, now, [True] * len(then)), abs=1e-12)
    assert row.missing_reference == pytest.approx(missing[:1200][seen[:1200]].mean())
    assert row.missing_recent == pytest.approx(missing[1200:][seen[1200:]].mean())
    with pytest.raises(ValueError, match="own mark"):
        drift.drift_report({"a": x[:1200]}, {"a": x[1200:]}, observed=(seen, seen))


def test_windows_that_are_hardly_observed_are_left_out_of_the_null_and_said():
    rng = np.random.default_rng(34)
    x, seen = rng.normal(0, 1, 1260), np.ones((1260, 1), dtype=bool)
    seen[240:480] = False
    report = drift.drift_report({"a": x[:1200]}, {"a": x[1200:]}, observed=(seen[:1200], seen[1200:]))
    # of the 62 windows those that start at 200 to 460 hold at most 40 observed bars of 60, and ten bins take 50
    assert report.n_null_windows == 62 - 14
    assert "14 windows with fewer than half" in report.reason
    seen[:900] = False
    report = drift.drift_report({"a": x[:1200]}, {"a": x[1200:]}, observed=(seen[:1200], seen[1200:]))
    assert report.verdict == "insufficient_data"
    assert "left out of the null" in report.reason
    seen[1220:] = False
    report = drift.drift_report({"a": x[:1200]}, {"a": x[1200:]}, observed=(seen[:1200], seen[1200:]))
    assert "20 recent values are fewer than" in report.reason
