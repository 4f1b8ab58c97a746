"""The objective in numpy and scipy, one block at a time, on top of the loops of `oracles.portfolio`."""

import math

import numpy as np
from scipy import stats

from tft_pipeline_tests.oracles.portfolio import financing, held_positions


def net_returns(
    raw: np.ndarray,
    observed: np.ndarray,
    present: np.ndarray,
    leverage: np.ndarray,
    next_return: np.ndarray,
    *,
    max_position: float,
    position_smooth: float,
    cost_bps: list[float],
    max_weight: float = math.inf,
    borrow_bps: float = 0.0,
    funding_bps: float = 0.0,
    bars_per_year: float = 252.0,
) -> np.ndarray:
    """Of one block: arrays (S, T) -> (T,), nan where no symbol is present; flat before the block."""

    def capped(weight: float) -> float:
        return max(-max_weight, min(max_weight, weight))

    S, T = raw.shape
    held = held_positions(np.where(observed, raw, np.nan), max_position, position_smooth, [0.0] * S)
    returns = np.full(T, np.nan)
    for t in range(T):
        earned = []
        for s in range(S):
            if not present[s, t]:
                continue
            weight = capped(held[s, t] * leverage[s, t])
            before = capped(held[s, t - 1] * leverage[s, t - 1]) if t and present[s, t - 1] else 0.0
            traded = abs(weight - before)
            if t + 1 < T and not present[s, t + 1] and present[:, t + 1 :].any():
                traded += abs(weight)
            paid = cost_bps[s] / 10_000 * traded + financing(weight, borrow_bps, funding_bps, bars_per_year)
            earned.append(weight * next_return[s, t] - paid)
        if earned:
            returns[t] = sum(earned) / len(earned)
    return returns


def negative_sharpe(returns: np.ndarray, scale: float, bars_per_year: float) -> float:
    """returns (n,), without nan."""
    return -math.sqrt(bars_per_year) * float(np.mean(returns)) / math.sqrt(float(np.var(returns)) + 1e-5 * scale)


def gaussian_nll(mean: np.ndarray, log_scale: np.ndarray, label: np.ndarray, scored: np.ndarray) -> float:
    """Mean negative log density by scipy."""
    densities = stats.norm.logpdf(label[scored], loc=mean[scored], scale=np.exp(log_scale[scored]))
    return -float(densities.mean())


def direction_loss(logit: np.ndarray, label: np.ndarray, scored: np.ndarray) -> float:
    """Mean -log probability of what happened."""
    up = 1.0 / (1.0 + np.exp(-logit[scored]))
    happened = np.where(label[scored] > 0, up, 1.0 - up)
    return -float(np.log(happened).mean())


LEVELS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def pinball_loss(quantiles: np.ndarray, label: np.ndarray, scored: np.ndarray) -> float:
    """A label above its forecast costs the level a unit, one below it the rest; quantiles (..., 13)."""
    costs = []
    for place in np.argwhere(scored):
        y = label[tuple(place)]
        for level, q in zip(LEVELS, quantiles[tuple(place)], strict=True):
            costs.append(level * (y - q) if y >= q else (1.0 - level) * (q - y))
    return sum(costs) / len(costs)


def probability_above_zero(quantiles: np.ndarray) -> float:
    """quantiles (13,), increasing; the first and last level hold beyond them."""
    return 1.0 - float(np.interp(0.0, quantiles, LEVELS))


def quantile_head(weights: dict[str, np.ndarray], hidden: np.ndarray) -> tuple[float, np.ndarray]:
    """Of one state (H,): position and quantiles (13,)."""
    free = weights["output.weight"] @ hidden + weights["output.bias"]
    steps = [math.log1p(math.exp(value)) + 1e-3 for value in free[1:]]
    quantiles = np.full(13, float(free[0]))
    for i in range(7, 13):
        quantiles[i] = quantiles[i - 1] + steps[i - 1]
    for i in range(5, -1, -1):
        quantiles[i] = quantiles[i + 1] - steps[i]
    spread = (quantiles[10] - quantiles[2]) / (stats.norm.ppf(0.9) - stats.norm.ppf(0.1))
    inner = weights["inner.weight"] @ quantiles + weights["inner.bias"]
    inner = np.where(inner > 0, inner, np.exp(inner) - 1.0)
    correction = float(weights["correction.weight"][0] @ inner + weights["correction.bias"][0])
    return math.tanh(quantiles[6] / spread + correction), quantiles
