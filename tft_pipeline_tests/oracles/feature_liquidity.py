"""Oracles of the group `liq`."""

import math
import statistics
from collections.abc import Callable

import numpy as np

from tft_pipeline_tests.oracles.feature_bars import OracleBars, OraclePanel, Value, log, mean, over, sd
from tft_pipeline_tests.oracles.feature_each_bar import (
    distance,
    hlc,
    move,
    present,
    signed,
    span,
    value,
    volume,
    window,
)
from tft_pipeline_tests.oracles.feature_sections import own


def _mean_impact(bars: OracleBars, row: int, n: int) -> Value:
    moves, values = window(bars, row, n, distance), window(bars, row, n, value)
    if moves is None or values is None:
        return None
    ratios = [r / v for r, v in zip(moves, values, strict=True) if v > 0]
    return mean(ratios) if ratios else None


def amihud(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    return log(_mean_impact(bars, row, n))


def amihud_ratio(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return log(over(_mean_impact(bars, row, 5), _mean_impact(bars, row, 63)))


def impact(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    moves, flows, volumes = (window(bars, row, n, of) for of in (move, signed, volume))
    if moves is None or flows is None or volumes is None or len(set(flows)) == 1:
        return None
    return mean(volumes) * statistics.linear_regression(flows, moves).slope


def reversal(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    """By its definition: the correlation of what r_t-1 leaves unexplained of r_t and of the signed volume."""
    if row == 0:
        return None
    now, before, flows = window(bars, row, 63, move), window(bars, row - 1, 63, move), window(bars, row - 1, 63, signed)
    if now is None or before is None or flows is None or min(len(set(part)) for part in (now, before, flows)) == 1:
        return None
    design = np.stack([np.ones(63), np.array(before)], axis=1)
    left = [part - design @ np.linalg.lstsq(design, part, rcond=None)[0] for part in (np.array(now), np.array(flows))]
    unexplained = [part @ part / statistics.variance(of) / 62 for part, of in zip(left, (now, flows), strict=True)]
    if min(unexplained) <= 1e-9:
        return None
    return float(left[0] @ left[1] / math.sqrt((left[0] @ left[0]) * (left[1] @ left[1])))


def roll(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    now, before = window(bars, row, n, move), window(bars, row - 1, n, move) if row else None
    if now is None or before is None:
        return None
    return 2 * math.sqrt(max(-statistics.covariance(now, before), 0.0))


def _corwin_schultz(bars: OracleBars, row: int) -> Value:
    if row == 0 or not present(span(bars, row), span(bars, row - 1)):
        return None
    h, low, before = bars.high[row], bars.low[row], bars.close[row - 1]
    if low > before:
        h, low = h * before / low, before
    elif h < before:
        h, low = before, low * before / h
    b = span(bars, row) ** 2 + span(bars, row - 1) ** 2
    g = math.log(max(h, bars.high[row - 1]) / min(low, bars.low[row - 1])) ** 2
    k = 3 - 2 * math.sqrt(2)
    a = (math.sqrt(2 * b) - math.sqrt(b)) / k - math.sqrt(g / k)
    return max(2 * (math.exp(a) - 1) / (1 + math.exp(a)), 0.0)


def _abdi_ranaldo(bars: OracleBars, row: int) -> Value:
    now, before = hlc(bars, row), hlc(bars, row - 1) if row else None
    if now is None or before is None:
        return None
    middle, middle_before = (math.log(three[0]) / 2 + math.log(three[1]) / 2 for three in (now, before))
    c = math.log(before[2])
    return math.sqrt(max(4 * (c - middle_before) * (c - middle), 0.0))


def _unmoved(bars: OracleBars, row: int) -> Value:
    return None if row == 0 else float(bars.close[row] == bars.close[row - 1])


def mean_of(_panel: OraclePanel, bars: OracleBars, row: int, n: int, of: Callable) -> Value:
    part = window(bars, row, n, of)
    return None if part is None else mean(part)


def zero_spread(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    still, moves = window(bars, row, 63, _unmoved), window(bars, row, 63, move)
    if still is None or moves is None or all(still):
        return None
    return 2 * sd(moves) * statistics.NormalDist().inv_cdf((1 + mean(still)) / 2)


LIQUIDITY_ORACLES: dict[str, Callable[[OraclePanel, str, int], Value]] = {
    **{f"liq_amihud_{n}": own(amihud, n=n) for n in (21, 63)},
    "liq_amihud_5_63": own(amihud_ratio),
    **{f"liq_impact_{n}": own(impact, n=n) for n in (21, 63)},
    "liq_reversal_63": own(reversal),
    **{f"liq_roll_{n}": own(roll, n=n) for n in (21, 63)},
    **{f"liq_high_low_{n}": own(mean_of, n=n, of=_corwin_schultz) for n in (21, 63)},
    **{f"liq_close_mid_{n}": own(mean_of, n=n, of=_abdi_ranaldo) for n in (21, 63)},
    **{f"liq_zero_{n}": own(mean_of, n=n, of=_unmoved) for n in (21, 63)},
    "liq_zero_spread_63": own(zero_spread),
}
