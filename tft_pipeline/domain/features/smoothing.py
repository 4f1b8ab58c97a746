"""Wilder's smoothing for series with holes: a bar whose value is missing does not count, and the next one goes on.

Not here: the smoothing of series without holes (`windows.wilder_mean`).
"""

import numpy as np
import polars as pl

from tft_pipeline.domain.features.windows import Array, window_mean


def wilder_over_known(values: Array, bars: int) -> Array:
    """Mean of the first `bars` known values, from there on y = ((bars-1) y_before + x) / bars; NaN where x is missing.

    Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    out = np.full(values.shape, np.nan)
    rows = np.flatnonzero(np.isfinite(values))
    if len(rows) >= bars:
        seed = window_mean(values[rows[:bars]], bars)[-1]
        rest = pl.Series(np.concatenate(([seed], values[rows[bars:]])))
        out[rows[bars - 1 :]] = rest.ewm_mean(alpha=1.0 / bars, adjust=False, min_samples=1).to_numpy()
    return out
