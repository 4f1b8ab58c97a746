"""Rolling mean and z-score of a series with missing rows: they are left out, and enough others must remain.

Not here: windows that a missing row blanks (`windows`). As there, a value is a function of the rows of its window alone.
"""

import numpy as np

from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, ratio, window_pair_moments, window_sum


def known_mean(values: Array, window: int, *, rows_needed: int) -> Array:
    """Mean of the known rows among the last `window`; NaN with fewer than `rows_needed`, and in the first `window` - 1."""
    known = np.isfinite(values)
    count = window_sum(known.astype(np.float64), window)
    total = window_sum(np.where(known, values, 0.0), window)
    return ratio(total, np.where(count >= rows_needed, count, np.nan))


def known_zscore(values: Array, window: int, *, rows_needed: int) -> Array:
    """(value - mean) / std (ddof 1) over the known rows of the last `window`, own row included; NaN on a flat window.

    Raises:
        ValueError: `rows_needed` < 2.
    """
    if rows_needed < 2:
        raise ValueError(f"rows_needed {rows_needed} < 2: a single row has no spread, ask for more")
    count, squares, _, _ = window_pair_moments(values, values, window)
    freedom = np.where(count >= rows_needed, count - 1.0, np.nan)
    distance = values - known_mean(values, window, rows_needed=rows_needed)
    return ratio(distance, np.sqrt(ratio(squares, freedom)), floor=SPREAD_FLOOR)
