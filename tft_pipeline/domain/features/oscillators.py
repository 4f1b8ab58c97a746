"""Group `osc`, part one: the place of the close in channels made of highs, lows and closes.

Not here: direction and strength of trends (`directional.py`), oscillators with volume and bodies (`pressure.py`).
Values in [0, 1] or multiples stand in place of the percentages of the trading literature.
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.bar_series import (
    HIGH_LOW,
    HIGH_LOW_CLOSE,
    highest,
    lowest,
    price_range,
    series,
    true_range,
    typical_price,
)
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.window_deviation import window_mean_deviation
from tft_pipeline.domain.features.windows import (
    SPREAD_FLOOR,
    Array,
    ewm_mean,
    lag,
    ratio,
    window_max,
    window_mean,
    window_min,
    window_spread,
    window_sum,
)

STOCHASTIC_WINDOWS = (14, 63)
SMOOTHED_BARS = (14, 3)
CCI_WINDOWS = (14, 20)
DONCHIAN_WINDOWS = (20, 55)
CHANNEL_BARS = 20
AWESOME_BARS = (5, 34)
MASS_BARS = (9, 25)
_CLOSE = ("close",)


def stochastic(history: History, *, bars: int) -> Array:
    """%K = (C - min L) / (max H - min L) over `bars`, in [0, 1]; Williams' %R is this less 1. NaN without range.

    Source: Lane (1984), "Lane's stochastics"; Williams (1973).
    """
    low, high = window_min(lowest(history), bars), window_max(highest(history), bars)
    return ratio(history.close - low, high - low)


def smoothed_stochastic(history: History, *, bars: int, smooth: int) -> Array:
    """%D, the mean of %K over the last `smooth` bars."""
    return window_mean(stochastic(history, bars=bars), smooth)


def commodity_channel(history: History, *, bars: int) -> Array:
    """(T - mean T) / (0.015 * mean |T - mean T|), T = (H + L + C) / 3, over `bars`; NaN when T is flat.

    Source: Lambert (1980), Commodities magazine.
    """
    typical = typical_price(history)
    mean, deviation = window_mean(typical, bars), window_mean_deviation(typical, bars)
    return ratio(typical - mean, 0.015 * _beyond_rounding(deviation, mean))


def donchian(history: History, *, bars: int) -> Array:
    """(C_t - min L) / (max H - min L) over the `bars` before this one: above 1 or below 0 on a breakout."""
    low, high = lag(window_min(lowest(history), bars), 1), lag(window_max(highest(history), bars), 1)
    return ratio(history.close - low, high - low)


def keltner(history: History, *, bars: int) -> Array:
    """(C - mean((H + L + C)/3)) / mean(true range) over `bars`; NaN without range. Source: Keltner (1960)."""
    middle, width = window_mean(typical_price(history), bars), window_mean(true_range(history), bars)
    return ratio(history.close - middle, width)


def bollinger(history: History, *, bars: int) -> Array:
    """%b = (C - (m - 2 s)) / (4 s), m the mean and s the standard deviation (ddof 0) of C over `bars`; NaN when flat.

    Source: Bollinger (2001), Bollinger on Bollinger Bands.
    """
    mean, deviation = _close_spread(history, bars)
    return ratio(history.close - mean, 4.0 * _beyond_rounding(deviation, mean)) + 0.5


def bollinger_width(history: History, *, bars: int) -> Array:
    """4 s / m: the distance of the bands as a share of their middle."""
    mean, deviation = _close_spread(history, bars)
    return 4.0 * ratio(deviation, mean)


def squeeze(history: History, *, bars: int) -> Array:
    """s / mean(true range) over `bars`, s the standard deviation (ddof 0) of C; NaN without range.

    Below 3/4 where Bollinger's bands (2 s) lie inside Keltner's (1.5 ranges). Source: Carter (2005), Mastering the Trade.
    """
    return ratio(_close_spread(history, bars)[1], window_mean(true_range(history), bars))


def awesome(history: History, *, short: int, long: int) -> Array:
    """(mean over `short` - mean over `long` of (H + L) / 2) / mean(true range) over `long`; after Williams (1998)."""
    middle = midpoint(history)
    return ratio(window_mean(middle, short) - window_mean(middle, long), window_mean(true_range(history), long))


def mass_index(history: History, *, smooth: int, bars: int) -> Array:
    """sum over `bars` of E(H - L) / E(E(H - L)), E the EWM mean with span `smooth`; NaN when there was no range.

    The weights of E sum to 1 from its first bar on. Source: Dorsey (1992), Stocks & Commodities 10(6).
    """
    alpha = 2.0 / (smooth + 1.0)
    once_smoothed = ewm_mean(price_range(history), alpha, rows_needed=smooth)
    return window_sum(ratio(once_smoothed, ewm_mean(once_smoothed, alpha, rows_needed=smooth)), bars)


@series(*HIGH_LOW)
def midpoint(history: History) -> Array:
    """(H + L) / 2."""
    return 0.5 * (highest(history) + lowest(history))


def _close_spread(history: History, bars: int) -> tuple[Array, Array]:
    """Mean and standard deviation (ddof 0) of C."""
    mean, squares = window_spread(history.close, bars)
    return mean, np.sqrt(squares / bars)


def _beyond_rounding(deviation: Array, level: Array) -> Array:
    """The deviation, 0 where it is at or below SPREAD_FLOOR of the level."""
    return np.where(deviation <= SPREAD_FLOOR * level, 0.0, deviation)


OSCILLATORS = (
    *(
        Feature(
            name=f"osc_stochastic_{bars}",
            formula=f"(C - min{bars}(L)) / (max{bars}(H) - min{bars}(L))",
            lookback=bars,
            inputs=HIGH_LOW_CLOSE,
            units="share of the range",
            source=PerSymbol(partial(stochastic, bars=bars)),
        )
        for bars in STOCHASTIC_WINDOWS
    ),
    Feature(
        name="osc_stochastic_{}_{}".format(*SMOOTHED_BARS),
        formula="mean3((C - min14(L)) / (max14(H) - min14(L)))",
        lookback=sum(SMOOTHED_BARS) - 1,
        inputs=HIGH_LOW_CLOSE,
        units="share of the range",
        source=PerSymbol(partial(smoothed_stochastic, bars=SMOOTHED_BARS[0], smooth=SMOOTHED_BARS[1])),
    ),
    *(
        Feature(
            name=f"osc_cci_{bars}",
            formula=f"(T - mean{bars}(T)) / (0.015 * mean{bars} |T - mean{bars}(T)|), T = (H + L + C) / 3",
            lookback=bars,
            inputs=HIGH_LOW_CLOSE,
            units="multiple of 0.015 mean deviations",
            source=PerSymbol(partial(commodity_channel, bars=bars)),
        )
        for bars in CCI_WINDOWS
    ),
    *(
        Feature(
            name=f"osc_donchian_{bars}",
            formula=f"(C_t - min{bars}(L)_t-1) / (max{bars}(H)_t-1 - min{bars}(L)_t-1)",
            lookback=bars + 1,
            inputs=HIGH_LOW_CLOSE,
            units="share of the channel",
            source=PerSymbol(partial(donchian, bars=bars)),
        )
        for bars in DONCHIAN_WINDOWS
    ),
    Feature(
        name=f"osc_keltner_{CHANNEL_BARS}",
        formula="(C - mean20((H + L + C) / 3)) / mean20(TR), TR = max(H, C_t-1) - min(L, C_t-1)",
        lookback=CHANNEL_BARS + 1,
        inputs=HIGH_LOW_CLOSE,
        units="multiple of the true range",
        source=PerSymbol(partial(keltner, bars=CHANNEL_BARS)),
    ),
    Feature(
        name=f"osc_bollinger_{CHANNEL_BARS}",
        formula="(C - m + 2 s) / (4 s), m = mean20(C), s = population sd20(C)",
        lookback=CHANNEL_BARS,
        inputs=_CLOSE,
        units="share of the channel",
        source=PerSymbol(partial(bollinger, bars=CHANNEL_BARS)),
    ),
    Feature(
        name=f"osc_bollinger_width_{CHANNEL_BARS}",
        formula="4 s / m, m = mean20(C), s = population sd20(C)",
        lookback=CHANNEL_BARS,
        inputs=_CLOSE,
        units="share of the price",
        source=PerSymbol(partial(bollinger_width, bars=CHANNEL_BARS)),
    ),
    Feature(
        name=f"osc_squeeze_{CHANNEL_BARS}",
        formula="population sd20(C) / mean20(TR), TR = max(H, C_t-1) - min(L, C_t-1)",
        lookback=CHANNEL_BARS + 1,
        inputs=HIGH_LOW_CLOSE,
        units="multiple of the true range",
        source=PerSymbol(partial(squeeze, bars=CHANNEL_BARS)),
    ),
    Feature(
        name="osc_awesome_{}_{}".format(*AWESOME_BARS),
        formula="(mean5(M) - mean34(M)) / mean34(TR), M = (H + L) / 2, TR = max(H, C_t-1) - min(L, C_t-1)",
        lookback=AWESOME_BARS[1] + 1,
        inputs=HIGH_LOW_CLOSE,
        units="multiple of the true range",
        source=PerSymbol(partial(awesome, short=AWESOME_BARS[0], long=AWESOME_BARS[1])),
    ),
    Feature(
        name=f"osc_mass_{MASS_BARS[1]}",
        formula="sum25(E(H - L) / E(E(H - L))), E = EWM mean with span 9, weights summing to 1",
        lookback=2 * (MASS_BARS[0] - 1) + MASS_BARS[1],
        inputs=HIGH_LOW,
        units="sum of ratios",
        source=PerSymbol(partial(mass_index, smooth=MASS_BARS[0], bars=MASS_BARS[1])),
        recursive=True,
    ),
)
