import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter
from skfolio import measures

from tft_pipeline.domain.autocorrelation import ljung_box_p, newey_west_t
from tft_pipeline.domain.sharpe import (
    annualise,
    best_of_null_epochs,
    deflated_sharpe_ratio,
    describe_returns,
    expected_max_sharpe,
    kurtosis,
    lo_eta,
    min_backtest_length_years,
    min_track_record_length,
    optimal_block_length,
    probabilistic_sharpe_ratio,
    sharpe_ratio,
    sharpe_standard_error,
    skew,
)


def skewed_returns(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.0008 + 0.01 * (stats.gamma(2).rvs(n, random_state=rng) - 2.0) * -0.7


def test_the_deflated_sharpe_of_the_2014_paper():
    year = math.sqrt(250.0)
    sr0 = expected_max_sharpe(0.5 / 250.0, 100)
    assert sr0 == pytest.approx(0.113172, abs=1e-6)
    found = deflated_sharpe_ratio(2.5 / year, 1250, trial_variance=0.5 / 250.0, n_trials=100, skew=-3.0, kurtosis=10.0)
    assert found == pytest.approx(0.900397, abs=1e-6)


def test_the_worked_track_record_and_probability():
    year = math.sqrt(252.0)
    bars = min_track_record_length(2.0 / year, benchmark_sharpe=1.0 / year)
    assert bars / 252.0 == pytest.approx(2.7310, abs=1e-4)
    assert probabilistic_sharpe_ratio(0.458, 24) == pytest.approx(0.981675, abs=1e-6)


def test_the_expected_best_of_ten_standard_normals_by_the_formula():
    assert expected_max_sharpe(1.0, 10) == pytest.approx(1.574598, abs=1e-6)


def test_the_expected_best_is_close_to_a_simulation():
    draws = np.random.default_rng(1).standard_normal((20_000, 80)).max(axis=1)
    assert expected_max_sharpe(1.0, 80) == pytest.approx(draws.mean(), abs=0.03)


def test_ratio_moments_probability_and_deflation_agree_with_skfolio():
    x = skewed_returns(700)
    trials = np.array([0.01, 0.05, -0.02, 0.08, 0.03])
    assert sharpe_ratio(x) == pytest.approx(measures.mean(x) / measures.standard_deviation(x))
    assert (skew(x), kurtosis(x)) == pytest.approx((measures.skew(x), measures.kurtosis(x)))
    assert (skew(x), kurtosis(x)) == pytest.approx((stats.skew(x), stats.kurtosis(x, fisher=False)))
    assert expected_max_sharpe(0.0009, 37) == pytest.approx(measures.expected_max_sharpe_ratio(37, 0.03))
    moments = {"skew": skew(x), "kurtosis": kurtosis(x)}
    found = probabilistic_sharpe_ratio(sharpe_ratio(x), x.size, benchmark_sharpe=0.02, **moments)
    assert found == pytest.approx(measures.probabilistic_sharpe_ratio(x, benchmark_sharpe_ratio=0.02))
    deflated = deflated_sharpe_ratio(
        sharpe_ratio(x), x.size, trial_variance=float(trials.var(ddof=1)), n_trials=5, **moments
    )
    assert deflated == pytest.approx(measures.deflated_sharpe_ratio(x, trials))


def test_the_standard_error_is_the_spread_of_ratios_of_skewed_series():
    many = stats.gamma(2).rvs((8_000, 250), random_state=np.random.default_rng(2)) * -1.0 + 2.6
    ratios = many.mean(axis=1) / many.std(axis=1, ddof=1)
    true = 0.6 / math.sqrt(2.0)
    error = sharpe_standard_error(true, 250, skew=-math.sqrt(2.0), kurtosis=6.0)
    assert error == pytest.approx(ratios.std(), rel=0.03)
    assert abs(sharpe_standard_error(true, 250) / ratios.std() - 1.0) > 0.15  # without the moments it is wrong


def test_the_minimum_record_is_where_the_probability_reaches_the_confidence():
    moments = {"skew": -0.8, "kurtosis": 5.0}
    bars = min_track_record_length(0.09, benchmark_sharpe=0.03, confidence=0.9, **moments)
    below, above = (
        probabilistic_sharpe_ratio(0.09, n, benchmark_sharpe=0.03, **moments)
        for n in (math.floor(bars), math.ceil(bars))
    )
    assert below <= 0.9 <= above
    assert min_track_record_length(0.03, benchmark_sharpe=0.03) == math.inf


@settings(max_examples=50, deadline=None)
@given(sharpe=st.floats(-0.5, 0.5), n=st.integers(3, 5000), g3=st.floats(-2, 2), extra=st.floats(0.5, 8))
def test_probability_rises_with_the_ratio_and_is_half_at_the_benchmark(sharpe, n, g3, extra):
    moments = {"skew": g3, "kurtosis": g3 * g3 + 1.0 + extra}
    at = probabilistic_sharpe_ratio(sharpe, n, benchmark_sharpe=sharpe, **moments)
    assert at == pytest.approx(0.5)
    assert probabilistic_sharpe_ratio(sharpe, n, benchmark_sharpe=sharpe - 0.01, **moments) > at
    fewer = deflated_sharpe_ratio(sharpe, n, trial_variance=0.01, n_trials=5, **moments)
    assert deflated_sharpe_ratio(sharpe, n, trial_variance=0.01, n_trials=50, **moments) <= fewer


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(1e-4, 1e4), seed=st.integers(0, 1000))
def test_ratio_skew_and_kurtosis_do_not_depend_on_the_unit(scale, seed):
    x = skewed_returns(50, seed)
    for statistic in (sharpe_ratio, skew, kurtosis):
        assert statistic(scale * x) == pytest.approx(statistic(x), rel=1e-9)


