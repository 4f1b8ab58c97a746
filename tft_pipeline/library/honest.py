"""A Sharpe ratio with its error, deflated by the trials behind it. Not here: the formulas (`domain.sharpe`)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.series_record import refusal_of_settings, series_record
from tft_pipeline.library.arguments import refuse_no_numbers, refuse_no_whole_number

if TYPE_CHECKING:
    import polars as pl

SETTINGS = ("bars_per_year", "trials", "trial_variance", "benchmark_sharpe")


@dataclass(frozen=True, kw_only=True)
class HonestSharpe:
    """How good a series of returns is and how far that can be believed; the numbers of `tft stats`.

    Ratios are per bar unless a name ends in `_annual`: those are times sqrt(bars_per_year). A number that does not exist is
    None, and `reasons` says why.

    Attributes:
        n: returns. bars_per_year, trials, trial_variance, benchmark_sharpe: as used.
        sharpe: mean / standard deviation (ddof 1). se: its standard error, of skewed and fat-tailed returns.
        interval: 95 %, stationary bootstrap with blocks of `block_length` bars.
        psr: probability that the true ratio is above `benchmark_sharpe`.
        dsr: probability that it is above `expected_max_sharpe`, what the best of `trials` worthless ones is expected to show.
        min_trl: bars needed to be 95 % sure of a ratio above `benchmark_sharpe`; None where it is not above it.
        min_btl_years: years below which the best of so many worthless trials shows this ratio; None where it is not above 0.
        skew, kurtosis: moment ratios, normal 0 and 3.
        autocorrelation_1: at one bar. ljung_box_p: of the test over `ljung_box_lags` bars; `autocorrelated` below 0.05.
        eta: Lo's factor to one year, which allows for autocorrelation. sharpe_annual_eta: sharpe * eta.
        t_newey_west: of the mean, with `newey_west_lag` lags.
        verdict: one sentence. reasons: why a number is None, by its name.
    """

    n: int
    bars_per_year: float
    trials: float
    trial_variance: float
    benchmark_sharpe: float
    sharpe: float
    sharpe_annual: float
    se: float
    se_annual: float
    interval: tuple[float, float]
    interval_annual: tuple[float, float]
    block_length: float
    psr: float
    dsr: float
    expected_max_sharpe: float
    min_trl: float | None
    min_btl_years: float | None
    skew: float
    kurtosis: float
    autocorrelation_1: float
    ljung_box_p: float
    ljung_box_lags: int
    autocorrelated: bool
    eta: float | None
    sharpe_annual_eta: float | None
    t_newey_west: float
    newey_west_lag: int
    verdict: str
    reasons: dict[str, str]


def honest_sharpe(
    returns: "np.ndarray | pl.Series | Sequence[float]",
    *,
    bars_per_year: float,
    trials: float,
    trial_variance: float | None = None,
    benchmark_sharpe: float = 0.0,
    seed: int = 0,
) -> HonestSharpe:
    """The Sharpe ratio of net returns with its error, deflated by the number of trials behind it.

    Only the caller knows how many strategies, settings and looks at the same bars the series was chosen from, so `trials` has
    no default. Count everything that was tried, also what was thrown away.

    Args:
        returns: (n,) simple returns of the portfolio after costs, one a bar (0.01 is 1 %), in the order of time, n >= 8; one
            series, not a row a symbol.
        bars_per_year: bars that a year has, such as 252 for US daily bars.
        trials: trials the series was chosen from, itself included: 1 for a series that nobody chose.
        trial_variance: variance of the trials' per-bar Sharpe ratios; by default 1/n, that of trials without skill.
        benchmark_sharpe: per bar; `psr` and `min_trl` are against it.
        seed: of the bootstrap.
    Returns:
        Every number that `tft stats` prints for the same returns.
    Raises:
        ConfigurationError: a setting that is no number or outside its range; fewer than 8 returns, one that is missing, masked,
            infinite or -1 or less, what looks like prices, or returns that never move.
    Example:
        >>> from tft_pipeline import honest_sharpe
        >>> found = honest_sharpe([0.01, -0.02, 0.015, 0.0, 0.01, -0.005, 0.02, -0.01], bars_per_year=252, trials=20)
        >>> found.dsr < found.psr
        True

    Source: Bailey & Lopez de Prado (2012, 2014); Mertens (2002); Politis & Romano (1994); docs/honesty.md.
    """
    given = dict(zip(SETTINGS, (bars_per_year, trials, trial_variance, benchmark_sharpe), strict=True))
    refuse_no_numbers({name: value for name, value in given.items() if (name, value) != ("trial_variance", None)})
    refuse_no_whole_number("seed", seed, 0, "no random draw begins there; use 0 or more")
    if refusal := refusal_of_settings(bars_per_year, trials, trial_variance, benchmark_sharpe, SETTINGS):
        raise ConfigurationError(refusal)
    values = _values(returns)
    try:
        record = series_record(
            values,
            bars_per_year=bars_per_year,
            trials=trials,
            trial_variance=trial_variance,
            benchmark_sharpe=benchmark_sharpe,
            seed=seed,
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    renamed = {
        "interval": tuple(record["bootstrap_ci"]),
        "interval_annual": tuple(record["bootstrap_ci_annual"]),
        "reasons": {name.removesuffix("_reason"): why for name, why in record.items() if name.endswith("_reason")},
    }
    return HonestSharpe(**{field.name: (renamed | record)[field.name] for field in fields(HonestSharpe)})


def _values(returns: "np.ndarray | pl.Series | Sequence[float]") -> np.ndarray:
    """(n,) float64, usable; a null of polars and a masked value of numpy count as missing."""
    from tft_pipeline.storage.returns import refuse_unusable

    given = getattr(returns, "to_numpy", lambda: returns)()
    try:
        values = np.ma.array(given, dtype=np.float64, copy=True).filled(np.nan)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"returns are no numbers ({error}); give one simple return a bar") from error
    if values.ndim != 1:
        raise ConfigurationError(
            f"returns have shape {values.shape}: expected one series, the portfolio's, one value a bar; add up symbols first"
        )
    refuse_unusable(values, "", "the series", 0)
    return values
