"""Group `range`, part one: volatility estimated from highs and lows, and the range against its own past.

Not here: the true range and what sets ranges against closes (`true_range.py`).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.bar_series import (
    HIGH_LOW,
    OHLC,
    log_body,
    log_gap,
    log_high,
    log_low,
    log_open,
    log_range,
    series,
    squared_log_body,
    squared_log_range,
)
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import Array, ratio, window_mean, window_std, window_zscore

WINDOWS = (5, 10, 21, 63, 126)
RELATIVE_WINDOWS = (5, 21, 63)
ZSCORE_WINDOWS = (21, 63)
_BODY_WEIGHT = 2.0 * np.log(2.0) - 1.0
_UNITS = "annual volatility"


def parkinson(history: History, *, bars: int) -> Array:
    """sqrt(A * mean(ln(H/L)^2) / (4 ln 2)). Source: Parkinson (1980), J. Business 53(1)."""
    mean = window_mean(squared_log_range(history), bars)
    found: Array = np.sqrt(mean * (history.bars_per_year / (4.0 * np.log(2.0))))
    return found


def garman_klass(history: History, *, bars: int) -> Array:
    """sqrt(A * mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2)). Source: Garman & Klass (1980), J. Business 53(1)."""
    span, body = (window_mean(squares(history), bars) for squares in (squared_log_range, squared_log_body))
    return _annual_root(history, 0.5 * span - _BODY_WEIGHT * body)


def rogers_satchell(history: History, *, bars: int) -> Array:
    """sqrt(A * mean(ln(H/C) ln(H/O) + ln(L/C) ln(L/O))), whatever the drift.

    Source: Rogers & Satchell (1991), Ann. Applied Probability 1(4).
    """
    return _annual_root(history, window_mean(rogers_satchell_term(history), bars))


def yang_zhang(history: History, *, bars: int) -> Array:
    """sqrt(A * (V_overnight + k V_body + (1-k) V_rs)), k = 0.34 / (1.34 + (n+1)/(n-1)).

    V_overnight and V_body are sample variances (ddof 1) of ln(O_t/C_{t-1}) and ln(C/O), V_rs the mean of
    ln(H/C) ln(H/O) + ln(L/C) ln(L/O) (Rogers & Satchell 1991). Source: Yang & Zhang (2000), J. Business 73(3).
    """
    k = 0.34 / (1.34 + (bars + 1) / (bars - 1))
    overnight, body = window_std(log_gap(history), bars), window_std(log_body(history), bars)
    inside = window_mean(rogers_satchell_term(history), bars)
    return _annual_root(history, overnight * overnight + k * body * body + (1.0 - k) * inside)


def relative_range(history: History, *, bars: int) -> Array:
    """ln(H/L) of this bar / its mean over the last `bars`; NaN when none of them had a range."""
    span = log_range(history)
    return ratio(span, window_mean(span, bars))


def range_zscore(history: History, *, bars: int) -> Array:
    """Z-score of ln(H/L) over the last `bars`."""
    return window_zscore(log_range(history), bars)


@series(*OHLC)
def rogers_satchell_term(history: History) -> Array:
    """ln(H/C) ln(H/O) + ln(L/C) ln(L/O)."""
    opened, high, low = log_open(history), log_high(history), log_low(history)
    closed = history.log_close
    return (high - closed) * (high - opened) + (low - closed) * (low - opened)


def _annual_root(history: History, variance: Array) -> Array:
    """sqrt(A * variance); NaN below zero, which only bars with a close outside [low, high] can bring about."""
    return np.sqrt(np.where(variance >= 0.0, variance, np.nan) * history.bars_per_year)


RANGES = (
    *(
        Feature(
            name=f"range_parkinson_{bars}",
            formula=f"sqrt(A * mean{bars}(ln(H/L)^2) / (4 ln 2))",
            lookback=bars,
            inputs=HIGH_LOW,
            units=_UNITS,
            source=PerSymbol(partial(parkinson, bars=bars)),
        )
        for bars in WINDOWS
    ),
    *(
        Feature(
            name=f"range_garman_klass_{bars}",
            formula=f"sqrt(A * mean{bars}(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2))",
            lookback=bars,
            inputs=OHLC,
            units=_UNITS,
            source=PerSymbol(partial(garman_klass, bars=bars)),
        )
        for bars in WINDOWS
    ),
    *(
        Feature(
            name=f"range_rogers_satchell_{bars}",
            formula=f"sqrt(A * mean{bars}(RS)), RS = ln(H/C) ln(H/O) + ln(L/C) ln(L/O)",
            lookback=bars,
            inputs=OHLC,
            units=_UNITS,
            source=PerSymbol(partial(rogers_satchell, bars=bars)),
        )
        for bars in WINDOWS
    ),
    *(
        Feature(
            name=f"range_yang_zhang_{bars}",
            formula=f"sqrt(A * (var{bars}(ln(O/C_t-1)) + k var{bars}(ln(C/O)) + (1-k) mean{bars}(RS))), "
            f"k = 0.34 / (1.34 + {bars + 1}/{bars - 1}), RS = ln(H/C) ln(H/O) + ln(L/C) ln(L/O)",
            lookback=bars + 1,
            inputs=OHLC,
            units=_UNITS,
            source=PerSymbol(partial(yang_zhang, bars=bars)),
        )
        for bars in WINDOWS
    ),
    *(
        Feature(
            name=f"range_relative_{bars}",
            formula=f"ln(H/L) / mean{bars}(ln(H/L))",
            lookback=bars,
            inputs=HIGH_LOW,
            units="multiple of the mean range",
            source=PerSymbol(partial(relative_range, bars=bars)),
        )
        for bars in RELATIVE_WINDOWS
    ),
    *(
        Feature(
            name=f"range_z_{bars}",
            formula=f"z-score over {bars} of ln(H/L)",
            lookback=bars,
            inputs=HIGH_LOW,
            units="standard deviations",
            source=PerSymbol(partial(range_zscore, bars=bars)),
        )
        for bars in ZSCORE_WINDOWS
    ),
)