def test_the_first_fold_of_the_notes_is_called_noise():
    per_bar = 8.08 / math.sqrt(252.0)
    null_best = best_of_null_epochs(80, 21)
    assert null_best == pytest.approx(expected_max_sharpe(1.0 / 21.0, 80))
    assert annualise(null_best, 252.0) > 8.08
    assert deflated_sharpe_ratio(per_bar, 21, trial_variance=1.0 / 21.0, n_trials=80) < 0.5
    assert probabilistic_sharpe_ratio(per_bar, 21) > 0.95  # what looks convincing without counting the epochs


def test_the_best_of_one_epoch_and_of_trials_that_agree_is_nothing():
    assert expected_max_sharpe(3.0, 1) == 0.0
    assert expected_max_sharpe(0.0, 100) == 0.0
    assert expected_max_sharpe(1.0, 1.1) == 0.0


def test_describe_returns_prints_every_number_of_its_parts():
    x = skewed_returns(600, seed=4)
    found = describe_returns(x, bars_per_year=252.0, n_trials=12, trial_variance=0.0004, benchmark_sharpe=0.01, seed=3)
    g3, g4, sr = skew(x), kurtosis(x), sharpe_ratio(x)
    moments = {"skew": g3, "kurtosis": g4}
    assert found["n"] == 600
    assert found["sharpe"] == sr
    assert found["sharpe_annual"] == pytest.approx(sr * math.sqrt(252.0))
    assert found["se"] == sharpe_standard_error(sr, 600, **moments)
    assert found["se_annual"] == pytest.approx(found["se"] * math.sqrt(252.0))
    assert (found["skew"], found["kurtosis"]) == (g3, g4)
    assert found["psr"] == probabilistic_sharpe_ratio(sr, 600, benchmark_sharpe=0.01, **moments)
    assert found["dsr"] == deflated_sharpe_ratio(sr, 600, trial_variance=0.0004, n_trials=12, **moments)
    assert found["expected_max_sharpe"] == expected_max_sharpe(0.0004, 12)
    assert found["min_trl"] == min_track_record_length(sr, benchmark_sharpe=0.01, **moments)
    low, high = found["bootstrap_ci"]
    assert low < sr < high
    assert found["bootstrap_ci_annual"] == pytest.approx((low * math.sqrt(252.0), high * math.sqrt(252.0)))
    assert found["block_length"] == optimal_block_length(x)
    assert found["eta"] == lo_eta(x, 252, max_lag=27)
    assert found["sharpe_annual_eta"] == sr * found["eta"]
    assert found["annualised_by"] == "sqrt"
    d = x - x.mean()
    assert found["autocorrelation_1"] == pytest.approx((d[1:] @ d[:-1]) / (d @ d))
    assert (found["ljung_box_p"], found["ljung_box_lags"]) == (ljung_box_p(x), 10)
    assert found["autocorrelated"] is (found["ljung_box_p"] < 0.05) is False
    assert (found["t_newey_west"], found["newey_west_lag"]) == (newey_west_t(x), 5)
    assert found["min_btl_years"] == min_backtest_length_years(12, found["sharpe_annual"])
    assert json.loads(json.dumps(found, allow_nan=False))["n"] == 600
    again = describe_returns(x, bars_per_year=252.0, n_trials=12, trial_variance=0.0004, benchmark_sharpe=0.01, seed=3)
    assert again == found


