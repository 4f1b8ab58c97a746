"""What features of closes must say about prices made for the purpose, and what other libraries say about the same."""

import numpy as np
import pandas as pd
import pytest
from arch.unitroot import VarianceRatio
from scipy import stats

from tft_pipeline.domain.features import catalogue
from tft_pipeline.domain.features.feature import PerSymbol
from tft_pipeline.domain.features.history import History

FEATURES = {feature.name: feature for feature in catalogue()}


def values(name: str, returns: np.ndarray) -> np.ndarray:
    """A feature on closes with these log returns, one row a close."""
    close = 50.0 * np.exp(np.concatenate(([0.0], np.cumsum(returns))))
    stamps = np.datetime64("2019-11-26T20:15", "us") + np.arange(len(close)) * np.timedelta64(1, "D")
    source = FEATURES[name].source
    assert isinstance(source, PerSymbol)
    return source.formula(History(timestamps=stamps, close=close, bars_per_year=252.0))


def noise(n: int, seed: int = 0, sigma: float = 0.01) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, sigma, n)


@pytest.mark.parametrize("q", [2, 5, 10, 21])
def test_variance_ratios_equal_those_of_arch(q: int) -> None:
    returns = noise(252, seed=1)
    log_price = np.concatenate(([0.0], np.cumsum(returns)))
    peer = VarianceRatio(log_price, lags=q, overlap=True, debiased=True, robust=False)
    assert values(f"vr_{q}_252", returns)[-1] == pytest.approx(peer.vr - 1.0, rel=1e-9)


def test_variance_ratios_tell_trend_from_reversal_and_are_zero_on_average_without_either() -> None:
    def chain(phi: float, seed: int) -> np.ndarray:
        shocks = noise(600, seed)
        out = np.zeros(600)
        for t in range(1, 600):
            out[t] = phi * out[t - 1] + shocks[t]
        return out

    trend, reversal, neither = (
        np.mean([values("vr_5_252", chain(phi, seed))[-1] for seed in range(60)]) for phi in (0.3, -0.3, 0.0)
    )
    assert trend > 0.4
    assert reversal < -0.3
    assert abs(neither) < 0.06


def test_the_two_samples_are_those_of_a_t_test_and_the_larger_split_wins() -> None:
    returns = noise(63, seed=2)
    tests = {a: stats.ttest_ind(returns[-a:], returns[:-a]).statistic for a in (10, 21, 42, 53)}
    best = max(tests, key=lambda a: abs(tests[a]))
    assert values("cpd_mean_63", returns)[-1] == pytest.approx(tests[best], rel=1e-9)
    assert values("cpd_mean_place_63", returns)[-1] == pytest.approx(best / 63)


@pytest.mark.parametrize(("name", "later"), [("mean", 1.0), ("mean", -1.0), ("spread", 3.0), ("spread", 1 / 3)])
def test_a_planted_change_is_found_with_its_sign_and_place(name: str, later: float) -> None:
    returns = noise(126, seed=3)
    changed = returns.copy()
    changed[-42:] = returns[-42:] + 0.02 * later if name == "mean" else returns[-42:] * later
    score = values(f"cpd_{name}_126", changed)[-1]
    assert np.sign(score) == np.sign(later if name == "mean" else np.log(later))
    assert abs(score) > 6.0 > 4.0 > abs(values(f"cpd_{name}_126", returns)[-1])
    assert values(f"cpd_{name}_place_126", changed)[-1] == pytest.approx(42 / 126)


def test_sums_ring_for_small_shifts_that_go_on_and_stay_low_without() -> None:
    calm = noise(200, seed=4)
    for name, moved in (("up", calm + 0.01), ("down", calm - 0.01), ("spread", calm * 2.5)):
        shifted = np.concatenate((calm[:180], moved[180:]))
        before, after = values(f"cpd_{name}_sum_63", calm), values(f"cpd_{name}_sum_63", shifted)
        assert np.nanmax(after[181:]) > 4.0 > 1.5 > np.nanmean(before), name


