"""Group `range`, part two: the true range, and ranges set against closes and against the night.

Not here: the volatility estimators of highs and lows (`ranges.py`).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.bar_series import (
    HIGH_LOW,
    HIGH_LOW_CLOSE,
    flag,
    highest,
    log_gap,
    log_high,
    log_low,
    lowest,
    series,
    squared_log_body,
    squared_log_range,
    true_range,
)
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.smoothing import wilder_over_known
from tft_pipeline.domain.features.windows import (
    SPREAD_FLOOR,
    Array,
    lag,
    positive_log,
    ratio,
    window_mean,
    window_min,
    window_std,
    window_sum,
)

ATR_BARS = 14
RATIO_WINDOWS = (5, 63)
CLOSE_WINDOWS = (21, 63)
NARROW_BARS = 7


def average_true_range(history: History) -> Array:
    """Wilder's mean over 14 of the true range, in units of the close. Source: Wilder (1978)."""
    return ratio(wilder_over_known(true_range(history), ATR_BARS), history.close)


def true_range_ratio(history: History, *, short: int, long: int) -> Array:
    """ln(mean over `short` / mean over `long`) of the true range in logs; NaN when either is zero."""
    spans = log_true_range(history)
    return positive_log(ratio(window_mean(spans, short), window_mean(spans, long)))


def range_to_close(history: History, *, bars: int) -> Array:
    """ln(Parkinson volatility / standard deviation of returns) over `bars`.

    Above zero where bars moved more inside than from close to close; NaN when there was no range or no return.
    """
    parkinson = np.sqrt(window_mean(squared_log_range(history), bars) / (4.0 * np.log(2.0)))
    return positive_log(ratio(parkinson, window_std(history.log_return, bars), floor=SPREAD_FLOOR))


def overnight_share(history: History, *, bars: int) -> Array:
    """sum(ln(O_t/C_{t-1})^2) / sum(ln(O_t/C_{t-1})^2 + ln(C/O)^2) over `bars`, in [0, 1]; NaN when nothing moved."""
    night = window_sum(squared_log_gap(history), bars)
    return ratio(night, night + window_sum(squared_log_body(history), bars))


def narrowest(history: History, *, bars: int) -> Array:
    """1 where H/L is the smallest of the last `bars`, ties included. Source: Crabel (1990), NR7."""
    span = highest(history) / lowest(history)
    least = window_min(span, bars)
    return flag(span <= least, least)


@series(*HIGH_LOW_CLOSE)
def log_true_range(history: History) -> Array:
    """max(ln H_t, ln C_{t-1}) - min(ln L_t, ln C_{t-1})."""
    before = lag(history.log_close, 1)
    return np.maximum(log_high(history), before) - np.minimum(log_low(history), before)


@series("open", "close")
def squared_log_gap(history: History) -> Array:
    """ln(O_t/C_{t-1})^2."""
    gap = log_gap(history)
    return gap * gap


TRUE_RANGES = (
    Feature(
        name=f"range_atr_{ATR_BARS}",
        formula="Wilder(TR) / C, 14 bars, TR = max(H, C_t-1) - min(L, C_t-1)",
        lookback=ATR_BARS + 1,
        inputs=HIGH_LOW_CLOSE,
        units="share of the price",
        source=PerSymbol(average_true_range),
        recursive=True,
    ),
    Feature(
        name="range_atr_ratio_{}_{}".format(*RATIO_WINDOWS),
        formula="ln(mean5(TR) / mean63(TR)), TR = max(ln H, ln C_t-1) - min(ln L, ln C_t-1)",
        lookback=RATIO_WINDOWS[1] + 1,
        inputs=HIGH_LOW_CLOSE,
        units="log ratio",
        source=PerSymbol(partial(true_range_ratio, short=RATIO_WINDOWS[0], long=RATIO_WINDOWS[1])),
    ),
    *(
        Feature(
            name=f"range_to_close_{bars}",
            formula=f"ln(sqrt(mean{bars}(ln(H/L)^2) / (4 ln 2)) / sd{bars}(r))",
            lookback=bars + 1,
            inputs=HIGH_LOW_CLOSE,
            units="log ratio",
            source=PerSymbol(partial(range_to_close, bars=bars)),
        )
        for bars in CLOSE_WINDOWS
    ),
    *(
        Feature(
            name=f"range_overnight_share_{bars}",
            formula=f"sum{bars}(ln(O/C_t-1)^2) / sum{bars}(ln(O/C_t-1)^2 + ln(C/O)^2)",
            lookback=bars + 1,
            inputs=("open", "close"),
            units="share",
            source=PerSymbol(partial(overnight_share, bars=bars)),
        )
        for bars in CLOSE_WINDOWS
    ),
    Feature(
        name=f"range_narrow_{NARROW_BARS}",
        formula="1 if H/L = min7(H/L), else 0",
        lookback=NARROW_BARS,
        inputs=HIGH_LOW,
        units="flag",
        source=PerSymbol(partial(narrowest, bars=NARROW_BARS)),
    ),
)
