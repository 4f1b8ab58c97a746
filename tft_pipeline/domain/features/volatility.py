"""Group `vol`: how large returns have been, how that changes, and the shape of their distribution."""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import (
    SPREAD_FLOOR,
    Array,
    ewm_std,
    lag,
    positive_log,
    ratio,
    window_correlation,
    window_mean,
    window_moments,
    window_std,
)

WINDOWS = (5, 10, 21, 63, 126, 252)
EWM_SPANS = (20, 60)
RATIOS = ((5, 63), (21, 252))
DOWNSIDE_WINDOW = 63
VOL_OF_VOL_WINDOW = 63
VOL_OF_VOL_BASE = 21
SHAPE_WINDOW = 63
AUTOCORRELATION_WINDOWS = (21, 63)


def realised(history: History, *, bars: int) -> Array:
    """Standard deviation (ddof 1) of the last `bars` log returns, times sqrt(bars_per_year)."""
    return window_std(history.log_return, bars) * np.sqrt(history.bars_per_year)


def exponential(history: History, *, span: int) -> Array:
    """EWM standard deviation of log returns, times sqrt(bars_per_year)."""
    return ewm_std(history.log_return, span) * np.sqrt(history.bars_per_year)


def log_ratio(history: History, *, short: int, long: int) -> Array:
    """ln(realised over `short` / realised over `long`); NaN when either is zero."""
    short_std, long_std = window_std(history.log_return, short), window_std(history.log_return, long)
    return positive_log(ratio(np.where(short_std > SPREAD_FLOOR, short_std, np.nan), long_std, floor=SPREAD_FLOOR))


def downside(history: History, *, bars: int) -> Array:
    """sqrt(mean of min(r, 0)^2 over `bars`), annualised; the target return is zero and every bar counts."""
    losses = np.minimum(history.log_return, 0.0)
    return np.sqrt(window_mean(losses * losses, bars) * history.bars_per_year)


def vol_of_vol(history: History, *, base: int, bars: int) -> Array:
    """Standard deviation over `bars` of the `base`-bar volatility, as a share of its mean."""
    volatility = window_std(history.log_return, base)
    return ratio(window_std(volatility, bars), window_mean(volatility, bars), floor=SPREAD_FLOOR)


def skew(history: History, *, bars: int) -> Array:
    """Population skewness m3 / m2^1.5 of log returns; NaN when they are all equal."""
    _, second, third, _ = window_moments(history.log_return, bars)
    spread = np.sqrt(second / bars)
    unit = ratio(np.ones(len(spread)), spread, floor=SPREAD_FLOOR)
    return third / bars * unit * unit * unit


def excess_kurtosis(history: History, *, bars: int) -> Array:
    """Population kurtosis m4 / m2^2 - 3 of log returns (normal = 0); NaN when they are all equal."""
    _, second, _, fourth = window_moments(history.log_return, bars)
    unit = ratio(np.ones(len(second)), second / bars, floor=SPREAD_FLOOR**2)
    return fourth / bars * unit * unit - 3.0


def autocorrelation(history: History, *, bars: int) -> Array:
    """Pearson correlation of r_t with r_{t-1} over the last `bars` pairs."""
    returns = history.log_return
    return window_correlation(returns, lag(returns, 1), bars, pairs_needed=bars)


VOLATILITY = (
    *(
        Feature(
            name=f"vol_{bars}",
            formula=f"std{bars}(r) * sqrt(A)",
            lookback=bars + 1,
            inputs=("close",),
            source=PerSymbol(partial(realised, bars=bars)),
        )
        for bars in WINDOWS
    ),
    *(
        Feature(
            name=f"vol_ewm_{span}",
            formula=f"ewm_std(r, span {span}) * sqrt(A)",
            lookback=span + 1,
            inputs=("close",),
            source=PerSymbol(partial(exponential, span=span)),
            recursive=True,
        )
        for span in EWM_SPANS
    ),
    *(
        Feature(
            name=f"vol_ratio_{short}_{long}",
            formula=f"ln(std{short}(r) / std{long}(r))",
            lookback=long + 1,
            inputs=("close",),
            source=PerSymbol(partial(log_ratio, short=short, long=long)),
        )
        for short, long in RATIOS
    ),
    Feature(
        name=f"vol_downside_{DOWNSIDE_WINDOW}",
        formula="sqrt(mean63(min(r, 0)^2) * A)",
        lookback=DOWNSIDE_WINDOW + 1,
        inputs=("close",),
        source=PerSymbol(partial(downside, bars=DOWNSIDE_WINDOW)),
    ),
    Feature(
        name=f"vol_of_vol_{VOL_OF_VOL_WINDOW}",
        formula="v = std21(r); std63(v) / mean63(v)",
        lookback=VOL_OF_VOL_BASE + VOL_OF_VOL_WINDOW,
        inputs=("close",),
        source=PerSymbol(partial(vol_of_vol, base=VOL_OF_VOL_BASE, bars=VOL_OF_VOL_WINDOW)),
    ),
    Feature(
        name=f"vol_skew_{SHAPE_WINDOW}",
        formula="m3 / m2^1.5 of the last 63 r",
        lookback=SHAPE_WINDOW + 1,
        inputs=("close",),
        source=PerSymbol(partial(skew, bars=SHAPE_WINDOW)),
    ),
    Feature(
        name=f"vol_kurtosis_{SHAPE_WINDOW}",
        formula="m4 / m2^2 - 3 of the last 63 r",
        lookback=SHAPE_WINDOW + 1,
        inputs=("close",),
        source=PerSymbol(partial(excess_kurtosis, bars=SHAPE_WINDOW)),
    ),
    *(
        Feature(
            name=f"vol_autocorrelation_{bars}",
            formula=f"correlation of r_t and r_t-1 over {bars} pairs",
            lookback=bars + 2,
            inputs=("close",),
            source=PerSymbol(partial(autocorrelation, bars=bars)),
        )
        for bars in AUTOCORRELATION_WINDOWS
    ),
)
