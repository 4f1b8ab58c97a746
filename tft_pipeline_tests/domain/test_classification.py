import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from tft_pipeline.domain.classification import (
    MARGIN,
    accuracy,
    auc_roc,
    break_even_accuracy,
    brier,
    describe_probabilities,
    expected_calibration_error,
    f1,
    log_loss,
    reliability_rows,
    wilson_interval,
)


def sample(seed: int, n: int = 200, *, coarse: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0, 1, n)
    y = (rng.uniform(0, 1, n) < p).astype(int)
    y[:2] = 0, 1
    return y, np.round(p, 1) if coarse else p


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), coarse=st.booleans())
def test_every_score_equals_that_of_scikit_learn(seed, coarse):
    y, p = sample(seed, coarse=coarse)
    guess = (p >= 0.5).astype(int)
    assert accuracy(y, guess) == pytest.approx(metrics.accuracy_score(y, guess))
    assert f1(y, guess) == pytest.approx(metrics.f1_score(y, guess))
    assert auc_roc(y, p) == pytest.approx(metrics.roc_auc_score(y, p))
    assert log_loss(y, p) == pytest.approx(metrics.log_loss(y, np.clip(p, MARGIN, 1.0 - MARGIN)))  # theirs keeps 2e-16
    assert brier(y, p) == pytest.approx(metrics.brier_score_loss(y, p))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 500), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_the_wilson_interval_equals_that_of_scipy_and_holds_the_share(n, share, confidence):
    k = round(share * n)
    low, high = wilson_interval(k, n, confidence)
    peer = binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert (low, high) == pytest.approx((peer.low, peer.high), abs=1e-12)
    assert 0.0 <= low <= k / n <= high <= 1.0 or k in (0, n)


def test_calibration_error_equals_a_loop_over_bins():
    y, p = sample(3, 500)
    p[:3] = 0.0, 1.0, 0.3
    total = 0.0
    for b in range(10):
        inside = [i for i in range(500) if b / 10 <= p[i] < (b + 1) / 10 or (b == 9 and p[i] == 1.0)]
        if inside:
            gap = sum(p[i] for i in inside) / len(inside) - sum(y[i] for i in inside) / len(inside)
            total += abs(gap) * len(inside) / 500
    assert expected_calibration_error(y, p) == pytest.approx(total)


def test_the_calibration_error_of_true_probabilities_is_small_and_of_overconfident_ones_is_not():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.3, 0.7, 50_000)
    y = (rng.uniform(0, 1, 50_000) < p).astype(int)
    assert expected_calibration_error(y, p) < 0.01
    assert expected_calibration_error(y, np.where(p > 0.5, 0.99, 0.01)) > 0.35


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_auc_depends_on_order_only_and_mirrors(seed):
    y, p = sample(seed, 60, coarse=True)
    assert auc_roc(y, np.exp(3 * p)) == pytest.approx(auc_roc(y, p))
    assert auc_roc(y, -p) == pytest.approx(1.0 - auc_roc(y, p))


def test_reliability_is_that_of_scikit_learn_with_bins_of_equal_counts():
    y, p = sample(11, 1000)
    rows = reliability_rows(y, p)
    came, said = calibration_curve(y, p, n_bins=10, strategy="quantile")
    assert len(rows) == 10
    assert {row["n"] for row in rows} <= {99, 100, 101}
    assert [row["share_up"] for row in rows] == pytest.approx(came.tolist(), abs=0.02)
    assert [row["mean_probability"] for row in rows] == pytest.approx(said.tolist(), abs=0.002)
    for row in rows:
        peer = binomtest(round(row["share_up"] * row["n"]), row["n"]).proportion_ci(0.95, method="wilson")
        assert row["interval"] == pytest.approx((peer.low, peer.high))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n_bins=st.integers(1, 20), coarse=st.booleans())
