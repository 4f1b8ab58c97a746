"""Rolling statistics whose value at a row is a function of the rows of its window and of nothing else.

Running sums (add the newest row, subtract the oldest) carry the rounding of every earlier row along, leave a residue
after a spike and give a flat window a tiny variance in place of zero. Here a window is put together from blocks of
1, 2, 4, 8 ... rows: each block keeps its mean and central moments and two neighbours are merged exactly as in Chan,
Golub & LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances", extended to third
and fourth moments by Pébay (2008), SAND2008-6212. The cost is O(n log window), the tree of a window is the same at
every row, so more rows before or after it change no bit, and a flat window has a variance of exactly zero.

Arrays are one-dimensional float64 in time order; NaN is a missing value. A result is NaN in the first `window - 1`
rows and, unless said otherwise, wherever the window holds a NaN.
"""

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = tuple[Array, ...]

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
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=usable)


def positive_log(values: Array) -> Array:
    """ln(values), NaN where a value is not above zero."""
    return np.log(values, out=np.full(values.shape, np.nan), where=values > 0.0)


def window_sum(values: Array, window: int) -> Array:
    """Sum of the last `window` rows."""
    return _merged((values,), window, lambda old, new, _old_rows, _new_rows: (old[0] + new[0],))[0]


def window_mean(values: Array, window: int) -> Array:
    """Mean of the last `window` rows; on a flat window exactly its value, which sum / window is not."""
    return _merged((values,), window, lambda old, new, a, b: (old[0] + (new[0] - old[0]) * (b / (a + b)),))[0]


def window_max(values: Array, window: int) -> Array:
    """Largest of the last `window` rows."""
    return _merged((values,), window, lambda old, new, _old_rows, _new_rows: (np.maximum(old[0], new[0]),))[0]


def window_min(values: Array, window: int) -> Array:
    """Smallest of the last `window` rows."""
    return -window_max(-values, window)


def window_std(values: Array, window: int) -> Array:
    """Sample standard deviation (ddof 1) of the last `window` rows; exactly 0 on a flat window."""
    return np.sqrt(window_spread(values, window)[1] / (window - 1))


def window_zscore(values: Array, window: int) -> Array:
    """(value - mean) / std over the last `window` rows, own row included; NaN on a flat window."""
    mean, squares = window_spread(values, window)
    return ratio(values - mean, np.sqrt(squares / (window - 1)), floor=SPREAD_FLOOR)


def window_spread(values: Array, window: int) -> tuple[Array, Array]:
    """Mean, and the sum of squared distances to it, over the last `window` rows."""
    mean, squares = _merged((values, _zero_where_known(values)), window, _merge_spread)
    return mean, squares


def window_moments(values: Array, window: int) -> tuple[Array, Array, Array, Array]:
    """Mean and the sums of second, third and fourth powers of the distances to it, over the last `window` rows."""
    nothing = _zero_where_known(values)
    mean, second, third, fourth = _merged((values, nothing, nothing, nothing), window, _merge_moments)
    return mean, second, third, fourth


def window_pair_moments(x: Array, y: Array, window: int) -> tuple[Array, Array, Array, Array]:
    """Number of rows where both are known, and the centred sums Sxx, Syy, Sxy over them, in the last `window` rows.

    Rows where either is NaN are left out, so the caller decides how many pairs are enough.
    """
    known = np.isfinite(x) & np.isfinite(y)
    nothing = np.zeros(len(x))
    leaf = (known.astype(np.float64), np.where(known, x, 0.0), np.where(known, y, 0.0), nothing, nothing, nothing)
    pairs, _, _, sxx, syy, sxy = _merged(leaf, window, _merge_pairs)
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

    def merge(old: State, new: State, _old_rows: int, _new_rows: int) -> State:
        peak_old, low_after_old, lowest_old = old
        peak_new, low_after_new, lowest_new = new
        newer_wins = peak_new >= peak_old
        low_after = np.where(newer_wins, low_after_new, np.minimum(low_after_old, lowest_new))
        return np.maximum(peak_old, peak_new), low_after, np.minimum(lowest_old, lowest_new)

    peak, low_after, _ = _merged((values, values, values), window, merge)
    return peak, np.where(np.isnan(peak), np.nan, low_after)


