"""Group `vol`, the sides and ends of the distribution of returns: which side is larger, how extreme, how jumpy."""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.closes import (
    SHOCK_BARS,
    SHOCK_WINDOW,
    SIGMA_BARS,
    direction,
    of_closes,
    previous_return,
    shock,
    size,
    square,
)
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.returns import per_sigma
from tft_pipeline.domain.features.sharing import once
from tft_pipeline.domain.features.windows import SPREAD_FLOOR, Array, ratio, window_max, window_mean, window_min

ASYMMETRY_WINDOWS = (21, 63, 252)
BIPOWER_WINDOWS = (21, 63)
EXTREME_WINDOWS = (21, 63)
EXCEEDANCE_WINDOW = 63
EXCEEDANCE_SIGMAS = 2.0
SMALLNESS_WINDOW = 63
UNCHANGED_WINDOW = 63


def asymmetry(history: History, *, bars: int) -> Array:
    """(sum of squared gains - sum of squared losses) / sum of squares over `bars`, in [-1, 1]; NaN where nothing moved.

    The signed jump variation of Patton & Sheppard (2015), REStat 97(3), from the semivariances of Barndorff-Nielsen, Kinnebrock
    & Shephard (2010), as a share.
    """
    signed = once(
        ("signed_square",), (history.log_return,), lambda: (history.log_return * np.abs(history.log_return),)
    )[0]
    return ratio(window_mean(signed, bars), window_mean(square(history), bars), floor=SPREAD_FLOOR**2)


def bipower(history: History, *, bars: int) -> Array:
    """sqrt(pi/2 * mean(|r_t| |r_{t-1}|) over `bars` products), annualised: volatility that a lone jump hardly moves.

    Source: Barndorff-Nielsen & Shephard (2004), J. Financial Econometrics 2(1).
    """
    return np.sqrt(_bipower_variance(history, bars) * history.bars_per_year)


def jump_share(history: History, *, bars: int) -> Array:
    """1 - bipower variance / mean(r^2) over `bars`: the share of the variance that came in jumps; below 0 by chance.

    Source: Huang & Tauchen (2005), J. Financial Econometrics 3(4), relative jump measure.
    """
    return 1.0 - ratio(_bipower_variance(history, bars), window_mean(square(history), bars), floor=SPREAD_FLOOR**2)


def smallness(history: History, *, bars: int) -> Array:
    """mean |r| / sqrt(mean r^2) over `bars`: 0.80 for normal returns, less the heavier the tails.

    Source: Geary (1935), Biometrika 27, about zero instead of the mean.
    """
    return ratio(window_mean(size(history), bars), np.sqrt(window_mean(square(history), bars)), floor=SPREAD_FLOOR)


def largest_gain(history: History, *, bars: int) -> Array:
    """Largest one-bar return of the last `bars` / sigma60. Source: Bali, Cakici & Whitelaw (2011), JFE 99(2)."""
    return per_sigma(history, window_max(history.log_return, bars), 1)


def largest_loss(history: History, *, bars: int) -> Array:
    """Smallest one-bar return of the last `bars` / sigma60."""
    return per_sigma(history, window_min(history.log_return, bars), 1)


def exceedances(history: History, *, bars: int, sigmas: float) -> Array:
    """Share of the last `bars` returns larger in size than `sigmas` standard deviations of the 63 returns before each."""
    surprise = np.abs(shock(history))
    return window_mean(np.where(np.isnan(surprise), np.nan, (surprise > sigmas).astype(np.float64)), bars)


def surprise_now(history: History) -> Array:
    """|r_t| / standard deviation of the 63 returns before it."""
    return np.abs(shock(history))


def unchanged(history: History, *, bars: int) -> Array:
    """Share of the last `bars` with the close of the bar before. Source: Lesmond, Ogden & Trzcinka (1999), RFS 12(5)."""
    return 1.0 - window_mean(np.abs(direction(history)), bars)


def _bipower_variance(history: History, bars: int) -> Array:
    products = once(
        ("bipower",),
        (history.log_return,),
        lambda: (np.pi / 2.0 * np.abs(history.log_return * previous_return(history)),),
    )[0]
    return window_mean(products, bars)


TAILS = (
    *(
        of_closes(
            f"vol_asymmetry_{bars}",
            f"sum{bars}(r |r|) / sum{bars}(r^2)",
            lookback=bars + 1,
            units="share, -1 to 1",
            of=partial(asymmetry, bars=bars),
        )
        for bars in ASYMMETRY_WINDOWS
    ),
    *(
        of_closes(
            f"vol_bipower_{bars}",
            f"sqrt(pi/2 * mean{bars}(|r_t r_t-1|) * A)",
            lookback=bars + 2,
            units="annual volatility",
            of=partial(bipower, bars=bars),
        )
        for bars in BIPOWER_WINDOWS
    ),
    *(
        of_closes(
            f"vol_jump_share_{bars}",
            f"1 - pi/2 * mean{bars}(|r_t r_t-1|) / mean{bars}(r^2)",
            lookback=bars + 2,
            units="share",
            of=partial(jump_share, bars=bars),
        )
        for bars in BIPOWER_WINDOWS
    ),
    of_closes(
        f"vol_smallness_{SMALLNESS_WINDOW}",
        f"mean{SMALLNESS_WINDOW}(|r|) / sqrt(mean{SMALLNESS_WINDOW}(r^2))",
        lookback=SMALLNESS_WINDOW + 1,
        units="share",
        of=partial(smallness, bars=SMALLNESS_WINDOW),
    ),
    *(
        of_closes(
            f"vol_{which}_{bars}",
            f"{extreme}{bars}(r) / sigma60",
            lookback=max(SIGMA_BARS, bars + 1),
            units="sigma",
            of=partial(formula, bars=bars),
            recursive=True,
        )
        for which, extreme, formula in (("best", "max", largest_gain), ("worst", "min", largest_loss))
        for bars in EXTREME_WINDOWS
    ),
    of_closes(
        f"vol_exceedances_{EXCEEDANCE_WINDOW}",
        f"share of the last {EXCEEDANCE_WINDOW} bars with |r_t| > {EXCEEDANCE_SIGMAS:.0f} std{SHOCK_WINDOW}(r)_t-1",
        lookback=SHOCK_BARS + EXCEEDANCE_WINDOW - 1,
        units="share",
        of=partial(exceedances, bars=EXCEEDANCE_WINDOW, sigmas=EXCEEDANCE_SIGMAS),
    ),
    of_closes(
        "vol_surprise",
        f"|r_t| / std{SHOCK_WINDOW}(r)_t-1",
        lookback=SHOCK_BARS,
        units="standard deviations",
        of=surprise_now,
    ),
    of_closes(
        f"vol_unchanged_{UNCHANGED_WINDOW}",
        f"share of the last {UNCHANGED_WINDOW} changes of P that are 0",
        lookback=UNCHANGED_WINDOW + 1,
        units="share",
        of=partial(unchanged, bars=UNCHANGED_WINDOW),
    ),
)
