"""Group `ema`, and what averages tell beside plain gaps in group `sma`: crossings, agreement, width of a band.

Not here: the gaps `sma_20_gap` and their kind, and `macd` (`trend`).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.closes import of_closes
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.trend import SMA_WINDOWS
from tft_pipeline.domain.features.windows import Array, ewm_mean, ratio, window_mean, window_std

CROSSINGS = ((5, 20), (20, 50), (50, 200))
BAND_WINDOW = 20
EMA_SPANS = (8, 16, 32, 64, 128)


def crossing(history: History, *, short: int, long: int) -> Array:
    """Mean of the last `short` closes / mean of the last `long` - 1; it changes sign where the averages cross."""
    return ratio(window_mean(history.close, short), window_mean(history.close, long)) - 1.0


def agreement(history: History) -> Array:
    """Share of the averages below the close less the share above it, over 5, 10, 20, 50, 100 and 200 bars."""
    total = np.zeros(len(history.close))
    for bars in SMA_WINDOWS:
        total += np.sign(history.close - window_mean(history.close, bars))
    return total / len(SMA_WINDOWS)


def bandwidth(history: History, *, bars: int) -> Array:
    """4 std (ddof 1) of the last `bars` closes / their mean: upper less lower band of Bollinger (2001)."""
    return 4.0 * ratio(window_std(history.close, bars), window_mean(history.close, bars))


def ema_gap(history: History, *, span: int) -> Array:
    """close / EWM mean of the closes - 1; alpha = 2/(span+1), weights that sum to one, from `span` bars on."""
    return ratio(history.close, ewm_mean(history.close, 2.0 / (span + 1), rows_needed=span)) - 1.0


AVERAGES = (
    *(
        of_closes(
            f"sma_cross_{short}_{long}",
            f"mean{short}(P) / mean{long}(P) - 1",
            lookback=long,
            units="share of the price",
            of=partial(crossing, short=short, long=long),
        )
        for short, long in CROSSINGS
    ),
    of_closes(
        "sma_agreement",
        f"mean of sign(P_t - mean_n(P)) over n = {', '.join(map(str, SMA_WINDOWS))}",
        lookback=max(SMA_WINDOWS),
        units="share, -1 to 1",
        of=agreement,
    ),
    of_closes(
        f"sma_bandwidth_{BAND_WINDOW}",
        f"4 std{BAND_WINDOW}(P) / mean{BAND_WINDOW}(P)",
        lookback=BAND_WINDOW,
        units="share of the price",
        of=partial(bandwidth, bars=BAND_WINDOW),
    ),
    *(
        of_closes(
            f"ema_{span}_gap",
            f"P_t / ewm_mean(P, span {span}) - 1",
            lookback=span,
            units="share of the price",
            of=partial(ema_gap, span=span),
            recursive=True,
        )
        for span in EMA_SPANS
    ),
)
