"""Is any baseline better than the model, after allowing for the choice among several? Package `arch` resamples.

Every series is divided by its own standard deviation first, so that means are Sharpe ratios and a baseline gains nothing by
holding more risk. Not here: pairs with an interval (`paired`), the ratio of one series (`sharpe`).
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tft_pipeline.domain.bootstrap import optimal_block_length
from tft_pipeline.domain.sharpe import annualise, sharpe_ratio

if TYPE_CHECKING:
    from arch.bootstrap import SPA

MAX_BARS = 5_000
"""Longer series are added up to so many bars: the variance that `arch` estimates takes time quadratic in their number."""
MIN_BARS = 20


def superiority(
    model: np.ndarray,
    baselines: Mapping[str, np.ndarray],
    *,
    bars_per_year: float,
    alpha: float,
    seed: int,
    n_resamples: int = 1000,
) -> dict[str, Any]:
    """Test of superior predictive ability, and the baselines that are superior.

        d_k,t = (b_k,t / sd(b_k) - m_t / sd(m)) / omega_k,   T = max_k mean(d_k)

    m the model, b_k baseline k, omega_k the long-run standard deviation of the difference (studentised as in Hansen 2005;
    Bartlett kernel up to 4 (n/100)^(2/9) bars, or twice the block length where that is more). Null hypothesis: no baseline
    has a higher Sharpe ratio than the model. The standard deviations are taken as known, which at per-bar ratios far below
    1 changes little. StepM takes the superior baselines out and tests the rest again, family-wise error alpha.

    Args:
        model: (n,) net per-bar returns.
        baselines: name to (n,) on the same bars.
        alpha: level of StepM and of `rejected`.
        seed: of the stationary bootstrap, whose mean block length is the largest optimal one of the d_k.
    Returns:
        n, n_summed (bars the test works on), bars_per_year, alpha, n_resamples, block_length, sharpe_annual (of `model`),
        baselines (name to sharpe_annual and difference_annual, baseline less model), spa_p_lower, spa_p_consistent (the
        one to quote), spa_p_upper, rejected (consistent p below alpha), superior (names, by name), sentence.
    Raises:
        ValueError: no baseline, series of other lengths, fewer than 20 bars, a value that is not finite, a series that
            does not vary or equals the model's, alpha outside (0, 0.5), n_resamples < 100.
    Source: Hansen (2005), JBES 23(4); Romano & Wolf (2005), Econometrica 73(4).
    """
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha {alpha} is outside (0, 0.5): it is the chance of calling an equal baseline superior")
    if n_resamples < 100:
        raise ValueError(f"n_resamples {n_resamples} < 100: a p-value near {alpha} would be a matter of a few draws")
    names = sorted(baselines)
    ratios = {"the model": sharpe_ratio(model)} | {name: sharpe_ratio(baselines[name]) for name in names}
    gains = _gains(np.asarray(model, dtype=np.float64), baselines, names)
    summed = _summed(gains)
    block_length = max(optimal_block_length(column) for column in summed.T)
    scaled = summed / np.array([_long_run_deviation(column, block_length) for column in summed.T])
    test = _spa(scaled, block_length=block_length, seed=seed, n_resamples=n_resamples)
    # the sample itself counts as one of the draws: no p-value of so many resamples is 0
    p = {name: (1.0 + float(value) * n_resamples) / (1.0 + n_resamples) for name, value in test.pvalues.items()}
    superior = _superior(test, names, alpha)
    own = annualise(ratios["the model"], bars_per_year)
    rows = {}
    for name in names:
        ratio = annualise(ratios[name], bars_per_year)
        rows[name] = {"sharpe_annual": ratio, "difference_annual": ratio - own}
    return {
        "n": int(gains.shape[0]),
        "n_summed": int(summed.shape[0]),
        "bars_per_year": bars_per_year,
        "alpha": alpha,
        "n_resamples": n_resamples,
        "block_length": block_length,
        "sharpe_annual": own,
        "baselines": rows,
        "spa_p_lower": p["lower"],
        "spa_p_consistent": p["consistent"],
        "spa_p_upper": p["upper"],
        "rejected": p["consistent"] < alpha,
        "superior": superior,
        "sentence": _sentence(superior, p["consistent"], alpha, len(names)),
    }


def same_but_for_scale(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two series (n,) that vary are one and the same after division by their standard deviations."""
    return bool((first / first.std(ddof=1) - second / second.std(ddof=1)).std() <= 1e-9)


