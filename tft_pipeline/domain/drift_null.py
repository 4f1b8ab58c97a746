"""How far one feature's recent bars lie from its reference, and how far windows of the same length lie from the rest.

A bar is one time step with a value for each of S symbols. Not here: verdicts (`drift`).
"""

from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np

from tft_pipeline.domain.divergence import edges_of_sorted, jensen_shannon, psi, smoothed_proportions
from tft_pipeline.domain.drift_distances import kolmogorov_smirnov, wasserstein

STARTS_A_WINDOW = 3
"""Null windows start every third of their length; `drift.drift_report` says what that does to the error rate."""

MOST_WINDOWS = 999
"""Null windows at most, evenly spaced: enough for a p-value of 0.001."""

GRID = 500
"""Quantiles of the reference at which the Kolmogorov-Smirnov statistic of a window is looked up, at most."""


@dataclass(frozen=True, kw_only=True)
class FeatureSizes:
    """The distances of one feature.

    Attributes:
        psi, js_divergence_bits, js_distance, ks, wasserstein: as in `FeatureDrift`.
        missing_reference, missing_recent: shares.
        null_psi: (W,) each null window against the rest of the bars.
        ks_on_grid: `ks` as it is measured for the windows.
        null_ks: (W,) the same for each window; NaN where it has no value.
    """

    psi: float
    js_divergence_bits: float
    js_distance: float
    ks: float | None
    wasserstein: float | None
    missing_reference: float
    missing_recent: float
    null_psi: np.ndarray
    ks_on_grid: float
    null_ks: np.ndarray


def null_starts(n_reference: int, window: int, *, a_window: int = STARTS_A_WINDOW) -> np.ndarray:
    """First bars of the null windows, newest first: the newest ends with the reference, each next one 1/a_window earlier.

    None when no window fits or is all of the reference; at most `MOST_WINDOWS`, then further apart.
    """
    if window < 1 or window >= n_reference:
        return np.empty(0, dtype=np.int64)
    last = n_reference - window
    step = max(1, window // a_window, -(-last // (MOST_WINDOWS - 1)))
    return np.arange(last, -1, -step)


def windows_needed(alpha: float, at_least: int) -> int:
    """Null windows without which p = (1 + 0) / (1 + W) cannot reach `alpha`; `at_least`, where that is more."""
    return max(at_least, ceil(1.0 / alpha - 1e-9) - 1)


def measure(reference: np.ndarray, recent: np.ndarray, starts: np.ndarray, *, n_bins: int) -> FeatureSizes:
    """All distances of one feature; each part of the series is sorted once and counted at the edges of all bins.

    A null window is compared with all other bars, the recent ones among them, as the recent window is compared with all other
    bars, which are the reference.

    Args:
        reference: (N, S), NaN is missing. Of two float32 sides (or float16) all work is done in float32, else in float64.
        recent: (n, S) with at least one bar.
        starts: (W,) first bars of the null windows.
    """
    single = all(side.dtype in (np.float16, np.float32) for side in (reference, recent))
    dtype = np.float32 if single else np.float64
    before, after = (np.ascontiguousarray(side, dtype=dtype) for side in (reference, recent))
    N, n = len(before), len(after)
    x, y = _sorted(before), _sorted(after)
    edges = edges_of_sorted(x, n_bins)
    grid = np.union1d(edges, edges_of_sorted(x, max(2, min(GRID, after.size))))

    marks = np.union1d(np.concatenate([starts, starts + n]), [0, N])
    less, present, rows = _counts(before, marks, grid)
    now = np.searchsorted(y, grid)
    less = np.vstack([less, less[-1] + now])  # the recent bars are the last part
    present, rows = np.append(present, present[-1] + y.size), np.append(rows, rows[-1] + after.size)

    first = np.append(np.searchsorted(marks, starts), marks.size - 1)  # the last window is the recent one
    stop = np.append(np.searchsorted(marks, starts + n), marks.size)
    inside, n_inside, n_rows = less[stop] - less[first], present[stop] - present[first], rows[stop] - rows[first]
    outside, n_outside = less[-1] - inside, present[-1] - n_inside

    at = np.searchsorted(grid, edges)
    counts = _bins(inside[:, at], n_inside, n_rows)
    rest = _bins(outside[:, at], n_outside, rows[-1] - n_rows)
    used = (counts[-1] + rest[-1]) > 0
    p, q = smoothed_proportions(rest[:, used]), smoothed_proportions(counts[:, used])
    sizes = psi(p, q)
    divergence, distance = jensen_shannon(p[-1], q[-1])
    known = (n_inside > 0) & (n_outside > 0)
    gaps = np.full(len(sizes), np.nan)
    apart = inside[known] / n_inside[known, None] - outside[known] / n_outside[known, None]
    gaps[known] = np.abs(apart).max(axis=1, initial=0.0)
    both = x.size > 0 and y.size > 0
    return FeatureSizes(
        psi=float(sizes[-1]),
        js_divergence_bits=float(divergence),
        js_distance=float(distance),
        ks=kolmogorov_smirnov(x, y) if both else None,
        wasserstein=wasserstein(x, y) if both else None,
        missing_reference=1.0 - x.size / before.size,
        missing_recent=1.0 - y.size / after.size,
        null_psi=sizes[:-1],
        ks_on_grid=float(gaps[-1]),
        null_ks=gaps[:-1],
    )


def _sorted(values: np.ndarray) -> np.ndarray:
    """All values, sorted, without the missing ones."""
    ordered = np.sort(values, axis=None)
    return ordered[: np.searchsorted(ordered, np.nan)]  # NaN sorts last


def _counts(values: np.ndarray, marks: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Up to each mark: (M, G) values below each grid point, (M,) values that are there, (M,) all."""
    less = np.zeros((marks.size, grid.size), dtype=np.int64)
    present = np.zeros(marks.size, dtype=np.int64)
    for i, (start, stop) in enumerate(pairwise(marks), start=1):
        part = _sorted(values[start:stop])
        less[i] = less[i - 1] + np.searchsorted(part, grid)
        present[i] = present[i - 1] + part.size
    return less, present, marks * values.shape[1]


def _bins(less: np.ndarray, present: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Counts a bin from counts below each edge; the last bin holds the missing values."""
    return np.diff(np.column_stack([np.zeros_like(present), less, present, rows]), axis=1)
