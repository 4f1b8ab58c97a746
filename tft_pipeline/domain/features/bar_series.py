"""Series that many formulas over open, high, low and volume share: one value a bar, computed once a history.

A window statistic is shared between features only when they ask for it with the same array (`sharing.py`). So inside
`with sharing():` each series here is the same array however often it is asked for. Not here: anything over a window.

Prices at or below zero and volumes below zero are taken for missing.
"""

from collections.abc import Callable
from functools import wraps

import numpy as np
from numpy.typing import NDArray

from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.sharing import once
from tft_pipeline.domain.features.windows import Array, lag, positive_log

HIGH_LOW = ("high", "low")
HIGH_LOW_CLOSE = ("high", "low", "close")
OHLC = ("open", "high", "low", "close")
CLOSE_VOLUME = ("close", "volume")


def series(*columns: str) -> Callable[[Callable[[History], Array]], Callable[[History], Array]]:
    """Ask `sharing.once` for a series that is computed from these columns of the history and nothing else."""

    def decorated(formula: Callable[[History], Array]) -> Callable[[History], Array]:
        question = (formula.__module__, formula.__qualname__)

        @wraps(formula)
        def read(history: History) -> Array:
            about = tuple(history.column(name) for name in columns)
            return once(question, about, lambda: (formula(history),))[0]

        return read

    return decorated


def flag(condition: NDArray[np.bool_], *needed: Array) -> Array:
    """1.0 where the condition holds, 0.0 where not, NaN where one of the needed values is missing."""
    out = condition.astype(np.float64)
    for values in needed:
        out[np.isnan(values)] = np.nan
    return out


@series("open")
def opened(history: History) -> Array:
    """O, NaN where not above zero."""
    return _above_zero(history.column("open"))


@series("high")
def highest(history: History) -> Array:
    """H, NaN where not above zero."""
    return _above_zero(history.column("high"))


@series("low")
def lowest(history: History) -> Array:
    """L, NaN where not above zero."""
    return _above_zero(history.column("low"))


@series("volume")
def traded(history: History) -> Array:
    """Volume, NaN where below zero."""
    volume = history.column("volume")
    return np.where(volume >= 0.0, volume, np.nan)


@series("open")
def log_open(history: History) -> Array:
    """ln O."""
    return positive_log(history.column("open"))


@series("high")
def log_high(history: History) -> Array:
    """ln H."""
    return positive_log(history.column("high"))


@series("low")
def log_low(history: History) -> Array:
    """ln L."""
    return positive_log(history.column("low"))


@series(*HIGH_LOW)
def log_range(history: History) -> Array:
    """ln(H/L)."""
    return log_high(history) - log_low(history)


@series(*HIGH_LOW)
def squared_log_range(history: History) -> Array:
    """ln(H/L)^2."""
    span = log_range(history)
    return span * span


@series("open", "close")
def log_body(history: History) -> Array:
    """ln(C/O)."""
    return history.log_close - log_open(history)


@series("open", "close")
def squared_log_body(history: History) -> Array:
    """ln(C/O)^2."""
    body = log_body(history)
    return body * body


@series("open", "close")
def log_gap(history: History) -> Array:
    """ln(O_t / C_{t-1}), NaN on the first bar."""
    return log_open(history) - lag(history.log_close, 1)


@series(*HIGH_LOW)
def price_range(history: History) -> Array:
    """H - L, in units of price."""
    return highest(history) - lowest(history)


@series(*HIGH_LOW_CLOSE)
def typical_price(history: History) -> Array:
    """(H + L + C) / 3."""
    return (highest(history) + lowest(history) + history.close) / 3.0


@series("close")
def previous_close(history: History) -> Array:
    """C_{t-1}."""
    return lag(history.close, 1)


@series(*HIGH_LOW_CLOSE)
def true_range(history: History) -> Array:
    """max(H_t, C_{t-1}) - min(L_t, C_{t-1}), in units of price. Source: Wilder (1978)."""
    before = previous_close(history)
    return np.maximum(highest(history), before) - np.minimum(lowest(history), before)


@series("close")
def previous_return(history: History) -> Array:
    """ln(C_{t-1} / C_{t-2})."""
    return lag(history.log_return, 1)


@series("close")
def absolute_return(history: History) -> Array:
    """|ln(C_t / C_{t-1})|."""
    return np.abs(history.log_return)


@series("volume")
def log_volume(history: History) -> Array:
    """ln(1 + volume)."""
    return log1p(history.column("volume"))


@series(*CLOSE_VOLUME)
def signed_volume(history: History) -> Array:
    """sign(r) * volume: all of a bar's volume on the side its return points to."""
    return np.sign(history.log_return) * traded(history)


@series(*CLOSE_VOLUME)
def value_traded(history: History) -> Array:
    """C * volume."""
    return history.close * traded(history)


def log1p(values: Array) -> Array:
    """ln(1 + values), NaN where a value is below zero."""
    return np.log1p(values, out=np.full(values.shape, np.nan), where=values >= 0.0)


def _above_zero(values: Array) -> Array:
    return np.where(values > 0.0, values, np.nan)
