"""Group `osc`, part two: direction and strength of a trend, from highs and lows.

Not here: the place of the close in a channel (`oscillators.py`).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.bar_series import (
    HIGH_LOW_CLOSE,
    highest,
    lowest,
    series,
    true_range,
)
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.smoothing import wilder_over_known
from tft_pipeline.domain.features.window_places import rows_since_max
from tft_pipeline.domain.features.windows import Array, lag, positive_log, ratio, window_max, window_min, window_sum

DIRECTION_BARS = 14
AROON_BARS = 25
CHOPPINESS_BARS = 14
VORTEX_BARS = 14


@series(*HIGH_LOW_CLOSE)
def plus_direction(history: History) -> Array:
    """+DI = Wilder(DM+) / Wilder(TR), DM+ = max(H_t - H_{t-1}, 0) where that is more than L_{t-1} - L_t, else 0.

    In [0, 1]; NaN without range. Source: Wilder (1978), New Concepts in Technical Trading Systems.
    """
    return ratio(wilder_over_known(rise(history), DIRECTION_BARS), directed_range(history))


@series(*HIGH_LOW_CLOSE)
def minus_direction(history: History) -> Array:
    """-DI = Wilder(DM-) / Wilder(TR), DM- = max(L_{t-1} - L_t, 0) where that is more than H_t - H_{t-1}, else 0."""
    return ratio(wilder_over_known(fall(history), DIRECTION_BARS), directed_range(history))


def average_direction(history: History) -> Array:
    """ADX = Wilder(|+DI - -DI| / (+DI + -DI)), in [0, 1]: strength of the trend, whichever way it goes."""
    plus, minus = plus_direction(history), minus_direction(history)
    return wilder_over_known(ratio(np.abs(plus - minus), plus + minus), DIRECTION_BARS)


def aroon_up(history: History, *, bars: int) -> Array:
    """1 - (bars since the highest H) / bars over the last `bars` + 1, the latest of equals. Source: Chande (1995)."""
    return 1.0 - rows_since_max(highest(history), bars + 1) / bars


def aroon_down(history: History, *, bars: int) -> Array:
    """1 - (bars since the lowest L) / bars over the last `bars` + 1, the latest of equals."""
    return 1.0 - rows_since_max(-lowest(history), bars + 1) / bars


def choppiness(history: History, *, bars: int) -> Array:
    """ln(sum(true range) / (max H - min L)) / ln(bars): near 1 in a sideways market, near 0 in a straight one.

    Over `bars`; NaN without range. Source: Dreiss (1993), the choppiness index.
    """
    height = window_max(highest(history), bars) - window_min(lowest(history), bars)
    found: Array = positive_log(ratio(window_sum(true_range(history), bars), height)) / np.log(bars)
    return found


def vortex(history: History, *, bars: int) -> Array:
    """sum(|H_t - L_{t-1}| - |L_t - H_{t-1}|) / sum(true range) over `bars`: VI+ less VI-; NaN without range.

    Source: Botes & Siepman (2010), Stocks & Commodities 28(1).
    """
    high, low = highest(history), lowest(history)
    lead = np.abs(high - lag(low, 1)) - np.abs(low - lag(high, 1))
    return ratio(window_sum(lead, bars), window_sum(true_range(history), bars))


@series(*HIGH_LOW_CLOSE)
def rise(history: History) -> Array:
    """DM+; NaN where the true range is missing too, so that both are smoothed over the same bars."""
    up, down = _moves(history)
    return _where_ranged(history, np.where(up > down, np.maximum(up, 0.0), 0.0) + 0.0 * (up + down))


@series(*HIGH_LOW_CLOSE)
def fall(history: History) -> Array:
    """DM-; NaN where the true range is missing too."""
    up, down = _moves(history)
    return _where_ranged(history, np.where(down > up, np.maximum(down, 0.0), 0.0) + 0.0 * (up + down))


@series(*HIGH_LOW_CLOSE)
def directed_range(history: History) -> Array:
    """Wilder's mean of the true range over the bars that have a directional movement."""
    return wilder_over_known(np.where(np.isnan(rise(history)), np.nan, true_range(history)), DIRECTION_BARS)


def _moves(history: History) -> tuple[Array, Array]:
    """H_t - H_{t-1} and L_{t-1} - L_t."""
    high, low = highest(history), lowest(history)
    return high - lag(high, 1), lag(low, 1) - low


def _where_ranged(history: History, values: Array) -> Array:
    return np.where(np.isnan(true_range(history)), np.nan, values)


DIRECTIONAL = (
    Feature(
        name=f"osc_plus_di_{DIRECTION_BARS}",
        formula="Wilder(DM+) / Wilder(TR), 14 bars, DM+ = max(H - H_t-1, 0) if more than L_t-1 - L, else 0",
        lookback=DIRECTION_BARS + 1,
        inputs=HIGH_LOW_CLOSE,
        units="share of the true range",
        source=PerSymbol(plus_direction),
        recursive=True,
    ),
    Feature(
        name=f"osc_minus_di_{DIRECTION_BARS}",
        formula="Wilder(DM-) / Wilder(TR), 14 bars, DM- = max(L_t-1 - L, 0) if more than H - H_t-1, else 0",
        lookback=DIRECTION_BARS + 1,
        inputs=HIGH_LOW_CLOSE,
        units="share of the true range",
        source=PerSymbol(minus_direction),
        recursive=True,
    ),
    Feature(
        name=f"osc_adx_{DIRECTION_BARS}",
        formula="Wilder(|DI+ - DI-| / (DI+ + DI-)), 14 bars, DI = Wilder(DM) / Wilder(TR)",
        lookback=2 * DIRECTION_BARS,
        inputs=HIGH_LOW_CLOSE,
        units="strength in [0, 1]",
        source=PerSymbol(average_direction),
        recursive=True,
    ),
    Feature(
        name=f"osc_aroon_up_{AROON_BARS}",
        formula="1 - (bars since the latest max26(H)) / 25",
        lookback=AROON_BARS + 1,
        inputs=("high",),
        units="share of the window",
        source=PerSymbol(partial(aroon_up, bars=AROON_BARS)),
    ),
    Feature(
        name=f"osc_aroon_down_{AROON_BARS}",
        formula="1 - (bars since the latest min26(L)) / 25",
        lookback=AROON_BARS + 1,
        inputs=("low",),
        units="share of the window",
        source=PerSymbol(partial(aroon_down, bars=AROON_BARS)),
    ),
    Feature(
        name=f"osc_choppiness_{CHOPPINESS_BARS}",
        formula="ln(sum14(TR) / (max14(H) - min14(L))) / ln 14, TR = max(H, C_t-1) - min(L, C_t-1)",
        lookback=CHOPPINESS_BARS + 1,
        inputs=HIGH_LOW_CLOSE,
        units="log ratio, base 14",
        source=PerSymbol(partial(choppiness, bars=CHOPPINESS_BARS)),
    ),
    Feature(
        name=f"osc_vortex_{VORTEX_BARS}",
        formula="sum14(|H_t - L_t-1| - |L_t - H_t-1|) / sum14(TR), TR = max(H, C_t-1) - min(L, C_t-1)",
        lookback=VORTEX_BARS + 1,
        inputs=HIGH_LOW_CLOSE,
        units="share of the true range, signed",
        source=PerSymbol(partial(vortex, bars=VORTEX_BARS)),
    ),
)