def test_reliability_bins_hold_every_row_once_and_equal_probabilities_together(seed, n_bins, coarse):
    y, p = sample(seed, 120, coarse=coarse)
    rows = reliability_rows(y, p, n_bins=n_bins)
    assert sum(row["n"] for row in rows) == 120
    assert sum(row["n"] * row["share_up"] for row in rows) == pytest.approx(y.sum())
    assert sum(row["n"] * row["mean_probability"] for row in rows) == pytest.approx(p.sum())
    said = [row["mean_probability"] for row in rows]
    assert said == sorted(said)
    assert len(rows) <= min(n_bins, len(np.unique(p)))
    if coarse:  # bins end where a value ends: none is split
        counts = [row["n"] for row in rows]
        ends = set(np.cumsum(np.unique(p, return_counts=True)[1]).tolist())
        assert set(np.cumsum(counts).tolist()) <= ends


def test_reliability_intervals_count_the_rows_of_a_bar_once():
    y, p = sample(12, 300)
    rows = reliability_rows(np.repeat(y, 4), np.repeat(p, 4), bars=np.repeat(np.arange(300), 4), n_bins=5)
    alone = reliability_rows(y, p, n_bins=5)
    for row, one in zip(rows, alone, strict=True):
        assert (row["n"], row["n_bars"]) == (4 * one["n"], one["n"])
        assert row["interval"] == pytest.approx(one["interval"])
    with pytest.raises(ValueError, match="one a row"):
        reliability_rows(y, p, bars=np.arange(10))
    with pytest.raises(ValueError, match="n_bins"):
        reliability_rows(y, p, n_bins=0)


def test_a_constant_probability_is_one_bin():
    (row,) = reliability_rows(np.array([0, 1, 1, 0]), np.full(4, 0.4))
    assert (row["n"], row["share_up"], row["mean_probability"]) == (4, 0.5, pytest.approx(0.4))


def test_break_even_accuracy_is_where_bets_on_direction_earn_their_cost():
    cost, move = 0.0005, 0.004
    share = break_even_accuracy(cost, move)
    assert share == pytest.approx(0.5625)
    assert share * move - (1 - share) * move == pytest.approx(cost)


def test_a_certain_mistake_costs_much_but_stays_finite():
    assert log_loss(np.array([1]), np.array([0.0])) == pytest.approx(-np.log(1e-12))


def test_the_description_holds_base_rate_interval_and_scores():
    y, p = sample(5, 300)
    found = describe_probabilities(y, p)
    guess = (p >= 0.5).astype(int)
    assert found["n"] == 300
    assert found["accuracy"] == pytest.approx((guess == y).mean())
    assert found["accuracy_ci"] == wilson_interval(int((guess == y).sum()), 300)
    assert found["base_rate"] == pytest.approx(y.mean())
    assert found["majority_rate"] == pytest.approx(max(y.mean(), 1 - y.mean()))
    assert (found["f1"], found["auc_roc"]) == pytest.approx((f1(y, guess), auc_roc(y, p)))
    assert (found["log_loss"], found["brier"]) == pytest.approx((log_loss(y, p), brier(y, p)))
    assert found["ece"] == expected_calibration_error(y, p)


@pytest.mark.fault("bad_bars")
def test_a_row_of_one_class_has_no_auc_and_one_without_ones_no_f1():
    found = describe_probabilities(np.zeros(4, dtype=int), np.full(4, 0.2))
    assert found["auc_roc"] is None
    assert found["f1"] is None
    assert found["majority_rate"] == 1.0
    with pytest.raises(ValueError, match="one class"):
        auc_roc(np.zeros(4, dtype=int), np.full(4, 0.2))
    with pytest.raises(ValueError, match="F1 is undefined"):
        f1(np.zeros(4, dtype=int), np.zeros(4, dtype=int))


def test_rows_that_are_no_labels_or_probabilities_are_refused():
    y, p = sample(1, 10)
    with pytest.raises(ValueError, match="0 and 1"):
        log_loss(np.array([0, 2]), p[:2])
    with pytest.raises(ValueError, match=r"inside \[0, 1\]"):
        brier(y, p + 1.0)
    with pytest.raises(ValueError, match=r"inside \[0, 1\]"):
        log_loss(y, np.full(10, np.nan))
    with pytest.raises(ValueError, match="join them"):
        log_loss(y[:5], p)
    with pytest.raises(ValueError, match="NaN"):
        auc_roc(y, np.full(10, np.nan))
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(5, 4)
    with pytest.raises(ValueError, match="cost"):
        break_even_accuracy(-0.1, 0.01)
    with pytest.raises(ValueError, match="n_bins"):
        expected_calibration_error(y, p, n_bins=0)
