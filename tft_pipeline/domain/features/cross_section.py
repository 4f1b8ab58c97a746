"""Group `xs`: the place of a symbol among the symbols of the same bar: its rank, or its distance from their mean."""

from collections.abc import Callable
from functools import partial

import numpy as np

from tft_pipeline.domain.features.drawdown import drawdown
from tft_pipeline.domain.features.feature import MARKET_CLOSE, AcrossSymbols, Feature
from tft_pipeline.domain.features.history import CrossSection, History, mean_over_symbols
from tft_pipeline.domain.features.ranges import parkinson
from tft_pipeline.domain.features.relative import beta, residual_deviation, unexplained_return
from tft_pipeline.domain.features.returns import scaled_return, scaled_return_lookback
from tft_pipeline.domain.features.volatility import realised
from tft_pipeline.domain.features.volume import relative_turnover
from tft_pipeline.domain.features.volume_flow import illiquidity
from tft_pipeline.domain.features.windows import (
    SPREAD_FLOOR,
    Array,
    lag,
    ratio,
    window_max,
    window_mean,
    window_std,
)
from tft_pipeline.domain.features.zscore import price_zscore

RETURN_HORIZONS = (1, 5, 10, 21, 63, 126, 252)
EXCESS_HORIZONS = (1, 5, 21)
MOMENTUM_WINDOW, SKIPPED = 252, 21
VOLATILITY_WINDOWS = (21, 63)
DRAWDOWN_WINDOWS = (63, 252)
LONG_WINDOW = 252
RESIDUAL_HORIZON = 63
RSI_BARS = 14
ZSCORE_WINDOWS = (21, 63)
TURNOVER_WINDOWS = (5, 63)
ILLIQUIDITY_WINDOW = 21
RANGE_WINDOW = 21
_CELLS = 1 << 18
"""Values ranked at once: few enough to stay in the cache."""


