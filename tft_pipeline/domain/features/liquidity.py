"""Group `liq`, part one: price impact, how far a bar's volume moves the price. Needs `volume`.

Not here: the cost of a round trip, read from prices alone (`spreads.py`).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.bar_series import (
    CLOSE_VOLUME,
    absolute_return,
    flag,
    previous_return,
    series,
    signed_volume,
    traded,
    value_traded,
)
from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import (
    Array,
    lag,
    positive_log,
    ratio,
    window_correlation,
    window_mean,
    window_pair_moments,
    window_sum,
)

AMIHUD_WINDOWS = (21, 63)
AMIHUD_RATIO = (5, 63)
IMPACT_WINDOWS = (21, 63)
REVERSAL_WINDOW = 63
SAME = 1e-9
"""Two series whose squared correlation is this close to 1 differ by rounding: neither says more than the other."""


def amihud(history: History, *, bars: int) -> Array:
    """ln of the mean of |r| / (C * volume) over those of the last `bars` that traded; NaN if none did or none moved.

    Source: Amihud (2002), J. Financial Markets 5(1): the mean of ratios, where `vlm_illiquidity` is a ratio of sums.
    """
    return positive_log(_mean_impact(history, bars))


def amihud_ratio(history: History, *, short: int, long: int) -> Array:
    """ln(Amihud's mean over `short` / over `long`): the unit of money cancels; NaN where either is zero or unknown."""
    return positive_log(ratio(_mean_impact(history, short), _mean_impact(history, long)))


def volume_impact(history: History, *, bars: int) -> Array:
    """Slope of r on sign(r) * volume, least squares with intercept over `bars`, times the mean volume.

    The log return that goes with one average bar's volume on one side; NaN when the signed volume is flat.
    Source: after Kyle (1985), Econometrica 53(6), and Hasbrouck (2009), J. Finance 64(3), with bars for trades.
    """
    pairs, _, spread, cross = window_pair_moments(history.log_return, signed_volume(history), bars)
    return ratio(np.where(pairs == bars, cross, np.nan), spread) * window_mean(traded(history), bars)


def volume_reversal(history: History, *, bars: int) -> Array:
    """Partial correlation of r_t and sign(r_{t-1}) * volume_{t-1} given r_{t-1}, over `bars`.

    NaN if one of the three is flat, or one is a multiple of r_{t-1} but for rounding. Below zero where returns on high
    volume come back, as they do when liquidity is poor. Source: after Pastor & Stambaugh (2003), J. Political Economy
    111(3), with own returns in place of excess ones and without units.
    """
    move, signed = history.log_return, signed_volume(history)
    after_signed = window_correlation(move, lag(signed, 1), bars, pairs_needed=bars)
    after_move = window_correlation(move, previous_return(history), bars, pairs_needed=bars)
    # both of the bar before: their correlation one window earlier
    between = lag(window_correlation(move, signed, bars, pairs_needed=bars), 1)
    left_of_move, left_of_signed = 1.0 - after_move * after_move, 1.0 - between * between
    distinct = (left_of_move > SAME) & (left_of_signed > SAME)
    return ratio(after_signed - after_move * between, np.sqrt(np.where(distinct, left_of_move * left_of_signed, 0.0)))


@series(*CLOSE_VOLUME)
def impact(history: History) -> Array:
    """|r| / (C * volume), 0 on a bar without volume."""
    moves, value = absolute_return(history), value_traded(history)
    return np.where((value == 0.0) & np.isfinite(moves), 0.0, ratio(moves, value))


@series("volume")
def with_volume(history: History) -> Array:
    """1 where volume is above zero, else 0."""
    volume = traded(history)
    return flag(volume > 0.0, volume)


def _mean_impact(history: History, bars: int) -> Array:
    return ratio(window_sum(impact(history), bars), window_sum(with_volume(history), bars))


LIQUIDITY = (
    *(
        Feature(
            name=f"liq_amihud_{bars}",
            formula=f"ln(mean{bars}(|r| / (P * volume))) over bars with volume",
            lookback=bars + 1,
            inputs=CLOSE_VOLUME,
            units="log of return per unit of money",
            source=PerSymbol(partial(amihud, bars=bars)),
        )
        for bars in AMIHUD_WINDOWS
    ),
    Feature(
        name="liq_amihud_{}_{}".format(*AMIHUD_RATIO),
        formula="ln(mean5(|r| / (P * volume)) / mean63(|r| / (P * volume))) over bars with volume",
        lookback=AMIHUD_RATIO[1] + 1,
        inputs=CLOSE_VOLUME,
        units="log ratio",
        source=PerSymbol(partial(amihud_ratio, short=AMIHUD_RATIO[0], long=AMIHUD_RATIO[1])),
    ),
    *(
        Feature(
            name=f"liq_impact_{bars}",
            formula=f"mean{bars}(volume) * slope of r on sign(r) * volume, least squares with intercept over {bars}",
            lookback=bars + 1,
            inputs=CLOSE_VOLUME,
            units="log return per mean bar's volume",
            source=PerSymbol(partial(volume_impact, bars=bars)),
        )
        for bars in IMPACT_WINDOWS
    ),
    Feature(
        name=f"liq_reversal_{REVERSAL_WINDOW}",
        formula="partial correlation over 63 of r_t and sign(r_t-1) * volume_t-1, given r_t-1",
        lookback=REVERSAL_WINDOW + 2,
        inputs=CLOSE_VOLUME,
        units="correlation",
        source=PerSymbol(partial(volume_reversal, bars=REVERSAL_WINDOW)),
    ),
)
