"""Groups `range` and `bar`: volatility from highs and lows, and what happened inside the last bar (OHLC columns)."""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import SIGMA_SPAN, History
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.windows import Array, lag, positive_log, ratio, window_mean, window_std

WINDOW = 21
_HIGH_LOW = ("high", "low")
_OHLC = ("open", "high", "low", "close")


def parkinson(history: History, *, bars: int) -> Array:
    """sqrt(A * mean(ln(H/L)^2) / (4 ln 2)). Source: Parkinson (1980), J. Business 53(1)."""
    span = _log_range(history)
    return np.sqrt(window_mean(span * span, bars) * (history.bars_per_year / (4.0 * np.log(2.0))))


def garman_klass(history: History, *, bars: int) -> Array:
    """sqrt(A * mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2)). Source: Garman & Klass (1980), J. Business 53(1)."""
    span, body = _log_range(history), _log_body(history)
    variance = window_mean(0.5 * span * span - (2.0 * np.log(2.0) - 1.0) * body * body, bars)
    return _annual_root(history, variance)


def yang_zhang(history: History, *, bars: int) -> Array:
    """sqrt(A * (V_overnight + k V_body + (1-k) V_rs)), k = 0.34 / (1.34 + (n+1)/(n-1)).

    V_overnight and V_body are sample variances (ddof 1) of ln(O_t/C_{t-1}) and ln(C/O), V_rs the mean of
    ln(H/C) ln(H/O) + ln(L/C) ln(L/O) (Rogers & Satchell 1991). Source: Yang & Zhang (2000), J. Business 73(3).
    """
    k = 0.34 / (1.34 + (bars + 1) / (bars - 1))
    opened, high, low = (positive_log(history.column(name)) for name in ("open", "high", "low"))
    closed = history.log_close
    rogers_satchell = (high - closed) * (high - opened) + (low - closed) * (low - opened)
    overnight, body = window_std(_log_gap(history), bars), window_std(_log_body(history), bars)
    variance = overnight * overnight + k * body * body + (1.0 - k) * window_mean(rogers_satchell, bars)
    return _annual_root(history, variance)


def relative_range(history: History, *, bars: int) -> Array:
    """ln(H/L) of this bar / its mean over the last `bars`; NaN when none of them had a range."""
    span = _log_range(history)
    return ratio(span, window_mean(span, bars))


def intrabar_return(history: History) -> Array:
    """ln(C/O) / sigma60."""
    return per_sigma(history, _log_body(history), 1)


def overnight_return(history: History) -> Array:
    """ln(O_t / C_{t-1}) / sigma60."""
    return per_sigma(history, _log_gap(history), 1)


def close_location(history: History) -> Array:
    """(C - L) / (H - L) in [0, 1]; NaN on a bar without range."""
    high, low = history.column("high"), history.column("low")
    return ratio(history.close - low, high - low)


def _log_range(history: History) -> Array:
    return positive_log(history.column("high")) - positive_log(history.column("low"))


def _log_body(history: History) -> Array:
    return history.log_close - positive_log(history.column("open"))


def _log_gap(history: History) -> Array:
    return positive_log(history.column("open")) - lag(history.log_close, 1)


def _annual_root(history: History, variance: Array) -> Array:
    """sqrt(A * variance); NaN below zero, which only bars with a close outside [low, high] can bring about."""
    return np.sqrt(np.where(variance >= 0.0, variance, np.nan) * history.bars_per_year)


RANGES = (
    Feature(
        name=f"range_parkinson_{WINDOW}",
        formula="sqrt(A * mean21(ln(H/L)^2) / (4 ln 2))",
        lookback=WINDOW,
        inputs=_HIGH_LOW,
        source=PerSymbol(partial(parkinson, bars=WINDOW)),
    ),
    Feature(
        name=f"range_garman_klass_{WINDOW}",
        formula="sqrt(A * mean21(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2))",
        lookback=WINDOW,
        inputs=_OHLC,
        source=PerSymbol(partial(garman_klass, bars=WINDOW)),
    ),
    Feature(
        name=f"range_yang_zhang_{WINDOW}",
        formula="sqrt(A * (var21(ln(O/C_t-1)) + k var21(ln(C/O)) + (1-k) mean21(RS))), k = 0.34 / (1.34 + 22/20)",
        lookback=WINDOW + 1,
        inputs=_OHLC,
        source=PerSymbol(partial(yang_zhang, bars=WINDOW)),
    ),
    Feature(
        name=f"range_relative_{WINDOW}",
        formula="ln(H/L) / mean21(ln(H/L))",
        lookback=WINDOW,
        inputs=_HIGH_LOW,
        source=PerSymbol(partial(relative_range, bars=WINDOW)),
    ),
    Feature(
        name="bar_intrabar",
        formula="ln(C/O) / sigma60",
        lookback=SIGMA_SPAN + 1,
        inputs=("open", "close"),
        source=PerSymbol(intrabar_return),
        recursive=True,
    ),
    Feature(
        name="bar_overnight",
        formula="ln(O_t / C_t-1) / sigma60",
        lookback=SIGMA_SPAN + 1,
        inputs=("open", "close"),
        source=PerSymbol(overnight_return),
        recursive=True,
    ),
    Feature(
        name="bar_close_location",
        formula="(C - L) / (H - L)",
        lookback=1,
        inputs=("high", "low", "close"),
        source=PerSymbol(close_location),
    ),
)
