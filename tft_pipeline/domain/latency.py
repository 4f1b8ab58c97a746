"""What timed calls say: percentiles with intervals, how many calls they take, and the gate. Not here: the timing (`model`)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binom

EAGER = "eager"
"""The form that every network has and that the others are held against."""
CONFIDENCE = 0.95
QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
"""Each is given with its interval."""
LEAST_CALLS = 20
"""Fewer have no p95: even their longest may lie below it."""
CALLS_OF_P999 = 1_000
"""Fewer calls hold no 99.9th percentile."""
DRAWN = 200
"""Order statistics of a distribution that is kept for drawing."""


def quantile_interval(sorted_values: np.ndarray, quantile: float) -> tuple[float | None, float | None]:
    """Distribution-free interval of a quantile: the order statistics x_(j), x_(k) with binomial coverage >= 95 %.

        P(x_(j) <= quantile < x_(k)) = P(j <= Binomial(n, quantile) < k)

    Each end misses with at most 2.5 %. It holds for independent calls of one distribution; a disturbance that lasts over many
    calls makes it too narrow. An end is None where no order statistic lies beyond it. Source: Hahn and Meeker (1991),
    section 5.2.
    """
    n = len(sorted_values)
    tail = (1.0 - CONFIDENCE) / 2
    lower, upper = int(binom.ppf(tail, n, quantile)), int(binom.ppf(1.0 - tail, n, quantile)) + 1
    return (
        float(sorted_values[lower - 1]) if lower >= 1 else None,
        float(sorted_values[upper - 1]) if upper <= n else None,
    )


def calls_to_bound(quantile: float) -> int:
    """Fewest calls whose largest one bounds the quantile from above: 1 - quantile^n >= 97.5 %; 72 for the p95."""
    tail = (1.0 - CONFIDENCE) / 2
    n = math.ceil(math.log(tail) / math.log(quantile))
    return n if quantile**n <= tail else n + 1  # the logarithms may round the wrong way


def latency_figures(took_ms: np.ndarray) -> dict[str, Any]:
    """mean, p50, p95, p99, p999, max and p50_ci, p95_ci, p99_ci of timed calls, milliseconds; keys without a unit.

    Args:
        took_ms: (n,) in any order, finite.
    Returns:
        Quantiles interpolate linearly between order statistics; p999 is None below 1,000 calls; an end of an interval that n
        calls do not bound is None. `unbounded` says of each None why, by key.
    Raises:
        ValueError: fewer than 20 calls, or a duration that is not finite.
    """
    ordered = np.sort(np.asarray(took_ms, dtype=float))
    n = len(ordered)
    if n < LEAST_CALLS or not np.isfinite(ordered).all():
        raise ValueError(
            f"{n} durations, {int((~np.isfinite(ordered)).sum())} of them not finite: a p95 needs {LEAST_CALLS} and all of "
            "them; time more calls"
        )
    enough = n >= CALLS_OF_P999
    figures: dict[str, Any] = {"mean": float(ordered.mean())}
    figures |= {name: float(np.quantile(ordered, quantile)) for name, quantile in QUANTILES.items()}
    figures |= {"p999": float(np.quantile(ordered, 0.999)) if enough else None, "max": float(ordered[-1])}
    unbounded = {} if enough else {"p999": f"needs {CALLS_OF_P999:,} calls, there are {n:,}"}
    for name, quantile in QUANTILES.items():
        interval = quantile_interval(ordered, quantile)
        figures[f"{name}_ci"] = list(interval)
        if None in interval:
            needed = calls_to_bound(max(quantile, 1.0 - quantile))
            unbounded[f"{name}_ci"] = f"{n:,} calls do not bound it at {CONFIDENCE:.0%}; {needed:,} do"
    return figures | {"unbounded": unbounded}


def distribution(took_ms: np.ndarray) -> dict[str, list[float]]:
    """Empirical distribution for drawing: `ms`, ascending, and `share` of the calls that took no longer; up to the longest."""
    ordered = np.sort(np.asarray(took_ms, dtype=float))
    n = len(ordered)
    kept = np.unique(np.linspace(0, n - 1, min(n, DRAWN)).round().astype(int))
    return {"ms": ordered[kept].tolist(), "share": ((kept + 1) / n).tolist()}


def latency_reasons(p95_ci: Sequence[float | None], *, n: int, max_p95_ms: float) -> list[str]:
    """Why the gate does not pass, in sentences; empty where the upper end of the p95's interval is within the limit.

    Args:
        p95_ci: both ends, milliseconds; None for one that n calls do not bound.
    """
    upper = p95_ci[1]
    if upper is None:
        return [
            f"{n:,} timed calls are too few to bound the p95 from above: at {CONFIDENCE:.0%} it takes "
            f"{calls_to_bound(QUANTILES['p95'])}; raise latency.n (or --n)"
        ]
    if upper > max_p95_ms:
        return [f"the upper bound {upper:.1f} ms of the p95 is above {max_p95_ms:g} ms"]
    return []
