"""Group `mom`, how steady a move is: its path against its distance, its age, and how it is spread over the bars."""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.closes import SIGMA_BARS, direction, of_closes, size
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.momentum import streak
from tft_pipeline.domain.features.returns import per_sigma, scaled_return_lookback
from tft_pipeline.domain.features.sharing import once
from tft_pipeline.domain.features.window_places import rows_since_max
from tft_pipeline.domain.features.windows import (
    SPREAD_FLOOR,
    Array,
    lag,
    ratio,
    window_max,
    window_mean,
    window_min,
    window_sum,
)

EFFICIENCY_WINDOWS = (10, 21, 63, 252)
AGE_WINDOWS = (21, 63, 252)
DISCRETENESS_WINDOWS = (63, 252)
SPAN_WINDOWS = (21, 63, 252)
MONTH, MONTHS = 21, 12


def efficiency(history: History, *, bars: int) -> Array:
    """ln(close_t / close_{t-n}) / sum of the n |r|, in [-1, 1]: 1 is a straight rise; NaN on a flat window.

    Source: Kaufman (1995), Smarter Trading, with the sign kept and logarithms; signed it is also the momentum oscillator of
    Chande & Kroll (1994), gains less losses over gains plus losses.
    """
    return ratio(history.log_return_over(bars), window_sum(size(history), bars), floor=SPREAD_FLOOR)


def high_age(history: History, *, bars: int) -> Array:
    """Bars since the highest close of the last n / (n-1), the latest of equals: 0 at a new high."""
    return rows_since_max(history.close, bars) / (bars - 1)


def low_age(history: History, *, bars: int) -> Array:
    """Bars since the lowest close of the last n / (n-1), the latest of equals: 0 at a new low."""
    return rows_since_max(_upside_down(history), bars) / (bars - 1)


def discreteness(history: History, *, bars: int) -> Array:
    """sign(return over n) * (share of falls - share of rises) over n bars: low where a move came in many small steps.

    Source: Da, Gurun & Warachka (2014), RFS 27(7): momentum made of small steps lasts longer.
    """
    return -np.sign(history.close - lag(history.close, bars)) * window_mean(direction(history), bars)


def price_span(history: History, *, bars: int) -> Array:
    """ln(highest / lowest close of the last n) / (sigma60 * sqrt(n)): a random walk spans about 1.6, a trend more."""
    log_close = history.log_close
    return per_sigma(history, window_max(log_close, bars) - window_min(log_close, bars), bars)


def months_up(history: History, *, month: int, months: int) -> Array:
    """Share of the last `months` stretches of `month` bars in which the price rose.

    After the consistency of Grinblatt & Moskowitz (2004), JFE 71(3).
    """
    rose = history.close - lag(history.close, month)
    rose = np.where(np.isnan(rose), np.nan, (rose > 0.0).astype(np.float64))
    total = rose
    for ago in range(1, months):
        total = total + lag(rose, ago * month)
    return total / months


def streak_return(history: History) -> Array:
    """Log return over the current run of changes of one sign, divided by sigma60; 0 on an unchanged close."""
    row = np.arange(len(history.close))
    start = row - np.nan_to_num(np.abs(streak(history))).astype(np.int64)
    return per_sigma(history, history.log_close - history.log_close[start], 1)


def _upside_down(history: History) -> Array:
    return once(("upside_down",), (history.close,), lambda: (-history.close,))[0]


PERSISTENCE = (
    *(
        of_closes(
            f"mom_efficiency_{bars}",
            f"ln(P_t / P_t-{bars}) / sum{bars}(|r|)",
            lookback=bars + 1,
            units="share, -1 to 1",
            of=partial(efficiency, bars=bars),
        )
        for bars in EFFICIENCY_WINDOWS
    ),
    *(
        of_closes(
            f"mom_{which}_age_{bars}",
            f"bars since {extreme}{bars}(P) / {bars - 1}, the latest of equals",
            lookback=bars,
            units="share",
            of=partial(age, bars=bars),
        )
        for which, extreme, age in (("high", "max", high_age), ("low", "min", low_age))
        for bars in AGE_WINDOWS
    ),
    *(
        of_closes(
            f"mom_discreteness_{bars}",
            f"sign(P_t - P_t-{bars}) * (share of falls - share of rises of the last {bars} changes)",
            lookback=bars + 1,
            units="share, -1 to 1",
            of=partial(discreteness, bars=bars),
        )
        for bars in DISCRETENESS_WINDOWS
    ),
    *(
        of_closes(
            f"mom_span_{bars}",
            f"ln(max{bars}(P) / min{bars}(P)) / (sigma60 * sqrt({bars}))",
            lookback=max(SIGMA_BARS, bars),
            units="sigma",
            of=partial(price_span, bars=bars),
            recursive=True,
        )
        for bars in SPAN_WINDOWS
    ),
    of_closes(
        f"mom_months_up_{MONTHS}",
        f"share of k = 0 ... {MONTHS - 1} with P_t-{MONTH}k > P_t-{MONTH}(k+1)",
        lookback=MONTH * MONTHS + 1,
        units="share",
        of=partial(months_up, month=MONTH, months=MONTHS),
    ),
    of_closes(
        "mom_streak_return",
        "ln(P_t / P before the current run of changes of one sign) / sigma60, 0 on an unchanged close",
        lookback=scaled_return_lookback(1),
        units="sigma",
        of=streak_return,
        recursive=True,
    ),
)
