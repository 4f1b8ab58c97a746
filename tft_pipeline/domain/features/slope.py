"""Group `slope`: straight lines and parabolas fitted to the log price by least squares.

u are the centred times of n bars, u = -(n-1)/2 ... (n-1)/2, and x = ln P.
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.closes import SIGMA_BARS, of_closes
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.window_lines import bend_squares, time_squares, window_bend, window_line
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, ratio

WINDOWS = (10, 21, 63, 126, 252)
FIT_WINDOWS = (21, 63, 126, 252)
CURVE_WINDOWS = (21, 63, 252)
RESIDUAL_WINDOWS = (21, 63, 252)
PERFECT = 1e-12
"""A line that leaves no more than this share of the variation unexplained is exact; what is left is rounding."""


def slope(history: History, *, bars: int) -> Array:
    """Rise of the fitted line over the window, b (n-1), divided by sigma60 * sqrt(n-1): a return without end points.

    b = sum u (x - mean x) / sum u^2.
    """
    _, _, tilt = window_line(history.log_close, bars)
    return per_sigma(history, tilt * ((bars - 1) / time_squares(bars)), bars - 1)


def fit(history: History, *, bars: int) -> Array:
    """R^2 of the line, the share of the variation it explains, in [0, 1]; NaN on a flat window."""
    _, squares, tilt = window_line(history.log_close, bars)
    share = ratio(tilt * tilt / time_squares(bars), squares, floor=(bars - 1) * SPREAD_FLOOR**2)
    return np.minimum(share, 1.0)


def curvature(history: History, *, bars: int) -> Array:
    """c ((n-1)/2)^2 / (sigma60 * sqrt(n-1)), c the coefficient of u^2 in the parabola fitted by least squares.

    Above zero where the price bends upwards: a rise that gains speed, or a fall that loses it.
    """
    bend = window_bend(history.log_close, bars)
    return per_sigma(history, bend * ((bars - 1) ** 2 / 4.0 / bend_squares(bars)), bars - 1)


def residual(history: History, *, bars: int) -> Array:
    """(x_t - line_t) / s, s = sqrt(sum of squared residuals / (n-2)); NaN where the line is exact to rounding."""
    mean, squares, tilt = window_line(history.log_close, bars)
    unexplained = squares - tilt * tilt / time_squares(bars)
    exact = (unexplained <= PERFECT * squares) | (squares <= (bars - 1) * SPREAD_FLOOR**2)
    spread = np.sqrt(np.where(exact, np.nan, unexplained) / (bars - 2))
    line = mean + tilt * ((bars - 1) / 2.0 / time_squares(bars))
    return ratio(history.log_close - line, spread)


SLOPE = (
    *(
        of_closes(
            f"slope_{bars}",
            f"b ({bars} - 1) / (sigma60 * sqrt({bars} - 1)), b the least-squares slope of ln P over {bars} bars",
            lookback=max(SIGMA_BARS, bars),
            units="sigma",
            of=partial(slope, bars=bars),
            recursive=True,
        )
        for bars in WINDOWS
    ),
    *(
        of_closes(
            f"slope_fit_{bars}",
            f"R^2 of the least-squares line through the last {bars} ln P",
            lookback=bars,
            units="share",
            of=partial(fit, bars=bars),
        )
        for bars in FIT_WINDOWS
    ),
    *(
        of_closes(
            f"slope_curvature_{bars}",
            f"c (({bars} - 1) / 2)^2 / (sigma60 * sqrt({bars} - 1)), c of c u^2 + b u + a fitted to {bars} ln P",
            lookback=max(SIGMA_BARS, bars),
            units="sigma",
            of=partial(curvature, bars=bars),
            recursive=True,
        )
        for bars in CURVE_WINDOWS
    ),
    *(
        of_closes(
            f"slope_residual_{bars}",
            f"(ln P_t - line_t) / standard error of the line through the last {bars} ln P",
            lookback=bars,
            units="standard deviations",
            of=partial(residual, bars=bars),
        )
        for bars in RESIDUAL_WINDOWS
    ),
)
