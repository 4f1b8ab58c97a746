"""Rolling statistics whose value at a row is a function of the rows of its window and of nothing else.

Running sums (add the newest row, subtract the oldest) carry the rounding of every earlier row along, leave a residue
after a spike and give a flat window a tiny variance in place of zero. Here a window is put together from blocks of
1, 2, 4, 8 ... rows (`pyramid`). The cost is O(n log window), the tree of a window is the same at every row, so more rows
before or after it change no bit, and a flat window has a variance of exactly zero.

Arrays are one-dimensional float64 in time order; NaN is a missing value. A result is NaN in the first `window - 1`
rows and, unless said otherwise, wherever the window holds a NaN. Results of window and smoothing functions are read-only,
for inside `sharing` the next feature gets the same array: write `np.where(...)` in place of an assignment to a part.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tft_pipeline.domain.features import pyramid
from tft_pipeline.domain.features.pyramid import Merge
from tft_pipeline.domain.features.sharing import Array as Array
from tft_pipeline.domain.features.sharing import Arrays, once

State = Arrays

SPREAD_FLOOR = 1e-12
"""A standard deviation of returns or log prices at or below this is rounding, not movement."""


def lag(values: Array, bars: int) -> Array:
    """values[t - bars], NaN in the first `bars` rows."""
    if bars < 0:
        raise ValueError(f"lag {bars} < 0 would read a later row: pass a number of bars back")
    out = np.full(values.shape, np.nan)
    out[bars:] = values[: max(len(values) - bars, 0)]
    return out


def ratio(numerator: Array, denominator: Array, *, floor: float = 0.0) -> Array:
    """numerator / denominator, NaN where |denominator| <= floor or either is NaN."""
    usable = np.abs(denominator) > floor
    found: Array = np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=usable)
    return found


def positive_log(values: Array) -> Array:
    """ln(values), NaN where a value is not above zero."""
    return np.log(values, out=np.full(values.shape, np.nan), where=values > 0.0)


def window_sum(values: Array, window: int) -> Array:
    """Sum of the last `window` rows."""
    return pyramid.over_windows("sum", (values,), (values,), window, pyramid.merge_sums)[0]


def window_mean(values: Array, window: int) -> Array:
    """Mean of the last `window` rows; on a flat window exactly its value, which sum / window is not."""
    return pyramid.over_windows("mean", (values,), (values,), window, pyramid.merge_means)[0]


def window_max(values: Array, window: int) -> Array:
    """Largest of the last `window` rows."""
    return pyramid.over_windows("max", (values,), (values,), window, pyramid.merge_maxima)[0]


def window_min(values: Array, window: int) -> Array:
    """Smallest of the last `window` rows."""
    return pyramid.over_windows("min", (values,), (values,), window, pyramid.merge_minima)[0]


def window_std(values: Array, window: int) -> Array:
    """Sample standard deviation (ddof 1) of the last `window` rows; exactly 0 on a flat window."""
    return once(("std", window), (values,), lambda: (np.sqrt(window_spread(values, window)[1] / (window - 1)),))[0]


def window_zscore(values: Array, window: int) -> Array:
    """(value - mean) / std over the last `window` rows, own row included; NaN on a flat window."""
    mean, _ = window_spread(values, window)
    return ratio(values - mean, window_std(values, window), floor=SPREAD_FLOOR)


def window_spread(values: Array, window: int) -> tuple[Array, Array]:
    """Mean, and the sum of squared distances to it, over the last `window` rows."""
    mean, squares = pyramid.over_windows(
        "spread", (values,), (values, _zero(values, window)), window, pyramid.merge_spread
    )
    return mean, squares


def window_moments(values: Array, window: int) -> tuple[Array, Array, Array, Array]:
    """Mean and the sums of second, third and fourth powers of the distances to it, over the last `window` rows."""
    nothing = _zero(values, window)
    leaf = (values, nothing, nothing, nothing)
    mean, second, third, fourth = pyramid.over_windows("moments", (values,), leaf, window, pyramid.merge_moments)
    return mean, second, third, fourth


def window_pair_moments(x: Array, y: Array, window: int) -> tuple[Array, Array, Array, Array]:
    """Number of rows where both are known, and the centred sums Sxx, Syy, Sxy over them, in the last `window` rows.

    Rows where either is NaN are left out, so the caller decides how many pairs are enough.
    """
    if window < 1:
        raise ValueError(f"window {window} < 1 holds no row: pass at least 1")
    pairs, sxx, syy, sxy = once(("pair moments", window), (x, y), lambda: _pair_moments(x, y, window))
    return pairs, sxx, syy, sxy


def _pair_moments(x: Array, y: Array, window: int) -> Arrays:
    """Where every pair from some row on is known, windows behind it need not count pairs; the bits are the same."""
    known = np.isfinite(x) & np.isfinite(y)
    first = int(np.argmax(known))
    if len(known) - first < window or not known[first:].all():
        return _some_pairs(known, x, y, window, about=(x, y))
    leaf = (x[first:], y[first:], 0.0, 0.0, 0.0)
    states = pyramid.window_states("all pairs", (x, y), leaf, window, pyramid.merge_all_pairs)
    before = slice(0, first + window - 1)
    head = _some_pairs(known[before], x[before], y[before], window)
    full = np.full(len(x) - first - window + 1, float(window))
    sums = (np.broadcast_to(part, full.shape) for part in states[2:])
    return tuple(np.concatenate(ends) for ends in zip(head, (full, *sums), strict=True))


def _some_pairs(known: NDArray[np.bool_], x: Array, y: Array, window: int, *, about: Arrays | None = None) -> Arrays:
    leaf = (known.astype(np.float64), np.where(known, x, 0.0), np.where(known, y, 0.0), 0.0, 0.0, 0.0)
    # without what they are about, the leaves, new and writable, stand for themselves and nothing is remembered
    source = about or leaf[:3]
    pairs, _, _, sxx, syy, sxy = pyramid.over_windows("some pairs", source, leaf, window, pyramid.merge_some_pairs)
    return pairs, sxx, syy, sxy


def window_correlation(x: Array, y: Array, window: int, *, pairs_needed: int) -> Array:
    """Pearson correlation over the known pairs of the last `window` rows; NaN below `pairs_needed` or if one is flat.

    Flat: a standard deviation at or below SPREAD_FLOOR.
    """
    pairs, sxx, syy, sxy = window_pair_moments(x, y, window)
    flat = pairs * SPREAD_FLOOR**2
    usable = (pairs >= pairs_needed) & (sxx > flat) & (syy > flat)
    spread = np.sqrt(np.where(usable, sxx, 0.0)) * np.sqrt(np.where(usable, syy, 0.0))
    return ratio(sxy, spread)


def window_since_peak(values: Array, window: int) -> tuple[Array, Array]:
    """Latest highest value of the last `window` rows, and the lowest value at or after it."""

    leaf = (values, values, values)
    peak, low_after, _ = pyramid.over_windows("since peak", (values,), leaf, window, pyramid.merge_since_peak)
    return peak, np.where(np.isnan(peak), np.nan, low_after)


def ewm_mean(values: Array, alpha: float, *, rows_needed: int) -> Array:
    """sum_j (1-alpha)^j x_{t-j} / sum_j (1-alpha)^j over all rows so far; leading NaN rows do not count."""
    return once(("ewm mean", alpha, rows_needed), (values,), lambda: (_ewm_mean(values, alpha, rows_needed),))[0]


def ewm_std(values: Array, span: int) -> Array:
    """Bias-corrected EWM standard deviation, alpha = 2/(span+1), from `span` values on; leading NaN do not count."""
    return once(("ewm std", span), (values,), lambda: (_ewm_std(values, span),))[0]


def wilder_mean(values: Array, bars: int) -> Array:
    """Wilder's smoothing: the mean of the first `bars` known values, then y_t = ((bars-1) y_{t-1} + x_t) / bars.

    Leading NaN rows do not count. Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    return once(("wilder mean", bars), (values,), lambda: (_wilder_mean(values, bars),))[0]


