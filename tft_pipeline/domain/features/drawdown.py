"""Group `dd`: how far below a former high the price is, for how long, and how much of the fall it has made good."""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.closes import depth, of_closes
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.sharing import once
from tft_pipeline.domain.features.window_places import deepest_fall
from tft_pipeline.domain.features.windows import Array, ratio, window_mean, window_since_peak

WINDOWS = (21, 63, 126, 252)
RECOVERY_WINDOWS = (63, 252)
ULCER_WINDOWS = (14, 63)
UNDERWATER_WINDOW = 63
DEEPEST_WINDOWS = (21, 63, 252)
RISE_WINDOWS = (63, 252)
SHARE_WINDOW = 252


def drawdown(history: History, *, bars: int) -> Array:
    """close / highest close of the last `bars` - 1; <= 0."""
    return depth(history, bars)


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


def ulcer(history: History, *, bars: int) -> Array:
    """Root mean square over `bars` of each bar's drawdown from the highest close of its own last `bars`.

    Source: Martin & McCann (1989), The Investor's Guide to Fidelity Funds, there in percent over 14 bars.
    """
    fall = depth(history, bars)
    return np.sqrt(window_mean(fall * fall, bars))


def underwater(history: History, *, bars: int) -> Array:
    """Share of the last `bars` that closed below the highest close of their own last `bars`."""
    fall = depth(history, bars)
    return window_mean(np.where(np.isnan(fall), np.nan, (fall < 0.0).astype(np.float64)), bars)


def age(history: History) -> Array:
    """ln(1 + bars since the highest close so far, the latest of equals)."""
    row = np.arange(len(history.close))
    highest = np.maximum.accumulate(history.close)
    since = row - np.maximum.accumulate(np.where(history.close == highest, row, 0))
    found: Array = np.log(since + 1.0)
    return found


def deepest(history: History, *, bars: int) -> Array:
    """Largest fall between two of the last `bars` closes, as a share of the first: P_later / P_earlier - 1; <= 0."""
    return deepest_fall(history.close, bars) - 1.0


def highest_rise(history: History, *, bars: int) -> Array:
    """Largest rise between two of the last `bars` closes, as a share of the first; >= 0."""
    inverse = once(("inverse",), (history.close,), lambda: (1.0 / history.close,))[0]
    return 1.0 / deepest_fall(inverse, bars) - 1.0


def share_of_deepest(history: History, *, bars: int) -> Array:
    """Drawdown / deepest fall of the last `bars`, in [0, 1]: 1 at the bottom of the year's worst fall; NaN without one."""
    return ratio(depth(history, bars), deepest(history, bars=bars))


DRAWDOWN = (
    *(
        Feature(
            name=f"dd_{bars}",
            formula=f"P_t / max{bars}(P) - 1",
            lookback=bars,
            inputs=("close",),
            source=PerSymbol(partial(drawdown, bars=bars)),
            units="share of the price",
        )
        for bars in WINDOWS
    ),
    Feature(
        name="dd_since_start",
        formula="P_t / max(P so far) - 1",
        lookback=1,
        inputs=("close",),
        source=PerSymbol(drawdown_since_start),
        units="share of the price",
        recursive=True,
    ),
    *(
        Feature(
            name=f"dd_recovery_{bars}",
            formula=f"(P_t - trough) / (peak - trough), peak = max{bars}(P), trough = lowest P since it; 1 at the peak",
            lookback=bars,
            inputs=("close",),
            source=PerSymbol(partial(recovery, bars=bars)),
            units="share",
        )
        for bars in RECOVERY_WINDOWS
    ),
    *(
        of_closes(
            f"dd_ulcer_{bars}",
            f"d = P_t / max{bars}(P) - 1; sqrt(mean{bars}(d^2))",
            lookback=2 * bars - 1,
            units="share of the price",
            of=partial(ulcer, bars=bars),
        )
        for bars in ULCER_WINDOWS
    ),
    of_closes(
        f"dd_underwater_{UNDERWATER_WINDOW}",
        f"d = P_t / max{UNDERWATER_WINDOW}(P) - 1; share of the last {UNDERWATER_WINDOW} d below 0",
        lookback=2 * UNDERWATER_WINDOW - 1,
        units="share",
        of=partial(underwater, bars=UNDERWATER_WINDOW),
    ),
    of_closes(
        "dd_age",
        "ln(1 + bars since max(P so far), the latest of equals)",
        lookback=1,
        units="log bars",
        of=age,
        recursive=True,
    ),
    *(
        of_closes(
            f"dd_max_{bars}",
            f"least P_j / P_i - 1 over i <= j of the last {bars} bars",
            lookback=bars,
            units="share of the price",
            of=partial(deepest, bars=bars),
        )
        for bars in DEEPEST_WINDOWS
    ),
    *(
        of_closes(
            f"dd_rise_{bars}",
            f"greatest P_j / P_i - 1 over i <= j of the last {bars} bars",
            lookback=bars,
            units="share of the price",
            of=partial(highest_rise, bars=bars),
        )
        for bars in RISE_WINDOWS
    ),
    of_closes(
        f"dd_share_{SHARE_WINDOW}",
        f"dd_{SHARE_WINDOW} / dd_max_{SHARE_WINDOW}",
        lookback=SHARE_WINDOW,
        units="share",
        of=partial(share_of_deepest, bars=SHARE_WINDOW),
    ),
)
