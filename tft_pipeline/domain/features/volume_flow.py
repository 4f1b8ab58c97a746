"""Group `vlm`, part two: which way volume pushes the price. Needs `volume`, partly high and low.

Not here: volume by itself (`volume.py`), what a trade costs (`liquidity.py`).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.bar_series import (
    CLOSE_VOLUME,
    absolute_return,
    highest,
    log_volume,
    lowest,
    price_range,
    series,
    signed_volume,
    traded,
    typical_price,
    value_traded,
)
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import SIGMA_SPAN, History
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.windows import (
    Array,
    lag,
    positive_log,
    ratio,
    window_correlation,
    window_sum,
    window_zscore,
)

ILLIQUIDITY_WINDOW = 21
FLOW_WINDOWS = (5, 21, 63)
BALANCE_WINDOWS = (21, 63)
ACCUMULATION_WINDOWS = (5, 21, 63)
VWAP_WINDOWS = (5, 21, 63)
CORRELATION_WINDOWS = (21, 63)
SIDE_WINDOWS = (21, 63)
LONG_WINDOW = 63
_BAR = ("high", "low", "close", "volume")


def illiquidity(history: History, *, bars: int) -> Array:
    """ln(sum |r| / sum(close * volume)) over `bars`; NaN when either sum is zero.

    After Amihud (2002), J. Financial Markets 5(1), as a ratio of sums so that one bar without trade does not blank it.
    """
    return positive_log(ratio(window_sum(absolute_return(history), bars), window_sum(value_traded(history), bars)))


def signed_flow(history: History, *, bars: int) -> Array:
    """sum(sign(r) * volume) / sum(volume) over `bars`, in [-1, 1]; NaN when nothing traded."""
    return ratio(window_sum(signed_volume(history), bars), window_sum(traded(history), bars))


def balance_zscore(history: History, *, inner: int, bars: int) -> Array:
    """Z-score over `bars` of sum(sign(r) * volume) over `inner`: on-balance volume that forgets.

    Granville's (1963) running total has no scale and no end; its change over `inner` bars has both.
    """
    return window_zscore(window_sum(signed_volume(history), inner), bars)


def accumulation(history: History, *, bars: int) -> Array:
    """sum(M * volume) / sum(volume) over `bars`, M = ((C - L) - (H - C)) / (H - L), in [-1, 1]; NaN without volume.

    M is 0 on a bar without range. Over 21 bars this is Chaikin's money flow; over any length it is the change of the
    accumulation/distribution line (Williams, Chaikin) in units of the volume.
    """
    return ratio(window_sum(located_volume(history), bars), window_sum(traded(history), bars))


def vwap_gap(history: History, *, bars: int) -> Array:
    """ln(C / (sum((H + L + C)/3 * volume) / sum(volume))) / (sigma60 * sqrt(bars)); NaN when nothing traded."""
    average = ratio(window_sum(typical_value(history), bars), window_sum(traded(history), bars))
    return per_sigma(history, history.log_close - positive_log(average), bars)


def side_ratio(history: History, *, bars: int) -> Array:
    """ln(mean volume of bars that rose / mean volume of bars that fell) over `bars`; NaN when either is empty or idle."""
    up, down, rose, fell = (window_sum(part(history), bars) for part in (volume_up, volume_down, count_up, count_down))
    return positive_log(ratio(ratio(up, rose), ratio(down, fell)))


def return_correlation(history: History, *, bars: int) -> Array:
    """Correlation of r with ln(1 + volume) over `bars`; NaN when one of them is flat."""
    return window_correlation(history.log_return, log_volume(history), bars, pairs_needed=bars)


def move_correlation(history: History, *, bars: int) -> Array:
    """Correlation of |r| with ln(1 + volume) over `bars`. Source: Karpoff (1987), JFQA 22(1)."""
    return window_correlation(absolute_return(history), log_volume(history), bars, pairs_needed=bars)


def premium(history: History, *, bars: int) -> Array:
    """Correlation of r_t with ln(1 + volume_{t-1}) over `bars`: whether this symbol rises after busy bars.

    After Gervais, Kaniel & Mingelgrin (2001), "The high-volume return premium", J. Finance 56(3), through time.
    """
    return window_correlation(history.log_return, lag(log_volume(history), 1), bars, pairs_needed=bars)


@series(*_BAR)
def located_volume(history: History) -> Array:
    """((C - L) - (H - C)) / (H - L) * volume, 0 on a bar without range."""
    high, low, span = highest(history), lowest(history), price_range(history)
    place = np.where(span == 0.0, 0.0, ratio((history.close - low) - (high - history.close), span))
    return place * traded(history)


@series(*_BAR)
def typical_value(history: History) -> Array:
    """(H + L + C) / 3 * volume."""
    return typical_price(history) * traded(history)


@series(*CLOSE_VOLUME)
def volume_up(history: History) -> Array:
    """Volume of bars with r > 0, else 0."""
    return np.maximum(signed_volume(history), 0.0)


@series(*CLOSE_VOLUME)
def volume_down(history: History) -> Array:
    """Volume of bars with r < 0, else 0."""
    return np.maximum(-signed_volume(history), 0.0)


@series("close")
def count_up(history: History) -> Array:
    """1 where r > 0, else 0."""
    return np.maximum(np.sign(history.log_return), 0.0)


@series("close")
def count_down(history: History) -> Array:
    """1 where r < 0, else 0."""
    return np.maximum(-np.sign(history.log_return), 0.0)


VOLUME_FLOW = (
    Feature(
        name=f"vlm_illiquidity_{ILLIQUIDITY_WINDOW}",
        formula="ln(sum21 |r| / sum21(P * volume))",
        lookback=ILLIQUIDITY_WINDOW + 1,
        inputs=CLOSE_VOLUME,
        units="log of return per unit of money",
        source=PerSymbol(partial(illiquidity, bars=ILLIQUIDITY_WINDOW)),
    ),
    *(
        Feature(
            name=f"vlm_flow_{bars}",
            formula=f"sum{bars}(sign(r) * volume) / sum{bars}(volume)",
            lookback=bars + 1,
            inputs=CLOSE_VOLUME,
            units="share, signed",
            source=PerSymbol(partial(signed_flow, bars=bars)),
        )
        for bars in FLOW_WINDOWS
    ),
    Feature(
        name=f"vlm_balance_z_{LONG_WINDOW}",
        formula="z-score over 63 of sum21(sign(r) * volume)",
        lookback=BALANCE_WINDOWS[0] + BALANCE_WINDOWS[1],
        inputs=CLOSE_VOLUME,
        units="standard deviations",
        source=PerSymbol(partial(balance_zscore, inner=BALANCE_WINDOWS[0], bars=BALANCE_WINDOWS[1])),
    ),
    *(
        Feature(
            name=f"vlm_accumulation_{bars}",
            formula=f"sum{bars}(M * volume) / sum{bars}(volume), M = ((C - L) - (H - C)) / (H - L), 0 if H = L",
            lookback=bars,
            inputs=_BAR,
            units="share, signed",
            source=PerSymbol(partial(accumulation, bars=bars)),
        )
        for bars in ACCUMULATION_WINDOWS
    ),
    *(
        Feature(
            name=f"vlm_vwap_gap_{bars}",
            formula=f"ln(C / VWAP) / (sigma60 * sqrt({bars})), VWAP = sum{bars}((H+L+C)/3 * volume) / sum{bars}(volume)",
            lookback=max(SIGMA_SPAN + 1, bars),
            inputs=_BAR,
            units="sigma",
            source=PerSymbol(partial(vwap_gap, bars=bars)),
            recursive=True,
        )
        for bars in VWAP_WINDOWS
    ),
    *(
        Feature(
            name=f"vlm_up_down_{bars}",
            formula=f"ln(mean volume where r > 0 / mean volume where r < 0), last {bars} returns",
            lookback=bars + 1,
            inputs=CLOSE_VOLUME,
            units="log ratio",
            source=PerSymbol(partial(side_ratio, bars=bars)),
        )
        for bars in SIDE_WINDOWS
    ),
    *(
        Feature(
            name=f"vlm_price_corr_{bars}",
            formula=f"correlation of r and ln(1 + volume) over {bars}",
            lookback=bars + 1,
            inputs=CLOSE_VOLUME,
            units="correlation",
            source=PerSymbol(partial(return_correlation, bars=bars)),
        )
        for bars in CORRELATION_WINDOWS
    ),
    Feature(
        name=f"vlm_move_corr_{LONG_WINDOW}",
        formula="correlation of |r| and ln(1 + volume) over 63",
        lookback=LONG_WINDOW + 1,
        inputs=CLOSE_VOLUME,
        units="correlation",
        source=PerSymbol(partial(move_correlation, bars=LONG_WINDOW)),
    ),
    Feature(
        name=f"vlm_premium_{LONG_WINDOW}",
        formula="correlation of r_t and ln(1 + volume_t-1) over 63",
        lookback=LONG_WINDOW + 1,
        inputs=CLOSE_VOLUME,
        units="correlation",
        source=PerSymbol(partial(premium, bars=LONG_WINDOW)),
    ),
)
