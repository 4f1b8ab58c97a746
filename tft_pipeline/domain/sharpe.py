"""The Sharpe ratio of a return series and how far it can be believed.

All ratios are per bar unless a name ends in `_annual`; skew g3 (normal 0) and kurtosis g4 (raw, normal 3) are
moment ratios without bias correction. The series is the portfolio's, one value a bar, never symbol and bar rows pooled.
The bootstrap lives in `bootstrap`, CSCV in `overfitting`, Lo's factor and the Newey-West t in `autocorrelation`.
"""

import math

import numpy as np
from scipy.stats import norm

from tft_pipeline.domain.autocorrelation import (
    autocorrelations,
    ljung_box_lags,
    ljung_box_p,
    lo_eta,
    newey_west_lag,
    newey_west_t,
    sum_variance,
)
from tft_pipeline.domain.bootstrap import bootstrap_sharpe_interval, optimal_block_length
from tft_pipeline.domain.overfitting import Overfitting, probability_of_backtest_overfitting

__all__ = [
    "Overfitting",
    "annualise",
    "best_of_null_epochs",
    "bootstrap_sharpe_interval",
    "deflated_sharpe_ratio",
    "describe_returns",
    "expected_max_sharpe",
    "kurtosis",
    "lo_eta",
    "min_backtest_length_years",
    "min_track_record_length",
    "optimal_block_length",
    "probabilistic_sharpe_ratio",
    "probability_of_backtest_overfitting",
    "sharpe_ratio",
    "sharpe_standard_error",
    "skew",
]

FLAT = 1e-14
"""A standard deviation below this share of the largest |return| is rounding: the series does not move."""
AUTOCORRELATED_AT = 0.05
"""Level of the Ljung-Box test below which a series is called autocorrelated."""


def _series(returns: np.ndarray) -> np.ndarray:
    """The returns as float64, at least two, finite, with variance."""
    x = np.asarray(returns, dtype=np.float64)
    if x.ndim != 1:
        raise ValueError(f"returns have shape {x.shape}: expected one series, the portfolio's, one value a bar")
    if x.size < 2:
        raise ValueError(f"{x.size} return(s): a Sharpe ratio needs at least 2")
    if not np.isfinite(x).all():
        raise ValueError(
            f"{int((~np.isfinite(x)).sum())} of {x.size} returns are not finite: drop bars without a portfolio first"
        )
    if x.std() <= FLAT * np.abs(x).max():
        raise ValueError("the returns have zero variance: their Sharpe ratio is undefined, the strategy never moved")
    return x


def sharpe_ratio(returns: np.ndarray) -> float:
    """SR = mean / std (ddof 1), per bar.

    Raises:
        ValueError: fewer than 2 returns, a value that is not finite, zero variance.
    """
    x = _series(returns)
    return float(x.mean() / x.std(ddof=1))


def skew(returns: np.ndarray) -> float:
    """g3 = m3 / m2^(3/2), central moments with divisor n. Raises like `sharpe_ratio`."""
    x = _series(returns)
    z = (x - x.mean()) / x.std()
    return float((z**3).mean())


def kurtosis(returns: np.ndarray) -> float:
    """g4 = m4 / m2^2, raw (normal 3), central moments with divisor n. Raises like `sharpe_ratio`."""
    x = _series(returns)
    z = (x - x.mean()) / x.std()
    return float((z**4).mean())


def _variance_factor(sharpe: float, skew: float, kurtosis: float) -> float:
    """1 - g3 SR + (g4 - 1)/4 SR^2: n times the variance of SR."""
    if kurtosis < skew * skew + 1.0 - 1e-9:
        raise ValueError(
            f"kurtosis {kurtosis:g} < skew^2 + 1 = {skew * skew + 1:g}: no distribution has these moments; "
            "pass raw kurtosis (normal 3), not excess"
        )
    return max(1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe, 0.0)


def sharpe_standard_error(sharpe: float, n_bars: int, *, skew: float = 0.0, kurtosis: float = 3.0) -> float:
    """Standard error of a per-bar Sharpe ratio; iid, not necessarily normal, returns.

        SE = sqrt((1 - g3 SR + (g4 - 1)/4 SR^2) / n)

    Args:
        sharpe: Per bar. Do not pass an annual value; annualise the result.
        n_bars: Returns the ratio was measured on.
        skew: g3, normal 0.
        kurtosis: g4, raw, normal 3.
    Raises:
        ValueError: n_bars < 2, moments no distribution has.
    Source: Mertens (2002) and Opdyke (2007), correcting Lo (2002), FAJ 58(4).
    """
    if n_bars < 2:
        raise ValueError(f"n_bars {n_bars} < 2: there is no Sharpe ratio to have an error")
    return math.sqrt(_variance_factor(sharpe, skew, kurtosis) / n_bars)


