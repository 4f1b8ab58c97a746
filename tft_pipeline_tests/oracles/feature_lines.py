"""Oracles of groups slope, vr and cpd: fitted lines and parabolas, variance ratios, change-point scores."""

import math
from collections.abc import Callable

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    Oracle,
    OracleBars,
    OraclePanel,
    Value,
    last,
    log_returns,
    mean,
    over,
    own,
    per_sigma,
    sd,
)
from tft_pipeline_tests.oracles.feature_volatility import shocks

SPLITS = {21: (5, 8, 13, 16), 63: (10, 21, 42, 53), 126: (21, 42, 63, 84, 105)}


def _log_prices(bars: OracleBars, row: int, n: int) -> list[float] | None:
    part = last(bars.close, row, n)
    return None if part is None else [math.log(c / part[0]) for c in part]


def _line(x: list[float]) -> tuple[float, float]:
    """Intercept and slope of x over 0, 1, 2 ... by the normal equations."""
    n = len(x)
    t, tt = math.fsum(range(n)), math.fsum(j * j for j in range(n))
    total, tx = math.fsum(x), math.fsum(j * v for j, v in enumerate(x))
    slope = (n * tx - t * total) / (n * tt - t * t)
    return (total - slope * t) / n, slope


def slope(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    x = _log_prices(bars, row, n)
    return None if x is None else per_sigma(bars, row, _line(x)[1] * (n - 1), n - 1)


def _unexplained(x: list[float]) -> tuple[float, float]:
    """Sum of squared residuals, and of squared distances to the mean."""
    start, rise = _line(x)
    m = mean(x)
    return math.fsum((v - start - rise * j) ** 2 for j, v in enumerate(x)), math.fsum((v - m) ** 2 for v in x)


def fit(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    x = _log_prices(bars, row, n)
    if x is None or sd(x) <= FLAT:
        return None
    left, whole = _unexplained(x)
    return 1 - left / whole


def residual(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    x = _log_prices(bars, row, n)
    if x is None or sd(x) <= FLAT:
        return None
    left, whole = _unexplained(x)
    start, rise = _line(x)
    return None if left <= 1e-12 * whole else (x[-1] - start - rise * (n - 1)) / math.sqrt(left / (n - 2))


def curvature(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    """The coefficient of u^2 by Gram-Schmidt: u^2 made orthogonal to 1 and u, x projected on it."""
    x = _log_prices(bars, row, n)
    if x is None:
        return None
    u = [j - (n - 1) / 2 for j in range(n)]
    middle = mean([v * v for v in u])
    bowl = [v * v - middle for v in u]
    c = math.fsum(p * v for p, v in zip(bowl, x, strict=True)) / math.fsum(p * p for p in bowl)
    return per_sigma(bars, row, c * ((n - 1) / 2) ** 2, n - 1)


def variance_ratio(_panel: OraclePanel, bars: OracleBars, row: int, q: int, n: int) -> Value:
    part = last(log_returns(bars), row, n)
    if part is None:
        return None
    m = mean(part)
    long = [math.fsum(part[k : k + q]) for k in range(n - q + 1)]
    spread = math.fsum((x - q * m) ** 2 for x in long) / (q * (n - q + 1) * (1 - q / n))
    ratio = over(spread, sd(part) ** 2, FLAT**2)
    return None if ratio is None else ratio - 1


def mean_shift(old: list[float], new: list[float]) -> Value:
    pooled = (sd(old) ** 2 * (len(old) - 1) + sd(new) ** 2 * (len(new) - 1)) / (len(old) + len(new) - 2)
    t = over(mean(new) - mean(old), math.sqrt(pooled), FLAT)
    return None if t is None else t / math.sqrt(1 / len(new) + 1 / len(old))


def spread_shift(old: list[float], new: list[float]) -> Value:
    if min(sd(old), sd(new)) <= FLAT:
        return None
    return 2 * math.log(sd(new) / sd(old)) / math.sqrt(2 / (len(new) - 1) + 2 / (len(old) - 1))


def best_split(_panel: OraclePanel, bars: OracleBars, row: int, n: int, compare: Callable, answer: str) -> Value:
    part = last(log_returns(bars), row, n)
    if part is None:
        return None
    scores = {a: compare(part[:-a], part[-a:]) for a in SPLITS[n]}
    known = {a: score for a, score in scores.items() if score is not None}
    if not known:
        return None
    best = max(known, key=lambda a: abs(known[a]))
    return known[best] if answer == "score" else best / n


def page(_panel: OraclePanel, bars: OracleBars, row: int, move: Callable) -> Value:
    part = last(shocks(bars), row, 63)
    if part is None:
        return None
    total = 0.0
    for z in part:
        total = max(0.0, total + move(max(-2.5, min(2.5, z))) - 0.5)
    return total


LINE_ORACLES: dict[str, Oracle] = {
    **{f"slope_{n}": own(slope, n=n) for n in (10, 21, 63, 126, 252)},
    **{f"slope_fit_{n}": own(fit, n=n) for n in (21, 63, 126, 252)},
    **{f"slope_curvature_{n}": own(curvature, n=n) for n in (21, 63, 252)},
    **{f"slope_residual_{n}": own(residual, n=n) for n in (21, 63, 252)},
    **{f"vr_{q}_{n}": own(variance_ratio, q=q, n=n) for q in (2, 5, 10, 21) for n in (126, 252)},
    **{
        f"cpd_{what}{suffix}_{n}": own(best_split, n=n, compare=compare, answer=answer)
        for what, compare in (("mean", mean_shift), ("spread", spread_shift))
        for suffix, answer in (("", "score"), ("_place", "place"))
        for n in ((21, 63, 126) if answer == "score" else (63, 126))
    },
    "cpd_up_sum_63": own(page, move=lambda z: z),
    "cpd_down_sum_63": own(page, move=lambda z: -z),
    "cpd_spread_sum_63": own(page, move=lambda z: (math.sqrt(abs(z)) - 0.8221789586) / 0.3491508567),
}
