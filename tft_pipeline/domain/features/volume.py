"""Group `vlm`, part one: traded volume against its own past. Needs the `volume` column; units cancel.

Not here: volume together with the price (`volume_flow.py`).
"""

from functools import partial

from tft_pipeline.domain.features.bar_series import CLOSE_VOLUME, flag, log1p, log_volume, series, traded, value_traded
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.window_lines import time_squares, window_line
from tft_pipeline.domain.features.windows import (
    Array,
    lag,
    positive_log,
    ratio,
    window_max,
    window_mean,
    window_std,
    window_sum,
    window_zscore,
)

ZSCORE_WINDOWS = (5, 10, 21, 63, 126, 252)
TURNOVER_WINDOWS = ((1, 21), (5, 63), (21, 252))
VALUE_WINDOW = 63
TREND_WINDOWS = (21, 63)
SPREAD_WINDOWS = (21, 63)
CHANGE_WINDOW = 63
TOP_WINDOW = 21
IDLE_WINDOW = 63
_VOLUME = ("volume",)


def volume_zscore(history: History, *, bars: int) -> Array:
    """Z-score of ln(1 + volume) over the last `bars`."""
    return window_zscore(log_volume(history), bars)


def value_zscore(history: History, *, bars: int) -> Array:
    """Z-score of ln(1 + close * volume) over the last `bars`."""
    return window_zscore(log1p(value_traded(history)), bars)


def relative_turnover(history: History, *, short: int, long: int) -> Array:
    """ln(mean volume over `short` / mean volume over `long`); NaN when either is zero."""
    volume = traded(history)
    return positive_log(ratio(window_mean(volume, short), window_mean(volume, long)))


def volume_trend(history: History, *, bars: int) -> Array:
    """Slope a bar of the least-squares line through ln(1 + volume), times `bars`: the trend's change over the window."""
    return window_line(log_volume(history), bars)[2] * (bars / time_squares(bars))


def variability(history: History, *, bars: int) -> Array:
    """Standard deviation (ddof 1) / mean of volume over `bars`; NaN when nothing traded.

    Source: Chordia, Subrahmanyam & Anshuman (2001), J. Financial Economics 59(1).
    """
    volume = traded(history)
    return ratio(window_std(volume, bars), window_mean(volume, bars))


def change_volatility(history: History, *, bars: int) -> Array:
    """Standard deviation (ddof 1) of the one-bar change of ln(1 + volume) over `bars`."""
    return window_std(log_volume_change(history), bars)


def largest_share(history: History, *, bars: int) -> Array:
    """Largest volume / sum of volume over `bars`, in [1/bars, 1]; NaN when nothing traded."""
    volume = traded(history)
    return ratio(window_max(volume, bars), window_sum(volume, bars))


def idle_share(history: History, *, bars: int) -> Array:
    """Share of the last `bars` without volume."""
    volume = traded(history)
    return window_mean(flag(volume == 0.0, volume), bars)


@series("volume")
def log_volume_change(history: History) -> Array:
    """ln(1 + volume_t) - ln(1 + volume_{t-1})."""
    level = log_volume(history)
    return level - lag(level, 1)


VOLUME = (
    *(
        Feature(
            name=f"vlm_z_{bars}",
            formula=f"z-score over {bars} of ln(1 + volume)",
            lookback=bars,
            inputs=_VOLUME,
            units="standard deviations",
            source=PerSymbol(partial(volume_zscore, bars=bars)),
        )
        for bars in ZSCORE_WINDOWS
    ),
    Feature(
        name=f"vlm_value_z_{VALUE_WINDOW}",
        formula="z-score over 63 of ln(1 + P * volume)",
        lookback=VALUE_WINDOW,
        inputs=CLOSE_VOLUME,
        units="standard deviations",
        source=PerSymbol(partial(value_zscore, bars=VALUE_WINDOW)),
    ),
    *(
        Feature(
            name=f"vlm_turnover_{short}_{long}",
            formula=f"ln(mean{short}(volume) / mean{long}(volume))",
            lookback=long,
            inputs=_VOLUME,
            units="log ratio",
            source=PerSymbol(partial(relative_turnover, short=short, long=long)),
        )
        for short, long in TURNOVER_WINDOWS
    ),
    *(
        Feature(
            name=f"vlm_trend_{bars}",
            formula=f"{bars} * slope a bar of the least-squares line through the last {bars} values of ln(1 + volume)",
            lookback=bars,
            inputs=_VOLUME,
            units="log change over the window",
            source=PerSymbol(partial(volume_trend, bars=bars)),
        )
        for bars in TREND_WINDOWS
    ),
    *(
        Feature(
            name=f"vlm_variability_{bars}",
            formula=f"sd{bars}(volume) / mean{bars}(volume)",
            lookback=bars,
            inputs=_VOLUME,
            units="multiple of the mean volume",
            source=PerSymbol(partial(variability, bars=bars)),
        )
        for bars in SPREAD_WINDOWS
    ),
    Feature(
        name=f"vlm_change_vol_{CHANGE_WINDOW}",
        formula="sd63(ln((1 + volume_t) / (1 + volume_t-1)))",
        lookback=CHANGE_WINDOW + 1,
        inputs=_VOLUME,
        units="log change a bar",
        source=PerSymbol(partial(change_volatility, bars=CHANGE_WINDOW)),
    ),
    Feature(
        name=f"vlm_concentration_{TOP_WINDOW}",
        formula="max21(volume) / sum21(volume)",
        lookback=TOP_WINDOW,
        inputs=_VOLUME,
        units="share",
        source=PerSymbol(partial(largest_share, bars=TOP_WINDOW)),
    ),
    Feature(
        name=f"vlm_idle_{IDLE_WINDOW}",
        formula="share of the last 63 bars with volume 0",
        lookback=IDLE_WINDOW,
        inputs=_VOLUME,
        units="share of bars",
        source=PerSymbol(partial(idle_share, bars=IDLE_WINDOW)),
    ),
)
