"""Mean absolute deviation of a window: the one statistic here that takes a second pass over the window's rows.

As in `windows`, a value is a function of its window's rows and of nothing else, to the bit, and NaN where the window is
short or holds a NaN.
"""

import numpy as np

from tft_pipeline.domain.features.windows import Array, window_mean


def window_mean_deviation(values: Array, window: int) -> Array:
    """mean(|x - mean x|) over the last `window` rows, in O(rows * window): meant for windows of some 20 rows."""
    mean = window_mean(values, window)
    total = np.zeros(values.shape)
    for back in range(min(window, len(values))):
        total[back:] += np.abs(values[: len(values) - back] - mean[back:])
    return np.where(np.isnan(mean), np.nan, total / window)
