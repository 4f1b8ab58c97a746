"""Group `mkt`: the state of the market index, computed on its own bars and joined by timestamp."""

from collections.abc import Callable
from functools import partial

import numpy as np

from tft_pipeline.domain.features.drawdown import drawdown
from tft_pipeline.domain.features.feature import MARKET_CLOSE, Feature, OfMarket
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.momentum import relative_strength_index, streak
from tft_pipeline.domain.features.returns import scaled_return, scaled_return_lookback
from tft_pipeline.domain.features.trend import MACD_SPEEDS, PRICE_WINDOW, SIGNAL_WINDOW, macd, sma_gap
from tft_pipeline.domain.features.variance_ratio import formula as formula_of_variance_ratio
from tft_pipeline.domain.features.variance_ratio import variance_ratio
from tft_pipeline.domain.features.volatility import log_ratio, realised, skew
from tft_pipeline.domain.features.window_places import rows_since_max
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, ratio, window_mean
from tft_pipeline.domain.features.zscore import price_zscore

RETURN_HORIZONS = (1, 2, 5, 10, 21, 63, 126, 252)
VOLATILITY_WINDOWS = (5, 21, 63, 252)
VOLATILITY_RATIOS = ((5, 63), (21, 252))
DRAWDOWN_WINDOWS = (63, 252)
SMA_WINDOWS = (20, 50, 200)
RSI_BARS = 14
ZSCORE_WINDOWS = (21, 63, 252)
SHAPE_WINDOW = 63
STREAK_LIMIT = 21
VARIANCE_RATIO = (5, 126)
HIGH_WINDOW = 252


def limited_streak(history: History, *, limit: int) -> Array:
    """Signed number of changes in a row with the same sign, counted no further back than `limit` changes."""
    length = np.clip(streak(history), -limit, limit)
    length[:limit] = np.nan
    return length


def downside_share(history: History, *, bars: int) -> Array:
    """sum(min(r, 0)^2) / sum(r^2) over `bars`, in [0, 1]: the share of the movement that went down."""
    returns = history.log_return
    losses = np.minimum(returns, 0.0)
    return ratio(window_mean(losses * losses, bars), window_mean(returns * returns, bars), floor=SPREAD_FLOOR**2)


def high_age(history: History, *, bars: int) -> Array:
    """Bars since the (latest) highest close of the last `bars` / (bars - 1): 0 at the high, 1 at the far end."""
    return rows_since_max(history.close, bars) / (bars - 1)


def _of_index(
    name: str,
    formula: str,
    value: Callable[[History], Array],
    *,
    lookback: int,
    units: str,
    recursive: bool = False,
) -> Feature:
    return Feature(
        name=f"mkt_{name}",
        formula=formula,
        lookback=lookback,
        inputs=(MARKET_CLOSE,),
        source=OfMarket(value),
        units=units,
        recursive=recursive,
    )


MARKET = (
    *(
        _of_index(
            f"ret_{bars}",
            f"ln(M_t / M_t-{bars}) / (sigma60(M) * sqrt({bars}))",
            partial(scaled_return, bars=bars),
            lookback=scaled_return_lookback(bars),
            units="sigma",
            recursive=True,
        )
        for bars in RETURN_HORIZONS
    ),
    *(
        _of_index(
            f"vol_{bars}",
            f"std{bars}(r_M) * sqrt(A), r_M the one-bar log return of M",
            partial(realised, bars=bars),
            lookback=bars + 1,
            units="annual volatility",
        )
        for bars in VOLATILITY_WINDOWS
    ),
    *(
        _of_index(
            f"vol_ratio_{short}_{long}",
            f"ln(std{short}(r_M) / std{long}(r_M))",
            partial(log_ratio, short=short, long=long),
            lookback=long + 1,
            units="log ratio",
        )
        for short, long in VOLATILITY_RATIOS
    ),
    *(
        _of_index(
            f"drawdown_{bars}",
            f"M_t / max{bars}(M) - 1",
            partial(drawdown, bars=bars),
            lookback=bars,
            units="share",
        )
        for bars in DRAWDOWN_WINDOWS
    ),
    _of_index(
        f"high_age_{HIGH_WINDOW}",
        f"bars since the latest highest M of the last {HIGH_WINDOW} / {HIGH_WINDOW - 1}",
        partial(high_age, bars=HIGH_WINDOW),
        lookback=HIGH_WINDOW,
        units="share of the window",
    ),
    *(
        _of_index(
            f"sma_{bars}_gap",
            f"M_t / mean{bars}(M) - 1",
            partial(sma_gap, bars=bars),
            lookback=bars,
            units="share",
        )
        for bars in SMA_WINDOWS
    ),
    *(
        _of_index(
            f"macd_{short}_{long}",
            f"q = (ewm{short}(M) - ewm{long}(M)) / std63(M); q / std252(q)",
            partial(macd, short=short, long=long),
            lookback=max(PRICE_WINDOW, long) + SIGNAL_WINDOW - 1,
            units="standard deviations",
            recursive=True,
        )
        for short, long in MACD_SPEEDS
    ),
    _of_index(
        f"rsi_{RSI_BARS}",
        "Wilder(max(dM, 0)) / (Wilder(max(dM, 0)) + Wilder(max(-dM, 0))), 14 bars, in [0, 1]",
        partial(relative_strength_index, bars=RSI_BARS),
        lookback=RSI_BARS + 1,
        units="share",
        recursive=True,
    ),
    *(
        _of_index(
            f"z_{bars}",
            f"(ln M_t - mean{bars}(ln M)) / std{bars}(ln M)",
            partial(price_zscore, bars=bars),
            lookback=bars,
            units="standard deviations",
        )
        for bars in ZSCORE_WINDOWS
    ),
    _of_index(
        f"skew_{SHAPE_WINDOW}",
        f"m3 / m2^1.5 of the last {SHAPE_WINDOW} r_M",
        partial(skew, bars=SHAPE_WINDOW),
        lookback=SHAPE_WINDOW + 1,
        units="skewness",
    ),
    _of_index(
        f"downside_{SHAPE_WINDOW}",
        f"sum of min(r_M, 0)^2 / sum of r_M^2, last {SHAPE_WINDOW}",
        partial(downside_share, bars=SHAPE_WINDOW),
        lookback=SHAPE_WINDOW + 1,
        units="share",
    ),
    _of_index(
        f"streak_{STREAK_LIMIT}",
        f"signed number of changes of M in a row with the same sign, at most {STREAK_LIMIT}; 0 on an unchanged close",
        partial(limited_streak, limit=STREAK_LIMIT),
        lookback=STREAK_LIMIT + 1,
        units="bars",
    ),
    _of_index(
        "vr_{}_{}".format(*VARIANCE_RATIO),
        formula_of_variance_ratio(*VARIANCE_RATIO, "r_M"),
        partial(variance_ratio, horizon=VARIANCE_RATIO[0], bars=VARIANCE_RATIO[1]),
        lookback=VARIANCE_RATIO[1] + 1,
        units="ratio minus 1",
    ),
)
