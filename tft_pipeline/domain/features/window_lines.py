"""Straight lines and parabolas fitted by least squares to the rows of a window.

Put together from blocks as in `windows` and `pyramid`, with the same guarantee: a value is a function of its window's rows
and of nothing else, to the bit. A block of n rows at the times u = -(n-1)/2 ... (n-1)/2 keeps, beside its mean m,

    tilt = sum u (x - m)            the slope times sum u^2 = n (n^2 - 1) / 12
    bend = sum u^2 (x - m)          the parabola's coefficient times n (n^2 - 1) (n^2 - 4) / 180

Blocks of a and b rows, the older first, have their centres b/2 before and a/2 after the common one. With
d = m_b - m_a, shifting each block's times and mean gives

    tilt = tilt_a + tilt_b + d a b / 2
    bend = bend_a + bend_b - b tilt_a + a tilt_b + d_a (U_a + a b^2/4) + d_b (U_b + b a^2/4)

where d_a = -d b/(a+b), d_b = d a/(a+b) and U is a block's own sum u^2. NaN where the window is short or holds one.
"""

import numpy as np

from tft_pipeline.domain.features.pyramid import State, over_windows
from tft_pipeline.domain.features.sharing import Array, Arrays


def time_squares(rows: int) -> float:
    """sum u^2 of n rows: n (n^2 - 1) / 12."""
    return rows * (rows * rows - 1) / 12.0


def bend_squares(rows: int) -> float:
    """sum (u^2 - mean u^2)^2 of n rows: n (n^2 - 1) (n^2 - 4) / 180."""
    return rows * (rows * rows - 1) * (rows * rows - 4) / 180.0


def window_line(values: Array, window: int) -> tuple[Array, Array, Array]:
    """Mean, sum of squared distances to it, and tilt, over the last `window` rows.

    The fitted line rises by tilt / time_squares(window) a row.
    """
    mean, squares, tilt = over_windows("line", (values,), (values, 0.0, 0.0), window, _merge_lines)
    return mean, squares, tilt


def window_bend(values: Array, window: int) -> Array:
    """The bend of the last `window` rows; the fitted parabola's coefficient is bend / bend_squares(window)."""
    return over_windows("bend", (values,), (values, 0.0, 0.0), window, _merge_bends)[2]


def weighted_mean(values: Array, window: int) -> Array:
    """Mean of the last `window` rows with the weights 1, 2 ... window, the newest the heaviest."""
    mean, _, tilt = window_line(values, window)
    return mean + tilt * (2.0 / (window * (window + 1)))


def _merge_lines(old: State, new: State, a: int, b: int) -> Arrays:
    """(mean, sum of squared distances to it, tilt)."""
    step: Array = np.subtract(new[0], old[0])
    mean = step * (b / (a + b))
    mean += old[0]
    tilt = step * (a * b / 2.0)
    tilt += old[2] + new[2]
    step *= step
    step *= a * b / (a + b)
    step += old[1] + new[1]
    return mean, step, tilt


def _merge_bends(old: State, new: State, a: int, b: int) -> Arrays:
    """(mean, tilt, bend)."""
    step: Array = np.subtract(new[0], old[0])
    mean = step * (b / (a + b))
    mean += old[0]
    tilt = step * (a * b / 2.0)
    tilt += old[1] + new[1]
    step *= (a * (time_squares(b) + b * a * a / 4.0) - b * (time_squares(a) + a * b * b / 4.0)) / (a + b)
    step += old[2] + new[2]
    step += a * new[1] - b * old[1]
    return mean, tilt, step
