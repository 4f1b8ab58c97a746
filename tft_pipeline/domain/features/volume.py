"""Group `vlm`: traded volume against its own past. Needs the `volume` column; units cancel."""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import (
    Array,
    positive_log,
    ratio,
    window_mean,
    window_sum,
    window_zscore,
)

ZSCORE_WINDOWS = (21, 63)
TURNOVER_WINDOWS = (5, 63)
VALUE_WINDOW = 63
FLOW_WINDOW = 21
_INPUTS = ("close", "volume")


def volume_zscore(history: History, *, bars: int) -> Array:
    """Z-score of ln(1 + volume) over the last `bars`."""
    return window_zscore(_log1p(history.column("volume")), bars)


def value_zscore(history: History, *, bars: int) -> Array:
    """Z-score of ln(1 + close * volume) over the last `bars`."""
    return window_zscore(_log1p(history.close * history.column("volume")), bars)


def relative_turnover(history: History, *, short: int, long: int) -> Array:
    """ln(mean volume over `short` / mean volume over `long`); NaN when either is zero."""
    volume = history.column("volume")
    return positive_log(ratio(window_mean(volume, short), window_mean(volume, long)))


def illiquidity(history: History, *, bars: int) -> Array:
    """ln(sum |r| / sum(close * volume)) over `bars`; NaN when either sum is zero.

    After Amihud (2002), J. Financial Markets 5(1), as a ratio of sums so that one bar without trade does not blank it.
    """
    value = history.close * history.column("volume")
    return positive_log(ratio(window_sum(np.abs(history.log_return), bars), window_sum(value, bars)))


def signed_flow(history: History, *, bars: int) -> Array:
    """sum(sign(r) * volume) / sum(volume) over `bars`, in [-1, 1]; NaN when nothing traded."""
    volume = history.column("volume")
    return ratio(window_sum(np.sign(history.log_return) * volume, bars), window_sum(volume, bars))


def _log1p(values: Array) -> Array:
    return np.log1p(values, out=np.full(values.shape, np.nan), where=values >= 0.0)


VOLUME = (
    *(
        Feature(
            name=f"vlm_z_{bars}",
            formula=f"z-score over {bars} of ln(1 + volume)",
            lookback=bars,
            inputs=("volume",),
            source=PerSymbol(partial(volume_zscore, bars=bars)),
        )
        for bars in ZSCORE_WINDOWS
    ),
    Feature(
        name=f"vlm_value_z_{VALUE_WINDOW}",
        formula="z-score over 63 of ln(1 + P * volume)",
        lookback=VALUE_WINDOW,
        inputs=_INPUTS,
        source=PerSymbol(partial(value_zscore, bars=VALUE_WINDOW)),
    ),
    Feature(
        name="vlm_turnover_{}_{}".format(*TURNOVER_WINDOWS),
        formula="ln(mean5(volume) / mean63(volume))",
        lookback=TURNOVER_WINDOWS[1],
        inputs=("volume",),
        source=PerSymbol(partial(relative_turnover, short=TURNOVER_WINDOWS[0], long=TURNOVER_WINDOWS[1])),
    ),
    Feature(
        name=f"vlm_illiquidity_{FLOW_WINDOW}",
        formula="ln(sum21 |r| / sum21(P * volume))",
        lookback=FLOW_WINDOW + 1,
        inputs=_INPUTS,
        source=PerSymbol(partial(illiquidity, bars=FLOW_WINDOW)),
    ),
    Feature(
        name=f"vlm_flow_{FLOW_WINDOW}",
        formula="sum21(sign(r) * volume) / sum21(volume)",
        lookback=FLOW_WINDOW + 1,
        inputs=_INPUTS,
        source=PerSymbol(partial(signed_flow, bars=FLOW_WINDOW)),
    ),
)
