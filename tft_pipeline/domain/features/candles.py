"""Group `bar`: what happened inside the last bars and in the nights between them.

"Night" is the time between a close and the next open, whatever its length; where bars follow each other without a
break it has no return and its features say so with a zero or a null.
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.bar_series import (
    HIGH_LOW,
    HIGH_LOW_CLOSE,
    OHLC,
    flag,
    highest,
    log_body,
    log_gap,
    log_high,
    log_low,
    log_open,
    lowest,
    opened,
    price_range,
    series,
)
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import SIGMA_SPAN, History
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.windows import (
    SPREAD_FLOOR,
    Array,
    lag,
    ratio,
    window_mean,
    window_std,
    window_sum,
)

LOCATION_WINDOWS = (5, 21)
SUM_WINDOWS = (5, 21, 63)
HALF_WINDOW = 21
TUG_WINDOWS = (21, 63)
_OPEN_CLOSE = ("open", "close")


def intrabar_return(history: History) -> Array:
    """ln(C/O) / sigma60."""
    return per_sigma(history, log_body(history), 1)


def overnight_return(history: History) -> Array:
    """ln(O_t / C_{t-1}) / sigma60."""
    return per_sigma(history, log_gap(history), 1)


def close_location(history: History) -> Array:
    """(C - L) / (H - L) in [0, 1]; NaN on a bar without range."""
    low = lowest(history)
    return ratio(history.close - low, price_range(history))


def body(history: History) -> Array:
    """(C - O) / (H - L) in [-1, 1]; NaN on a bar without range."""
    return ratio(history.close - opened(history), price_range(history))


def upper_shadow(history: History) -> Array:
    """(H - max(O, C)) / (H - L) in [0, 1]; NaN on a bar without range."""
    return ratio(highest(history) - np.maximum(opened(history), history.close), price_range(history))


def lower_shadow(history: History) -> Array:
    """(min(O, C) - L) / (H - L) in [0, 1]; NaN on a bar without range."""
    return ratio(np.minimum(opened(history), history.close) - lowest(history), price_range(history))


def mean_location(history: History, *, bars: int) -> Array:
    """sum(C - L) / sum(H - L) over `bars`: the mean place of the close, wide bars counting more; NaN without range."""
    return ratio(window_sum(close_above_low(history), bars), window_sum(price_range(history), bars))


def intrabar_sum(history: History, *, bars: int) -> Array:
    """sum(ln(C/O)) over `bars` / (sigma60 * sqrt(bars))."""
    return per_sigma(history, window_sum(log_body(history), bars), bars)


def overnight_mean(history: History, *, bars: int) -> Array:
    """mean / standard deviation (ddof 1) * sqrt(bars) of ln(O_t/C_{t-1}) over `bars`; NaN when all nights are alike.

    In units of the nights' own spread: in units of sigma60 it would be the return over `bars` less its intrabar part.
    """
    gap = log_gap(history)
    return ratio(window_mean(gap, bars) * np.sqrt(bars), window_std(gap, bars), floor=SPREAD_FLOOR)


def range_gap(history: History) -> Array:
    """(max(ln(O_t/H_{t-1}), 0) - max(ln(L_{t-1}/O_t), 0)) / sigma60: an open beyond the range of the bar before."""
    start = log_open(history)
    above = np.maximum(start - lag(log_high(history), 1), 0.0)
    below = np.maximum(lag(log_low(history), 1) - start, 0.0)
    return per_sigma(history, above - below, 1)


def inside(history: History) -> Array:
    """1 where H_t <= H_{t-1} and L_t >= L_{t-1}, else 0."""
    high, low = highest(history), lowest(history)
    high_before, low_before = lag(high, 1), lag(low, 1)
    return flag((high <= high_before) & (low >= low_before), high, low, high_before, low_before)


def outside(history: History) -> Array:
    """1 where H_t > H_{t-1} and L_t < L_{t-1}, else 0."""
    high, low = highest(history), lowest(history)
    high_before, low_before = lag(high, 1), lag(low, 1)
    return flag((high > high_before) & (low < low_before), high, low, high_before, low_before)


def upper_half_share(history: History, *, bars: int) -> Array:
    """Share of the last `bars` with C > (H + L) / 2; a bar without range does not close above its middle."""
    high, low = highest(history), lowest(history)
    return window_mean(flag(history.close > 0.5 * (high + low), high, low), bars)


def tug_of_war(history: History, *, bars: int) -> Array:
    """(sum of nights - sum of days) / (sum |nights| + sum |days|) over `bars`, in [-1, 1]; NaN when nothing moved.

    Night: ln(O_t/C_{t-1}), day: ln(C/O). Source: after Lou, Polk & Skouras (2019), "A tug of war: overnight versus
    intraday expected returns", J. Financial Economics 134(1), scaled by the path in place of a cross-section.
    """
    night, day = log_gap(history), log_body(history)
    path = window_sum(np.abs(night), bars) + window_sum(np.abs(day), bars)
    return ratio(window_sum(night, bars) - window_sum(day, bars), path, floor=SPREAD_FLOOR)


@series(*HIGH_LOW_CLOSE)
def close_above_low(history: History) -> Array:
    """C - L, in units of price."""
    return history.close - lowest(history)


CANDLES = (
    Feature(
        name="bar_intrabar",
        formula="ln(C/O) / sigma60",
        lookback=SIGMA_SPAN + 1,
        inputs=_OPEN_CLOSE,
        units="sigma",
        source=PerSymbol(intrabar_return),
        recursive=True,
    ),
    Feature(
        name="bar_overnight",
        formula="ln(O_t / C_t-1) / sigma60",
        lookback=SIGMA_SPAN + 1,
        inputs=_OPEN_CLOSE,
        units="sigma",
        source=PerSymbol(overnight_return),
        recursive=True,
    ),
    Feature(
        name="bar_close_location",
        formula="(C - L) / (H - L)",
        lookback=1,
        inputs=HIGH_LOW_CLOSE,
        units="share of the range",
        source=PerSymbol(close_location),
    ),
    Feature(
        name="bar_body",
        formula="(C - O) / (H - L)",
        lookback=1,
        inputs=OHLC,
        units="share of the range, signed",
        source=PerSymbol(body),
    ),
    Feature(
        name="bar_upper_shadow",
        formula="(H - max(O, C)) / (H - L)",
        lookback=1,
        inputs=OHLC,
        units="share of the range",
        source=PerSymbol(upper_shadow),
    ),
    Feature(
        name="bar_lower_shadow",
        formula="(min(O, C) - L) / (H - L)",
        lookback=1,
        inputs=OHLC,
        units="share of the range",
        source=PerSymbol(lower_shadow),
    ),
    *(
        Feature(
            name=f"bar_close_location_{bars}",
            formula=f"sum{bars}(C - L) / sum{bars}(H - L)",
            lookback=bars,
            inputs=HIGH_LOW_CLOSE,
            units="share of the range",
            source=PerSymbol(partial(mean_location, bars=bars)),
        )
        for bars in LOCATION_WINDOWS
    ),
    *(
        Feature(
            name=f"bar_intrabar_{bars}",
            formula=f"sum{bars}(ln(C/O)) / (sigma60 * sqrt({bars}))",
            lookback=max(SIGMA_SPAN + 1, bars),
            inputs=_OPEN_CLOSE,
            units="sigma",
            source=PerSymbol(partial(intrabar_sum, bars=bars)),
            recursive=True,
        )
        for bars in SUM_WINDOWS
    ),
    *(
        Feature(
            name=f"bar_overnight_{bars}",
            formula=f"mean{bars}(N) * sqrt({bars}) / sd{bars}(N), N = ln(O_t / C_t-1)",
            lookback=bars + 1,
            inputs=_OPEN_CLOSE,
            units="standard errors",
            source=PerSymbol(partial(overnight_mean, bars=bars)),
        )
        for bars in SUM_WINDOWS
    ),
    Feature(
        name="bar_gap",
        formula="(max(ln(O_t / H_t-1), 0) - max(ln(L_t-1 / O_t), 0)) / sigma60",
        lookback=SIGMA_SPAN + 1,
        inputs=OHLC,
        units="sigma",
        source=PerSymbol(range_gap),
        recursive=True,
    ),
    Feature(
        name="bar_inside",
        formula="1 if H_t <= H_t-1 and L_t >= L_t-1, else 0",
        lookback=2,
        inputs=HIGH_LOW,
        units="flag",
        source=PerSymbol(inside),
    ),
    Feature(
        name="bar_outside",
        formula="1 if H_t > H_t-1 and L_t < L_t-1, else 0",
        lookback=2,
        inputs=HIGH_LOW,
        units="flag",
        source=PerSymbol(outside),
    ),
    Feature(
        name=f"bar_upper_half_{HALF_WINDOW}",
        formula="share of the last 21 bars with C > (H + L) / 2",
        lookback=HALF_WINDOW,
        inputs=HIGH_LOW_CLOSE,
        units="share of bars",
        source=PerSymbol(partial(upper_half_share, bars=HALF_WINDOW)),
    ),
    *(
        Feature(
            name=f"bar_tug_{bars}",
            formula=f"(sum{bars}(N) - sum{bars}(D)) / (sum{bars} |N| + sum{bars} |D|), N = ln(O_t / C_t-1), D = ln(C/O)",
            lookback=bars + 1,
            inputs=_OPEN_CLOSE,
            units="share of the path, signed",
            source=PerSymbol(partial(tug_of_war, bars=bars)),
        )
        for bars in TUG_WINDOWS
    ),
)
