"""Groups `beta` and `corr`: a symbol against the market index. Not here: relative strength (`strength`).

Both returns of a pair run between the same two timestamps, those of the symbol's own bars. Where the index misses one
of them the pair is left out; half of the window's pairs must remain. On a bar without an index row the value is null.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import MARKET_CLOSE, Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.windows import (
    SPREAD_FLOOR,
    Array,
    lag,
    ratio,
    window_correlation,
    window_pair_moments,
)

WINDOWS = (21, 63, 126, 252)
CHANGE = (63, 252)
LONG_WINDOW = 252
RESIDUAL_HORIZONS = (1, 5, 21, 63, 126)
IDIOSYNCRATIC_WINDOWS = (21, 63, 252)
IDIOSYNCRATIC_SHARES = (63, 252)
LAGGED_WINDOW = 63
DOWN_PAIRS_NEEDED = 0.25
"""Share of the window's pairs that must be falls of the index, for a downside beta."""
COLLINEAR = 1e-12
"""The index's returns of today and yesterday span a plane only above this share of the product of their variances."""


def beta(history: History, *, bars: int) -> Array:
    """Cov(r, r_index) / Var(r_index) over the known pairs of the last `bars` returns; NaN when the index is flat."""
    pairs, _, index_sum, shared_sum = window_pair_moments(history.log_return, history.market_log_return_over(1), bars)
    enough = pairs >= bars // 2
    slope = ratio(np.where(enough, shared_sum, np.nan), np.where(enough, index_sum, np.nan), floor=SPREAD_FLOOR**2)
    return where_comparable(history, slope, bars)


def beta_change(history: History, *, short: int, long: int) -> Array:
    """Beta over `short` minus beta over `long`."""
    return beta(history, bars=short) - beta(history, bars=long)


def downside_beta(history: History, *, bars: int) -> Array:
    """Beta over those of the last `bars` returns on which the index fell; a quarter of them at least.

    Source: Bawa & Lindenberg (1977), J. Financial Economics 5(2), with falls measured from zero.
    """
    index_return = history.market_log_return_over(1)
    falls = np.where(index_return < 0.0, index_return, np.nan)
    pairs, _, index_sum, shared_sum = window_pair_moments(history.log_return, falls, bars)
    enough = pairs >= DOWN_PAIRS_NEEDED * bars
    slope = ratio(np.where(enough, shared_sum, np.nan), np.where(enough, index_sum, np.nan), floor=SPREAD_FLOOR**2)
    return where_comparable(history, slope, bars)


