"""Group `vol`: how large returns have been and how that changes, and the plain measures of their distribution.

More of the group: `tails` (which side, how extreme, jumps), `dependence` (what a return tells about the next).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.closes import of_closes, previous_return
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
EWM_SPANS = (10, 20, 60, 125)
RATIOS = ((5, 21), (5, 63), (21, 252), (63, 252))
CHANGES = (5, 21, 63)
DOWNSIDE_WINDOW = 63
VOL_OF_VOL_WINDOW = 63
VOL_OF_VOL_BASE = 21
SHAPE_WINDOWS = (21, 63, 252)
KURTOSIS_WINDOWS = (63, 252)
AUTOCORRELATION_WINDOWS = (21, 63)


def realised(history: History, *, bars: int) -> Array:
    """Standard deviation (ddof 1) of the last `bars` log returns, times sqrt(bars_per_year)."""
    found: Array = window_std(history.log_return, bars) * np.sqrt(history.bars_per_year)
    return found


def exponential(history: History, *, span: int) -> Array:
    """EWM standard deviation of log returns, times sqrt(bars_per_year)."""
    found: Array = ewm_std(history.log_return, span) * np.sqrt(history.bars_per_year)
    return found


def log_ratio(history: History, *, short: int, long: int) -> Array:
    """ln(realised over `short` / realised over `long`); NaN when either is zero."""
    return _log_of_ratio(window_std(history.log_return, short), window_std(history.log_return, long))


def log_change(history: History, *, bars: int) -> Array:
    """ln(realised over the last `bars` / realised over the `bars` before them); NaN when either is zero."""
    now = window_std(history.log_return, bars)
    return _log_of_ratio(now, lag(now, bars))


def downside(history: History, *, bars: int) -> Array:
    """sqrt(mean of min(r, 0)^2 over `bars`), annualised; the target return is zero and every bar counts."""
    losses = np.minimum(history.log_return, 0.0)
    return np.sqrt(window_mean(losses * losses, bars) * history.bars_per_year)


def vol_of_vol(history: History, *, base: int, bars: int) -> Array:
    """Standard deviation over `bars` of the `base`-bar volatility, as a share of its mean."""
    level = window_std(history.log_return, base)
    return ratio(window_std(level, bars), window_mean(level, bars), floor=SPREAD_FLOOR)


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
    return window_correlation(returns, previous_return(history), bars, pairs_needed=bars)


def _log_of_ratio(top: Array, bottom: Array) -> Array:
    """ln(top / bottom) of two standard deviations; NaN where either is zero but for rounding."""
    return positive_log(ratio(np.where(top > SPREAD_FLOOR, top, np.nan), bottom, floor=SPREAD_FLOOR))


VOLATILITY = (
    *(
        Feature(
            name=f"vol_{bars}",
            formula=f"std{bars}(r) * sqrt(A)",
            lookback=bars + 1,
            inputs=("close",),
            source=PerSymbol(partial(realised, bars=bars)),
            units="annual volatility",
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
            units="annual volatility",
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
            units="log ratio",
        )
        for short, long in RATIOS
    ),
    *(
        of_closes(
            f"vol_change_{bars}",
            f"v = std{bars}(r); ln(v_t / v_t-{bars})",
            lookback=2 * bars + 1,
            units="log ratio",
            of=partial(log_change, bars=bars),
        )
        for bars in CHANGES
    ),
    Feature(
        name=f"vol_downside_{DOWNSIDE_WINDOW}",
        formula="sqrt(mean63(min(r, 0)^2) * A)",
        lookback=DOWNSIDE_WINDOW + 1,
        inputs=("close",),
        source=PerSymbol(partial(downside, bars=DOWNSIDE_WINDOW)),
        units="annual volatility",
    ),
    Feature(
        name=f"vol_of_vol_{VOL_OF_VOL_WINDOW}",
        formula="v = std21(r); std63(v) / mean63(v)",
        lookback=VOL_OF_VOL_BASE + VOL_OF_VOL_WINDOW,
        inputs=("close",),
        source=PerSymbol(partial(vol_of_vol, base=VOL_OF_VOL_BASE, bars=VOL_OF_VOL_WINDOW)),
        units="share of the volatility",
    ),
    *(
        Feature(
            name=f"vol_skew_{bars}",
            formula=f"m3 / m2^1.5 of the last {bars} r",
            lookback=bars + 1,
            inputs=("close",),
            source=PerSymbol(partial(skew, bars=bars)),
            units="skewness",
        )
        for bars in SHAPE_WINDOWS
    ),
    *(
        Feature(
            name=f"vol_kurtosis_{bars}",
            formula=f"m4 / m2^2 - 3 of the last {bars} r",
            lookback=bars + 1,
            inputs=("close",),
            source=PerSymbol(partial(excess_kurtosis, bars=bars)),
            units="kurtosis above 3",
        )
        for bars in KURTOSIS_WINDOWS
    ),
    *(
        Feature(
            name=f"vol_autocorrelation_{bars}",
            formula=f"correlation of r_t and r_t-1 over {bars} pairs",
            lookback=bars + 2,
            inputs=("close",),
            source=PerSymbol(partial(autocorrelation, bars=bars)),
            units="correlation",
        )
        for bars in AUTOCORRELATION_WINDOWS
    ),
)
