"""What a soak comes to: does anything grow, was anything promised not kept. Pure. Not here: the soak itself.

Growth is judged within the life of each process and pooled over processes, after its first bars, by the seasonal Kendall
slope: the median of (y_j - y_i) / (x_j - x_i) over all pairs of one process, with the interval between the ranks
(N -+ C) / 2 of the N sorted slopes, C = z sqrt(sum_p n_p (n_p - 1)(2 n_p + 5) / 18). Outliers do not move it. Samples are
medians of blocks, for neighbours are alike. It is a leak when the lower end of the interval is above the limit, or when that
end times the bars of the longest life, what it grew by at least, is above the limit of a life: a little a bar is much in a day.

Source: Hirsch, Slack & Smith (1982), Water Resources Research 18; Gilbert (1987), section 17.3, for the interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Z = 2.576
"""99 %, two-sided: there are few figures."""
MOST_BLOCKS = 60
LEAST_SAMPLES = 6
PER_BARS = 1000.0
WARM_UP_BARS = 400
LOOP, WATCHDOG = "loop", "watchdog"
FIGURES = (
    *((LOOP, name) for name in ("rss_kb", "handles", "threads", "latency_ms")),
    *((WATCHDOG, name) for name in ("rss_kb", "handles", "threads")),
)
"""Process and figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthLimits:
    """Per 1,000 bars, two thirds of a day of minutes; and over a life.

    Attributes:
        rss_kb, handles, threads: per 1,000 bars. latency_ms: per 1,000 bars, as a share of its median.
        life_rss_kb, life_latency_ms: over a life, as a share of the figure at its beginning.
        life_handles, life_threads: over a life: less than one more.
    """

    rss_kb: float = 400.0
    handles: float = 1.0
    threads: float = 1.0
    latency_ms: float = 0.1
    life_rss_kb: float = 0.2
    life_latency_ms: float = 0.5
    life_handles: float = 0.99
    life_threads: float = 0.99

    def of_1000_bars(self, name: str, median: float) -> float:
        """In the figure's unit."""
        limit: float = getattr(self, name)
        return limit * median if name == "latency_ms" else limit

    def of_a_life(self, name: str, start: float) -> float:
        """In the figure's unit."""
        limit: float = getattr(self, f"life_{name}")
        return limit * start if name in ("rss_kb", "latency_ms") else limit


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


def lives_of(
    samples: Sequence[Mapping[str, Any]], name: str, process: str = LOOP
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bars and medians of blocks of a figure, a life of a process each, its first bars left out.

    A life is a pid with one start, and bars that rise: the system gives a pid again.
    """
    lives: list[list[tuple[float, float]]] = []
    last: tuple[Any, float] = (None, math.inf)
    for sample in samples:
        if sample.get("process", LOOP) != process:
            continue
        who, bars = (sample["pid"], sample.get("started")), float(sample["bars"])
        if who != last[0] or bars <= last[1]:
            lives.append([])
        last = who, bars
        if bars > WARM_UP_BARS:
            lives[-1].append((bars, float(sample[name])))
    found = []
    for rows in filter(None, lives):
        blocks = np.array_split(np.array(rows), min(MOST_BLOCKS, len(rows)))
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
        samples: process, pid, started, bars, rss_kb, handles, threads; of the loop latency_ms and equity_told as well. Of the
            watchdog `bars` are those that a loop could have had in its time.
        broken: invariants that did not hold, in words.
        faults: how often each fault was injected.
        bars: that were decided on.
    """
    limits = limits or GrowthLimits()
    reasons, notes = list(broken), list[str]()
    growth: dict[str, Any] = {}
    for process, name in FIGURES:
        said = name if process == LOOP else f"{process}_{name}"
        growth[said] = _grown(said, name, lives_of(samples, name, process), limits, reasons, notes)
    told = sum(life[-1] for life in _told(samples))
    if not told:
        reasons.append("the loop's equity was told again at no bar")
    if not bars:
        reasons.append("no bar was decided on")
    return {
        "verdict": "NO-GO" if reasons else "GO",
        "reasons": reasons,
        "notes": notes,
        "bars": bars,
        "equity_told": told,
        "faults": dict(sorted(faults.items())),
        "growth": growth,
    }


def _grown(
    said: str,
    name: str,
    lives: Sequence[tuple[np.ndarray, np.ndarray]],
    limits: GrowthLimits,
    reasons: list[str],
    notes: list[str],
) -> dict[str, Any]:
    """One figure's growth; what is wrong with it is added to reasons, what is not known to notes."""
    slope = pooled_slope(lives)
    if slope.value is None or slope.low is None or slope.high is None:
        reasons.append(
            f"{said}: {slope.n} samples after the first {WARM_UP_BARS} bars of a process: too short to tell growth"
        )
        return {"per_1000_bars": None, "low": None, "high": None, "n": slope.n, "limit": None, "median": None}
    median = float(np.median(np.concatenate([y for _, y in lives])))
    bars, figures = max(lives, key=lambda life: life[0][-1] - life[0][0])
    start = float(np.median(figures[: max(1, len(figures) // 10)]))
    thousands = float(bars[-1] - bars[0]) / PER_BARS
    limit, life_limit = limits.of_1000_bars(name, median), limits.of_a_life(name, start)
    if slope.low > limit:
        reasons.append(
            f"{said} grows by {slope.value:.3g} per 1,000 bars (99 % interval from {slope.low:.3g}, limit {limit:.3g}): a leak"
        )
    elif slope.low * thousands > life_limit:
        reasons.append(
            f"{said} grows by {slope.value * thousands:.3g} over {thousands * PER_BARS:.0f} bars (99 % interval from "
            f"{slope.low * thousands:.3g}, limit {life_limit:.3g}, begins at {start:.3g}): a slow leak"
        )
    elif slope.high > limit:
        notes.append(
            f"{said}: growth above the limit of {limit:.3g} per 1,000 bars is not shown and not ruled out "
            f"({slope.n} samples): run longer"
        )
    return {
        "per_1000_bars": slope.value,
        "low": _finite(slope.low),
        "high": _finite(slope.high),
        "n": slope.n,
        "limit": limit,
        "median": median,
        "longest_life_bars": thousands * PER_BARS,
        "over_a_life": slope.value * thousands,
        "limit_of_a_life": life_limit,
    }


def _told(samples: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Bars whose equity was told again, running counts of each life of the loop."""
    lives: dict[tuple[Any, Any], list[int]] = {}
    for sample in samples:
        if "equity_told" in sample:
            lives.setdefault((sample["pid"], sample.get("started")), []).append(int(sample["equity_told"]))
    return list(lives.values())


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
