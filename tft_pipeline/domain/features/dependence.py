"""Group `vol`, what one return tells about a later one: at longer lags, in size, and from sign to size."""

from functools import partial

from tft_pipeline.domain.features.closes import of_closes, previous_return, size
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.sharing import once
from tft_pipeline.domain.features.windows import Array, lag, window_correlation

LAGS = (2, 5)
LAG_WINDOW = 63
WINDOWS = (63, 252)


def autocorrelation_at(history: History, *, ago: int, bars: int) -> Array:
    """Pearson correlation of r_t with r_{t-ago} over the last `bars` pairs; NaN where one of them is flat."""
    returns = history.log_return
    return window_correlation(returns, lag(returns, ago), bars, pairs_needed=bars)


def clustering(history: History, *, bars: int) -> Array:
    """Pearson correlation of |r_t| with |r_{t-1}| over the last `bars` pairs: calm follows calm, storm follows storm."""
    now = size(history)
    before = once(("previous_size",), (now,), lambda: (lag(now, 1),))[0]
    return window_correlation(now, before, bars, pairs_needed=bars)


def leverage(history: History, *, bars: int) -> Array:
    """Pearson correlation of r_{t-1} with |r_t| over the last `bars` pairs; below zero where falls bring unrest.

    Source: Black (1976), "Studies of stock price volatility changes"; Bouchaud, Matacz & Potters (2001), PRL 87.
    """
    return window_correlation(previous_return(history), size(history), bars, pairs_needed=bars)


DEPENDENCE = (
    *(
        of_closes(
            f"vol_autocorrelation_{LAG_WINDOW}_lag_{ago}",
            f"correlation of r_t and r_t-{ago} over {LAG_WINDOW} pairs",
            lookback=LAG_WINDOW + ago + 1,
            units="correlation",
            of=partial(autocorrelation_at, ago=ago, bars=LAG_WINDOW),
        )
        for ago in LAGS
    ),
    *(
        of_closes(
            f"vol_clustering_{bars}",
            f"correlation of |r_t| and |r_t-1| over {bars} pairs",
            lookback=bars + 2,
            units="correlation",
            of=partial(clustering, bars=bars),
        )
        for bars in WINDOWS
    ),
    *(
        of_closes(
            f"vol_leverage_{bars}",
            f"correlation of r_t-1 and |r_t| over {bars} pairs",
            lookback=bars + 2,
            units="correlation",
            of=partial(leverage, bars=bars),
        )
        for bars in WINDOWS
    ),
)
