"""What a soak comes to: does anything grow, was anything promised not kept. Pure. Not here: the soak itself.

Growth is judged within the life of each process and pooled over processes, after its first bars, by the seasonal Kendall
slope: the median of (y_j - y_i) / (x_j - x_i) over all pairs of one process, with the interval between the ranks
(N -+ C) / 2 of the N sorted slopes, C = z sqrt(sum_p n_p (n_p - 1)(2 n_p + 5) / 18). Outliers do not move it. Samples are
medians of blocks, for neighbours are alike. It is a leak when the lower end of the interval is above the limit.

Source: Hirsch, Slack & Smith (1982), Water Resources Research 18; Gilbert (1987), section 17.3, for the interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Z = 2.576
"""99 %, two-sided: there are four figures."""
MOST_BLOCKS = 60
LEAST_SAMPLES = 6
PER_BARS = 1000.0
WARM_UP_BARS = 400
SAMPLES_FIELDS = ("rss_kb", "handles", "threads", "latency_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthLimits:
    """Per 1,000 bars, two thirds of a day of minutes; latency as a share of its median."""

    rss_kb: float = 400.0
    handles: float = 1.0
    threads: float = 1.0
    latency_ms: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """Growth per 1,000 bars, and its 99 % interval; None where there are too few samples."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def pooled_slope(lives: Sequence[tuple[np.ndarray, np.ndarray]]) -> Slope:
    """The seasonal Kendall slope, times 1,000.

    Args:
        lives: bars (n,) rising, and figure (n,), of each process.
    """
    slopes, variance, n = [], 0.0, 0
    for x, y in lives:
        if len(x) < 3:
            continue
        i, j = np.triu_indices(len(x), k=1)
        slopes.append((y[j] - y[i]) / (x[j] - x[i]))
        variance += len(x) * (len(x) - 1) * (2 * len(x) + 5) / 18.0
        n += len(x)
    if n < LEAST_SAMPLES:
        return Slope(value=None, low=None, high=None, n=n)
    ordered = np.sort(np.concatenate(slopes)) * PER_BARS
    half = Z * math.sqrt(variance)
    low = math.floor((len(ordered) - half) / 2.0)
    high = math.ceil((len(ordered) + half) / 2.0)
    return Slope(
        value=float(np.median(ordered)),
        low=float(ordered[low]) if low >= 0 else -math.inf,
        high=float(ordered[high]) if high < len(ordered) else math.inf,
        n=n,
    )


def lives_of(samples: Sequence[Mapping[str, Any]], name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bars and medians of blocks of a figure, a process each, its first bars left out."""
    found = []
    for pid in dict.fromkeys(sample["pid"] for sample in samples):
        rows = [
            (sample["bars"], sample[name])
            for sample in samples
            if sample["pid"] == pid and sample["bars"] > WARM_UP_BARS
        ]
        if not rows:
            continue
        blocks = np.array_split(np.array(rows, dtype=float), min(MOST_BLOCKS, len(rows)))
        middle = np.array([np.median(block, axis=0) for block in blocks])
        found.append((middle[:, 0], middle[:, 1]))
    return found


def verdict(
    *,
    samples: Sequence[Mapping[str, Any]],
    broken: Sequence[str],
    faults: Mapping[str, int],
    bars: int,
    limits: GrowthLimits | None = None,
) -> dict[str, Any]:
    """GO or NO-GO, with every reason; notes say what so short a soak cannot rule out.

    Args:
        samples: pid, bars, rss_kb, handles, threads, latency_ms.
        broken: invariants that did not hold, in words.
        faults: how often each fault was injected.
        bars: that were decided on.
    """
    limits = limits or GrowthLimits()
    reasons, notes = list(broken), list[str]()
    growth: dict[str, Any] = {}
    for name in SAMPLES_FIELDS:
        slope = pooled_slope(lives_of(samples, name))
        unit = float(np.median([sample[name] for sample in samples])) if samples and name == "latency_ms" else 1.0
        limit = getattr(limits, name) * unit
        growth[name] = {
            "per_1000_bars": slope.value,
            "low": _finite(slope.low),
            "high": _finite(slope.high),
            "n": slope.n,
            "limit": limit,
            "median": float(np.median([sample[name] for sample in samples])) if samples else None,
        }
        if slope.value is None:
            reasons.append(
                f"{name}: {slope.n} samples after the first {WARM_UP_BARS} bars of a process: too short to tell growth"
            )
        elif slope.low is not None and slope.low > limit:
            reasons.append(
                f"{name} grows by {slope.value:.3g} per 1,000 bars (99 % interval from {slope.low:.3g}, limit {limit:.3g}): "
                "a leak"
            )
        elif slope.high is not None and slope.high > limit:
            notes.append(
                f"{name}: growth above the limit of {limit:.3g} per 1,000 bars is not shown and not ruled out "
                f"({slope.n} samples): run longer"
            )
    if not bars:
        reasons.append("no bar was decided on")
    return {
        "verdict": "NO-GO" if reasons else "GO",
        "reasons": reasons,
        "notes": notes,
        "bars": bars,
        "faults": dict(sorted(faults.items())),
        "growth": growth,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
