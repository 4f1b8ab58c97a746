"""Groups `intra` and `micro`: what the minutes inside a bar say, from the raw columns `minute_...` of the bars.

Letters: p, o, h, l, v are close, open, high, low, volume of a minute with its close e minutes after the opening of the bar's
first minute (e_n: the last); r = ln(p_i / p_i-1) between the bar's minutes, m of them; O, C the first open and last close;
H30, L30 the extremes of e <= 30; H, L of all; s the sign of r, or of the last r that was not 0 (tick rule). A is the bars per
year. A bar without minutes is null, a symbol's first bar always, and so is what 30 minutes or 10 returns are needed for and
are not there.

Here: names, formulas, scaling. Not here: the sums over minutes (`domain.sessions`, `domain.order_flow`).
"""

from functools import partial

import numpy as np

from tft_pipeline.domain.features.feature import Feature, PerSymbol
from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.windows import Array, positive_log, ratio, window_zscore

WINDOW = 21
FIRST = 2
"""A symbol's first bar has none before it, so nothing says where its minutes begin: it never has any."""
FLAT_VARIATION = 1e-24
"""A sum of squared returns at or below this is rounding, not movement."""


def as_it_is(history: History, *, column: str) -> Array:
    """The raw column itself."""
    return history.column(column)


def annual_root(history: History, *, column: str) -> Array:
    """sqrt(A * column), of a sum of squared returns; NaN below 0."""
    values = history.column(column)
    return np.sqrt(np.where(values >= 0.0, values, np.nan) * history.bars_per_year)


def jump_share(history: History) -> Array:
    """max(1 - BV / RV, 0); NaN where minutes do not move."""
    variation = history.column("minute_variation_1")
    return np.maximum(1.0 - ratio(history.column("minute_bipower"), variation, floor=FLAT_VARIATION), 0.0)


def variation_balance(history: History) -> Array:
    """(sum r+^2 - sum r-^2) / sum r^2; NaN where minutes do not move."""
    up, down = history.column("minute_variation_up"), history.column("minute_variation_down")
    return ratio(up - down, history.column("minute_variation_1"), floor=FLAT_VARIATION)


def return_per_volatility(history: History) -> Array:
    """ln(C/O) / sqrt(sum r^2)."""
    variation = history.column("minute_variation_1")
    usable = np.sqrt(np.where(variation > FLAT_VARIATION, variation, np.nan))
    return ratio(history.column("minute_return"), usable)


def zscore(history: History, *, column: str, log: bool) -> Array:
    """(x - mean21(x)) / std21(x) of a raw column or its logarithm; NaN where one of the 21 bars has none."""
    values = history.column(column)
    return window_zscore(positive_log(values) if log else values, WINDOW)


def _plain(name: str, column: str, formula: str, units: str) -> Feature:
    return Feature(
        name=name,
        formula=formula,
        lookback=FIRST,
        inputs=(column,),
        source=PerSymbol(partial(as_it_is, column=column)),
        units=units,
    )


def _annual(name: str, column: str, formula: str) -> Feature:
    return Feature(
        name=name,
        formula=f"sqrt(A * {formula})",
        lookback=FIRST,
        inputs=(column,),
        source=PerSymbol(partial(annual_root, column=column)),
        units="annual volatility",
    )


def _zscore(name: str, column: str, what: str, *, log: bool) -> Feature:
    x = f"ln({what})" if log else what
    return Feature(
        name=f"{name}_z{WINDOW}",
        formula=f"x = {x}; (x - mean{WINDOW}(x)) / std{WINDOW}(x)",
        lookback=WINDOW + FIRST - 1,
        inputs=(column,),
        source=PerSymbol(partial(zscore, column=column, log=log)),
        units="standard deviations",
    )


