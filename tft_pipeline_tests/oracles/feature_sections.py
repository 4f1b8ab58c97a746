"""Oracles that compare a symbol with the index between the same timestamps: the groups `beta`, `corr` and `rs`."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    OracleBars,
    OraclePanel,
    Value,
    change_over,
    log_returns,
    mean,
    over,
    pearson,
    per_sigma,
    sd,
)


def own(formula: Callable, **given: object) -> Callable[[OraclePanel, str, int], Value]:
    return lambda panel, symbol, row: formula(panel, panel.symbols[symbol], row, **given)


def _index_change(panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    if row < k:
        return None
    now, before = panel.market.row_at(bars.times[row]), panel.market.row_at(bars.times[row - k])
    return None if now is None or before is None else math.log(panel.market.close[now] / panel.market.close[before])


@cache
def _index_returns(panel: OraclePanel, bars: OracleBars) -> list[Value]:
    return [_index_change(panel, bars, row, 1) for row in range(len(bars.times))]


@cache
def _pairs(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> list[tuple[float, float]] | None:
    if row < n or panel.market.row_at(bars.times[row]) is None:
        return None
    returns, index = log_returns(bars), _index_returns(panel, bars)
    known = [(returns[j], index[j]) for j in range(row - n + 1, row + 1) if index[j] is not None]
    return known if len(known) >= n // 2 else None


def _slope(pairs: list[tuple[float, float]]) -> Value:
    mx, my = mean([r for r, _ in pairs]), mean([m for _, m in pairs])
    return over(math.fsum((r - mx) * (m - my) for r, m in pairs), math.fsum((m - my) ** 2 for _, m in pairs), FLAT**2)


@cache
def beta(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    pairs = _pairs(panel, bars, row, n)
    return None if pairs is None else _slope(pairs)


def change_of(panel: OraclePanel, bars: OracleBars, row: int, of: Callable, short: int, long: int) -> Value:
    a, b = of(panel, bars, row, short), of(panel, bars, row, long)
    return None if a is None or b is None else a - b


def downside_beta(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    if row < n or panel.market.row_at(bars.times[row]) is None:
        return None
    index = _index_returns(panel, bars)
    falls = [(log_returns(bars)[j], index[j]) for j in range(row - n + 1, row + 1) if index[j] and index[j] < 0]
    return None if len(falls) < n / 4 else _slope(falls)


def _with_yesterday(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> list[tuple[float, float, float]] | None:
    if row < n + 1 or panel.market.row_at(bars.times[row]) is None:
        return None
    returns, index = log_returns(bars), _index_returns(panel, bars)
    return [(returns[j], index[j], index[j - 1]) for j in range(row - n + 1, row + 1)]


def lagged_beta(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    rows = _with_yesterday(panel, bars, row, n)
    known = None if rows is None else [each for each in rows if None not in each]
    if known is None or len(known) < n // 2:
        return None
    own_return, today, yesterday = np.array(known).T
    design = np.stack([np.ones(len(known)), today, yesterday], axis=1)
    return float(np.linalg.lstsq(design, own_return, rcond=None)[0][1:].sum())


def lagged_correlation(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    rows = _with_yesterday(panel, bars, row, n)
    known = None if rows is None else [(r, before) for r, _, before in rows if before is not None]
    return None if known is None or len(known) < n // 2 else pearson(known)


@cache
def unexplained(panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    slope, index = beta(panel, bars, row, 252), _index_change(panel, bars, row, k)
    return None if slope is None or index is None else change_over(bars, row, k) - slope * index


def residual(panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    left = unexplained(panel, bars, row, k)
    return None if left is None else per_sigma(bars, row, left, k)


def _residuals(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> list[float] | None:
    pairs, slope = _pairs(panel, bars, row, n), beta(panel, bars, row, n)
    if pairs is None or slope is None:
        return None
    level = mean([r for r, _ in pairs]) - slope * mean([m for _, m in pairs])
    return [r - level - slope * m for r, m in pairs]


@cache
def residual_deviation(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    left = _residuals(panel, bars, row, n)
    return None if left is None else math.sqrt(math.fsum(e * e for e in left) / (len(left) - 2))


def idiosyncratic_volatility(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    deviation = residual_deviation(panel, bars, row, n)
    return None if deviation is None else deviation * math.sqrt(panel.bars_per_year)


def idiosyncratic_share(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    left = _residuals(panel, bars, row, n)
    if left is None:
        return None
    returns = [r for r, _ in _pairs(panel, bars, row, n)]
    total = math.fsum((r - mean(returns)) ** 2 for r in returns)
    return over(math.fsum(e * e for e in left), total, len(left) * FLAT**2)


@cache
def correlation(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    pairs = _pairs(panel, bars, row, n)
    return None if pairs is None else pearson(pairs)


def relative_strength(panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    ours, index = change_over(bars, row, k), _index_change(panel, bars, row, k)
    return None if ours is None or index is None else ours - index


def relative_zscore(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    if row < n - 1 or panel.market.row_at(bars.times[row]) is None:
        return None
    there = [(j, panel.market.row_at(bars.times[j])) for j in range(row - n + 1, row + 1)]
    gaps = [math.log(bars.close[j] / panel.market.close[k]) for j, k in there if k is not None]
    return None if len(gaps) < n // 2 else over(gaps[-1] - mean(gaps), sd(gaps), FLAT)


def relative_volatility(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    pairs = _pairs(panel, bars, row, n)
    if pairs is None:
        return None
    ours, index = sd([r for r, _ in pairs]), sd([m for _, m in pairs])
    return None if min(ours, index) <= FLAT else math.log(ours / index)


RELATIVE_ORACLES: dict[str, Callable[[OraclePanel, str, int], Value]] = {
    **{f"beta_{n}": own(beta, n=n) for n in (21, 63, 126, 252)},
    "beta_change_63_252": own(change_of, of=beta, short=63, long=252),
    "beta_downside_252": own(downside_beta, n=252),
    "beta_lagged_252": own(lagged_beta, n=252),
    **{f"beta_residual_{k}": own(residual, k=k) for k in (1, 5, 21, 63, 126)},
    **{f"beta_idio_vol_{n}": own(idiosyncratic_volatility, n=n) for n in (21, 63, 252)},
    **{f"beta_idio_share_{n}": own(idiosyncratic_share, n=n) for n in (63, 252)},
    **{f"corr_{n}": own(correlation, n=n) for n in (21, 63, 126, 252)},
    "corr_change_63_252": own(change_of, of=correlation, short=63, long=252),
    "corr_lagged_63": own(lagged_correlation, n=63),
    **{f"rs_{k}": own(relative_strength, k=k) for k in (1, 5, 10, 21, 63, 126, 252)},
    **{f"rs_z_{n}": own(relative_zscore, n=n) for n in (63, 252)},
    **{f"rs_vol_{n}": own(relative_volatility, n=n) for n in (21, 63)},
}