def test_momentum_in_returns_is_said_to_be_there_and_lowers_the_annual_ratio():
    x = lfilter([1.0], [1.0, -0.4], np.random.default_rng(6).normal(0.002, 0.01, 800))
    found = describe_returns(x, bars_per_year=252.0, seed=0)
    assert found["autocorrelated"]
    assert 0.0 < found["sharpe_annual_eta"] < 0.9 * found["sharpe_annual"]
    assert found["t_newey_west"] < 0.9 * found["sharpe"] * math.sqrt(800)


def test_five_years_bear_no_more_than_forty_five_trials_for_a_ratio_of_one():
    """The example of the paper."""
    assert min_backtest_length_years(45, 1.0) == pytest.approx(5.0, abs=0.15)
    assert min_backtest_length_years(45, 2.0) == pytest.approx(min_backtest_length_years(45, 1.0) / 4.0)
    assert min_backtest_length_years(1, 1.0) == 0.0
    assert min_backtest_length_years(45, 0.0) == min_backtest_length_years(45, -1.0) == math.inf


def test_backtests_of_the_minimum_length_show_the_ratio_without_skill():
    years = min_backtest_length_years(20, 1.5)
    bars = round(252 * years)
    draws = np.random.default_rng(7).normal(0.0, 0.01, (1000, 20, bars))
    best = (draws.mean(axis=2) / draws.std(axis=2, ddof=1)).max(axis=1) * math.sqrt(252)
    assert best.mean() == pytest.approx(1.5, abs=0.05)


@settings(max_examples=50)
@given(n_trials=st.integers(2, 10_000), ratio=st.floats(0.1, 5.0))
def test_the_minimum_length_grows_with_trials_and_stays_below_its_bound(n_trials, ratio):
    years = min_backtest_length_years(n_trials, ratio)
    assert 0.0 < years < 2.0 * math.log(n_trials) / ratio**2
    assert min_backtest_length_years(n_trials + 1, ratio) > years


def test_every_statistic_can_be_had_from_moments_alone():
    moments = {"skew": -0.4, "kurtosis": 4.0}
    by_hand = stats.norm.cdf(0.08 * math.sqrt(499.0) / math.sqrt(1.0 + 0.4 * 0.08 + 0.75 * 0.08**2))
    assert probabilistic_sharpe_ratio(0.08, 500, **moments) == pytest.approx(by_hand)
    assert deflated_sharpe_ratio(0.08, 500, trial_variance=0.001, n_trials=10, **moments) < by_hand
    assert min_track_record_length(0.08, **moments) < 500
    assert expected_max_sharpe(0.001, 10) == pytest.approx(1.574598 * math.sqrt(0.001))


def test_a_month_of_bars_can_be_described_and_one_that_swings_back_has_no_annual_factor():
    month = np.random.default_rng(5).normal(0.001, 0.01, 21)
    assert describe_returns(month, bars_per_year=252.0, seed=0)["n"] == 21
    swing = np.where(np.arange(60) % 2, 0.01, -0.009) + np.random.default_rng(0).normal(0, 1e-4, 60)
    found = describe_returns(swing, bars_per_year=252.0, seed=0)
    assert found["eta"] is found["sharpe_annual_eta"] is None


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ([0.01], "at least 2"),
        ([0.01, 0.01, 0.01], "zero variance"),
        ([0.0, 0.0], "zero variance"),
        ([0.1, np.nan, 0.2], "not finite"),
        ([[0.1, 0.2]], "one series"),
    ],
)
def test_a_series_without_a_ratio_is_refused(returns, message):
    for statistic in (sharpe_ratio, skew, kurtosis):
        with pytest.raises(ValueError, match=message):
            statistic(np.array(returns))


def test_moments_counts_and_variances_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="raw kurtosis"):
        sharpe_standard_error(0.1, 100, skew=0.0, kurtosis=0.0)
    with pytest.raises(ValueError, match="n_bars 1"):
        sharpe_standard_error(0.1, 1)
    with pytest.raises(ValueError, match="n_bars 1"):
        probabilistic_sharpe_ratio(0.1, 1)
    with pytest.raises(ValueError, match="no error"):
        probabilistic_sharpe_ratio(1.0, 10, skew=2.0, kurtosis=5.0)
    with pytest.raises(ValueError, match="n_trials"):
        expected_max_sharpe(1.0, 0)
    with pytest.raises(ValueError, match="trial_variance"):
        expected_max_sharpe(-1.0, 3)
    with pytest.raises(ValueError, match="n_bars"):
        best_of_null_epochs(80, 1)
    with pytest.raises(ValueError, match="confidence"):
        min_track_record_length(0.1, confidence=95.0)
    with pytest.raises(ValueError, match="bars_per_year"):
        annualise(0.1, 0.0)