def lagged_beta(history: History, *, bars: int) -> Array:
    """b0 + b1 of r_t = a + b0 r_index,t + b1 r_index,t-1 + e, least squares over the last `bars` returns.

    More than beta where a symbol follows the index with delay. NaN where today's and yesterday's index returns are one line.
    Source: Dimson (1979), J. Financial Economics 7(2), with one lag.
    """
    today = history.market_log_return_over(1)
    yesterday = lag(today, 1)
    known = np.isfinite(history.log_return) & np.isfinite(today) & np.isfinite(yesterday)
    own, today, yesterday = (np.where(known, part, np.nan) for part in (history.log_return, today, yesterday))
    pairs, _, tt, ot = window_pair_moments(own, today, bars)
    _, _, yy, oy = window_pair_moments(own, yesterday, bars)
    _, _, _, ty = window_pair_moments(today, yesterday, bars)
    plane = tt * yy - ty * ty
    usable = (pairs >= bars // 2) & (np.minimum(tt, yy) > SPREAD_FLOOR**2) & (plane > COLLINEAR * tt * yy)
    both = (ot * yy - oy * ty) + (oy * tt - ot * ty)
    return where_comparable(history, ratio(both, np.where(usable, plane, np.nan)), bars + 1)


def unexplained_return(history: History, *, bars: int) -> Array:
    """Log return over `bars` minus beta252 times that of the index."""
    explained = beta(history, bars=LONG_WINDOW) * history.market_log_return_over(bars)
    return history.log_return_over(bars) - explained


def residual_return(history: History, *, bars: int) -> Array:
    """(r over `bars` - beta252 * index return over `bars`) / (sigma60 * sqrt(bars))."""
    return per_sigma(history, unexplained_return(history, bars=bars), bars)


def residual_deviation(history: History, *, bars: int) -> Array:
    """Standard error of the regression of r on r_index over `bars` returns: sqrt(SSE / (pairs - 2)), per bar."""
    pairs, unexplained, _ = _left_over(history, bars)
    return where_comparable(history, np.sqrt(ratio(unexplained, pairs - 2.0)), bars)


def idiosyncratic_volatility(history: History, *, bars: int) -> Array:
    """`residual_deviation` times sqrt(bars_per_year)."""
    found: Array = residual_deviation(history, bars=bars) * np.sqrt(history.bars_per_year)
    return found


def idiosyncratic_share(history: History, *, bars: int) -> Array:
    """1 - R^2 of the same regression, in [0, 1]; NaN when the symbol or the index is flat."""
    pairs, unexplained, own_sum = _left_over(history, bars)
    moving = np.where(own_sum > pairs * SPREAD_FLOOR**2, own_sum, np.nan)
    return where_comparable(history, ratio(unexplained, moving), bars)


def correlation(history: History, *, bars: int) -> Array:
    """Pearson correlation of r and r_index over the known pairs of the last `bars` returns."""
    values = window_correlation(history.log_return, history.market_log_return_over(1), bars, pairs_needed=bars // 2)
    return where_comparable(history, values, bars)


def correlation_change(history: History, *, short: int, long: int) -> Array:
    """Correlation over `short` minus correlation over `long`."""
    return correlation(history, bars=short) - correlation(history, bars=long)


def lagged_correlation(history: History, *, bars: int) -> Array:
    """Pearson correlation of r_t with the index return one bar earlier, over the known pairs of the last `bars`."""
    values = window_correlation(
        history.log_return, lag(history.market_log_return_over(1), 1), bars, pairs_needed=bars // 2
    )
    return where_comparable(history, values, bars + 1)


def where_comparable(history: History, values: Array, bars: int) -> Array:
    """Null on bars without an index row, and until the symbol has `bars` returns of its own."""
    known = np.isfinite(history.market_log_close)
    known[:bars] = False
    return np.where(known, values, np.nan)


def _left_over(history: History, bars: int) -> tuple[Array, Array, Array]:
    """Pairs, the sum of squares that the regression on the index leaves (>= 0), and that of r itself."""
    pairs, own_sum, index_sum, shared_sum = window_pair_moments(
        history.log_return, history.market_log_return_over(1), bars
    )
    usable = (pairs >= bars // 2) & (index_sum > SPREAD_FLOOR**2)
    slope = ratio(shared_sum, np.where(usable, index_sum, np.nan))
    return pairs, np.maximum(own_sum - slope * shared_sum, 0.0), own_sum


def _against_index(
    name: str,
    formula: str,
    value: Callable[[History], Array],
    *,
    lookback: int,
    units: str,
    recursive: bool = False,
) -> Feature:
    return Feature(
        name=name,
        formula=formula,
        lookback=lookback,
        inputs=("close", MARKET_CLOSE),
        source=PerSymbol(value),
        units=units,
        recursive=recursive,
    )


RELATIVE = (
    *(
        _against_index(
            f"beta_{bars}",
            f"cov(r, r_M) / var(r_M) over {bars} returns",
            partial(beta, bars=bars),
            lookback=bars + 1,
            units="slope",
        )
        for bars in WINDOWS
    ),
    _against_index(
        "beta_change_{}_{}".format(*CHANGE),
        "beta_{} - beta_{}".format(*CHANGE),
        partial(beta_change, short=CHANGE[0], long=CHANGE[1]),
        lookback=CHANGE[1] + 1,
        units="slope",
    ),
    _against_index(
        f"beta_downside_{LONG_WINDOW}",
        f"cov(r, r_M) / var(r_M) over those of {LONG_WINDOW} returns with r_M < 0",
        partial(downside_beta, bars=LONG_WINDOW),
        lookback=LONG_WINDOW + 1,
        units="slope",
    ),
    _against_index(
        f"beta_lagged_{LONG_WINDOW}",
        f"b0 + b1 of r_t = a + b0 r_M,t + b1 r_M,t-1, least squares over {LONG_WINDOW} returns",
        partial(lagged_beta, bars=LONG_WINDOW),
        lookback=LONG_WINDOW + 2,
        units="slope",
    ),
    *(
        _against_index(
            f"beta_residual_{bars}",
            f"(ln(P_t / P_t-{bars}) - beta_252 * ln(M_t / M_t-{bars})) / (sigma60 * sqrt({bars}))",
            partial(residual_return, bars=bars),
            lookback=LONG_WINDOW + 1,
            units="sigma",
            recursive=True,
        )
        for bars in RESIDUAL_HORIZONS
    ),
    *(
        _against_index(
            f"beta_idio_vol_{bars}",
            f"sqrt(A * (Srr - Srm^2 / Smm) / (pairs - 2)), centred sums of r and r_M over {bars} returns",
            partial(idiosyncratic_volatility, bars=bars),
            lookback=bars + 1,
            units="annual volatility",
        )
        for bars in IDIOSYNCRATIC_WINDOWS
    ),
    *(
        _against_index(
            f"beta_idio_share_{bars}",
            f"1 - R^2 = 1 - Srm^2 / (Srr * Smm), centred sums of r and r_M over {bars} returns",
            partial(idiosyncratic_share, bars=bars),
            lookback=bars + 1,
            units="share",
        )
        for bars in IDIOSYNCRATIC_SHARES
    ),
    *(
        _against_index(
            f"corr_{bars}",
            f"correlation of r and r_M over {bars} returns",
            partial(correlation, bars=bars),
            lookback=bars + 1,
            units="correlation",
        )
        for bars in WINDOWS
    ),
    _against_index(
        "corr_change_{}_{}".format(*CHANGE),
        "corr_{} - corr_{}".format(*CHANGE),
        partial(correlation_change, short=CHANGE[0], long=CHANGE[1]),
        lookback=CHANGE[1] + 1,
        units="correlation",
    ),
    _against_index(
        f"corr_lagged_{LAGGED_WINDOW}",
        f"correlation of r_t and r_M,t-1 over {LAGGED_WINDOW} pairs",
        partial(lagged_correlation, bars=LAGGED_WINDOW),
        lookback=LAGGED_WINDOW + 2,
        units="correlation",
    ),
)
