"""Group `brd`: how many symbols take part in a move, and how alike they move. One value a bar, equal for all symbols.

The market index itself is not counted. At least two symbols must be known on a bar, otherwise the value is null. Windows
over several bars count calendar bars, those on which any symbol has one; half of a window must have a value.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from tft_pipeline.domain.features.drawdown import drawdown
from tft_pipeline.domain.features.feature import AcrossSymbols, Feature
from tft_pipeline.domain.features.history import CrossSection, History, known_count, mean_over_symbols
from tft_pipeline.domain.features.sparse_windows import known_mean, known_zscore
from tft_pipeline.domain.features.trend import above_sma
from tft_pipeline.domain.features.volatility import realised
from tft_pipeline.domain.features.windows import (
    SPREAD_FLOOR,
    Array,
    ewm_mean,
    lag,
    ratio,
    window_max,
    window_min,
    window_pair_moments,
    window_spread,
)

SMA_WINDOWS = (20, 50, 100, 200)
EXTREME_WINDOWS = (21, 63, 252)
RISE_HORIZONS = (21, 63, 252)
ADVANCE_WINDOWS = (5, 21, 63)
MCCLELLAN_BARS = (19, 39)
DISPERSION_WINDOWS = (63, 252)
CORRELATION_WINDOWS = (21, 63, 126)
VOLATILITY_WINDOW = 21
DRAWDOWN_WINDOW = 252
DEEP = -0.1
"""A drawdown beyond this is a deep one."""


def mean_of(section: CrossSection, *, of: Callable[[History], Array]) -> Array:
    """Mean over the symbols; of 0 and 1, the share of the symbols."""
    return section.broadcast(mean_over_symbols(section.matrix(of)))


def at_high(history: History, *, bars: int) -> Array:
    """1 on the highest close of the last `bars` (ties count), else 0; NaN without so many."""
    return _indicator(history.close == (highest := window_max(history.close, bars)), highest)


def at_low(history: History, *, bars: int) -> Array:
    """1 on the lowest close of the last `bars` (ties count), else 0; NaN without so many."""
    return _indicator(history.close == (lowest := window_min(history.close, bars)), lowest)


def rose(history: History, *, bars: int) -> Array:
    """1 where the close is above that of `bars` before, else 0; NaN without one."""
    return _indicator(history.close > (before := lag(history.close, bars)), before)


def deep_below_high(history: History, *, bars: int, limit: float) -> Array:
    """1 where close / highest close of the last `bars` - 1 is below `limit`, else 0; NaN without so many."""
    return _indicator((depth := drawdown(history, bars=bars)) < limit, depth)


def advance_ratio(section: CrossSection) -> Array:
    """(symbols that rose - symbols that fell) / symbols with a return, in [-1, 1]."""
    return section.broadcast(_advance(section))


def mean_advance(section: CrossSection, *, bars: int) -> Array:
    """Mean of the advance ratio over the last `bars`."""
    return section.broadcast(_after(bars, known_mean(_advance(section), bars, rows_needed=(bars + 1) // 2)))


def mcclellan(section: CrossSection, *, short: int, long: int) -> Array:
    """EWM mean of the advance ratio with span `short` minus that with span `long`; alpha = 2 / (span + 1).

    After McClellan & McClellan (1970), Patterns for Profit, on the ratio, so that the number of symbols cancels.
    """
    advance = _advance(section)
    fast, slow = (ewm_mean(advance, 2.0 / (span + 1), rows_needed=span) for span in (short, long))
    return section.broadcast(np.where(np.isfinite(advance), fast - slow, np.nan))


def dispersion(section: CrossSection) -> Array:
    """Standard deviation (ddof 1) over the symbols of the one-bar log return; per bar, not annualised."""
    return section.broadcast(_dispersion(section))


def dispersion_zscore(section: CrossSection, *, bars: int) -> Array:
    """Z-score of the dispersion over the last `bars`."""
    return section.broadcast(_after(bars, known_zscore(_dispersion(section), bars, rows_needed=bars // 2)))


def return_skew(section: CrossSection) -> Array:
    """Population skewness m3 / m2^1.5 over the symbols of the one-bar log return; three symbols at least."""
    returns = section.matrix(_one_bar_return)
    centred: Array = returns - mean_over_symbols(returns)[:, None]
    second, third = (mean_over_symbols(power, symbols_needed=3) for power in (centred**2, centred**3))
    unit = ratio(np.ones(len(second)), np.sqrt(second), floor=SPREAD_FLOOR)
    return section.broadcast(third * unit * unit * unit)


def correlation_proxy(section: CrossSection, *, bars: int) -> Array:
    """Mean pairwise correlation, read from how much of the variance survives averaging over symbols.

        (V / mean_i v_i - 1/N) / (1 - 1/N)

    V is the variance over the last `bars` calendar bars of the mean return over symbols (at least half of those bars
    known), v_i that of symbol i over its own last `bars` returns, N the number of symbols with a v_i on the bar.
    Equal to the mean correlation when all variances are equal and all symbols are present; about 0 for independent
    symbols, 1 for copies of one.
    """
    returns = section.matrix(_one_bar_return)
    mean_return = mean_over_symbols(returns)
    known, mean_sum, _, _ = window_pair_moments(mean_return, mean_return, bars)
    pooled = np.where(known >= bars // 2, ratio(mean_sum, known - 1.0), np.nan)
    own = section.matrix(partial(_return_variance, bars=bars))
    single = np.divide(1.0, known_count(own), out=np.full(len(own), np.nan), where=known_count(own) >= 2)
    kept = ratio(pooled, mean_over_symbols(own), floor=SPREAD_FLOOR**2)
    return section.broadcast((kept - single) / (1.0 - single))


def _advance(section: CrossSection) -> Array:
    return mean_over_symbols(np.sign(section.matrix(_one_bar_return)))


def _dispersion(section: CrossSection) -> Array:
    returns = section.matrix(_one_bar_return)
    centred: Array = returns - mean_over_symbols(returns)[:, None]
    count = known_count(centred).astype(np.float64)
    return np.sqrt(mean_over_symbols(np.square(centred)) * ratio(count, count - 1.0))


def _after(bars: int, values: Array) -> Array:
    """Null until there are `bars` calendar bars beside the first one, which has no return."""
    return np.where(np.arange(len(values)) < bars, np.nan, values)


def _indicator(holds: np.ndarray, needed: Array) -> Array:
    return np.where(np.isnan(needed), np.nan, holds.astype(np.float64))


def _one_bar_return(history: History) -> Array:
    return history.log_return


def _return_variance(history: History, *, bars: int) -> Array:
    return window_spread(history.log_return, bars)[1] / (bars - 1)


def _over_symbols(
    name: str,
    formula: str,
    value: Callable[[CrossSection], Array],
    *,
    lookback: int,
    units: str,
    recursive: bool = False,
) -> Feature:
    return Feature(
        name=f"brd_{name}",
        formula=formula,
        lookback=lookback,
        inputs=("close",),
        source=AcrossSymbols(value),
        units=units,
        recursive=recursive,
    )


def _share(name: str, condition: str, of: Callable[[History], Array], *, lookback: int) -> Feature:
    formula = f"share of symbols with {condition}"
    return _over_symbols(name, formula, partial(mean_of, of=of), lookback=lookback, units="share")


BREADTH = (
    *(
        _share(f"above_sma_{bars}", f"P > mean{bars}(P)", partial(above_sma, bars=bars), lookback=bars)
        for bars in SMA_WINDOWS
    ),
    *(
        _share(f"at_high_{bars}", f"P = max{bars}(P)", partial(at_high, bars=bars), lookback=bars)
        for bars in EXTREME_WINDOWS
    ),
    *(
        _share(f"at_low_{bars}", f"P = min{bars}(P)", partial(at_low, bars=bars), lookback=bars)
        for bars in EXTREME_WINDOWS
    ),
    *(
        _share(f"rise_{bars}", f"P_t > P_t-{bars}", partial(rose, bars=bars), lookback=bars + 1)
        for bars in RISE_HORIZONS
    ),
    _share(
        f"deep_{DRAWDOWN_WINDOW}",
        f"P / max{DRAWDOWN_WINDOW}(P) - 1 < {DEEP}",
        partial(deep_below_high, bars=DRAWDOWN_WINDOW, limit=DEEP),
        lookback=DRAWDOWN_WINDOW,
    ),
    _over_symbols(
        "advance",
        "(symbols with r > 0 - symbols with r < 0) / symbols with r",
        advance_ratio,
        lookback=2,
        units="share",
    ),
    *(
        _over_symbols(
            f"advance_{bars}",
            f"mean{bars}(brd_advance)",
            partial(mean_advance, bars=bars),
            lookback=bars + 1,
            units="share",
        )
        for bars in ADVANCE_WINDOWS
    ),
    _over_symbols(
        "mcclellan_{}_{}".format(*MCCLELLAN_BARS),
        "ewm(brd_advance, span {}) - ewm(brd_advance, span {})".format(*MCCLELLAN_BARS),
        partial(mcclellan, short=MCCLELLAN_BARS[0], long=MCCLELLAN_BARS[1]),
        lookback=MCCLELLAN_BARS[1] + 1,
        units="share",
        recursive=True,
    ),
    _over_symbols("dispersion", "std over symbols of r", dispersion, lookback=2, units="log return"),
    *(
        _over_symbols(
            f"dispersion_z_{bars}",
            f"(brd_dispersion - mean{bars}) / std{bars}",
            partial(dispersion_zscore, bars=bars),
            lookback=bars + 1,
            units="standard deviations",
        )
        for bars in DISPERSION_WINDOWS
    ),
    _over_symbols("skew", "m3 / m2^1.5 of r over symbols, three at least", return_skew, lookback=2, units="skewness"),
    *(
        _over_symbols(
            f"correlation_{bars}",
            f"(var{bars}(mean over symbols of r) / mean over symbols of var{bars}(r) - 1/N) / (1 - 1/N)",
            partial(correlation_proxy, bars=bars),
            lookback=bars + 1,
            units="correlation",
        )
        for bars in CORRELATION_WINDOWS
    ),
    _over_symbols(
        f"vol_{VOLATILITY_WINDOW}",
        f"mean over symbols of std{VOLATILITY_WINDOW}(r) * sqrt(A)",
        partial(mean_of, of=partial(realised, bars=VOLATILITY_WINDOW)),
        lookback=VOLATILITY_WINDOW + 1,
        units="annual volatility",
    ),
)