INTRADAY = (
    _plain("intra_orb_width", "minute_orb_width", "(H30 - L30) / O", "share"),
    _plain("intra_orb_break", "minute_orb_break", "(C - (H30 + L30)/2) / (H30 - L30)", "opening ranges"),
    _annual("intra_rvol_1min", "minute_variation_1", "sum r^2"),
    _annual("intra_rvol_5min", "minute_variation_5", "sum of squared log returns between 5-minute blocks"),
    _annual("intra_bipower", "minute_bipower", "pi/2 * m/(m-1) * sum |r_i| |r_i-1|"),
    Feature(
        name="intra_jump_share",
        formula="max(1 - pi/2 * m/(m-1) * sum |r_i| |r_i-1| / sum r^2, 0)",
        lookback=FIRST,
        inputs=("minute_bipower", "minute_variation_1"),
        source=PerSymbol(jump_share),
        units="share",
    ),
    _plain("intra_skew", "minute_skew", "sqrt(m) * sum r^3 / (sum r^2)^1.5", "skewness"),
    _plain("intra_kurtosis", "minute_kurtosis", "m * sum r^4 / (sum r^2)^2", "kurtosis, normal = 3"),
    _annual("intra_semivol_up", "minute_variation_up", "sum r^2 over r > 0"),
    _annual("intra_semivol_down", "minute_variation_down", "sum r^2 over r < 0"),
    Feature(
        name="intra_semivariance_balance",
        formula="(sum r^2 over r > 0 - sum r^2 over r < 0) / sum r^2",
        lookback=FIRST,
        inputs=("minute_variation_up", "minute_variation_down", "minute_variation_1"),
        source=PerSymbol(variation_balance),
        units="share, -1 to 1",
    ),
    Feature(
        name="intra_return_per_volatility",
        formula="ln(C/O) / sqrt(sum r^2)",
        lookback=FIRST,
        inputs=("minute_return", "minute_variation_1"),
        source=PerSymbol(return_per_volatility),
        units="sigma of the bar's minutes",
    ),
    _plain("intra_first_half_hour", "minute_first_half_hour", "ln(last p of e <= 30 / O)", "log return"),
    _plain("intra_last_half_hour", "minute_last_half_hour", "ln(C / last p of e <= e_n - 30)", "log return"),
    _plain("intra_vwap_gap", "minute_vwap_gap", "ln(C / (sum(p v) / sum(v)))", "log return"),
    _plain("intra_range_position", "minute_range_position", "(C - L) / (H - L)", "share"),
    _plain("intra_largest_move", "minute_largest_move", "max |r|", "log return"),
    _plain("intra_minutes", "minute_count", "minutes with a row", "minutes"),
    _plain("intra_idle_share", "minute_idle_share", "1 - minutes of v > 0 / e_n", "share"),
    _plain("intra_high_time", "minute_high_time", "(e of the first h = H, less 1) / (e_n - 1)", "share of the session"),
    _plain("intra_low_time", "minute_low_time", "(e of the first l = L, less 1) / (e_n - 1)", "share of the session"),
    _plain("intra_efficiency", "minute_efficiency", "|ln(p_n / p_1)| / sum |r|", "share"),
    _zscore("intra_orb_width", "minute_orb_width", "(H30 - L30) / O", log=True),
    _zscore("intra_rvol_1min", "minute_variation_1", "sum r^2", log=True),
    _zscore("intra_minutes", "minute_count", "minutes with a row", log=False),
)

MICROSTRUCTURE = (
    _plain("micro_signed_volume", "minute_signed_volume", "sum(s v) / sum(v)", "share, -1 to 1"),
    _plain("micro_order_imbalance", "minute_order_imbalance", "sum(s v) / sum(v) over e > e_n - 60", "share, -1 to 1"),
    _plain("micro_amihud_1min", "minute_amihud", "1e6 * mean(|r| / (p v)) over v > 0", "log return a million traded"),
    _plain(
        "micro_roll_spread_1min",
        "minute_roll_spread",
        "2 sqrt(max(-c, 0)), c = sum (r_i - mean)(r_i-1 - mean) / (m - 1)",
        "log return",
    ),
    _plain(
        "micro_autocorrelation_1min",
        "minute_autocorrelation",
        "sum (r_i - mean)(r_i-1 - mean) / sum (r - mean)^2",
        "correlation",
    ),
    _plain("micro_volume_concentration", "minute_volume_concentration", "sum (v / sum v)^2", "share (Herfindahl)"),
    _plain(
        "micro_variance_ratio_5_1",
        "minute_variance_ratio",
        "[sum (x_i - 5 u)^2 / (5 (m-4) (1 - 5/m))] / [sum (r_i - u)^2 / (m-1)], u the mean r, x_i = r_i-4 + ... + r_i",
        "ratio, random walk = 1",
    ),
    _plain(
        "micro_kyle_lambda_1min",
        "minute_kyle_lambda",
        "1000 * slope of r on s sqrt(p v), with intercept",
        "log return of a million traded",
    ),
    _plain("micro_opening_volume", "minute_opening_volume", "sum(v of e <= 30) / sum(v)", "share"),
    _plain("micro_closing_volume", "minute_closing_volume", "sum(v of e > e_n - 30) / sum(v)", "share"),
    _plain(
        "micro_volume_move_correlation", "minute_volume_move_correlation", "correlation of v and |r|", "correlation"
    ),
    _plain("micro_still_share", "minute_still_share", "share of r = 0", "share"),
    _plain("micro_sign_persistence", "minute_sign_persistence", "sum s_i s_i-1 / (m - 1)", "share, -1 to 1"),
    _zscore("micro_signed_volume", "minute_signed_volume", "sum(s v) / sum(v)", log=False),
    _zscore("micro_amihud_1min", "minute_amihud", "mean(|r| / (p v))", log=True),
    _zscore("micro_volume_concentration", "minute_volume_concentration", "sum (v / sum v)^2", log=True),
)
