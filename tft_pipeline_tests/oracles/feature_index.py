"""Oracles over the market index's own bars, read at the timestamp of a symbol's bar: the group `mkt`."""

import math
from collections.abc import Callable

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    OracleBars,
    OraclePanel,
    Value,
    changes,
    last,
    log_returns,
    mean,
    over,
    sd,
)
from tft_pipeline_tests.oracles.feature_prices import (
    drawdown,
    macd,
    price_zscore,
    realised,
    scaled_return,
    sma_gap,
    vol_ratio,
)


def of_index(formula: Callable, **given: object) -> Callable[[OraclePanel, str, int], Value]:
    def at(panel: OraclePanel, symbol: str, row: int) -> Value:
        there = panel.market.row_at(panel.symbols[symbol].times[row])
        return None if there is None else formula(panel, panel.market, there, **given)

    return at


def relative_strength_index(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    if row < n:
        return None
    gain, loss = (mean([max(sign * c, 0) for c in changes(bars)[1 : n + 1]]) for sign in (1, -1))
    for change in changes(bars)[n + 1 : row + 1]:
        gain, loss = ((n - 1) * gain + max(change, 0)) / n, ((n - 1) * loss + max(-change, 0)) / n
    return over(gain, gain + loss)


def skewness(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(log_returns(bars), row, n)
    if part is None:
        return None
    deviations = [r - mean(part) for r in part]
    spread = math.sqrt(mean([d**2 for d in deviations]))
    return None if spread <= FLAT else mean([d**3 for d in deviations]) / spread**3


def downside_share(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(log_returns(bars), row, n)
    if part is None:
        return None
    return over(math.fsum(r * r for r in part if r < 0), math.fsum(r * r for r in part), n * FLAT**2)


def limited_streak(_panel: OraclePanel, bars: OracleBars, row: int, limit: int) -> Value:
    part = last(changes(bars), row, limit)
    if part is None:
        return None
    signs = [(c > 0) - (c < 0) for c in reversed(part)]
    length = next((j for j, sign in enumerate(signs) if sign != signs[0]), limit)
    return float(signs[0] * length)


def high_age(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else list(reversed(part)).index(max(part)) / (n - 1)


def variance_ratio(_panel: OraclePanel, bars: OracleBars, row: int, q: int, n: int) -> Value:
    part = last(log_returns(bars), row, n)
    if part is None or sd(part) <= FLAT:
        return None
    several = [math.fsum(part[k : k + q]) for k in range(n - q + 1)]
    squares = math.fsum((x - q * mean(part)) ** 2 for x in several)
    return squares / (q * (n - q + 1) * (1 - q / n)) / sd(part) ** 2 - 1


INDEX_ORACLES: dict[str, Callable[[OraclePanel, str, int], Value]] = {
    **{f"mkt_ret_{k}": of_index(scaled_return, k=k) for k in (1, 2, 5, 10, 21, 63, 126, 252)},
    **{f"mkt_vol_{n}": of_index(realised, n=n) for n in (5, 21, 63, 252)},
    **{f"mkt_vol_ratio_{s}_{m}": of_index(vol_ratio, short=s, long=m) for s, m in ((5, 63), (21, 252))},
    **{f"mkt_drawdown_{n}": of_index(drawdown, n=n) for n in (63, 252)},
    "mkt_high_age_252": of_index(high_age, n=252),
    **{f"mkt_sma_{n}_gap": of_index(sma_gap, n=n) for n in (20, 50, 200)},
    **{f"mkt_macd_{s}_{m}": of_index(macd, short=s, long=m) for s, m in ((8, 24), (16, 48), (32, 96))},
    "mkt_rsi_14": of_index(relative_strength_index, n=14),
    **{f"mkt_z_{n}": of_index(price_zscore, n=n) for n in (21, 63, 252)},
    "mkt_skew_63": of_index(skewness, n=63),
    "mkt_downside_63": of_index(downside_share, n=63),
    "mkt_streak_21": of_index(limited_streak, limit=21),
    "mkt_vr_5_126": of_index(variance_ratio, q=5, n=126),
}
