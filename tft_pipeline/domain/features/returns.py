"""Group `ret`: returns over one day to one year, in units of their own volatility."""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import SIGMA_SPAN, History
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, lag, ratio

HORIZONS = (1, 5, 21, 63, 126, 252)


def per_sigma(history: History, values: Array, bars: int) -> Array:
    """values / (sigma60 * sqrt(bars)); NaN while sigma60 is unknown or zero."""
    return ratio(values, history.sigma * np.sqrt(bars), floor=SPREAD_FLOOR)


def scaled_return(history: History, *, bars: int) -> Array:
    """Log return over `bars`, divided by sigma60 * sqrt(bars). Source: Lim, Zohren & Roberts (2019), JFDS 1(4)."""
    return per_sigma(history, history.log_return_over(bars), bars)


def simple_return(history: History) -> Array:
    """close_t / close_{t-1} - 1."""
    return ratio(history.close, lag(history.close, 1)) - 1.0


def scaled_return_lookback(bars: int) -> int:
    """sigma60 takes 60 returns, that is 61 bars; the return itself takes bars + 1."""
    return max(SIGMA_SPAN, bars) + 1


RETURNS = (
    *(
        Feature(
            name=f"ret_{bars}",
            formula=f"ln(P_t / P_t-{bars}) / (sigma60 * sqrt({bars}))",
            lookback=scaled_return_lookback(bars),
            inputs=("close",),
            source=PerSymbol(partial(scaled_return, bars=bars)),
            recursive=True,
        )
        for bars in HORIZONS
    ),
    Feature(
        name="ret_1m",
        formula="P_t / P_t-1 - 1, one bar",
        lookback=2,
        inputs=("close",),
        source=PerSymbol(simple_return),
    ),
)
