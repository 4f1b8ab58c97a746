"""Group `osc`, part three: buying against selling pressure, from bodies, true ranges and volume.

Not here: volume by itself and money flow by close location (group `vlm`).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.bar_series import (
    CLOSE_VOLUME,
    HIGH_LOW_CLOSE,
    OHLC,
    lowest,
    opened,
    previous_close,
    price_range,
    series,
    traded,
    true_range,
    typical_price,
)
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.windows import Array, lag, ratio, window_mean, window_sum

MONEY_BARS = 14
ULTIMATE_BARS = (7, 14, 28)
FORCE_WINDOWS = (2, 13)
FORCE_VOLUME_BARS = 63
BALANCE_BARS = 14


def money_flow(history: History, *, bars: int) -> Array:
    """sum(T * volume where T rose) / sum(T * volume where T moved) over `bars`, T = (H + L + C) / 3, in [0, 1].

    NaN where T never moved on volume. Source: Quong & Soudack (1989), Stocks & Commodities 7(3).
    """
    gained, lost = (window_sum(part(history), bars) for part in (money_gained, money_lost))
    return ratio(gained, gained + lost)


def ultimate(history: History) -> Array:
    """(4 A7 + 2 A14 + A28) / 7, A = sum(C - min(L, C_{t-1})) / sum(true range), in [0, 1]; NaN without range.

    Source: Williams (1985), Stocks & Commodities 3(4).
    """
    bought, spans = bought_range(history), true_range(history)
    short, middle, long = (ratio(window_sum(bought, bars), window_sum(spans, bars)) for bars in ULTIMATE_BARS)
    return (4.0 * short + 2.0 * middle + long) / 7.0


def force(history: History, *, bars: int) -> Array:
    """mean(r * volume) over `bars` / (sigma60 * mean volume over 63); NaN when nothing traded.

    Source: Elder (1993), Trading for a Living; there in units of price times volume, with an EWM mean.
    """
    scale = window_mean(traded(history), FORCE_VOLUME_BARS)
    return per_sigma(history, ratio(window_mean(pushed(history), bars), scale), 1)


def balance_of_power(history: History, *, bars: int) -> Array:
    """sum(C - O) / sum(H - L) over `bars`, in [-1, 1]; NaN without range. Source: Livshin (2001), S&C 19(8)."""
    return ratio(window_sum(gained_in_bar(history), bars), window_sum(price_range(history), bars))


@series("high", "low", "close", "volume")
def money_gained(history: History) -> Array:
    """T * volume where T rose, else 0."""
    return _money(history, 1.0)


@series("high", "low", "close", "volume")
def money_lost(history: History) -> Array:
    """T * volume where T fell, else 0."""
    return _money(history, -1.0)


@series(*HIGH_LOW_CLOSE)
def bought_range(history: History) -> Array:
    """C_t - min(L_t, C_{t-1})."""
    return history.close - np.minimum(lowest(history), previous_close(history))


@series(*CLOSE_VOLUME)
def pushed(history: History) -> Array:
    """r * volume."""
    return history.log_return * traded(history)


@series("open", "close")
def gained_in_bar(history: History) -> Array:
    """C - O, in units of price."""
    return history.close - opened(history)


def _money(history: History, side: float) -> Array:
    typical = typical_price(history)
    move = np.sign(typical - lag(typical, 1))
    return np.maximum(side * move, 0.0) * typical * traded(history)


PRESSURE = (
    Feature(
        name=f"osc_money_flow_{MONEY_BARS}",
        formula="sum14(T * volume where T rose) / sum14(T * volume where T moved), T = (H + L + C) / 3",
        lookback=MONEY_BARS + 1,
        inputs=("high", "low", "close", "volume"),
        units="share",
        source=PerSymbol(partial(money_flow, bars=MONEY_BARS)),
    ),
    Feature(
        name="osc_ultimate",
        formula="(4 A7 + 2 A14 + A28) / 7, A = sum(C - min(L, C_t-1)) / sum(max(H, C_t-1) - min(L, C_t-1))",
        lookback=ULTIMATE_BARS[-1] + 1,
        inputs=HIGH_LOW_CLOSE,
        units="share of the true range",
        source=PerSymbol(ultimate),
    ),
    *(
        Feature(
            name=f"osc_force_{bars}",
            formula=f"mean{bars}(r * volume) / (sigma60 * mean63(volume))",
            lookback=FORCE_VOLUME_BARS,
            inputs=CLOSE_VOLUME,
            units="sigma times mean volumes",
            source=PerSymbol(partial(force, bars=bars)),
            recursive=True,
        )
        for bars in FORCE_WINDOWS
    ),
    Feature(
        name=f"osc_balance_{BALANCE_BARS}",
        formula="sum14(C - O) / sum14(H - L)",
        lookback=BALANCE_BARS,
        inputs=OHLC,
        units="share of the range, signed",
        source=PerSymbol(partial(balance_of_power, bars=BALANCE_BARS)),
    ),
)
