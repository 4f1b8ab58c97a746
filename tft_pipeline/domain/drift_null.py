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
"""Null windows start every third of their length, so that a change that lies between two of them does not pass."""

MOST_WINDOWS = 999
"""Null windows at most, evenly spaced: enough for a p-value of 0.001."""

GRID = 500
"""Quantiles of the reference at which the Kolmogorov-Smirnov statistic of a window is looked up, at most."""


@dataclass(frozen=True, kw_only=True)
class FeatureSizes:
    """The distances of one feature.

    Attributes:
        psi, js_divergence_bits, js_distance, ks, wasserstein: as in `FeatureDrift`.
        missing_reference, missing_recent: shares of the observed values.
        null_psi: (W,) each null window against all other bars.
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


def turned_starts(n_reference: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows that the recent one becomes when the bars, closed to a ring, are turned by thirds of it.

    The bars are the reference and then the recent `window`; first comes the turn by a third back. A window that begins in the
    last bars goes on at the first. Turned bars of a stationary series are as likely as the bars, but where the ends meet, so
    the recent window ranks among them like any other: also beside windows that share bars with it, at the end of the series,
    and however few they are. None when no window fits or is all of the reference; at most `MOST_WINDOWS`, then further apart.

    Returns:
        (W,) first bars, and (W,) which of them lie a whole number of windows before the recent one.
    """
    if window < 1 or window >= n_reference:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=bool)
    n_bars, a_window = n_reference + window, min(STARTS_A_WINDOW, window)
    apart = -(-n_bars * a_window // (window * (MOST_WINDOWS + 1)))
    turns = np.arange(apart, n_bars * a_window // window - apart + 1, apart)
    back = turns * window // a_window
    return (n_reference - back) % n_bars, (turns % a_window == 0) & (back <= n_reference)


def inside_of(upto: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """What lies in windows of a ring, from its sums up to each place; a window with stop <= start goes on at the first bar.

    Args:
        upto: (M, ...), sums before each place; the last one is that of the whole ring.
        starts, stops: (W,) places.
    """
    over = np.reshape(stops <= starts, (-1, *[1] * (upto.ndim - 1)))
    return np.asarray(upto[stops] - upto[starts] + np.where(over, upto[-1], 0))


def windows_needed(alpha: float, at_least: int) -> int:
    """Null windows without which p = (1 + 0) / (1 + W) cannot reach `alpha`; `at_least`, where that is more."""
    return max(at_least, ceil(1.0 / alpha - 1e-9) - 1)


def measure(
    reference: np.ndarray, recent: np.ndarray, starts: np.ndarray, *, n_bins: int, observed: np.ndarray
) -> FeatureSizes:
    """All distances of one feature; each part of the series is sorted once and counted at the edges of all bins.

    A null window is compared with all other bars, the recent ones among them, as the recent window is compared with all other
    bars, which are the reference.

    Args:
        reference: (N, S), NaN is missing. Of two float32 sides (or float16) all work is done in float32, else in float64.
        recent: (n, S) with at least one bar.
        starts: (W,) first bars of the null windows, as in `turned_starts`.
        observed: (N + n + 1,) observed values before each bar and at the end; an unobserved one is NaN and counts nowhere.
    """
    single = all(side.dtype in (np.float16, np.float32) for side in (reference, recent))
    dtype = np.float32 if single else np.float64
    before, after = (np.ascontiguousarray(side, dtype=dtype) for side in (reference, recent))
    N, n = len(before), len(after)
    total = N + n
    x, y = _sorted(before), _sorted(after)
    edges = edges_of_sorted(x, n_bins)
    grid = np.union1d(edges, edges_of_sorted(x, max(2, min(GRID, after.size))))

    starts = np.append(starts, N)  # the last window is the recent one
    stops = (starts + n - 1) % total + 1
    marks = np.union1d(np.concatenate([starts, stops]), [0, N, total])
    less, present = _counts(before, after, marks, grid)
    first, stop = np.searchsorted(marks, starts), np.searchsorted(marks, stops)
    inside, n_inside, n_rows = (inside_of(upto, first, stop) for upto in (less, present, observed[marks]))
    outside, n_outside = less[-1] - inside, present[-1] - n_inside

    at = np.searchsorted(grid, edges)
    counts = _bins(inside[:, at], n_inside, n_rows)
    rest = _bins(outside[:, at], n_outside, observed[-1] - n_rows)
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
        missing_reference=_missing(x.size, int(observed[N])),
        missing_recent=_missing(y.size, int(observed[-1] - observed[N])),
        null_psi=sizes[:-1],
        ks_on_grid=float(gaps[-1]),
        null_ks=gaps[:-1],
    )


def _sorted(values: np.ndarray) -> np.ndarray:
    """All values, sorted, without the missing ones."""
    ordered = np.sort(values, axis=None)
    return ordered[: np.searchsorted(ordered, np.nan)]  # NaN sorts last


def _missing(n_values: int, n_observed: int) -> float:
    return 1.0 - n_values / n_observed if n_observed else 0.0


def _counts(
    before: np.ndarray, after: np.ndarray, marks: np.ndarray, grid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Up to each mark, of which one is the end of `before`: (M, G) values below each grid point, (M,) values that are there."""
    N = len(before)
    less = np.zeros((marks.size, grid.size), dtype=np.int64)
    present = np.zeros(marks.size, dtype=np.int64)
    for i, (start, stop) in enumerate(pairwise(marks), start=1):
        part = _sorted(before[start:stop] if stop <= N else after[start - N : stop - N])
        less[i] = less[i - 1] + np.searchsorted(part, grid)
        present[i] = present[i - 1] + part.size
    return less, present


def _bins(less: np.ndarray, present: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Counts a bin from counts below each edge; the last bin holds the missing values."""
    return np.diff(np.column_stack([np.zeros_like(present), less, present, rows]), axis=1)
