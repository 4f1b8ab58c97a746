"""Group `cpd`: how unlike the newest bars of a window are to the ones before them.

Two kinds of score. *Splits*: the window is cut in two at a few places, the two sides are compared, and the place where they
differ most counts. *Sums*: Page's cumulative sums of standardised returns, which ring for small shifts that go on. Both
read the window's bars alone and need no fit. Wood, Roberts & Zohren (2021), "Slow momentum with fast reversion",
arXiv 2105.13727, gave the idea to feed severity and place of the last change to the network; theirs come from a
Gaussian process with two kernels, these do not. Not here: segments of a series (`domain.change_points`).
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from tft_pipeline.domain.change_points import ALLOWANCE, LARGEST_SCORE, ROOT_DEVIATION, ROOT_MEAN
from tft_pipeline.domain.features.closes import SHOCK_BARS, of_closes, shock
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.sharing import once
from tft_pipeline.domain.features.window_places import best_run
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, lag, positive_log, ratio, window_spread

SPLITS = {21: (5, 8, 13, 16), 63: (10, 21, 42, 53), 126: (21, 42, 63, 84, 105)}
"""Window -> sizes of its newer side that are tried; each size is also that of an older side, so that sums are shared."""
SUM_BARS = 63

Compare = Callable[[History, int, int], Array]


def mean_shift(history: History, newer: int, older: int) -> Array:
    """Student's two-sample t of the mean return, newer bars less older ones, with the pooled variance; NaN without any."""
    mean_new, mean_old, squares_new, squares_old = _sides(history, newer, older)
    pooled = np.sqrt((squares_new + squares_old) / (newer + older - 2))
    found: Array = ratio(mean_new - mean_old, pooled, floor=SPREAD_FLOOR) / np.sqrt(1.0 / newer + 1.0 / older)
    return found


def spread_shift(history: History, newer: int, older: int) -> Array:
    """ln(variance of the newer returns / of the older ones) / sqrt(2/(a-1) + 2/(b-1)); NaN where one of them is zero.

    The divisor is the standard error of the logarithm where returns are normal. Source: Bartlett & Kendall (1946).
    """
    _, _, squares_new, squares_old = _sides(history, newer, older)
    floor = SPREAD_FLOOR**2
    new, old = squares_new / (newer - 1), squares_old / (older - 1)
    logs = positive_log(ratio(np.where(new > floor, new, np.nan), old, floor=floor))
    found: Array = logs / np.sqrt(2.0 / (newer - 1) + 2.0 / (older - 1))
    return found


def severity(history: History, *, of: Compare, bars: int) -> Array:
    """The comparison that is furthest from zero over the splits of the last `bars` returns, with its sign.

    A split that cannot be compared is passed over; NaN where none can.
    """
    return _best_split(history, of, bars)[0]


def place(history: History, *, of: Compare, bars: int) -> Array:
    """Share of the window after its best split: small where the change is recent."""
    return _best_split(history, of, bars)[1]


def level_sum(history: History, *, sign: float, bars: int) -> Array:
    """Page's sum max(0, S + sign * z - 0.5) over the last `bars` bars, z clipped to +-2.5.

    z is the return in standard deviations of the 63 returns before it.

    Source: Page (1954), Biometrika 41; allowance and clip as in `domain.change_points`.
    """
    return best_run(_moves(history, sign), bars)


def spread_sum(history: History, *, bars: int) -> Array:
    """The same for the spread: sums of v - 0.5, v = (sqrt|z| - 0.822) / 0.349. Source: Hawkins (1981), J. Qual. Tech. 13."""
    scores = np.clip(shock(history), -LARGEST_SCORE, LARGEST_SCORE)
    return best_run((np.sqrt(np.abs(scores)) - ROOT_MEAN) / ROOT_DEVIATION - ALLOWANCE, bars)


def _moves(history: History, sign: float) -> Array:
    return sign * np.clip(shock(history), -LARGEST_SCORE, LARGEST_SCORE) - ALLOWANCE


def _sides(history: History, newer: int, older: int) -> tuple[Array, Array, Array, Array]:
    """Mean and centred sum of squares of the last `newer` returns, and of the `older` ones before them."""
    mean_new, squares_new = window_spread(history.log_return, newer)
    mean_old, squares_old = window_spread(history.log_return, older)
    return mean_new, lag(mean_old, newer), squares_new, lag(squares_old, newer)


def _best_split(history: History, compare: Compare, bars: int) -> tuple[Array, Array]:
    """Score of largest size and the share of the window after it; of equals the older split."""

    def find() -> tuple[Array, ...]:
        best = np.full(len(history.close), np.nan)
        share = np.full(len(history.close), np.nan)
        for newer in reversed(SPLITS[bars]):
            score = compare(history, newer, bars - newer)
            better = (np.abs(score) > np.abs(best)) | (np.isnan(best) & ~np.isnan(score))
            best, share = np.where(better, score, best), np.where(better, newer / bars, share)
        return best, share

    best, share = once(("best_split", compare, bars), (history.log_return,), find)
    return best, share


_COMPARED: dict[str, tuple[Compare, str]] = {
    "mean": (mean_shift, "two-sample t of mean r"),
    "spread": (spread_shift, "ln(var r new / var r old) in standard errors"),
}

CHANGE_SCORES = (
    *(
        of_closes(
            f"cpd_{what}_{bars}",
            f"{statistic}, newest a of {bars} r against the rest; furthest from 0 over a = {', '.join(map(str, splits))}",
            lookback=bars + 1,
            units="standard errors",
            of=partial(severity, of=compare, bars=bars),
        )
        for what, (compare, statistic) in _COMPARED.items()
        for bars, splits in SPLITS.items()
    ),
    *(
        of_closes(
            f"cpd_{what}_place_{bars}",
            f"a / {bars} of the split that cpd_{what}_{bars} chose",
            lookback=bars + 1,
            units="share",
            of=partial(place, of=compare, bars=bars),
        )
        for what, (compare, _) in _COMPARED.items()
        for bars in SPLITS
        if bars > min(SPLITS)
    ),
    *(
        of_closes(
            f"cpd_{way}_sum_{SUM_BARS}",
            f"z = r_t / std63(r)_t-1 in -2.5 ... 2.5; S = max(0, S {symbol} z - 0.5) over {SUM_BARS} bars from S = 0",
            lookback=SHOCK_BARS + SUM_BARS - 1,
            units="standard deviations",
            of=partial(level_sum, sign=sign, bars=SUM_BARS),
        )
        for way, sign, symbol in (("up", 1.0, "+"), ("down", -1.0, "-"))
    ),
    of_closes(
        f"cpd_spread_sum_{SUM_BARS}",
        f"v = (sqrt|z| - 0.822) / 0.349, z as in cpd_up_sum_{SUM_BARS}; S = max(0, S + v - 0.5) over {SUM_BARS} bars",
        lookback=SHOCK_BARS + SUM_BARS - 1,
        units="standard deviations",
        of=partial(spread_sum, bars=SUM_BARS),
    ),
)