def annualise(ratio: float, bars_per_year: float) -> float:
    """ratio * sqrt(bars_per_year): for a Sharpe ratio or its error, when returns are not autocorrelated (else
    `lo_eta`).
    """
    if not bars_per_year > 0.0:
        raise ValueError(f"bars_per_year {bars_per_year} is not positive")
    return ratio * math.sqrt(bars_per_year)


def probabilistic_sharpe_ratio(
    sharpe: float, n_bars: int, *, benchmark_sharpe: float = 0.0, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Probability that the true Sharpe ratio is above the benchmark.

        PSR(SR*) = Phi((SR - SR*) sqrt(n - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2))

    Both ratios per bar, kurtosis raw.

    Raises:
        ValueError: n_bars < 2, moments no distribution has, moments at which the error vanishes.
    Source: Bailey & Lopez de Prado (2012), Journal of Risk 15(2).
    """
    if n_bars < 2:
        raise ValueError(f"n_bars {n_bars} < 2: there is no Sharpe ratio to judge")
    factor = _variance_factor(sharpe, skew, kurtosis)
    if factor == 0.0:
        raise ValueError(
            f"skew {skew:g} and kurtosis {kurtosis:g} give a Sharpe of {sharpe:g} no error: use a longer series"
        )
    return float(norm.cdf((sharpe - benchmark_sharpe) * math.sqrt(n_bars - 1) / math.sqrt(factor)))


def expected_max_sharpe(trial_variance: float, n_trials: float) -> float:
    """Expected best per-bar Sharpe ratio of N independent trials without skill.

        SR0 = sqrt(V) [(1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e))],  g = 0.5772..

    0 for one trial, and never below 0.

    Args:
        trial_variance: V, variance of the trials' per-bar Sharpe ratios.
        n_trials: N, trials started; an effective number need not be whole.
    Raises:
        ValueError: V < 0 or not finite, N < 1 or not finite.
    Source: Bailey & Lopez de Prado (2014), Journal of Portfolio Management 40(5).
    """
    if not (math.isfinite(trial_variance) and trial_variance >= 0.0):
        raise ValueError(f"trial_variance {trial_variance}: a variance is finite and not negative")
    if not (math.isfinite(n_trials) and n_trials >= 1.0):
        raise ValueError(f"n_trials {n_trials} < 1: the trial that is reported counts too")
    if n_trials == 1.0:
        return 0.0
    gamma = float(np.euler_gamma)
    quantiles = norm.ppf([1.0 - 1.0 / n_trials, 1.0 - 1.0 / (n_trials * math.e)])
    return math.sqrt(trial_variance) * max(float((1.0 - gamma) * quantiles[0] + gamma * quantiles[1]), 0.0)


def best_of_null_epochs(n_epochs: int, n_bars: int) -> float:
    """Expected best per-bar Sharpe of `n_epochs` epochs without skill, each scored on the same number of bars.

    `expected_max_sharpe` with V = 1/n_bars, the variance of a Sharpe ratio whose true value is 0. Epochs of one
    fit resemble each other, so this is an upper bound.
    """
    if n_bars < 2:
        raise ValueError(f"n_bars {n_bars} < 2: there is no Sharpe ratio to choose by")
    return expected_max_sharpe(1.0 / n_bars, n_epochs)


def deflated_sharpe_ratio(
    sharpe: float,
    n_bars: int,
    *,
    trial_variance: float,
    n_trials: float,
    skew: float = 0.0,
    kurtosis: float = 3.0,
) -> float:
    """Probability that the true Sharpe ratio is positive, after choosing the best of N trials: PSR(SR0).

    SR0 as in `expected_max_sharpe`; all ratios and variances per bar (the convention of the 2014 paper).
    """
    return probabilistic_sharpe_ratio(
        sharpe,
        n_bars,
        benchmark_sharpe=expected_max_sharpe(trial_variance, n_trials),
        skew=skew,
        kurtosis=kurtosis,
    )


def min_track_record_length(
    sharpe: float,
    *,
    benchmark_sharpe: float = 0.0,
    skew: float = 0.0,
    kurtosis: float = 3.0,
    confidence: float = 0.95,
) -> float:
    """Bars needed before the Sharpe ratio is above the benchmark at the given confidence.

        MinTRL = 1 + (1 - g3 SR + (g4 - 1)/4 SR^2) (z_confidence / (SR - SR*))^2

    Infinite when the ratio is not above the benchmark: no record is long enough.

    Source: Bailey & Lopez de Prado (2012), Journal of Risk 15(2).
    """
    if not 0.5 < confidence < 1.0:
        raise ValueError(f"confidence {confidence} is outside (0.5, 1)")
    factor = _variance_factor(sharpe, skew, kurtosis)
    if sharpe <= benchmark_sharpe:
        return math.inf
    return 1.0 + factor * float(norm.ppf(confidence) / (sharpe - benchmark_sharpe)) ** 2


def min_backtest_length_years(n_trials: float, target_sharpe_annual: float) -> float:
    """Years a backtest must have so that the best of N trials without skill is expected to stay below a Sharpe ratio.

        MinBTL = (E[max_N] / SR_annual)^2  <  2 ln N / SR_annual^2

    E[max_N] of N independent standard normals as in `expected_max_sharpe`: on y years a null annual Sharpe ratio has
    standard deviation 1 / sqrt(y). 0 for one trial; infinite when the ratio is not above 0.

    Args:
        n_trials: N, trials started, at least 1.
        target_sharpe_annual: a year, such as the one found.
    Source: Bailey, Borwein, Lopez de Prado & Zhu (2014), Notices of the AMS 61(5), theorem 1.
    """
    best = expected_max_sharpe(1.0, n_trials)
    if best == 0.0:
        return 0.0
    return (best / target_sharpe_annual) ** 2 if target_sharpe_annual > 0.0 else math.inf


def describe_returns(
    returns: np.ndarray,
    *,
    bars_per_year: float,
    n_trials: float = 1,
    trial_variance: float = 0.0,
    benchmark_sharpe: float = 0.0,
    seed: int,
) -> dict[str, object]:
    """Everything that is printed beside a Sharpe ratio.

    Keys: n, sharpe, sharpe_annual (sqrt rule), se, se_annual, skew, kurtosis, psr (against `benchmark_sharpe`), dsr,
    expected_max_sharpe, min_trl (bars against `benchmark_sharpe`; infinite when not above it), bootstrap_ci (95 %,
    per bar; stationary bootstrap, 1,000 resamples), bootstrap_ci_annual, block_length (bars), eta (Lo's factor to
    one year with autocorrelations up to lag 10 log10 n, to be compared with sqrt(bars_per_year); None where the
    estimated annual variance is not positive), sharpe_annual_eta (sharpe * eta, or None), annualised_by ("sqrt": the
    rule of every other `_annual` key), autocorrelation_1, ljung_box_p and ljung_box_lags, autocorrelated (that p below
    0.05: then the eta value is the one to believe), t_newey_west and newey_west_lag (of the mean), min_btl_years
    (`min_backtest_length_years` for the annual ratio found; 0 for one trial, infinite for a ratio not above 0).

    Args:
        returns: (n,) net portfolio returns, n >= 8.
        n_trials: Trials the series was chosen from, itself included.
        trial_variance: Variance of the trials' per-bar Sharpe ratios.
        seed: Of the bootstrap.
    Raises:
        ValueError: as `sharpe_ratio`; fewer than 8 returns.
    """
    x = _series(returns)
    sharpe, g3, g4 = sharpe_ratio(x), skew(x), kurtosis(x)
    error = sharpe_standard_error(sharpe, x.size, skew=g3, kurtosis=g4)
    block_length = optimal_block_length(x)
    low, high = bootstrap_sharpe_interval(x, block_length=block_length, seed=seed)
    q = round(bars_per_year)
    max_lag = max(min(int(10 * math.log10(x.size)), x.size - 1, q - 1), 0)
    eta = lo_eta(x, q, max_lag=max_lag) if sum_variance(x, q, max_lag) > 0.0 else None
    ljung_box = ljung_box_p(x)
    return {
        "n": int(x.size),
        "sharpe": sharpe,
        "sharpe_annual": annualise(sharpe, bars_per_year),
        "se": error,
        "se_annual": annualise(error, bars_per_year),
        "skew": g3,
        "kurtosis": g4,
        "psr": probabilistic_sharpe_ratio(sharpe, x.size, benchmark_sharpe=benchmark_sharpe, skew=g3, kurtosis=g4),
        "dsr": deflated_sharpe_ratio(
            sharpe, x.size, trial_variance=trial_variance, n_trials=n_trials, skew=g3, kurtosis=g4
        ),
        "expected_max_sharpe": expected_max_sharpe(trial_variance, n_trials),
        "min_trl": min_track_record_length(sharpe, benchmark_sharpe=benchmark_sharpe, skew=g3, kurtosis=g4),
        "bootstrap_ci": (low, high),
        "bootstrap_ci_annual": (annualise(low, bars_per_year), annualise(high, bars_per_year)),
        "block_length": block_length,
        "eta": eta,
        "sharpe_annual_eta": None if eta is None else sharpe * eta,
        "annualised_by": "sqrt",
        "autocorrelation_1": float(autocorrelations(x, 1)[0]),
        "ljung_box_p": ljung_box,
        "ljung_box_lags": ljung_box_lags(x.size),
        "autocorrelated": ljung_box < AUTOCORRELATED_AT,
        "t_newey_west": newey_west_t(x),
        "newey_west_lag": newey_west_lag(x.size),
        "min_btl_years": min_backtest_length_years(n_trials, annualise(sharpe, bars_per_year)),
    }
