"""Group `z`: how far log price, volatility and return stand from their own recent mean, and the price's rank."""

from functools import partial

from tft_pipeline.domain.features.closes import of_closes
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.window_places import last_rank
from tft_pipeline.domain.features.windows import Array, window_std, window_zscore

PRICE_WINDOWS = (5, 10, 21, 63, 126, 252)
VOLATILITY_BASE = 21
VOLATILITY_WINDOWS = (63, 252)
RETURN_WINDOWS = (21, 252)
RANK_WINDOWS = (21, 63)


def price_zscore(history: History, *, bars: int) -> Array:
    """(ln P - mean) / std (ddof 1) over the last `bars` log closes, own bar included."""
    return window_zscore(history.log_close, bars)


def volatility_zscore(history: History, *, base: int, bars: int) -> Array:
    """Z-score over `bars` of the standard deviation of the last `base` log returns."""
    return window_zscore(window_std(history.log_return, base), bars)


def return_zscore(history: History, *, bars: int) -> Array:
    """(r - mean) / std (ddof 1) over the last `bars` log returns, the newest included."""
    return window_zscore(history.log_return, bars)


def price_rank(history: History, *, bars: int) -> Array:
    """Share of the other closes of the last `bars` below the newest less the share above it, in [-1, 1]."""
    return last_rank(history.close, bars)


ZSCORE = (
    *(
        Feature(
            name=f"z_{bars}",
            formula=f"(ln P_t - mean{bars}(ln P)) / std{bars}(ln P)",
            lookback=bars,
            inputs=("close",),
            source=PerSymbol(partial(price_zscore, bars=bars)),
            units="standard deviations",
        )
        for bars in PRICE_WINDOWS
    ),
    *(
        Feature(
            name=f"z_vol_{bars}",
            formula=f"v = std21(r); (v - mean{bars}(v)) / std{bars}(v)",
            lookback=VOLATILITY_BASE + bars,
            inputs=("close",),
            source=PerSymbol(partial(volatility_zscore, base=VOLATILITY_BASE, bars=bars)),
            units="standard deviations",
        )
        for bars in VOLATILITY_WINDOWS
    ),
    *(
        of_closes(
            f"z_ret_{bars}",
            f"(r_t - mean{bars}(r)) / std{bars}(r)",
            lookback=bars + 1,
            units="standard deviations",
            of=partial(return_zscore, bars=bars),
        )
        for bars in RETURN_WINDOWS
    ),
    *(
        of_closes(
            f"z_rank_{bars}",
            f"mean of sign(P_t - P_t-k) over k = 1 ... {bars - 1}",
            lookback=bars,
            units="share, -1 to 1",
            of=partial(price_rank, bars=bars),
        )
        for bars in RANK_WINDOWS
    ),
)
