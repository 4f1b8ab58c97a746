"""Groups `macd` and `sma`: where the price stands against its own averages."""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, ewm_mean, ratio, window_mean, window_std

MACD_SPEEDS = ((8, 24), (16, 48), (32, 96))
PRICE_WINDOW = 63
SIGNAL_WINDOW = 252
SMA_WINDOWS = (5, 10, 20, 50, 100, 200)


def macd(history: History, *, short: int, long: int) -> Array:
    """Difference of two EWM prices, divided by the 63-bar std of price, then by the 252-bar std of that signal.

    m(S) is an EWM mean with alpha = 1/S (half-life ln 0.5 / ln(1 - 1/S)), taken from S bars on. Both the difference
    and the price spread are divided by the close first, so that the test for a flat price has no unit.
    Source: Baz et al. (2015), "Dissecting investment strategies in the cross section and time series"; Lim, Zohren &
    Roberts (2019), eq. 4-6.
    """
    close = history.close
    gap = ewm_mean(close, 1.0 / short, rows_needed=short) - ewm_mean(close, 1.0 / long, rows_needed=long)
    signal = ratio(gap / close, window_std(close, PRICE_WINDOW) / close, floor=SPREAD_FLOOR)
    return ratio(signal, window_std(signal, SIGNAL_WINDOW), floor=SPREAD_FLOOR)


def sma_gap(history: History, *, bars: int) -> Array:
    """close / mean of the last `bars` closes - 1."""
    return ratio(history.close, window_mean(history.close, bars)) - 1.0


def above_sma(history: History, *, bars: int) -> Array:
    """1 above the simple moving average, 0 at or below it, NaN while there is none."""
    average = window_mean(history.close, bars)
    return np.where(np.isnan(average), np.nan, (history.close > average).astype(np.float64))


TREND = (
    *(
        Feature(
            name=f"macd_{short}_{long}",
            formula=f"q = (ewm{short}(P) - ewm{long}(P)) / std63(P); q / std252(q)",
            lookback=max(PRICE_WINDOW, long) + SIGNAL_WINDOW - 1,
            inputs=("close",),
            source=PerSymbol(partial(macd, short=short, long=long)),
            recursive=True,
        )
        for short, long in MACD_SPEEDS
    ),
    *(
        Feature(
            name=f"sma_{bars}_gap",
            formula=f"P_t / mean{bars}(P) - 1",
            lookback=bars,
            inputs=("close",),
            source=PerSymbol(partial(sma_gap, bars=bars)),
        )
        for bars in SMA_WINDOWS
    ),
)
