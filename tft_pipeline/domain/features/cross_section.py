"""Group `xs`: the rank of a symbol among the symbols of the same bar."""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.stats import rankdata

from tft_pipeline.domain.features.drawdown import drawdown
from tft_pipeline.domain.features.feature import AcrossSymbols, Feature
from tft_pipeline.domain.features.history import CrossSection, History, known_count
from tft_pipeline.domain.features.volatility import realised
from tft_pipeline.domain.features.windows import Array

RETURN_HORIZONS = (5, 21, 63, 252)
VOLATILITY_WINDOW = 21
DRAWDOWN_WINDOW = 252


def centred_rank(section: CrossSection, *, of: Callable[[History], Array]) -> Array:
    """(rank - 1) / (n - 1) - 1/2 in [-0.5, 0.5] among the n symbols known on a bar; ties share their mean rank.

    Null where the symbol's own value is unknown, or where it is the only one.
    """
    values = section.matrix(of)
    known = np.isfinite(values)
    # An absent symbol sorts behind all others, so it takes no rank away from them.
    ranks = rankdata(np.where(known, values, np.inf), method="average", axis=1)
    others = (known_count(values) - 1.0)[:, None]
    comparable = known & (others > 0.0)
    return np.divide(ranks - 1.0, others, out=np.full(values.shape, np.nan), where=comparable) - 0.5


def log_return(history: History, *, bars: int) -> Array:
    """Log return over `bars`."""
    return history.log_return_over(bars)


CROSS_SECTION = (
    *(
        Feature(
            name=f"xs_ret_{bars}",
            formula=f"rank over symbols of ln(P_t / P_t-{bars}), in [-0.5, 0.5]",
            lookback=bars + 1,
            inputs=("close",),
            source=AcrossSymbols(partial(centred_rank, of=partial(log_return, bars=bars))),
        )
        for bars in RETURN_HORIZONS
    ),
    Feature(
        name=f"xs_vol_{VOLATILITY_WINDOW}",
        formula="rank over symbols of std21(r), in [-0.5, 0.5]",
        lookback=VOLATILITY_WINDOW + 1,
        inputs=("close",),
        source=AcrossSymbols(partial(centred_rank, of=partial(realised, bars=VOLATILITY_WINDOW))),
    ),
    Feature(
        name=f"xs_drawdown_{DRAWDOWN_WINDOW}",
        formula="rank over symbols of P_t / max252(P) - 1, in [-0.5, 0.5]",
        lookback=DRAWDOWN_WINDOW,
        inputs=("close",),
        source=AcrossSymbols(partial(centred_rank, of=partial(drawdown, bars=DRAWDOWN_WINDOW))),
    ),
)