def test_a_straight_rise_is_efficient_and_at_its_high() -> None:
    rise = np.full(260, 0.002) + noise(260, seed=5, sigma=1e-5)
    for name, expected in (
        ("mom_efficiency_63", 1.0), ("mom_high_age_63", 0.0), ("mom_low_age_63", 1.0), ("mom_months_up_12", 1.0),
        ("mom_discreteness_63", -1.0), ("slope_fit_63", 1.0), ("sma_agreement", 1.0), ("z_rank_63", 1.0),
        ("dd_age", 0.0), ("dd_max_63", 0.0), ("dd_underwater_63", 0.0), ("mom_strength_25_13", 1.0),
    ):  # fmt: skip
        assert values(name, rise)[-1] == pytest.approx(expected, abs=1e-4), name
        mirrored = {"mom_high_age_63": 1.0, "mom_low_age_63": 0.0, "mom_months_up_12": 0.0, "slope_fit_63": 1.0}
        signed = {"mom_efficiency_63": -1.0, "sma_agreement": -1.0, "z_rank_63": -1.0, "mom_strength_25_13": -1.0}
        expected_down = (mirrored | signed | {"mom_discreteness_63": -1.0}).get(name)
        if expected_down is not None:
            assert values(name, -rise)[-1] == pytest.approx(expected_down, abs=1e-4), name
    assert values("slope_63", rise)[-1] > 0.0 > values("slope_63", -rise)[-1]


def test_a_rise_that_gains_speed_bends_upwards() -> None:
    base = noise(63, seed=6, sigma=0.003)
    faster = base + np.linspace(-0.01, 0.01, 63)
    assert values("slope_curvature_63", faster)[-1] > 0.5 > -0.5 > values("slope_curvature_63", -faster)[-1]


def test_one_large_return_is_a_jump_and_many_small_ones_are_not() -> None:
    calm = noise(3000, seed=7)
    jumped = calm[:300].copy()
    jumped[-5] = 0.15
    assert values("vol_jump_share_63", jumped)[-1] > 0.7
    assert abs(np.nanmean(values("vol_jump_share_63", calm))) < 0.02
    assert np.nanmean(values("vol_bipower_63", calm)) == pytest.approx(0.01 * np.sqrt(252), rel=0.03)
    assert np.nanmean(values("vol_smallness_63", calm)) == pytest.approx(np.sqrt(2 / np.pi), abs=0.01)
    assert np.nanmean(values("vol_exceedances_63", calm)) == pytest.approx(0.0455, abs=0.01)
    assert values("vol_asymmetry_63", jumped)[-1] > 0.5 > -0.5 > values("vol_asymmetry_63", -jumped)[-1]


def test_falls_that_bring_unrest_show_as_leverage_and_calm_after_calm_as_clustering() -> None:
    shocks, spread = noise(2000, seed=8, sigma=1.0), 0.01
    levered, clustered = np.zeros(2000), np.zeros(2000)
    for t in range(1, 2000):
        levered[t] = shocks[t] * spread * (2.5 if levered[t - 1] < 0 else 0.5)
        clustered[t] = shocks[t] * (0.002 + 0.9 * abs(clustered[t - 1]))
    assert np.nanmean(values("vol_leverage_252", levered)) < -0.3
    assert np.nanmean(values("vol_clustering_252", clustered)) > 0.15
    assert abs(np.nanmean(values("vol_clustering_252", shocks * spread))) < 0.06


def test_exponential_gaps_and_lines_equal_those_of_pandas() -> None:
    returns = noise(200, seed=9)
    close = pd.Series(50.0 * np.exp(np.concatenate(([0.0], np.cumsum(returns)))))
    gap = close / close.ewm(span=32, min_periods=32).mean() - 1
    np.testing.assert_allclose(values("ema_32_gap", returns), gap, rtol=1e-9, atol=1e-14)
    quick, slow = (close.ewm(span=span, min_periods=span).mean() for span in (12, 26))
    line = (quick - slow) / close
    sigma = np.log(close).diff().ewm(span=60, min_periods=60).std()
    np.testing.assert_allclose(values("macd_line_12_26", returns), line / sigma, rtol=1e-8, atol=1e-12)
    signal = line.ewm(span=9, min_periods=9).mean()
    np.testing.assert_allclose(
        values("macd_histogram_12_26_9", returns), (line - signal) / sigma, rtol=1e-7, atol=1e-10
    )


def test_the_season_is_the_month_that_followed_a_year_ago() -> None:
    returns = noise(300, seed=10)
    returns[300 - 252 : 300 - 231] += 0.05
    assert values("ret_season_252", returns)[-1] > 15.0 > 3.0 > abs(values("ret_season_252", returns)[-23])
