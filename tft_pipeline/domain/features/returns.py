"""Group `ret`: returns over one bar to one year, in units of their own volatility."""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import SIGMA_SPAN, History
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, lag, ratio

HORIZONS = (1, 2, 3, 5, 10, 21, 42, 63, 126, 252)
SPANS = ((21, 126), (21, 252), (126, 252))
"""(Bars left out at the end, bars reached back)."""
LAGS = (1, 2, 3, 4, 5)
YEAR, MONTH = 252, 21


def per_sigma(history: History, values: Array, bars: int) -> Array:
    """values / (sigma60 * sqrt(bars)); NaN while sigma60 is unknown or zero."""
    return ratio(values, history.sigma * np.sqrt(bars), floor=SPREAD_FLOOR)


def scaled_return(history: History, *, bars: int) -> Array:
    """Log return over `bars`, divided by sigma60 * sqrt(bars). Source: Lim, Zohren & Roberts (2019), JFDS 1(4)."""
    return per_sigma(history, history.log_return_over(bars), bars)


def simple_return(history: History) -> Array:
    """close_t / close_{t-1} - 1."""
    return ratio(history.close, lag(history.close, 1)) - 1.0


def skipped_return(history: History, *, skip: int, bars: int) -> Array:
    """ln(close_{t-skip} / close_{t-bars}) / (sigma60 * sqrt(bars - skip)): a momentum without its newest part.

    The newest month of a year's return turns back more often than it goes on (Jegadeesh & Titman 1993, JF 48(1)); its
    older half carries most of the momentum (Novy-Marx 2012, JFE 103(3)).
    """
    return per_sigma(history, lag(history.log_close, skip) - lag(history.log_close, bars), bars - skip)


def lagged_return(history: History, *, bars: int) -> Array:
    """The one-bar log return of `bars` bars ago, divided by today's sigma60."""
    return per_sigma(history, lag(history.log_return, bars), 1)


def seasonal_return(history: History, *, year: int, month: int) -> Array:
    """Log return over the `month` bars that followed the bar a `year` ago, divided by sigma60 * sqrt(month).

    Source: Heston & Sadka (2008), JFE 87(2): what rose in a calendar month tends to rise in it again.
    """
    return skipped_return(history, skip=year - month, bars=year)


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
            units="sigma",
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
        units="simple return",
    ),
    *(
        Feature(
            name=f"ret_{bars}_skip_{skip}",
            formula=f"ln(P_t-{skip} / P_t-{bars}) / (sigma60 * sqrt({bars - skip}))",
            lookback=scaled_return_lookback(bars),
            inputs=("close",),
            source=PerSymbol(partial(skipped_return, skip=skip, bars=bars)),
            units="sigma",
            recursive=True,
        )
        for skip, bars in SPANS
    ),
    *(
        Feature(
            name=f"ret_lag_{bars}",
            formula=f"r_t-{bars} / sigma60",
            lookback=scaled_return_lookback(bars + 1),
            inputs=("close",),
            source=PerSymbol(partial(lagged_return, bars=bars)),
            units="sigma",
            recursive=True,
        )
        for bars in LAGS
    ),
    Feature(
        name=f"ret_season_{YEAR}",
        formula=f"ln(P_t-{YEAR - MONTH} / P_t-{YEAR}) / (sigma60 * sqrt({MONTH}))",
        lookback=scaled_return_lookback(YEAR),
        inputs=("close",),
        source=PerSymbol(partial(seasonal_return, year=YEAR, month=MONTH)),
        units="sigma",
        recursive=True,
    ),
)
