"""Statistics of windows put together from blocks of 1, 2, 4, 8 ... rows, and how two neighbouring blocks are merged.

A block keeps its mean and central moments; two neighbours are merged exactly as in Chan, Golub & LeVeque (1979),
"Updating formulae and a pairwise algorithm for computing sample variances", extended to third and fourth moments by
Pébay (2008), SAND2008-6212. The blocks of a series serve all its windows. Not here: which statistics there are.

Row i of the state of a block of k rows is about the rows i ... i + k - 1 of the series, so that a neighbour is a slice and
no copy. A part that is zero in every one-row block is the number 0.0 in place of an array.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tft_pipeline.domain.features.sharing import Array, Arrays, once

State = tuple[Array | float, ...]
Merge = Callable[[Any, Any, int, int], Arrays]
"""(older block, newer block, rows of the older, rows of the newer) -> both as one block; no row looks at another."""

STRIP_ROWS = 16_384
"""Rows merged at a time: what is in between stays in the processor's cache."""


def over_windows(name: str, about: Arrays, leaf: State, window: int, merge: Merge) -> Arrays:
    """The state of the `window` rows that end at each row, NaN in the first `window - 1` rows; read-only.

    Args:
        name: Of the statistic; its blocks are shared under this name (`sharing`).
        about: The arrays that `leaf` is made of.
        leaf: State of the one-row blocks, at least one part an array.
        window: Rows.
        merge: How two neighbours become one.
    Raises:
        ValueError: a window without a row.
    """
    if window < 1:
        raise ValueError(f"window {window} < 1 holds no row: pass at least 1")
    return once((name, "window", window), about, lambda: _at_last_rows(name, about, leaf, window, merge))


def _at_last_rows(name: str, about: Arrays, leaf: State, window: int, merge: Merge) -> Arrays:
    rows = max(len(part) for part in leaf if isinstance(part, np.ndarray))
    if rows < window:
        return tuple(np.full(rows, np.nan) for _ in leaf)
    return tuple(_padded(part, rows) for part in window_states(name, about, leaf, window, merge))


def window_states(name: str, about: Arrays, leaf: State, window: int, merge: Merge) -> State:
    """The state of every window, oldest first, without the padding in front; there must be one."""

    total: State | None = None
    total_rows = 0
    block, rows = leaf, 1
    while rows <= window:
        if window & rows:
            total = block if total is None else _neighbours(block, total, rows, total_rows, merge)
            total_rows += rows
        if 2 * rows <= window:
            block = _doubled(name, about, block, rows, merge)
        rows *= 2
    assert total is not None
    return total


def _doubled(name: str, about: Arrays, block: State, rows: int, merge: Merge) -> Arrays:
    return once((name, "block", 2 * rows), about, lambda: _neighbours(block, block, rows, rows, merge))


def _neighbours(old: State, new: State, old_rows: int, new_rows: int, merge: Merge) -> Arrays:
    """Each old block with the new one that begins where it ends."""
    newer = tuple(part[old_rows:] if isinstance(part, np.ndarray) else part for part in new)
    n = max(len(part) for part in newer if isinstance(part, np.ndarray))
    if n <= STRIP_ROWS:
        return merge(_strip(old, 0, n), newer, old_rows, new_rows)
    out = tuple(np.empty(n) for _ in newer)
    for start in range(0, n, STRIP_ROWS):
        stop = min(start + STRIP_ROWS, n)
        for whole, part in zip(
            out, merge(_strip(old, start, stop), _strip(newer, start, stop), old_rows, new_rows), strict=True
        ):
            whole[start:stop] = part
    return out


def _strip(state: State, start: int, stop: int) -> State:
    return tuple(part[start:stop] if isinstance(part, np.ndarray) else part for part in state)


def _padded(part: Array | float, rows: int) -> Array:
    out = np.empty(rows)
    before = rows - len(part) if isinstance(part, np.ndarray) else 0
    out[:before] = np.nan
    out[before:] = part
    return out


def merge_sums(old: State, new: State, _old_rows: int, _new_rows: int) -> Arrays:
    """(sum,)."""
    return (np.add(old[0], new[0]),)


def merge_maxima(old: State, new: State, _old_rows: int, _new_rows: int) -> Arrays:
    """(largest,)."""
    return (np.maximum(old[0], new[0]),)