def _ewm_mean(values: Array, alpha: float, rows_needed: int) -> Array:
    return _floats(_nullable(values).ewm_mean(alpha=alpha, adjust=True, min_samples=rows_needed, ignore_nulls=True))


def _ewm_std(values: Array, span: int) -> Array:
    series = _nullable(values)
    return _floats(series.ewm_std(span=span, adjust=True, bias=False, min_samples=span, ignore_nulls=True))


def _wilder_mean(values: Array, bars: int) -> Array:
    out = np.full(values.shape, np.nan)
    first = int(np.argmax(np.isfinite(values))) + bars - 1
    if first >= len(values):
        return out
    seed = window_mean(values, bars)[first]
    rest = pl.Series(np.concatenate(([seed], values[first + 1 :])))
    out[first:] = rest.ewm_mean(alpha=1.0 / bars, adjust=False, min_samples=1, ignore_nulls=True).to_numpy()
    return out


def _merged(leaf: State, window: int, merge: Merge) -> State:
    """States of one row, all of them arrays, merged to those of `window` rows; nothing is remembered of it."""
    return pyramid.over_windows("", (np.empty(0),), leaf, window, merge)


def _nullable(values: Array) -> pl.Series:
    return pl.Series(values).fill_nan(None)


def _floats(series: pl.Series) -> Array:
    return series.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _zero(values: Array, window: int) -> Array | float:
    """What is zero in a row alone; a window of that one row has no neighbour that would carry a missing value over."""
    return np.where(np.isnan(values), np.nan, 0.0) if window == 1 else 0.0
