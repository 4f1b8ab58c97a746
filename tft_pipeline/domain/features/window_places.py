"""Where in a window something happened: how long ago its extreme was, its deepest fall, its best run, the last row's rank.

Put together from blocks as in `windows` and `pyramid`, with the same guarantee: a value is a function of its window's rows and
of nothing else, to the bit. A result is NaN in the first `window - 1` rows and wherever the window holds a NaN.
"""

import numpy as np

from tft_pipeline.domain.features.pyramid import State, over_windows
from tft_pipeline.domain.features.sharing import Array, Arrays
from tft_pipeline.domain.features.windows import lag


def rows_since_max(values: Array, window: int) -> Array:
    """Rows since the highest value of the last `window` rows, the latest of equals: 0 ... window - 1."""
    highest, rows = over_windows("rows since max", (values,), (values, 0.0), window, _merge_highest)
    return np.where(np.isnan(highest), np.nan, rows)


def deepest_fall(values: Array, window: int) -> Array:
    """Smallest later / earlier of two of the last `window` rows, 1 where it never falls; values above zero."""
    return over_windows("deepest fall", (values,), (values, values, 1.0), window, _merge_falls)[2]


def best_run(values: Array, window: int) -> Array:
    """Largest sum of the last k of the last `window` rows over k = 0 ... window; never below 0.

    Page's cumulative sum max(0, S + x), started from 0 before the window's first row.
    """
    _, best = over_windows("best run", (values,), (values, values), window, _merge_runs)
    return np.maximum(best, 0.0)


def last_rank(values: Array, window: int) -> Array:
    """Share of the other rows of the window below the last one, minus the share above it: -1 ... 1."""
    balance = np.zeros(len(values))
    for rows in range(1, window):
        balance += np.sign(values - lag(values, rows))
    return balance / (window - 1)


def _merge_highest(old: State, new: State, _old_rows: int, new_rows: int) -> Arrays:
    """(highest value, rows since its latest)."""
    newer_wins = np.greater_equal(new[0], old[0])
    return np.maximum(old[0], new[0]), np.where(newer_wins, new[1], old[1] + float(new_rows))


def _merge_falls(old: State, new: State, _old_rows: int, _new_rows: int) -> Arrays:
    """(highest value, lowest value, smallest later / earlier)."""
    across = np.divide(new[1], old[0])
    np.minimum(across, old[2], out=across)
    np.minimum(across, new[2], out=across)
    return np.maximum(old[0], new[0]), np.minimum(old[1], new[1]), across


def _merge_runs(old: State, new: State, _old_rows: int, _new_rows: int) -> Arrays:
    """(sum, largest sum of the last rows)."""
    return np.add(old[0], new[0]), np.maximum(new[1], new[0] + old[1])
