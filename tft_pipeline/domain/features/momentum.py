"""Group `mom`: the strength index, the place inside the recent range, and runs of equal sign.

More of the group: `smoothed_momentum` (averages of averages), `persistence` (how steady a move is).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.closes import change, direction
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.sharing import once
from tft_pipeline.domain.features.windows import Array, lag, ratio, wilder_mean, window_max, window_mean, window_min

RSI_BARS = 14
RSI_WINDOWS = (7, RSI_BARS, 28)
STOCHASTIC_WINDOWS = (10, 21, 63, 126, 252)
EXTREME_WINDOW = 252
UP_SHARE_WINDOWS = (10, 21, 63, 252)


def relative_strength_index(history: History, *, bars: int) -> Array:
    """RSI / 100 in [0, 1]: smoothed gains / (smoothed gains + smoothed losses); NaN while the price never moved.

    Source: Wilder (1978), with his smoothing: the first n changes averaged, then (n-1)/n old + 1/n new; his n is 14.
    """

    def answer() -> tuple[Array, ...]:
        moves = change(history)
        gains, losses = wilder_mean(np.maximum(moves, 0.0), bars), wilder_mean(np.maximum(-moves, 0.0), bars)
        return (ratio(gains, gains + losses),)

    return once(("strength", bars), (history.close,), answer)[0]


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
    return window_mean(_rises(history), bars)


def streak(history: History) -> Array:
    """Signed length of the current run of changes of one sign: +3 after three rises, 0 on an unchanged close."""
    sign = direction(history)
    row = np.arange(len(sign))
    starts = np.maximum.accumulate(np.where(sign != lag(sign, 1), row, 0))
    return sign * (row - starts + 1)


def _rises(history: History) -> Array:
    """1 where the close rose, else 0."""
    return once(("rises",), (history.close,), lambda: (np.maximum(direction(history), 0.0),))[0]


MOMENTUM = (
    *(
        Feature(
            name=f"mom_rsi_{bars}",
            formula=f"Wilder(max(dP, 0)) / (Wilder(max(dP, 0)) + Wilder(max(-dP, 0))), {bars} bars, in [0, 1]",
            lookback=bars + 1,
            inputs=("close",),
            source=PerSymbol(partial(relative_strength_index, bars=bars)),
            units="share",
            recursive=True,
        )
        for bars in RSI_WINDOWS
    ),
    *(
        Feature(
            name=f"mom_stochastic_{bars}",
            formula=f"(P_t - min{bars}(P)) / (max{bars}(P) - min{bars}(P))",
            lookback=bars,
            inputs=("close",),
            source=PerSymbol(partial(range_position, bars=bars)),
            units="share",
        )
        for bars in STOCHASTIC_WINDOWS
    ),
    Feature(
        name=f"mom_high_{EXTREME_WINDOW}",
        formula="ln(P_t / max252(P)) / (sigma60 * sqrt(252))",
        lookback=EXTREME_WINDOW,
        inputs=("close",),
        source=PerSymbol(partial(distance_to_high, bars=EXTREME_WINDOW)),
        units="sigma",
        recursive=True,
    ),
    Feature(
        name=f"mom_low_{EXTREME_WINDOW}",
        formula="ln(P_t / min252(P)) / (sigma60 * sqrt(252))",
        lookback=EXTREME_WINDOW,
        inputs=("close",),
        source=PerSymbol(partial(distance_to_low, bars=EXTREME_WINDOW)),
        units="sigma",
        recursive=True,
    ),
    *(
        Feature(
            name=f"mom_up_share_{bars}",
            formula=f"share of the last {bars} changes of P above 0",
            lookback=bars + 1,
            inputs=("close",),
            source=PerSymbol(partial(up_share, bars=bars)),
            units="share",
        )
        for bars in UP_SHARE_WINDOWS
    ),
    Feature(
        name="mom_streak",
        formula="signed number of changes of P in a row with the same sign, 0 on an unchanged close",
        lookback=2,
        inputs=("close",),
        source=PerSymbol(streak),
        units="bars",
        recursive=True,
    ),
)
