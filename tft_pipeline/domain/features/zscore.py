"""Group `z`: how far log price and volatility stand from their own recent mean, in standard deviations."""

from functools import partial

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import Array, window_std, window_zscore

PRICE_WINDOWS = (10, 21, 63, 126, 252)
VOLATILITY_BASE = 21
VOLATILITY_WINDOW = 252


def price_zscore(history: History, *, bars: int) -> Array:
    """(ln P - mean) / std (ddof 1) over the last `bars` log closes, own bar included."""
    return window_zscore(history.log_close, bars)


def volatility_zscore(history: History, *, base: int, bars: int) -> Array:
    """Z-score over `bars` of the standard deviation of the last `base` log returns."""
    return window_zscore(window_std(history.log_return, base), bars)


ZSCORE = (
    *(
        Feature(
            name=f"z_{bars}",
            formula=f"(ln P_t - mean{bars}(ln P)) / std{bars}(ln P)",
            lookback=bars,
            inputs=("close",),
            source=PerSymbol(partial(price_zscore, bars=bars)),
        )
        for bars in PRICE_WINDOWS
    ),
    Feature(
        name=f"z_vol_{VOLATILITY_WINDOW}",
        formula="v = std21(r); (v - mean252(v)) / std252(v)",
        lookback=VOLATILITY_BASE + VOLATILITY_WINDOW,
        inputs=("close",),
        source=PerSymbol(partial(volatility_zscore, base=VOLATILITY_BASE, bars=VOLATILITY_WINDOW)),
    ),
)
