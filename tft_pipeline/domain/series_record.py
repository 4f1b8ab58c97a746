"""A series of returns described as our own are: every number of `sharpe.describe_returns`, why one is missing, one sentence.

Not here: where returns come from, what of them cannot be used (`storage.returns`), printing.
"""

import math
from typing import Any

import numpy as np

from tft_pipeline.domain.sharpe import describe_returns
from tft_pipeline.domain.verdict import json_ready


def series_record(
    returns: np.ndarray,
    *,
    bars_per_year: float,
    trials: float,
    trial_variance: float | None,
    benchmark_sharpe: float,
    seed: int,
) -> dict[str, Any]:
    """The numbers, ready for JSON.

    Args:
        returns: (n,) net returns of the portfolio, one a bar, n >= 8.
        bars_per_year: bars that a year has.
        trials: N, trials the series was chosen from, itself included.
        trial_variance: V of the trials' per-bar Sharpe ratios; 1/n, that of trials without skill, when not given.
        benchmark_sharpe: per bar; psr and min_trl are against it.
        seed: of the bootstrap.
    Returns:
        the keys of `sharpe.describe_returns`; bars_per_year, trials, trial_variance, benchmark_sharpe as used; verdict, one
        sentence. A number that does not exist is None and says why in `<name>_reason`.
    Raises:
        ValueError: as `sharpe.describe_returns`.
    """
    variance = 1.0 / len(returns) if trial_variance is None else trial_variance
    found = describe_returns(
        returns,
        bars_per_year=bars_per_year,
        n_trials=trials,
        trial_variance=variance,
        benchmark_sharpe=benchmark_sharpe,
        seed=seed,
    )
    return {
        **json_ready(found),
        **_reasons(found, benchmark_sharpe),
        "bars_per_year": bars_per_year,
        "trials": trials,
        "trial_variance": variance,
        "benchmark_sharpe": benchmark_sharpe,
        "verdict": _verdict(found, trials, benchmark_sharpe * math.sqrt(bars_per_year)),
    }


def refusal_of_settings(
    bars_per_year: float, trials: float, trial_variance: float | None, benchmark_sharpe: float, names: tuple[str, ...]
) -> str:
    """Why the settings of `series_record` cannot be used; empty where they can.

    Args:
        names: how the four are called where they were given, in this order.
    """
    problems = []
    if not (math.isfinite(bars_per_year) and bars_per_year >= 1.0):
        problems.append(f"{names[0]} {bars_per_year:g}: expected at least 1, such as 252 for US daily bars")
    if not (math.isfinite(trials) and trials >= 1.0):
        problems.append(f"{names[1]} {trials:g}: expected at least 1, the series itself is one")
    if trial_variance is not None and not (math.isfinite(trial_variance) and trial_variance >= 0.0):
        problems.append(f"{names[2]} {trial_variance:g}: expected a variance of per-bar Sharpe ratios, not negative")
    if not math.isfinite(benchmark_sharpe):
        problems.append(f"{names[3]} {benchmark_sharpe:g}: expected a finite per-bar Sharpe ratio")
    return "; ".join(problems)


def _reasons(found: dict[str, Any], benchmark_sharpe: float) -> dict[str, str]:
    """Why a number is None."""
    reasons = {}
    if math.isinf(found["min_trl"]):
        reasons["min_trl_reason"] = (
            f"the Sharpe ratio {found['sharpe']:.5f} is not above {benchmark_sharpe:g} a bar: no record is long enough"
        )
    if math.isinf(found["min_btl_years"]):
        reasons["min_btl_years_reason"] = (
            f"the Sharpe ratio {found['sharpe']:.5f} is not above 0: the best trial without skill shows more on any length"
        )
    if found["eta"] is None:
        why = "the variance of a year is estimated at 0 or less: autocorrelations are too noisy for this length"
        reasons |= {"eta_reason": why, "sharpe_annual_eta_reason": why}
    return reasons


def _verdict(found: dict[str, Any], trials: float, benchmark_annual: float) -> str:
    """One sentence; a probability of exactly 1 is not printed, for none is."""
    words = (
        f"The Sharpe ratio is {found['sharpe_annual']:.2f} +- {found['se_annual']:.2f} a year; "
        f"probability that it is above {benchmark_annual:g}: {_probability(found['psr'])}"
    )
    if trials > 1.0:
        words += f"; that it is above 0 after {trials:g} trials: {_probability(found['dsr'])}"
    if found["autocorrelated"] and found["sharpe_annual_eta"] is not None:
        words += f"; returns are autocorrelated, and allowing for that it is {found['sharpe_annual_eta']:.2f} a year"
    return words + "."


def _probability(value: float) -> str:
    if value > 0.995:
        return f"{value:.4f}" if value < 0.99995 else "above 0.9999"
    return f"{value:.2f}" if value > 0.005 else f"{value:.4f}" if value > 0.00005 else "below 0.0001"
