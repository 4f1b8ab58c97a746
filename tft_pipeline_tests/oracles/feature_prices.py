"""Oracles over the closes of one symbol, groups ret, sma, ema, macd, z and dd; `bars` may be the market index too.

Not here: momentum (`feature_momentum`), volatility (`feature_volatility`), lines and changes (`feature_lines`).
"""

import math
import statistics
from collections.abc import Callable
from functools import cache

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    Oracle,
    OracleBars,
    OraclePanel,
    Value,
    change_over,
    ewm_sd,
    last,
    log_returns,
    mean,
    over,
    own,
    per_sigma,
    return_sd,
    sd,
    weighted,
)


def scaled_return(_panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    return per_sigma(bars, row, change_over(bars, row, k), k)


def simple_return(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return None if row < 1 else bars.close[row] / bars.close[row - 1] - 1


def between(_panel: OraclePanel, bars: OracleBars, row: int, near: int, far: int) -> Value:
    """ln of the price `near` bars ago over the one `far` bars ago, per sigma."""
    return None if row < far else per_sigma(bars, row, change_over(bars, row - near, far - near), far - near)


def lagged_return(_panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    return None if row < k else per_sigma(bars, row, log_returns(bars)[row - k], 1)


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


def macd_blend(panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    signals = [macd(panel, bars, row, *pair) for pair in ((8, 24), (16, 48), (32, 96))]
    return None if None in signals else mean([y * math.exp(-(y**2) / 4) / 0.89 for y in signals])


@cache
def _ema(bars: OracleBars, span: int) -> list[Value]:
    return weighted(bars.close, span)


@cache
def _lines(bars: OracleBars) -> list[Value]:
    pairs = zip(_ema(bars, 12), _ema(bars, 26), bars.close, strict=True)
    return [None if slow is None else (quick - slow) / price for quick, slow, price in pairs]


@cache
def _signals(bars: OracleBars) -> list[Value]:
    return weighted(_lines(bars), 9)


def macd_line(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return per_sigma(bars, row, _lines(bars)[row], 1)


def macd_histogram(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    signal = _signals(bars)[row]
    return None if signal is None else per_sigma(bars, row, _lines(bars)[row] - signal, 1)


def sma_gap(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else bars.close[row] / mean(part) - 1


def crossing(_panel: OraclePanel, bars: OracleBars, row: int, short: int, long: int) -> Value:
    part = last(bars.close, row, long)
    return None if part is None else mean(part[-short:]) / mean(part) - 1


def agreement(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    parts = [last(bars.close, row, n) for n in (5, 10, 20, 50, 100, 200)]
    if None in parts:
        return None
    averages = [statistics.mean(part) for part in parts]
    return sum((bars.close[row] > m) - (bars.close[row] < m) for m in averages) / 6


def bandwidth(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = last(bars.close, row, 20)
    return None if part is None else 4 * sd(part) / mean(part)


def ema_gap(_panel: OraclePanel, bars: OracleBars, row: int, span: int) -> Value:
    average = _ema(bars, span)[row]
    return None if average is None else bars.close[row] / average - 1


def realised(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    sd = return_sd(bars, row, n)
    return None if sd is None else sd * math.sqrt(panel.bars_per_year)


def exponential(panel: OraclePanel, bars: OracleBars, row: int, span: int) -> Value:
    sd = ewm_sd(bars, row, span)
    return None if sd is None else sd * math.sqrt(panel.bars_per_year)


def vol_ratio(_panel: OraclePanel, bars: OracleBars, row: int, short: int, long: int) -> Value:
    a, b = return_sd(bars, row, short), return_sd(bars, row, long)
    return None if a is None or b is None or a <= FLAT or b <= FLAT else math.log(a / b)


def price_zscore(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last([math.log(c) for c in bars.close], row, n)
    return None if part is None else over(part[-1] - mean(part), sd(part), FLAT)


def vol_zscore(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = [return_sd(bars, j, 21) for j in range(max(row - n + 1, 0), row + 1)]
    return None if len(part) < n or None in part else over(part[-1] - mean(part), sd(part), FLAT)


def return_zscore(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(log_returns(bars), row, n)
    return None if part is None else over(part[-1] - mean(part), sd(part), FLAT)


def rank(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else (sum(c < part[-1] for c in part) - sum(c > part[-1] for c in part)) / (n - 1)


def drawdown(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else part[-1] / max(part) - 1


def drawdown_since_start(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return bars.close[row] / max(bars.close[: row + 1]) - 1


def recovery(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    if part is None:
        return None
    peak_row = max(j for j, c in enumerate(part) if c == max(part))
    trough = min(part[peak_row:])
    return 1.0 if trough == part[peak_row] else (part[-1] - trough) / (part[peak_row] - trough)


def _depths(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> list[float] | None:
    part = [drawdown(panel, bars, j, n) for j in range(max(row - n + 1, 0), row + 1)]
    return None if len(part) < n or None in part else part


def ulcer(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = _depths(panel, bars, row, n)
    return None if part is None else math.sqrt(mean([d * d for d in part]))


def underwater(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = _depths(panel, bars, row, n)
    return None if part is None else sum(d < 0 for d in part) / n


def age(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    so_far = bars.close[: row + 1]
    return math.log(1 + row - max(j for j, c in enumerate(so_far) if c == max(so_far)))


@cache
def furthest(bars: OracleBars, row: int, n: int, extreme: Callable) -> Value:
    """The most extreme later / earlier - 1 of the last n closes, every pair tried."""
    part = last(bars.close, row, n)
    return None if part is None else extreme(b / a for j, a in enumerate(part) for b in part[j:]) - 1


def deepest(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    return furthest(bars, row, n, min)


def rise(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    return furthest(bars, row, n, max)


def share_of_deepest(panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return over(drawdown(panel, bars, row, 252), furthest(bars, row, 252, min))


PRICE_ORACLES: dict[str, Oracle] = {
    **{f"ret_{k}": own(scaled_return, k=k) for k in (1, 2, 3, 5, 10, 21, 42, 63, 126, 252)},
    "ret_1m": own(simple_return),
    **{f"ret_{k}_skip_{skip}": own(between, near=skip, far=k) for skip, k in ((21, 126), (21, 252), (126, 252))},
    **{f"ret_lag_{k}": own(lagged_return, k=k) for k in (1, 2, 3, 4, 5)},
    "ret_season_252": own(between, near=231, far=252),
    **{f"macd_{s}_{m}": own(macd, short=s, long=m) for s, m in ((8, 24), (16, 48), (32, 96))},
    "macd_blend": own(macd_blend),
    "macd_line_12_26": own(macd_line),
    "macd_histogram_12_26_9": own(macd_histogram),
    **{f"sma_{n}_gap": own(sma_gap, n=n) for n in (5, 10, 20, 50, 100, 200)},
    **{f"sma_cross_{s}_{m}": own(crossing, short=s, long=m) for s, m in ((5, 20), (20, 50), (50, 200))},
    "sma_agreement": own(agreement),
    "sma_bandwidth_20": own(bandwidth),
    **{f"ema_{n}_gap": own(ema_gap, span=n) for n in (8, 16, 32, 64, 128)},
    **{f"z_{n}": own(price_zscore, n=n) for n in (5, 10, 21, 63, 126, 252)},
    **{f"z_vol_{n}": own(vol_zscore, n=n) for n in (63, 252)},
    **{f"z_ret_{n}": own(return_zscore, n=n) for n in (21, 252)},
    **{f"z_rank_{n}": own(rank, n=n) for n in (21, 63)},
    **{f"dd_{n}": own(drawdown, n=n) for n in (21, 63, 126, 252)},
    "dd_since_start": own(drawdown_since_start),
    **{f"dd_recovery_{n}": own(recovery, n=n) for n in (63, 252)},
    **{f"dd_ulcer_{n}": own(ulcer, n=n) for n in (14, 63)},
    "dd_underwater_63": own(underwater, n=63),
    "dd_age": own(age),
    **{f"dd_max_{n}": own(deepest, n=n) for n in (21, 63, 252)},
    **{f"dd_rise_{n}": own(rise, n=n) for n in (63, 252)},
    "dd_share_252": own(share_of_deepest),
}
