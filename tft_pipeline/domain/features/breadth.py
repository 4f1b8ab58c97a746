"""Group `brd`: how many symbols take part in a move, and how alike they move. One value a bar, equal for all symbols.

The market index itself is not counted. At least two symbols must be known on a bar, otherwise the value is null.
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import AcrossSymbols, Feature
from tft_pipeline.domain.features.history import CrossSection, History, known_count, mean_over_symbols
from tft_pipeline.domain.features.trend import above_sma
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, ratio, window_pair_moments, window_spread

SMA_WINDOWS = (50, 200)
CORRELATION_WINDOW = 63


def share_above_sma(section: CrossSection, *, bars: int) -> Array:
    """Share of the symbols with a `bars`-bar average that close above it."""
    return section.broadcast(mean_over_symbols(section.matrix(partial(above_sma, bars=bars))))


def advance_ratio(section: CrossSection) -> Array:
    """(symbols that rose - symbols that fell) / symbols with a return, in [-1, 1]."""
    return section.broadcast(mean_over_symbols(np.sign(section.matrix(_one_bar_return))))


def dispersion(section: CrossSection) -> Array:
    """Standard deviation (ddof 1) over the symbols of the one-bar log return; per bar, not annualised."""
    returns = section.matrix(_one_bar_return)
    centred: Array = returns - mean_over_symbols(returns)[:, None]
    count = known_count(centred).astype(np.float64)
    mean_square = mean_over_symbols(np.square(centred))
    return section.broadcast(np.sqrt(mean_square * ratio(count, count - 1.0)))


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


def _one_bar_return(history: History) -> Array:
    return history.log_return


def _return_variance(history: History, *, bars: int) -> Array:
    return window_spread(history.log_return, bars)[1] / (bars - 1)


BREADTH = (
    *(
        Feature(
            name=f"brd_above_sma_{bars}",
            formula=f"share of symbols with P > mean{bars}(P)",
            lookback=bars,
            inputs=("close",),
            source=AcrossSymbols(partial(share_above_sma, bars=bars)),
        )
        for bars in SMA_WINDOWS
    ),
    Feature(
        name="brd_advance",
        formula="(symbols with r > 0 - symbols with r < 0) / symbols with r",
        lookback=2,
        inputs=("close",),
        source=AcrossSymbols(advance_ratio),
    ),
    Feature(
        name="brd_dispersion",
        formula="std over symbols of r",
        lookback=2,
        inputs=("close",),
        source=AcrossSymbols(dispersion),
    ),
    Feature(
        name=f"brd_correlation_{CORRELATION_WINDOW}",
        formula="(var63(mean over symbols of r) / mean over symbols of var63(r) - 1/N) / (1 - 1/N)",
        lookback=CORRELATION_WINDOW + 1,
        inputs=("close",),
        source=AcrossSymbols(partial(correlation_proxy, bars=CORRELATION_WINDOW)),
    ),
)
