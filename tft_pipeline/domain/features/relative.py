"""Groups `beta`, `corr` and `rs`: a symbol against the market index.

Both returns of a pair run between the same two timestamps, those of the symbol's own bars. Where the index misses one
of them the pair is left out; half of the window's pairs must remain. On a bar without an index row the value is null.
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import MARKET_CLOSE, Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.windows import (
    SPREAD_FLOOR,
    Array,
    ratio,
    window_correlation,
    window_pair_moments,
)

WINDOWS = (63, 252)
RESIDUAL_BETA_WINDOW = 252
RESIDUAL_HORIZONS = (5, 21, 63)
STRENGTH_HORIZONS = (21, 63, 252)
_INPUTS = ("close", MARKET_CLOSE)


def beta(history: History, *, bars: int) -> Array:
    """Cov(r, r_index) / Var(r_index) over the known pairs of the last `bars` returns; NaN when the index is flat."""
    pairs, _, index_sum, shared_sum = window_pair_moments(history.log_return, history.market_log_return_over(1), bars)
    enough = pairs >= bars // 2
    slope = ratio(np.where(enough, shared_sum, np.nan), np.where(enough, index_sum, np.nan), floor=SPREAD_FLOOR**2)
    return _where_comparable(history, slope, bars)


def correlation(history: History, *, bars: int) -> Array:
    """Pearson correlation of r and r_index over the known pairs of the last `bars` returns."""
    values = window_correlation(history.log_return, history.market_log_return_over(1), bars, pairs_needed=bars // 2)
    return _where_comparable(history, values, bars)


def residual_return(history: History, *, bars: int) -> Array:
    """(r over `bars` - beta252 * index return over `bars`) / (sigma60 * sqrt(bars))."""
    explained = beta(history, bars=RESIDUAL_BETA_WINDOW) * history.market_log_return_over(bars)
    return per_sigma(history, history.log_return_over(bars) - explained, bars)


def relative_strength(history: History, *, bars: int) -> Array:
    """Log return of the symbol minus that of the index over the same `bars`."""
    return history.log_return_over(bars) - history.market_log_return_over(bars)


def _where_comparable(history: History, values: Array, bars: int) -> Array:
    """Null on bars without an index row, and until the symbol has `bars` returns of its own."""
    known = np.isfinite(history.market_log_close)
    known[:bars] = False
    return np.where(known, values, np.nan)


RELATIVE = (
    *(
        Feature(
            name=f"beta_{bars}",
            formula=f"cov(r, r_M) / var(r_M) over {bars} returns",
            lookback=bars + 1,
            inputs=_INPUTS,
            source=PerSymbol(partial(beta, bars=bars)),
        )
        for bars in WINDOWS
    ),
    *(
        Feature(
            name=f"beta_residual_{bars}",
            formula=f"(ln(P_t / P_t-{bars}) - beta_252 * ln(M_t / M_t-{bars})) / (sigma60 * sqrt({bars}))",
            lookback=RESIDUAL_BETA_WINDOW + 1,
            inputs=_INPUTS,
            source=PerSymbol(partial(residual_return, bars=bars)),
            recursive=True,
        )
        for bars in RESIDUAL_HORIZONS
    ),
    *(
        Feature(
            name=f"corr_{bars}",
            formula=f"correlation of r and r_M over {bars} returns",
            lookback=bars + 1,
            inputs=_INPUTS,
            source=PerSymbol(partial(correlation, bars=bars)),
        )
        for bars in WINDOWS
    ),
    *(
        Feature(
            name=f"rs_{bars}",
            formula=f"ln(P_t / P_t-{bars}) - ln(M_t / M_t-{bars})",
            lookback=bars + 1,
            inputs=_INPUTS,
            source=PerSymbol(partial(relative_strength, bars=bars)),
        )
        for bars in STRENGTH_HORIZONS
    ),
)
