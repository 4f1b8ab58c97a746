"""Oracles of group vol: the size of returns, the shape of their distribution, and what one tells about the next."""

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    Oracle,
    OracleBars,
    OraclePanel,
    Value,
    changes,
    last,
    log_returns,
    mean,
    over,
    own,
    pearson,
    per_sigma,
    return_sd,
    sd,
)
from tft_pipeline_tests.oracles.feature_prices import exponential, realised, vol_ratio


def vol_change(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    if row < 2 * n:
        return None
    now, before = return_sd(bars, row, n), return_sd(bars, row - n, n)
    return None if now is None or before is None or min(now, before) <= FLAT else math.log(now / before)


def downside(panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = last(log_returns(bars), row, 63)
    return None if part is None else math.sqrt(mean([min(r, 0) ** 2 for r in part]) * panel.bars_per_year)


def vol_of_vol(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = [return_sd(bars, j, 21) for j in range(max(row - 62, 0), row + 1)]
    return None if len(part) < 63 or None in part else over(sd(part), mean(part), FLAT)


def shape(_panel: OraclePanel, bars: OracleBars, row: int, n: int, power: int) -> Value:
    part = last(log_returns(bars), row, n)
    if part is None:
        return None
    m = mean(part)
    second = mean([(r - m) ** 2 for r in part])
    if math.sqrt(second) <= FLAT:
        return None
    return mean([(r - m) ** power for r in part]) / second ** (power / 2) - (3 if power == 4 else 0)


def correlation_of(
    _panel: OraclePanel, bars: OracleBars, row: int, n: int, ago: int, now: Callable, before: Callable
) -> Value:
    """Of now(r_t) with before(r_{t-ago})."""
    part = last(log_returns(bars), row, n + ago)
    return None if part is None else pearson([(now(x), before(y)) for x, y in zip(part[ago:], part, strict=False)])


def asymmetry(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(log_returns(bars), row, n)
    if part is None:
        return None
    up, down = (math.fsum(r * r for r in part if sign * r > 0) for sign in (1, -1))
    return over(up - down, up + down, n * FLAT**2)


def _bipower(bars: OracleBars, row: int, n: int) -> Value:
    part = last(log_returns(bars), row, n + 1)
    return None if part is None else math.pi / 2 * mean([abs(x) * abs(y) for x, y in pairwise(part)])


def bipower(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    variance = _bipower(bars, row, n)
    return None if variance is None else math.sqrt(variance * panel.bars_per_year)


def jump_share(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    variance = _bipower(bars, row, n)
    if variance is None:
        return None
    share = over(variance, mean([r * r for r in last(log_returns(bars), row, n)]), FLAT**2)
    return None if share is None else 1 - share


def smallness(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = last(log_returns(bars), row, 63)
    return None if part is None else over(mean([abs(r) for r in part]), math.sqrt(mean([r * r for r in part])), FLAT)


def extreme_return(_panel: OraclePanel, bars: OracleBars, row: int, n: int, extreme: Callable) -> Value:
    part = last(log_returns(bars), row, n)
    return None if part is None else per_sigma(bars, row, extreme(part), 1)


@cache
def shocks(bars: OracleBars) -> list[Value]:
    """Each return over the standard deviation of the 63 before it."""
    rows = range(1, len(bars.close))
    return [None] + [over(log_returns(bars)[j], return_sd(bars, j - 1, 63), FLAT) for j in rows]


def surprise(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    value = shocks(bars)[row]
    return None if value is None else abs(value)


def exceedances(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = last(shocks(bars), row, 63)
    return None if part is None else sum(abs(z) > 2 for z in part) / 63


def unchanged(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = last(changes(bars), row, 63)
    return None if part is None else sum(c == 0 for c in part) / 63


VOLATILITY_ORACLES: dict[str, Oracle] = {
    **{f"vol_{n}": own(realised, n=n) for n in (5, 10, 21, 63, 126, 252)},
    **{f"vol_ewm_{n}": own(exponential, span=n) for n in (10, 20, 60, 125)},
    **{f"vol_ratio_{s}_{m}": own(vol_ratio, short=s, long=m) for s, m in ((5, 21), (5, 63), (21, 252), (63, 252))},
    **{f"vol_change_{n}": own(vol_change, n=n) for n in (5, 21, 63)},
    "vol_downside_63": own(downside),
    "vol_of_vol_63": own(vol_of_vol),
    **{f"vol_skew_{n}": own(shape, n=n, power=3) for n in (21, 63, 252)},
    **{f"vol_kurtosis_{n}": own(shape, n=n, power=4) for n in (63, 252)},
    **{f"vol_autocorrelation_{n}": own(correlation_of, n=n, ago=1, now=float, before=float) for n in (21, 63)},
    **{
        f"vol_autocorrelation_63_lag_{ago}": own(correlation_of, n=63, ago=ago, now=float, before=float)
        for ago in (2, 5)
    },
    **{f"vol_clustering_{n}": own(correlation_of, n=n, ago=1, now=abs, before=abs) for n in (63, 252)},
    **{f"vol_leverage_{n}": own(correlation_of, n=n, ago=1, now=abs, before=float) for n in (63, 252)},
    **{f"vol_asymmetry_{n}": own(asymmetry, n=n) for n in (21, 63, 252)},
    **{f"vol_bipower_{n}": own(bipower, n=n) for n in (21, 63)},
    **{f"vol_jump_share_{n}": own(jump_share, n=n) for n in (21, 63)},
    "vol_smallness_63": own(smallness),
    **{
        f"vol_{which}_{n}": own(extreme_return, n=n, extreme=extreme)
        for which, extreme in (("best", max), ("worst", min))
        for n in (21, 63)
    },
    "vol_surprise": own(surprise),
    "vol_exceedances_63": own(exceedances),
    "vol_unchanged_63": own(unchanged),
}
