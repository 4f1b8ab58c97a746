"""How a feature of closes alone is written down, and the series of closes that several families read.

Not here: statistics over windows (`windows`, `window_lines`, `window_places`); the features (one family a file).
"""

from collections.abc import Callable

import numpy as np

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import SIGMA_SPAN, History
from tft_pipeline.domain.features.sharing import once
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, lag, ratio, window_max, window_std

SIGMA_BARS = SIGMA_SPAN + 1
"""Bars until sigma60 is known: 60 returns take 61 closes."""
SHOCK_WINDOW = 63
SHOCK_BARS = SHOCK_WINDOW + 2
"""Bars until the first return can be held against the returns of the window before it."""


def of_closes(
    name: str, formula: str, *, lookback: int, units: str, of: Callable[[History], Array], recursive: bool = False
) -> Feature:
    """A feature of one symbol's closes."""
    return Feature(
        name=name,
        formula=formula,
        lookback=lookback,
        inputs=("close",),
        source=PerSymbol(of),
        units=units,
        recursive=recursive,
    )


def change(history: History) -> Array:
    """close_t - close_{t-1}, in units of the price."""
    return once(("change",), (history.close,), lambda: (history.close - lag(history.close, 1),))[0]


def direction(history: History) -> Array:
    """-1, 0 or 1: the sign of the one-bar change."""
    return once(("direction",), (history.close,), lambda: (np.sign(change(history)),))[0]


def size(history: History) -> Array:
    """|r|: the one-bar log return without its sign."""
    return once(("size",), (history.log_return,), lambda: (np.abs(history.log_return),))[0]


def square(history: History) -> Array:
    """r^2."""
    return once(("square",), (history.log_return,), lambda: (history.log_return * history.log_return,))[0]


def previous_return(history: History) -> Array:
    """r_{t-1}."""
    return once(("previous",), (history.log_return,), lambda: (lag(history.log_return, 1),))[0]


def shock(history: History) -> Array:
    """r_t / standard deviation of the 63 returns before it: what came in units of what was usual; NaN where that is zero."""
    return once(
        ("shock",),
        (history.log_return,),
        lambda: (ratio(history.log_return, lag(window_std(history.log_return, SHOCK_WINDOW), 1), floor=SPREAD_FLOOR),),
    )[0]


def depth(history: History, bars: int) -> Array:
    """close / highest close of the last `bars` - 1."""
    return once(
        ("depth", bars),
        (history.close,),
        lambda: (ratio(history.close, window_max(history.close, bars)) - 1.0,),
    )[0]
