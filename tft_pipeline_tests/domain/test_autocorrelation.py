import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.signal import lfilter
from statsmodels.stats.diagnostic import acorr_ljungbox

from tft_pipeline.domain.autocorrelation import (
    autocorrelations,
    ljung_box_lags,
    ljung_box_p,
    lo_eta,
    newey_west_lag,
    newey_west_t,
)


def autoregressive(phi: float, n: int, seed: int = 0) -> np.ndarray:
    return lfilter([1.0], [1.0, -phi], np.random.default_rng(seed).normal(0.001, 0.01, n))


def test_the_factor_equals_its_sum_written_out():
    x = autoregressive(0.3, 400)
    d = x - x.mean()
    q = 21
    total = float(q)
    for k in range(1, q):
        rho = sum(d[t] * d[t - k] for t in range(k, d.size)) / sum(value * value for value in d)
        total += 2.0 * (q - k) * rho
    assert lo_eta(x, q) == pytest.approx(q / math.sqrt(total), rel=1e-10)


def test_one_bar_and_no_lags_give_the_square_root_rule():
    x = autoregressive(0.3, 100)
    assert lo_eta(x, 1) == pytest.approx(1.0)
    assert lo_eta(x, 252, max_lag=0) == pytest.approx(math.sqrt(252.0))


def test_the_factor_turns_the_ratio_of_a_bar_into_that_of_many():
    x = autoregressive(0.5, 400_000, seed=1)
    q = 20
    sums = x.reshape(-1, q).sum(axis=1)
    measured = (sums.mean() / sums.std()) / (x.mean() / x.std())
    assert lo_eta(x, q) == pytest.approx(measured, rel=0.02)
    assert lo_eta(x, q) < 0.7 * math.sqrt(q)  # momentum in returns: the square root rule flatters


def test_impossible_requests_are_refused():
    x = autoregressive(0.0, 50)
    with pytest.raises(ValueError, match="fewer lags than returns"):
        lo_eta(x, 252)
    with pytest.raises(ValueError, match="q 0"):
        lo_eta(x, 0)
    with pytest.raises(ValueError, match="finite series that varies"):
        lo_eta(np.ones(10), 2)
    swing = np.where(np.arange(60) % 2, 1.0, -1.0)
    with pytest.raises(ValueError, match="smaller max_lag"):
        lo_eta(swing, 252, max_lag=1)


@pytest.mark.parametrize(("n", "phi"), [(12, 0.0), (90, -0.3), (700, 0.4)])
def test_the_newey_west_t_equals_that_of_statsmodels(n, phi):
    x = autoregressive(phi, n, seed=n)
    for lag in (None, 0, 1, 9):
        found = newey_west_t(x, lag=lag)
        kwds = {"maxlags": newey_west_lag(n) if lag is None else lag, "use_correction": False}
        assert found == pytest.approx(sm.OLS(x, np.ones(n)).fit(cov_type="HAC", cov_kwds=kwds).tvalues[0])


def test_the_lag_follows_the_rule_of_thumb_and_stays_below_the_length():
    assert [newey_west_lag(n) for n in (2, 8, 100, 252, 1000, 10_000)] == [1, 2, 4, 4, 6, 11]


def test_the_newey_west_t_of_momentum_without_a_mean_is_standard_normal_and_the_plain_one_is_not():
    ts, plain = [], []
    for seed in range(300):
        x = lfilter([1.0], [1.0, -0.4], np.random.default_rng(seed).normal(0.0, 1.0, 1500))[500:]
        ts.append(newey_west_t(x, lag=25))
        plain.append(x.mean() / x.std(ddof=1) * math.sqrt(x.size))
    assert np.std(ts) == pytest.approx(1.0, abs=0.12)
    assert np.std(plain) > 1.3


def test_t_and_p_do_not_depend_on_the_unit_and_the_t_turns_with_the_sign():
    x = autoregressive(0.2, 300, seed=2)
    assert newey_west_t(1e4 * x) == pytest.approx(newey_west_t(x))
    assert newey_west_t(-x) == pytest.approx(-newey_west_t(x))
    assert ljung_box_p(-1e4 * x) == pytest.approx(ljung_box_p(x))


@pytest.mark.parametrize(("n", "phi"), [(9, 0.0), (60, 0.1), (900, 0.05)])
def test_the_ljung_box_p_equals_that_of_statsmodels(n, phi):
    x = autoregressive(phi, n, seed=n)
    for lags in (None, 1, 5):
        expected = acorr_ljungbox(x, lags=[ljung_box_lags(n) if lags is None else lags])
        assert ljung_box_p(x, lags=lags) == pytest.approx(float(expected["lb_pvalue"].iloc[0]))
    assert [ljung_box_lags(size) for size in (3, 8, 21, 50, 5000)] == [1, 1, 4, 10, 10]


def test_the_ljung_box_p_is_uniform_without_autocorrelation_and_small_with_it():
    without = [ljung_box_p(autoregressive(0.0, 400, seed)) for seed in range(300)]
    assert np.mean(np.array(without) < 0.05) == pytest.approx(0.05, abs=0.04)
    assert np.mean(without) == pytest.approx(0.5, abs=0.06)
    assert ljung_box_p(autoregressive(0.3, 400)) < 1e-3


def test_autocorrelations_are_those_of_the_sum_written_out():
    x = autoregressive(0.3, 30)
    d = x - x.mean()
    expected = [sum(d[t] * d[t - k] for t in range(k, 30)) / (d @ d) for k in range(1, 6)]
    np.testing.assert_allclose(autocorrelations(x, 5), expected)


def test_lags_beyond_the_series_and_series_that_do_not_vary_are_refused():
    x = autoregressive(0.0, 10)
    with pytest.raises(ValueError, match=r"lag 10 is outside 0\.\.9"):
        newey_west_t(x, lag=10)
    with pytest.raises(ValueError, match=r"lags 0 is outside 1\.\.9"):
        ljung_box_p(x, lags=0)
    for statistic in (newey_west_t, ljung_box_p):
        with pytest.raises(ValueError, match="finite series that varies"):
            statistic(np.ones(10))
