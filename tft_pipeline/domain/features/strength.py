"""Group `rs`: how a symbol has done beside the market index over the same timestamps. Not here: beta and correlation.

As there, pairs that the index misses are left out, half of a window must remain, and a bar without an index row has none.
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import MARKET_CLOSE, Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.relative import where_comparable
from tft_pipeline.domain.features.sparse_windows import known_zscore
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, positive_log, ratio, window_pair_moments

STRENGTH_HORIZONS = (1, 5, 10, 21, 63, 126, 252)
ZSCORE_WINDOWS = (63, 252)
VOLATILITY_WINDOWS = (21, 63)
_INPUTS = ("close", MARKET_CLOSE)


def relative_strength(history: History, *, bars: int) -> Array:
    """Log return of the symbol minus that of the index over the same `bars`."""
    return history.log_return_over(bars) - history.market_log_return_over(bars)


def relative_zscore(history: History, *, bars: int) -> Array:
    """(q - mean) / std of q = ln(P / M) over the known ones of the last `bars`, own bar included; NaN when flat."""
    gap = history.log_close - history.market_log_close
    return where_comparable(history, known_zscore(gap, bars, rows_needed=bars // 2), bars - 1)


def relative_volatility(history: History, *, bars: int) -> Array:
    """ln(std(r) / std(r_index)) over the known pairs of the last `bars` returns; NaN when either is flat."""
    pairs, own_sum, index_sum, _ = window_pair_moments(history.log_return, history.market_log_return_over(1), bars)
    flat = pairs * SPREAD_FLOOR**2
    usable = (pairs >= bars // 2) & (own_sum > flat) & (index_sum > flat)
    squared = ratio(own_sum, np.where(usable, index_sum, np.nan))
    return where_comparable(history, 0.5 * positive_log(squared), bars)


STRENGTH = (
    *(
        Feature(
            name=f"rs_{bars}",
            formula=f"ln(P_t / P_t-{bars}) - ln(M_t / M_t-{bars})",
            lookback=bars + 1,
            inputs=_INPUTS,
            source=PerSymbol(partial(relative_strength, bars=bars)),
            units="log return",
        )
        for bars in STRENGTH_HORIZONS
    ),
    *(
        Feature(
            name=f"rs_z_{bars}",
            formula=f"q = ln(P / M); (q_t - mean{bars}(q)) / std{bars}(q)",
            lookback=bars,
            inputs=_INPUTS,
            source=PerSymbol(partial(relative_zscore, bars=bars)),
            units="standard deviations",
        )
        for bars in ZSCORE_WINDOWS
    ),
    *(
        Feature(
            name=f"rs_vol_{bars}",
            formula=f"ln(std{bars}(r) / std{bars}(r_M))",
            lookback=bars + 1,
            inputs=_INPUTS,
            source=PerSymbol(partial(relative_volatility, bars=bars)),
            units="log ratio",
        )
        for bars in VOLATILITY_WINDOWS
    ),
)
