"""Group `vr`: whether returns over several bars vary more or less than single ones would add up to.

Above zero where moves go on (trend), below where they are taken back. Lo & MacKinlay (1988), RFS 1(1).
"""

from functools import partial

from tft_pipeline.domain.features.closes import of_closes
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.sharing import Array
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, ratio, window_spread

HORIZONS = (2, 5, 10, 21)
WINDOWS = (126, 252)


def variance_ratio(history: History, *, horizon: int, bars: int) -> Array:
    """VR(q) - 1 over the last n returns, q = `horizon`, n = `bars`; NaN where single returns do not vary.

        VR(q) = [sum (x_k - q m)^2 / (q (n-q+1) (1 - q/n))] / [sum (r_k - m)^2 / (n-1)]

    r_k the n one-bar returns, m their mean, x_k the n-q+1 overlapping q-bar returns inside the window. Both variances are
    free of bias where returns are independent of each other. Source: Lo & MacKinlay (1988), eq. 12-13.
    """
    count = bars - horizon + 1
    mean, single = window_spread(history.log_return, bars)
    long_mean, long_squares = window_spread(history.log_return_over(horizon), count)
    shift = long_mean - horizon * mean
    spread_over_horizon = (long_squares + count * shift * shift) / (horizon * count * (1.0 - horizon / bars))
    return ratio(spread_over_horizon, single / (bars - 1), floor=SPREAD_FLOOR**2) - 1.0


def formula(horizon: int, bars: int, returns: str) -> str:
    """What `variance_ratio` computes, as it is listed; `returns` names the one-bar returns."""
    each = f"{returns},k" if "_" in returns else f"{returns}_k"
    overlapping = bars - horizon + 1
    return (
        f"[sum (x_k - {horizon} m)^2 / ({horizon} * {overlapping} * (1 - {horizon}/{bars}))] / "
        f"[sum ({each} - m)^2 / {bars - 1}] - 1 over the last {bars} {returns}: m their mean, x_k the {overlapping} "
        f"overlapping sums of {horizon} of them"
    )


VARIANCE_RATIO = tuple(
    of_closes(
        f"vr_{horizon}_{bars}",
        formula(horizon, bars, "r"),
        lookback=bars + 1,
        units="ratio less one",
        of=partial(variance_ratio, horizon=horizon, bars=bars),
    )
    for horizon in HORIZONS
    for bars in WINDOWS
)
