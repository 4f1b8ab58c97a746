"""Group `mom`, averages of averages: TRIX, the true strength index, the Coppock curve, the RSI inside its own range.

EWM means have alpha = 2/(span+1) and weights that sum to one, from `span` known values on. Not here: RSI (`momentum`).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.closes import SIGMA_BARS, change, of_closes
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.momentum import RSI_BARS, relative_strength_index
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.window_lines import weighted_mean
from tft_pipeline.domain.features.windows import Array, ewm_mean, lag, ratio, window_max, window_min

TRIX_SPAN = 15
STRENGTH_SPANS = (25, 13)
COPPOCK_HORIZONS = (14, 11)
COPPOCK_WEIGHTS = 10
RSI_FLOOR = 1e-9
"""A range of the RSI at or below this is rounding: a frozen price leaves it where it was."""


def trix(history: History, *, span: int) -> Array:
    """One-bar change of the EWM mean, taken three times over, of the log price, divided by sigma60.

    Source: Hutson (1983), Technical Analysis of Stocks & Commodities 1(5), there as a percentage.
    """
    smooth = history.log_close
    for _ in range(3):
        smooth = _ewm(smooth, span)
    return per_sigma(history, smooth - lag(smooth, 1), 1)


def true_strength(history: History, *, first: int, then: int) -> Array:
    """Twice smoothed changes / twice smoothed sizes of changes, in [-1, 1]; NaN while the price never moved.

    Source: Blau (1991), Technical Analysis of Stocks & Commodities 9(11).
    """
    moves = change(history)
    return ratio(_ewm(_ewm(moves, first), then), _ewm(_ewm(np.abs(moves), first), then))


def coppock(history: History, *, long: int, short: int, weights: int) -> Array:
    """Mean with the weights 1 ... `weights` of the sum of two log returns, divided by sigma60 * sqrt(long + short).

    Source: Coppock (1962), Barron's, on months and simple returns; here on bars.
    """
    both = history.log_return_over(long) + history.log_return_over(short)
    return per_sigma(history, weighted_mean(both, weights), long + short)


def strength_in_range(history: History, *, bars: int) -> Array:
    """(RSI - lowest RSI) / (highest - lowest) of the last `bars`; NaN where they are equal.

    Source: Chande & Kroll (1994), The New Technical Trader.
    """
    index = relative_strength_index(history, bars=bars)
    low, high = window_min(index, bars), window_max(index, bars)
    return ratio(index - low, high - low, floor=RSI_FLOOR)


def _ewm(values: Array, span: int) -> Array:
    return ewm_mean(values, 2.0 / (span + 1), rows_needed=span)


SMOOTHED_MOMENTUM = (
    of_closes(
        f"mom_trix_{TRIX_SPAN}",
        f"e = ewm_mean(ewm_mean(ewm_mean(ln P))), span {TRIX_SPAN}; (e_t - e_t-1) / sigma60",
        lookback=max(SIGMA_BARS, 3 * (TRIX_SPAN - 1) + 2),
        units="sigma",
        of=partial(trix, span=TRIX_SPAN),
        recursive=True,
    ),
    of_closes(
        "mom_strength_{}_{}".format(*STRENGTH_SPANS),
        "f(dP) / f(|dP|), f = ewm_mean(ewm_mean(., span {}), span {})".format(*STRENGTH_SPANS),
        lookback=sum(STRENGTH_SPANS),
        units="share, -1 to 1",
        of=partial(true_strength, first=STRENGTH_SPANS[0], then=STRENGTH_SPANS[1]),
        recursive=True,
    ),
    of_closes(
        "mom_coppock_{}_{}".format(*COPPOCK_HORIZONS),
        "mean with weights 1 ... {} (newest heaviest) of ln(P / P_-{}) + ln(P / P_-{}), / (sigma60 * sqrt({}))".format(
            COPPOCK_WEIGHTS, *COPPOCK_HORIZONS, sum(COPPOCK_HORIZONS)
        ),
        lookback=max(SIGMA_BARS, max(COPPOCK_HORIZONS) + COPPOCK_WEIGHTS),
        units="sigma",
        of=partial(coppock, long=COPPOCK_HORIZONS[0], short=COPPOCK_HORIZONS[1], weights=COPPOCK_WEIGHTS),
        recursive=True,
    ),
    of_closes(
        f"mom_rsi_place_{RSI_BARS}",
        f"(R - min{RSI_BARS}(R)) / (max{RSI_BARS}(R) - min{RSI_BARS}(R)), R = mom_rsi_{RSI_BARS}",
        lookback=2 * RSI_BARS,
        units="share",
        of=partial(strength_in_range, bars=RSI_BARS),
        recursive=True,
    ),
)