def ewm_mean(values: Array, alpha: float, *, rows_needed: int) -> Array:
    """sum_j (1-alpha)^j x_{t-j} / sum_j (1-alpha)^j over all rows so far; leading NaN rows do not count."""
    return _floats(_nullable(values).ewm_mean(alpha=alpha, adjust=True, min_samples=rows_needed, ignore_nulls=True))


def ewm_std(values: Array, span: int) -> Array:
    """Bias-corrected EWM standard deviation, alpha = 2/(span+1), from `span` values on; leading NaN do not count."""
    series = _nullable(values)
    return _floats(series.ewm_std(span=span, adjust=True, bias=False, min_samples=span, ignore_nulls=True))


def wilder_mean(values: Array, bars: int) -> Array:
    """Wilder's smoothing: the mean of the first `bars` known values, then y_t = ((bars-1) y_{t-1} + x_t) / bars.

    Leading NaN rows do not count. Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    out = np.full(values.shape, np.nan)
    first = int(np.argmax(np.isfinite(values))) + bars - 1
    if first >= len(values):
        return out
    seed = window_mean(values, bars)[first]
    rest = pl.Series(np.concatenate(([seed], values[first + 1 :])))
    out[first:] = rest.ewm_mean(alpha=1.0 / bars, adjust=False, min_samples=1, ignore_nulls=True).to_numpy()
    return out


def _nullable(values: Array) -> pl.Series:
    return pl.Series(values).fill_nan(None)


def _floats(series: pl.Series) -> Array:
    return series.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _merged(leaf: State, window: int, merge: Callable[[State, State, int, int], State]) -> State:
    """Merge one-row states into the state of the `window` rows that end at each row, doubling the block each round."""
    if window < 1:
        raise ValueError(f"window {window} < 1 holds no row: pass at least 1")
    total: State | None = None
    total_rows = 0
    block, rows = leaf, 1
    while rows <= window:
        if window & rows:
            older = tuple(lag(part, total_rows) for part in block)
            total = older if total is None else merge(older, total, rows, total_rows)
            total_rows += rows
        if 2 * rows <= window:
            block = merge(tuple(lag(part, rows) for part in block), block, rows, rows)
        rows *= 2
    assert total is not None
    return total


def _zero_where_known(values: Array) -> Array:
    return np.where(np.isnan(values), np.nan, 0.0)


def _merge_spread(old: State, new: State, a: int, b: int) -> State:
    step = new[0] - old[0]
    return old[0] + step * (b / (a + b)), old[1] + new[1] + step * step * (a * b / (a + b))


def _merge_moments(old: State, new: State, a: int, b: int) -> State:
    mean_a, s2_a, s3_a, s4_a = old
    mean_b, s2_b, s3_b, s4_b = new
    n = a + b
    step = mean_b - mean_a
    squared = step * step
    mean = mean_a + step * (b / n)
    s2 = s2_a + s2_b + squared * (a * b / n)
    s3 = s3_a + s3_b + squared * step * (a * b * (a - b) / n**2) + step * (3.0 / n) * (a * s2_b - b * s2_a)
    s4 = (
        s4_a
        + s4_b
        + squared * squared * (a * b * (a * a - a * b + b * b) / n**3)
        + squared * (6.0 / n**2) * (a * a * s2_b + b * b * s2_a)
        + step * (4.0 / n) * (a * s3_b - b * s3_a)
    )
    return mean, s2, s3, s4


def _merge_pairs(old: State, new: State, _old_rows: int, _new_rows: int) -> State:
    pairs_a, mean_x_a, mean_y_a, sxx_a, syy_a, sxy_a = old
    pairs_b, mean_x_b, mean_y_b, sxx_b, syy_b, sxy_b = new
    pairs = pairs_a + pairs_b
    share_b = np.divide(pairs_b, pairs, out=np.zeros(len(pairs)), where=pairs > 0.0)
    step_x, step_y = mean_x_b - mean_x_a, mean_y_b - mean_y_a
    weight = pairs_a * share_b
    return (
        pairs,
        mean_x_a + step_x * share_b,
        mean_y_a + step_y * share_b,
        sxx_a + sxx_b + step_x * step_x * weight,
        syy_a + syy_b + step_y * step_y * weight,
        sxy_a + sxy_b + step_x * step_y * weight,
    )