def centred_rank(section: CrossSection, *, of: Callable[[History], Array]) -> Array:
    """(rank - 1) / (n - 1) - 1/2 in [-0.5, 0.5] among the n symbols known on a bar; ties share their mean rank.

    Null where the symbol's own value is unknown, or where it is the only one.
    """
    values = section.matrix(of)
    ranks = np.empty_like(values)
    step = max(_CELLS // max(values.shape[1], 1), 1)
    for first in range(0, len(values), step):
        ranks[first : first + step] = _centred_ranks(values[first : first + step])
    return ranks


def _centred_ranks(values: Array) -> Array:
    """Of a few bars (rows); the same as scipy's rankdata with method "average", several times faster."""
    known = np.isfinite(values)
    # An absent symbol sorts behind all others, so it takes no rank away from them.
    filled = np.where(known, values, np.inf)
    order = np.argsort(filled, axis=1)
    ordered = np.take_along_axis(filled, order, axis=1)
    places = np.broadcast_to(np.arange(values.shape[1], dtype=np.float64), values.shape).copy()
    same = ordered[:, 1:] == ordered[:, :-1]
    tied = np.flatnonzero((same & np.isfinite(ordered[:, 1:])).any(axis=1))
    places[tied] = _mean_places(same[tied])
    ranks = np.empty_like(places)
    np.put_along_axis(ranks, order, places, axis=1)
    others = known.sum(axis=1, keepdims=True) - 1.0
    found: Array = np.divide(ranks, others, out=np.full(values.shape, np.nan), where=known & (others > 0.0)) - 0.5
    return found


def _mean_places(same: np.ndarray) -> Array:
    """(rows, n - 1) "equal to the one before" -> (rows, n) mean of the first and last place of each run of equals."""
    edge = np.ones((len(same), 1), dtype=np.bool_)
    place = np.arange(same.shape[1] + 1)
    first = np.maximum.accumulate(np.where(np.hstack([edge, ~same]), place, 0), axis=1)
    until_end = np.where(np.hstack([~same, edge]), place, place[-1])
    last = np.minimum.accumulate(until_end[:, ::-1], axis=1)[:, ::-1]
    return 0.5 * (first + last)


def excess_return(section: CrossSection, *, bars: int) -> Array:
    """Return over `bars` in units of its sigma minus the mean of that over the symbols known; two at least."""
    values = section.matrix(partial(scaled_return, bars=bars))
    return values - mean_over_symbols(values)[:, None]


def log_return(history: History, *, bars: int) -> Array:
    """Log return over `bars`."""
    return history.log_return_over(bars)


def skipped_momentum(history: History, *, bars: int, skipped: int) -> Array:
    """ln(P_{t-skipped} / P_{t-bars}): momentum without its last month. Source: Jegadeesh & Titman (1993), J. Finance 48(1)."""
    return lag(history.log_close, skipped) - lag(history.log_close, bars)


def residual_momentum(history: History, *, bars: int) -> Array:
    """What beta252 leaves of the return over `bars`, per standard error of that regression over `bars`.

    After Blitz, Huij & Martens (2011), J. Empirical Finance 18(3), with the index as the only factor.
    """
    spread = residual_deviation(history, bars=LONG_WINDOW) * np.sqrt(bars)
    return ratio(unexplained_return(history, bars=bars), spread, floor=SPREAD_FLOOR)


def below_high(history: History, *, bars: int) -> Array:
    """ln(P / highest P of the last `bars`) / std(r) over `bars`; <= 0. Unlike a drawdown, per volatility."""
    distance = history.log_close - window_max(history.log_close, bars)
    return ratio(distance, window_std(history.log_return, bars), floor=SPREAD_FLOOR)


def gain_share(history: History, *, bars: int) -> Array:
    """Sum of the rises of P / sum of its rises and falls over `bars`, in [0, 1]: RSI / 100 with plain averages."""
    change = history.close - lag(history.close, 1)
    gains, losses = window_mean(np.maximum(change, 0.0), bars), window_mean(np.maximum(-change, 0.0), bars)
    return ratio(gains, gains + losses)


def _rank(
    name: str,
    ranked: str,
    of: Callable[[History], Array],
    *,
    lookback: int,
    inputs: tuple[str, ...] = ("close",),
) -> Feature:
    return Feature(
        name=f"xs_{name}",
        formula=f"rank over symbols of {ranked}, in [-0.5, 0.5]",
        lookback=lookback,
        inputs=inputs,
        source=AcrossSymbols(partial(centred_rank, of=of)),
        units="rank",
    )


CROSS_SECTION = (
    *(
        _rank(f"ret_{bars}", f"ln(P_t / P_t-{bars})", partial(log_return, bars=bars), lookback=bars + 1)
        for bars in RETURN_HORIZONS
    ),
    _rank(
        f"momentum_{MOMENTUM_WINDOW}_{SKIPPED}",
        f"ln(P_t-{SKIPPED} / P_t-{MOMENTUM_WINDOW})",
        partial(skipped_momentum, bars=MOMENTUM_WINDOW, skipped=SKIPPED),
        lookback=MOMENTUM_WINDOW + 1,
    ),
    *(
        _rank(f"vol_{bars}", f"std{bars}(r)", partial(realised, bars=bars), lookback=bars + 1)
        for bars in VOLATILITY_WINDOWS
    ),
    *(
        _rank(f"drawdown_{bars}", f"P_t / max{bars}(P) - 1", partial(drawdown, bars=bars), lookback=bars)
        for bars in DRAWDOWN_WINDOWS
    ),
    _rank(
        f"high_{LONG_WINDOW}",
        f"ln(P_t / max{LONG_WINDOW}(P)) / std{LONG_WINDOW}(r)",
        partial(below_high, bars=LONG_WINDOW),
        lookback=LONG_WINDOW + 1,
    ),
    _rank(
        f"beta_{LONG_WINDOW}",
        f"beta_{LONG_WINDOW}",
        partial(beta, bars=LONG_WINDOW),
        lookback=LONG_WINDOW + 1,
        inputs=("close", MARKET_CLOSE),
    ),
    _rank(
        f"residual_{RESIDUAL_HORIZON}",
        f"(ln(P_t / P_t-{RESIDUAL_HORIZON}) - beta_{LONG_WINDOW} * ln(M_t / M_t-{RESIDUAL_HORIZON})) "
        f"/ beta_idio_vol_{LONG_WINDOW}",
        partial(residual_momentum, bars=RESIDUAL_HORIZON),
        lookback=LONG_WINDOW + 1,
        inputs=("close", MARKET_CLOSE),
    ),
    _rank(
        f"rsi_{RSI_BARS}",
        f"sum{RSI_BARS}(max(dP, 0)) / sum{RSI_BARS}(|dP|)",
        partial(gain_share, bars=RSI_BARS),
        lookback=RSI_BARS + 1,
    ),
    *(_rank(f"z_{bars}", f"z_{bars}", partial(price_zscore, bars=bars), lookback=bars) for bars in ZSCORE_WINDOWS),
    _rank(
        "turnover_{}_{}".format(*TURNOVER_WINDOWS),
        "mean{}(volume) / mean{}(volume)".format(*TURNOVER_WINDOWS),
        partial(relative_turnover, short=TURNOVER_WINDOWS[0], long=TURNOVER_WINDOWS[1]),
        lookback=TURNOVER_WINDOWS[1],
        inputs=("volume",),
    ),
    _rank(
        f"illiquidity_{ILLIQUIDITY_WINDOW}",
        f"sum{ILLIQUIDITY_WINDOW} |r| / sum{ILLIQUIDITY_WINDOW}(P * volume)",
        partial(illiquidity, bars=ILLIQUIDITY_WINDOW),
        lookback=ILLIQUIDITY_WINDOW + 1,
        inputs=("close", "volume"),
    ),
    _rank(
        f"range_{RANGE_WINDOW}",
        f"mean{RANGE_WINDOW}(ln(H / L)^2)",
        partial(parkinson, bars=RANGE_WINDOW),
        lookback=RANGE_WINDOW,
        inputs=("high", "low"),
    ),
    *(
        Feature(
            name=f"xs_excess_{bars}",
            formula=f"ret_{bars} - mean over symbols of ret_{bars}",
            lookback=scaled_return_lookback(bars),
            inputs=("close",),
            source=AcrossSymbols(partial(excess_return, bars=bars)),
            units="sigma",
            recursive=True,
        )
        for bars in EXCESS_HORIZONS
    ),
)
