"""Group `mom`: oscillators, the place inside the recent range, and runs of equal sign."""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.windows import Array, lag, ratio, wilder_mean, window_max, window_mean, window_min

RSI_BARS = 14
STOCHASTIC_WINDOWS = (21, 63, 252)
EXTREME_WINDOW = 252
UP_SHARE_WINDOW = 21


def relative_strength_index(history: History) -> Array:
    """RSI / 100 in [0, 1]: smoothed gains / (smoothed gains + smoothed losses); NaN while the price never moved.

    Source: Wilder (1978), with his smoothing (the first 14 changes averaged, then 13/14 old + 1/14 new).
    """
    change = history.close - lag(history.close, 1)
    gains, losses = wilder_mean(np.maximum(change, 0.0), RSI_BARS), wilder_mean(np.maximum(-change, 0.0), RSI_BARS)
    return ratio(gains, gains + losses)


def range_position(history: History, *, bars: int) -> Array:
    """(close - lowest close) / (highest close - lowest close) of the last `bars`; NaN when they are equal."""
    low, high = window_min(history.close, bars), window_max(history.close, bars)
    return ratio(history.close - low, high - low)


def distance_to_high(history: History, *, bars: int) -> Array:
    """ln(close / highest close of the last `bars`) / (sigma60 * sqrt(bars)); <= 0."""
    return per_sigma(history, history.log_close - window_max(history.log_close, bars), bars)


def distance_to_low(history: History, *, bars: int) -> Array:
    """ln(close / lowest close of the last `bars`) / (sigma60 * sqrt(bars)); >= 0."""
    return per_sigma(history, history.log_close - window_min(history.log_close, bars), bars)


def up_share(history: History, *, bars: int) -> Array:
    """Share of the last `bars` one-bar changes that are above zero."""
    change = history.close - lag(history.close, 1)
    return window_mean(np.where(np.isnan(change), np.nan, (change > 0.0).astype(np.float64)), bars)


def streak(history: History) -> Array:
    """Signed length of the current run of changes of one sign: +3 after three rises, 0 on an unchanged close."""
    sign = np.sign(history.close - lag(history.close, 1))
    row = np.arange(len(sign))
    starts = np.maximum.accumulate(np.where(sign != lag(sign, 1), row, 0))
    return sign * (row - starts + 1)


MOMENTUM = (
    Feature(
        name=f"mom_rsi_{RSI_BARS}",
        formula="Wilder(max(dP, 0)) / (Wilder(max(dP, 0)) + Wilder(max(-dP, 0))), 14 bars, in [0, 1]",
        lookback=RSI_BARS + 1,
        inputs=("close",),
        source=PerSymbol(relative_strength_index),
        recursive=True,
    ),
    *(
        Feature(
            name=f"mom_stochastic_{bars}",
            formula=f"(P_t - min{bars}(P)) / (max{bars}(P) - min{bars}(P))",
            lookback=bars,
            inputs=("close",),
            source=PerSymbol(partial(range_position, bars=bars)),
        )
        for bars in STOCHASTIC_WINDOWS
    ),
    Feature(
        name=f"mom_high_{EXTREME_WINDOW}",
        formula="ln(P_t / max252(P)) / (sigma60 * sqrt(252))",
        lookback=EXTREME_WINDOW,
        inputs=("close",),
        source=PerSymbol(partial(distance_to_high, bars=EXTREME_WINDOW)),
        recursive=True,
    ),
    Feature(
        name=f"mom_low_{EXTREME_WINDOW}",
        formula="ln(P_t / min252(P)) / (sigma60 * sqrt(252))",
        lookback=EXTREME_WINDOW,
        inputs=("close",),
        source=PerSymbol(partial(distance_to_low, bars=EXTREME_WINDOW)),
        recursive=True,
    ),
    Feature(
        name=f"mom_up_share_{UP_SHARE_WINDOW}",
        formula="share of the last 21 changes of P above 0",
        lookback=UP_SHARE_WINDOW + 1,
        inputs=("close",),
        source=PerSymbol(partial(up_share, bars=UP_SHARE_WINDOW)),
    ),
    Feature(
        name="mom_streak",
        formula="signed number of changes of P in a row with the same sign, 0 on an unchanged close",
        lookback=2,
        inputs=("close",),
        source=PerSymbol(streak),
        recursive=True,
    ),
)
