"""Oracles over the closes of one symbol; `bars` may be the market index too."""

import math
from collections.abc import Callable
from functools import cache

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    OracleBars,
    OraclePanel,
    Value,
    change_over,
    changes,
    ewm_sd,
    last,
    log_returns,
    mean,
    over,
    pearson,
    per_sigma,
    return_sd,
    sd,
)


def scaled_return(_panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    return per_sigma(bars, row, change_over(bars, row, k), k)


def simple_return(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return None if row < 1 else bars.close[row] / bars.close[row - 1] - 1


@cache
def _macd_signal(bars: OracleBars, row: int, short: int, long: int) -> Value:
    if row + 1 < max(63, long):
        return None
    means = []
    for speed in (short, long):
        keep = 1 - 1 / speed
        weights = [keep ** (row - j) for j in range(row + 1)]
        means.append(math.fsum(w * p for w, p in zip(weights, bars.close, strict=False)) / math.fsum(weights))
    spread = sd(bars.close[row - 62 : row + 1])
    return None if spread <= FLAT * bars.close[row] else (means[0] - means[1]) / spread


def macd(_panel: OraclePanel, bars: OracleBars, row: int, short: int, long: int) -> Value:
    if row < 251:
        return None
    signals = [_macd_signal(bars, j, short, long) for j in range(row - 251, row + 1)]
    return None if None in signals else over(signals[-1], sd(signals), FLAT)


def sma_gap(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else bars.close[row] / mean(part) - 1


def rsi(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    if row < 14:
        return None
    change = changes(bars)
    gain = mean([max(change[j], 0) for j in range(1, 15)])
    loss = mean([max(-change[j], 0) for j in range(1, 15)])
    for j in range(15, row + 1):
        gain = (13 * gain + max(change[j], 0)) / 14
        loss = (13 * loss + max(-change[j], 0)) / 14
    return over(gain, gain + loss)


def stochastic(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else over(part[-1] - min(part), max(part) - min(part))


def to_extreme(_panel: OraclePanel, bars: OracleBars, row: int, extreme: Callable) -> Value:
    part = last(bars.close, row, 252)
    return None if part is None else per_sigma(bars, row, math.log(part[-1] / extreme(part)), 252)


def up_share(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = last(changes(bars), row, 21)
    return None if part is None else sum(c > 0 for c in part) / 21


def streak(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    if row < 1:
        return None
    signs = [(c > 0) - (c < 0) for c in changes(bars)[1 : row + 1]]
    length = 0
    while length < len(signs) and signs[-1 - length] == signs[-1]:
        length += 1
    return float(signs[-1] * length)


def realised(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    sd = return_sd(bars, row, n)
    return None if sd is None else sd * math.sqrt(panel.bars_per_year)


def exponential(panel: OraclePanel, bars: OracleBars, row: int, span: int) -> Value:
    sd = ewm_sd(bars, row, span)
    return None if sd is None else sd * math.sqrt(panel.bars_per_year)


def vol_ratio(_panel: OraclePanel, bars: OracleBars, row: int, short: int, long: int) -> Value:
    a, b = return_sd(bars, row, short), return_sd(bars, row, long)
    return None if a is None or b is None or a <= FLAT or b <= FLAT else math.log(a / b)


def downside(panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = last(log_returns(bars), row, 63)
    return None if part is None else math.sqrt(mean([min(r, 0) ** 2 for r in part]) * panel.bars_per_year)


def vol_of_vol(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = [return_sd(bars, j, 21) for j in range(max(row - 62, 0), row + 1)]
    return None if len(part) < 63 or None in part else over(sd(part), mean(part), FLAT)


def shape(_panel: OraclePanel, bars: OracleBars, row: int, power: int) -> Value:
    part = last(log_returns(bars), row, 63)
    if part is None:
        return None
    m = mean(part)
    second = mean([(r - m) ** 2 for r in part])
    if math.sqrt(second) <= FLAT:
        return None
    return mean([(r - m) ** power for r in part]) / second ** (power / 2) - (3 if power == 4 else 0)


def autocorrelation(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(log_returns(bars), row, n + 1)
    return None if part is None else pearson(list(zip(part[1:], part, strict=False)))


def price_zscore(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last([math.log(c) for c in bars.close], row, n)
    return None if part is None else over(part[-1] - mean(part), sd(part), FLAT)


def vol_zscore(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = [return_sd(bars, j, 21) for j in range(max(row - 251, 0), row + 1)]
    return None if len(part) < 252 or None in part else over(part[-1] - mean(part), sd(part), FLAT)


def drawdown(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else part[-1] / max(part) - 1


def drawdown_since_start(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return bars.close[row] / max(bars.close[: row + 1]) - 1


def recovery(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = last(bars.close, row, 252)
    if part is None:
        return None
    peak_row = max(j for j, c in enumerate(part) if c == max(part))
    trough = min(part[peak_row:])
    return 1.0 if trough == part[peak_row] else (part[-1] - trough) / (part[peak_row] - trough)