def merge_minima(old: State, new: State, _old_rows: int, _new_rows: int) -> Arrays:
    """(smallest,)."""
    return (np.minimum(old[0], new[0]),)


def merge_means(old: State, new: State, a: int, b: int) -> Arrays:
    """(mean,)."""
    mean = np.subtract(new[0], old[0])
    mean *= b / (a + b)
    mean += old[0]
    return (mean,)


def merge_spread(old: State, new: State, a: int, b: int) -> Arrays:
    """(mean, sum of squared distances to it)."""
    step = np.subtract(new[0], old[0])
    mean = step * (b / (a + b))
    mean += old[0]
    step *= step
    step *= a * b / (a + b)
    step += old[1] + new[1]
    return mean, step


def merge_moments(old: State, new: State, a: int, b: int) -> Arrays:
    """(mean, sums of second, third and fourth powers of the distances to it)."""
    mean_a, s2_a, s3_a, s4_a = old
    mean_b, s2_b, s3_b, s4_b = new
    n = a + b
    step = np.subtract(mean_b, mean_a)
    squared = step * step
    mean = step * (b / n)
    mean += mean_a
    s2 = squared * (a * b / n)
    s2 += s2_a + s2_b
    s3 = squared * step
    s3 *= a * b * (a - b) / n**2
    s3 += s3_a + s3_b
    s3 += step * (3.0 / n) * (a * s2_b - b * s2_a)
    s4 = squared * squared
    s4 *= a * b * (a * a - a * b + b * b) / n**3
    s4 += s4_a + s4_b
    s4 += squared * (6.0 / n**2) * (a * a * s2_b + b * b * s2_a)
    s4 += step * (4.0 / n) * (a * s3_b - b * s3_a)
    return mean, s2, s3, s4


def merge_some_pairs(old: State, new: State, _old_rows: int, _new_rows: int) -> Arrays:
    """(known pairs, mean x, mean y, Sxx, Syy, Sxy); a row that is not known counts as no row."""
    pairs_a, mean_x_a, mean_y_a, sxx_a, syy_a, sxy_a = old
    pairs_b, mean_x_b, mean_y_b, sxx_b, syy_b, sxy_b = new
    pairs = np.add(pairs_a, pairs_b)
    share_b = np.divide(pairs_b, pairs, out=np.zeros(len(pairs)), where=pairs > 0.0)
    weight = pairs_a * share_b
    return (pairs, *_paired(mean_x_a, mean_x_b, mean_y_a, mean_y_b, share_b, weight, (sxx_a, syy_a, sxy_a),
                            (sxx_b, syy_b, sxy_b)))  # fmt: skip


def merge_all_pairs(old: State, new: State, a: int, b: int) -> Arrays:
    """(mean x, mean y, Sxx, Syy, Sxy) where every pair is known: what `merge_some_pairs` gives there, to the bit."""
    share_b = b / (a + b)
    return _paired(old[0], new[0], old[1], new[1], share_b, a * share_b, old[2:], new[2:])


def _paired(
    mean_x_a: Array | float,
    mean_x_b: Array | float,
    mean_y_a: Array | float,
    mean_y_b: Array | float,
    share_b: Array | float,
    weight: Array | float,
    sums_a: State,
    sums_b: State,
) -> Arrays:
    step_x, step_y = np.subtract(mean_x_b, mean_x_a), np.subtract(mean_y_b, mean_y_a)
    mean_x, mean_y = step_x * share_b, step_y * share_b
    mean_x += mean_x_a
    mean_y += mean_y_a
    sxy = step_x * step_y
    step_x *= step_x
    step_y *= step_y
    sums = (step_x, step_y, sxy)
    for total, one, other in zip(sums, sums_a, sums_b, strict=True):
        total *= weight
        total += one + other
    return (mean_x, mean_y, *sums)


def merge_since_peak(old: State, new: State, _old_rows: int, _new_rows: int) -> Arrays:
    """(latest highest value, lowest value at or after it, lowest value)."""
    peak_old, low_after_old, lowest_old = old
    peak_new, low_after_new, lowest_new = new
    newer_wins = np.greater_equal(peak_new, peak_old)
    low_after = np.where(newer_wins, low_after_new, np.minimum(low_after_old, lowest_new))
    return np.maximum(peak_old, peak_new), low_after, np.minimum(lowest_old, lowest_new)
