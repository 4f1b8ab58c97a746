"""Group `dd`: how far below a former high the price is, and how much of the fall it has made good."""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import Array, ratio, window_max, window_since_peak

WINDOWS = (63, 252)
RECOVERY_WINDOW = 252


def drawdown(history: History, *, bars: int) -> Array:
    """close / highest close of the last `bars` - 1; <= 0."""
    return ratio(history.close, window_max(history.close, bars)) - 1.0


def drawdown_since_start(history: History) -> Array:
    """close / highest close so far - 1; <= 0."""
    return ratio(history.close, np.maximum.accumulate(history.close)) - 1.0


def recovery(history: History, *, bars: int) -> Array:
    """Share of the fall from the highest close of the last `bars` that has been made good.

    (close - trough) / (peak - trough), trough = lowest close at or after the (latest) peak; 1 at the peak itself.
    """
    peak, trough = window_since_peak(history.close, bars)
    share = ratio(history.close - trough, peak - trough)
    return np.where(peak == trough, 1.0, share)


DRAWDOWN = (
    *(
        Feature(
            name=f"dd_{bars}",
            formula=f"P_t / max{bars}(P) - 1",
            lookback=bars,
            inputs=("close",),
            source=PerSymbol(partial(drawdown, bars=bars)),
        )
        for bars in WINDOWS
    ),
    Feature(
        name="dd_since_start",
        formula="P_t / max(P so far) - 1",
        lookback=1,
        inputs=("close",),
        source=PerSymbol(drawdown_since_start),
        recursive=True,
    ),
    Feature(
        name=f"dd_recovery_{RECOVERY_WINDOW}",
        formula="(P_t - trough) / (peak - trough), peak = max252(P), trough = lowest P since it; 1 at the peak",
        lookback=RECOVERY_WINDOW,
        inputs=("close",),
        source=PerSymbol(partial(recovery, bars=RECOVERY_WINDOW)),
    ),
)
