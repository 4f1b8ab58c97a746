"""Group `macd`, and the plain gaps of group `sma`: where the price stands against its own averages.

Not here: crossings and exponential gaps (`averages`), the trend rule that positions are held against
(`domain.trend_rules`).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.closes import SIGMA_BARS, of_closes
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.sharing import once
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, ewm_mean, ratio, window_mean, window_std

MACD_SPEEDS = ((8, 24), (16, 48), (32, 96))
PRICE_WINDOW = 63
SIGNAL_WINDOW = 252
SMA_WINDOWS = (5, 10, 20, 50, 100, 200)
APPEL = (12, 26, 9)
"""Spans of the short, the long and the signal average that charts show."""
RESPONSE_SCALE = 0.89


def macd(history: History, *, short: int, long: int) -> Array:
    """Difference of two EWM prices, divided by the 63-bar std of price, then by the 252-bar std of that signal.

    m(S) is an EWM mean with alpha = 1/S (half-life ln 0.5 / ln(1 - 1/S)), taken from S bars on. Both the difference
    and the price spread are divided by the close first, so that the test for a flat price has no unit.
    Source: Baz et al. (2015), "Dissecting investment strategies in the cross section and time series"; Lim, Zohren &
    Roberts (2019), eq. 4-6.
    """

    def answer() -> tuple[Array, ...]:
        close = history.close
        gap = ewm_mean(close, 1.0 / short, rows_needed=short) - ewm_mean(close, 1.0 / long, rows_needed=long)
        signal = ratio(gap / close, window_std(close, PRICE_WINDOW) / close, floor=SPREAD_FLOOR)
        return (ratio(signal, window_std(signal, SIGNAL_WINDOW), floor=SPREAD_FLOOR),)

    return once(("macd", short, long), (history.close,), answer)[0]


def macd_blend(history: History) -> Array:
    """Mean of phi(y) = y exp(-y^2/4) / 0.89 over the three pairs: a trend that has run far counts less.

    Source: Baz et al. (2015); Lim, Zohren & Roberts (2019), eq. 7.
    """
    total = np.zeros(len(history.close))
    for short, long in MACD_SPEEDS:
        signal = macd(history, short=short, long=long)
        total += signal * np.exp(-(signal * signal) / 4.0) / RESPONSE_SCALE
    return total / len(MACD_SPEEDS)


def macd_line(history: History, *, short: int, long: int) -> Array:
    """(ewm_short - ewm_long) / close, weights of span S (alpha = 2/(S+1)) that sum to one, each from S bars on."""

    def answer() -> tuple[Array, ...]:
        close = history.close
        quick, slow = (ewm_mean(close, 2.0 / (span + 1), rows_needed=span) for span in (short, long))
        return ((quick - slow) / close,)

    return once(("macd_line", short, long), (history.close,), answer)[0]


def scaled_line(history: History, *, short: int, long: int) -> Array:
    """The line divided by sigma60. Source: Appel (2005), Technical Analysis: Power Tools for Active Investors."""
    return per_sigma(history, macd_line(history, short=short, long=long), 1)


def histogram(history: History, *, short: int, long: int, smooth: int) -> Array:
    """(line - its EWM of span `smooth`, from `smooth` lines on) / sigma60: whether the trend gains or loses speed."""
    line = macd_line(history, short=short, long=long)
    return per_sigma(history, line - ewm_mean(line, 2.0 / (smooth + 1), rows_needed=smooth), 1)


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
            units="standard deviations",
            recursive=True,
        )
        for short, long in MACD_SPEEDS
    ),
    of_closes(
        "macd_blend",
        "mean of y exp(-y^2/4) / 0.89 over y = " + ", ".join(f"macd_{short}_{long}" for short, long in MACD_SPEEDS),
        lookback=max(PRICE_WINDOW, *(long for _, long in MACD_SPEEDS)) + SIGNAL_WINDOW - 1,
        units="position, -1 to 1",
        of=macd_blend,
        recursive=True,
    ),
    of_closes(
        "macd_line_{}_{}".format(*APPEL),
        "m = (ewm_mean(P, span {}) - ewm_mean(P, span {})) / P_t; m / sigma60".format(*APPEL),
        lookback=max(SIGMA_BARS, APPEL[1]),
        units="sigma",
        of=partial(scaled_line, short=APPEL[0], long=APPEL[1]),
        recursive=True,
    ),
    of_closes(
        "macd_histogram_{}_{}_{}".format(*APPEL),
        "m of macd_line_{}_{}; (m - ewm_mean(m, span {})) / sigma60".format(*APPEL),
        lookback=max(SIGMA_BARS, APPEL[1] + APPEL[2] - 1),
        units="sigma",
        of=partial(histogram, short=APPEL[0], long=APPEL[1], smooth=APPEL[2]),
        recursive=True,
    ),
    *(
        Feature(
            name=f"sma_{bars}_gap",
            formula=f"P_t / mean{bars}(P) - 1",
            lookback=bars,
            inputs=("close",),
            source=PerSymbol(partial(sma_gap, bars=bars)),
            units="share of the price",
        )
        for bars in SMA_WINDOWS
    ),
)
