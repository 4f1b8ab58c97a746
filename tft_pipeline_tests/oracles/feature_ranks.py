"""Oracles that place a symbol among the symbols of its bar: the group `xs`."""

import math
from collections.abc import Callable
from datetime import datetime
from functools import cache, partial

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    OracleBars,
    OraclePanel,
    Value,
    change_over,
    changes,
    last,
    log_returns,
    mean,
    over,
    return_sd,
)
from tft_pipeline_tests.oracles.feature_breadth import same_bar
from tft_pipeline_tests.oracles.feature_prices import drawdown, price_zscore, realised, scaled_return
from tft_pipeline_tests.oracles.feature_sections import beta, residual_deviation, unexplained


@cache
def _of_all(panel: OraclePanel, time: datetime, of: Callable) -> dict[str, Value]:
    return {name: of(panel, bars, row) for name, bars, row in same_bar(panel, time)}


def centred_rank(panel: OraclePanel, symbol: str, row: int, of: Callable) -> Value:
    values = _of_all(panel, panel.symbols[symbol].times[row], of)
    known = [v for v in values.values() if v is not None]
    mine = values[symbol]
    if mine is None or len(known) < 2:
        return None
    below = sum(v < mine for v in known)
    ties = sum(v == mine for v in known) - 1
    return (below + ties / 2) / (len(known) - 1) - 0.5


def excess(panel: OraclePanel, symbol: str, row: int, of: Callable) -> Value:
    values = _of_all(panel, panel.symbols[symbol].times[row], of)
    known = [v for v in values.values() if v is not None]
    return None if values[symbol] is None or len(known) < 2 else values[symbol] - mean(known)


def ranked(of: Callable, **given: object) -> Callable[[OraclePanel, str, int], Value]:
    return partial(centred_rank, of=partial(of, **given))


def log_change(_panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    return change_over(bars, row, k)


def skipped_momentum(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return None if row < 252 else math.log(bars.close[row - 21] / bars.close[row - 252])


def below_high(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    spread = return_sd(bars, row, n)
    return None if spread is None else over(math.log(bars.close[row] / max(last(bars.close, row, n))), spread, FLAT)


def residual_momentum(panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    left, spread = unexplained(panel, bars, row, k), residual_deviation(panel, bars, row, 252)
    return None if left is None or spread is None else over(left, spread * math.sqrt(k), FLAT)


def gain_share(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(changes(bars), row, n)
    return None if part is None else over(math.fsum(c for c in part if c > 0), math.fsum(map(abs, part)))


def turnover(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    short, long = last(bars.volume, row, 5), last(bars.volume, row, 63)
    if short is None or long is None or sum(short) == 0:
        return None
    return over(mean(short), mean(long))


def illiquidity(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    returns, volume = last(log_returns(bars), row, 21), last(bars.volume, row, 21)
    if returns is None or volume is None or not any(returns):
        return None
    value = [price * traded for price, traded in zip(last(bars.close, row, 21), volume, strict=True)]
    return over(math.fsum(map(abs, returns)), math.fsum(value))


def squared_range(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    high, low = last(bars.high, row, 21), last(bars.low, row, 21)
    if high is None or low is None:
        return None
    return mean([math.log(top / bottom) ** 2 for top, bottom in zip(high, low, strict=True)])


RANK_ORACLES: dict[str, Callable[[OraclePanel, str, int], Value]] = {
    **{f"xs_ret_{k}": ranked(log_change, k=k) for k in (1, 5, 10, 21, 63, 126, 252)},
    "xs_momentum_252_21": ranked(skipped_momentum),
    **{f"xs_vol_{n}": ranked(realised, n=n) for n in (21, 63)},
    **{f"xs_drawdown_{n}": ranked(drawdown, n=n) for n in (63, 252)},
    "xs_high_252": ranked(below_high, n=252),
    "xs_beta_252": ranked(beta, n=252),
    "xs_residual_63": ranked(residual_momentum, k=63),
    "xs_rsi_14": ranked(gain_share, n=14),
    **{f"xs_z_{n}": ranked(price_zscore, n=n) for n in (21, 63)},
    "xs_turnover_5_63": ranked(turnover),
    "xs_illiquidity_21": ranked(illiquidity),
    "xs_range_21": ranked(squared_range),
    **{f"xs_excess_{k}": partial(excess, of=partial(scaled_return, k=k)) for k in (1, 5, 21)},
}
