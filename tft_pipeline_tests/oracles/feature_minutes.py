"""Slow readings of the features in `intra` and `micro`, from the raw columns that minute bars bring."""

import math

from tft_pipeline_tests.oracles.feature_bars import OracleBars, OraclePanel, Value, last, log, mean, own, sd

LEAST = 1e-24


def raw(_panel: OraclePanel, bars: OracleBars, row: int, *, column: str) -> Value:
    return bars.others[column][row]


def annual(panel: OraclePanel, bars: OracleBars, row: int, *, column: str) -> Value:
    value = bars.others[column][row]
    return None if value is None else math.sqrt(panel.bars_per_year * value)


def share_of_variation(bars: OracleBars, row: int, value: Value) -> Value:
    total = bars.others["minute_variation_1"][row]
    return None if total is None or value is None or total <= LEAST else value / total


def jump_share(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    found = share_of_variation(bars, row, bars.others["minute_bipower"][row])
    return None if found is None else max(1 - found, 0)


def balance(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    up, down = bars.others["minute_variation_up"][row], bars.others["minute_variation_down"][row]
    return None if up is None or down is None else share_of_variation(bars, row, up - down)


def per_volatility(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    total, change = bars.others["minute_variation_1"][row], bars.others["minute_return"][row]
    return None if total is None or change is None or total <= LEAST else change / math.sqrt(total)


def zscore(_panel: OraclePanel, bars: OracleBars, row: int, *, column: str, logs: bool) -> Value:
    values = [log(value) for value in bars.others[column]] if logs else bars.others[column]
    part = last(values, row, 21)
    return None if part is None or sd(part) <= 1e-12 else (part[-1] - mean(part)) / sd(part)


PLAIN = {
    "intra_orb_width": "orb_width",
    "intra_orb_break": "orb_break",
    "intra_skew": "skew",
    "intra_kurtosis": "kurtosis",
    "intra_first_half_hour": "first_half_hour",
    "intra_last_half_hour": "last_half_hour",
    "intra_vwap_gap": "vwap_gap",
    "intra_range_position": "range_position",
    "intra_largest_move": "largest_move",
    "intra_minutes": "count",
    "intra_idle_share": "idle_share",
    "intra_high_time": "high_time",
    "intra_low_time": "low_time",
    "intra_efficiency": "efficiency",
    "micro_signed_volume": "signed_volume",
    "micro_order_imbalance": "order_imbalance",
    "micro_amihud_1min": "amihud",
    "micro_roll_spread_1min": "roll_spread",
    "micro_autocorrelation_1min": "autocorrelation",
    "micro_volume_concentration": "volume_concentration",
    "micro_variance_ratio_5_1": "variance_ratio",
    "micro_kyle_lambda_1min": "kyle_lambda",
    "micro_opening_volume": "opening_volume",
    "micro_closing_volume": "closing_volume",
    "micro_volume_move_correlation": "volume_move_correlation",
    "micro_still_share": "still_share",
    "micro_sign_persistence": "sign_persistence",
}
ANNUAL = {
    "intra_rvol_1min": "variation_1",
    "intra_rvol_5min": "variation_5",
    "intra_bipower": "bipower",
    "intra_semivol_up": "variation_up",
    "intra_semivol_down": "variation_down",
}
SCORES = {
    "intra_orb_width_z21": ("orb_width", True),
    "intra_rvol_1min_z21": ("variation_1", True),
    "intra_minutes_z21": ("count", False),
    "micro_signed_volume_z21": ("signed_volume", False),
    "micro_amihud_1min_z21": ("amihud", True),
    "micro_volume_concentration_z21": ("volume_concentration", True),
}
MINUTE_FEATURE_ORACLES = {
    **{name: own(raw, column=f"minute_{column}") for name, column in PLAIN.items()},
    **{name: own(annual, column=f"minute_{column}") for name, column in ANNUAL.items()},
    **{name: own(zscore, column=f"minute_{column}", logs=logs) for name, (column, logs) in SCORES.items()},
    "intra_jump_share": own(jump_share),
    "intra_semivariance_balance": own(balance),
    "intra_return_per_volatility": own(per_volatility),
}