def _gains(model: np.ndarray, baselines: Mapping[str, np.ndarray], names: list[str]) -> np.ndarray:
    """(n, baselines) what each earns beyond the model, both at unit standard deviation."""
    if not names:
        raise ValueError("no baseline is given: there is nothing that could be better than the model")
    if model.size < MIN_BARS:
        raise ValueError(f"{model.size} bars < {MIN_BARS}: too few to resample differences on; score more bars")
    columns = []
    for name in names:
        series = np.asarray(baselines[name], dtype=np.float64)
        if series.shape != model.shape:
            raise ValueError(
                f"baseline {name} has shape {series.shape}, the model {model.shape}: give common bars only"
            )
        gain = series / series.std(ddof=1) - model / model.std(ddof=1)
        if same_but_for_scale(series, model):
            raise ValueError(
                f"baseline {name} is the model but for its scale: neither can be better; leave it out and say so"
            )
        columns.append(gain)
    return np.column_stack(columns)


def _summed(gains: np.ndarray) -> np.ndarray:
    """Consecutive bars added up where there are more than `MAX_BARS`; every bar counts once."""
    n_bars = gains.shape[0]
    if n_bars <= MAX_BARS:
        return gains
    edges = np.linspace(0, n_bars, MAX_BARS + 1).astype(int)
    return np.asarray(np.add.reduceat(gains, edges[:-1], axis=0))


def _long_run_deviation(gain: np.ndarray, block_length: float) -> float:
    """Square root of the variance of sqrt(n) times the mean: Newey & West (1987)."""
    n = gain.size
    lag = min(max(int(4.0 * (n / 100.0) ** (2.0 / 9.0)), math.ceil(2.0 * block_length)), n - 1)
    centred = gain - gain.mean()
    covariance = np.array([centred[k:] @ centred[: n - k] for k in range(lag + 1)]) / n
    weights = 1.0 - np.arange(1, lag + 1) / (lag + 1)
    return math.sqrt(float(covariance[0] + 2.0 * weights @ covariance[1:]))


def _spa(gains: np.ndarray, *, block_length: float, seed: int, n_resamples: int) -> "SPA":
    """Computed; arch compares losses, lower is better: the benchmark loses nothing and baseline k loses -d_k."""
    from arch.bootstrap import SPA

    test = SPA(
        np.zeros(gains.shape[0]),
        -gains,
        block_size=block_length,  # type: ignore[arg-type]  # the stationary bootstrap takes a mean length
        reps=n_resamples,
        bootstrap="stationary",
        seed=seed,
    )
    test.compute()
    return test


def _superior(test: "SPA", names: list[str], alpha: float) -> list[str]:
    """StepM on the resamples of `test`: take out what is superior, test the rest, until nothing is found or left.

    `arch.bootstrap.StepM` does the same but fails when its second step takes out the last baseline.
    """
    left = np.ones(len(names), dtype=bool)
    while left.any():
        test.subset(left)
        test.compute()
        found = test.better_models(alpha)
        if not len(found):
            break
        left[found] = False
    return [name for name, stays in zip(names, left, strict=True) if not stays]


def _sentence(superior: list[str], p: float, alpha: float, n_baselines: int) -> str:
    if superior:
        return f"better than the model after risk: {', '.join(superior)} (StepM at {alpha:g}; SPA p {p:.3f})."
    return (
        f"none of {n_baselines} baseline(s) is shown to be better than the model after risk (SPA p {p:.3f}, level {alpha:g}); "
        "this does not show that the model is better than they are."
    )
