"""Group `liq`, part two: the bid-ask spread as closes, highs and lows betray it, and bars without movement.

All spreads are for a round trip, as a share of the price. Not here: price impact of volume (`liquidity.py`).
"""

from functools import partial

import numpy as np
from scipy.special import ndtri

from tft_pipeline.domain.features.bar_series import (
    HIGH_LOW_CLOSE,
    flag,
    highest,
    log_high,
    log_low,
    lowest,
    previous_close,
    previous_return,
    series,
    squared_log_range,
)
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import Array, lag, window_mean, window_pair_moments, window_std

WINDOWS = (21, 63)
ZERO_SPREAD_WINDOW = 63
_TWO_BARS = 3.0 - 2.0 * np.sqrt(2.0)


def roll_spread(history: History, *, bars: int) -> Array:
    """2 sqrt(max(-cov(r_t, r_{t-1}), 0)), sample covariance (ddof 1) over `bars`; 0 where returns do not bounce.

    Source: Roll (1984), J. Finance 39(4).
    """
    pairs, _, _, cross = window_pair_moments(history.log_return, previous_return(history), bars)
    covariance = np.where(pairs == bars, cross, np.nan) / (bars - 1)
    return 2.0 * np.sqrt(np.maximum(-covariance, 0.0))


def high_low_spread(history: History, *, bars: int) -> Array:
    """Mean over `bars` of S_t = 2 (e^a - 1) / (1 + e^a), negative ones counted as 0.

        a = (sqrt(2 b) - sqrt(b)) / (3 - 2 sqrt 2) - sqrt(g / (3 - 2 sqrt 2))

    b: sum of ln(H/L)^2 of both bars; g: ln(H/L)^2 of the two bars taken as one, the later one shifted by the gap when
    its range does not hold the close before it. Source: Corwin & Schultz (2012), J. Finance 67(2), eq. 14 and 18.
    """
    return window_mean(corwin_schultz(history), bars)


def close_mid_spread(history: History, *, bars: int) -> Array:
    """Mean over `bars` of sqrt(max(4 (c_{t-1} - m_{t-1}) (c_{t-1} - m_t), 0)), c = ln C, m = (ln H + ln L) / 2.

    Source: Abdi & Ranaldo (2017), Review of Financial Studies 30(12), the two-day corrected form.
    """
    return window_mean(abdi_ranaldo(history), bars)


def zero_share(history: History, *, bars: int) -> Array:
    """Share of the last `bars` returns that are exactly zero. Source: Lesmond, Ogden & Trzcinka (1999), RFS 12(5)."""
    return window_mean(unmoved(history), bars)


def zero_spread(history: History, *, bars: int) -> Array:
    """2 s Phi^-1((1 + z) / 2), s the standard deviation (ddof 1) of r, z the share of zero returns; NaN if all are.

    Source: Fong, Holden & Trzcinka (2017), Review of Finance 21(4), "FHT".
    """
    share = zero_share(history, bars=bars)
    quantile = ndtri(0.5 + 0.5 * np.where(share < 1.0, share, np.nan))
    found: Array = 2.0 * window_std(history.log_return, bars) * quantile
    return found


@series(*HIGH_LOW_CLOSE)
def corwin_schultz(history: History) -> Array:
    """The spread of a bar and the one before it, not below 0."""
    high, low, before = log_high(history), log_low(history), lag(history.log_close, 1)
    # compare prices, not logs: a tie must stay a tie whatever the unit of the price
    gap_up = np.where(lowest(history) > previous_close(history), low - before, 0.0)
    gap_down = np.where(highest(history) < previous_close(history), before - high, 0.0)
    shift = gap_down - gap_up
    both = np.maximum(high + shift, lag(high, 1)) - np.minimum(low + shift, lag(low, 1))
    single = squared_log_range(history) + lag(squared_log_range(history), 1)
    root = np.sqrt(single)
    alpha = (np.sqrt(2.0) * root - root) / _TWO_BARS - both / np.sqrt(_TWO_BARS)
    found: Array = np.maximum(2.0 * np.tanh(0.5 * alpha), 0.0)
    return found


@series(*HIGH_LOW_CLOSE)
def abdi_ranaldo(history: History) -> Array:
    """sqrt(max(4 (c_{t-1} - m_{t-1}) (c_{t-1} - m_t), 0))."""
    middle = 0.5 * (log_high(history) + log_low(history))
    closed = lag(history.log_close, 1)
    return 2.0 * np.sqrt(np.maximum((closed - lag(middle, 1)) * (closed - middle), 0.0))


@series("close")
def unmoved(history: History) -> Array:
    """1 where C_t = C_{t-1}, else 0."""
    before = previous_close(history)
    return flag(history.close == before, before)


LIQUIDITY_SPREADS = (
    *(
        Feature(
            name=f"liq_roll_{bars}",
            formula=f"2 * sqrt(max(-cov{bars}(r_t, r_t-1), 0))",
            lookback=bars + 2,
            inputs=("close",),
            units="share of the price",
            source=PerSymbol(partial(roll_spread, bars=bars)),
        )
        for bars in WINDOWS
    ),
    *(
        Feature(
            name=f"liq_high_low_{bars}",
            formula=f"mean{bars}(max(2 (e^a - 1) / (1 + e^a), 0)), a = (sqrt(2 b) - sqrt(b)) / k - sqrt(g / k), "
            "k = 3 - 2 sqrt 2, b = ln(H_t/L_t)^2 + ln(H_t-1/L_t-1)^2, g = ln(max(H_t, H_t-1) / min(L_t, L_t-1))^2, "
            "bar t first shifted until its range holds C_t-1",
            lookback=bars + 1,
            inputs=HIGH_LOW_CLOSE,
            units="share of the price",
            source=PerSymbol(partial(high_low_spread, bars=bars)),
        )
        for bars in WINDOWS
    ),
    *(
        Feature(
            name=f"liq_close_mid_{bars}",
            formula=f"mean{bars}(sqrt(max(4 (c_t-1 - m_t-1) (c_t-1 - m_t), 0))), c = ln C, m = (ln H + ln L) / 2",
            lookback=bars + 1,
            inputs=HIGH_LOW_CLOSE,
            units="share of the price",
            source=PerSymbol(partial(close_mid_spread, bars=bars)),
        )
        for bars in WINDOWS
    ),
    *(
        Feature(
            name=f"liq_zero_{bars}",
            formula=f"share of the last {bars} returns that are 0",
            lookback=bars + 1,
            inputs=("close",),
            units="share of bars",
            source=PerSymbol(partial(zero_share, bars=bars)),
        )
        for bars in WINDOWS
    ),
    Feature(
        name=f"liq_zero_spread_{ZERO_SPREAD_WINDOW}",
        formula="2 * sd63(r) * Phi^-1((1 + z) / 2), z = share of the last 63 returns that are 0",
        lookback=ZERO_SPREAD_WINDOW + 1,
        inputs=("close",),
        units="share of the price",
        source=PerSymbol(partial(zero_spread, bars=ZERO_SPREAD_WINDOW)),
    ),
)
