"""Oracles that compare a symbol with the index (`bars`, row) or with all symbols of its bar (`symbol`, row)."""

import math
import statistics
from collections.abc import Callable
from datetime import datetime

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    OracleBars,
    OraclePanel,
    Value,
    change_over,
    last,
    log_returns,
    mean,
    over,
    pearson,
    per_sigma,
    return_sd,
    sd,
)


def _index_change(panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    if row < k:
        return None
    now, before = panel.market.row_at(bars.times[row]), panel.market.row_at(bars.times[row - k])
    return None if now is None or before is None else math.log(panel.market.close[now] / panel.market.close[before])


def _pairs(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> list[tuple[float, float]] | None:
    if row < n or panel.market.row_at(bars.times[row]) is None:
        return None
    both = [(log_returns(bars)[j], _index_change(panel, bars, j, 1)) for j in range(row - n + 1, row + 1)]
    known = [(r, m) for r, m in both if m is not None]
    return known if len(known) >= n // 2 else None


def beta(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    pairs = _pairs(panel, bars, row, n)
    if pairs is None:
        return None
    mx, my = mean([r for r, _ in pairs]), mean([m for _, m in pairs])
    return over(math.fsum((r - mx) * (m - my) for r, m in pairs), math.fsum((m - my) ** 2 for _, m in pairs), FLAT**2)


def residual(panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    slope, index = beta(panel, bars, row, 252), _index_change(panel, bars, row, k)
    if slope is None or index is None:
        return None
    return per_sigma(bars, row, change_over(bars, row, k) - slope * index, k)


def correlation(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    pairs = _pairs(panel, bars, row, n)
    return None if pairs is None else pearson(pairs)


def relative_strength(panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    own, index = change_over(bars, row, k), _index_change(panel, bars, row, k)
    return None if own is None or index is None else own - index


def _same_bar(panel: OraclePanel, symbol: str, row: int) -> list[tuple[str, OracleBars, int]]:
    time = panel.symbols[symbol].times[row]
    return [(name, b, b.row_at(time)) for name, b in panel.symbols.items() if b.row_at(time) is not None]


def centred_rank(panel: OraclePanel, symbol: str, row: int, of: Callable) -> Value:
    values = {name: of(panel, b, j) for name, b, j in _same_bar(panel, symbol, row)}
    known = [v for v in values.values() if v is not None]
    own = values[symbol]
    if own is None or len(known) < 2:
        return None
    below = sum(v < own for v in known)
    ties = sum(v == own for v in known) - 1
    return (below + ties / 2) / (len(known) - 1) - 0.5


def log_change(_panel: OraclePanel, bars: OracleBars, row: int, k: int) -> Value:
    return change_over(bars, row, k)


def above_share(panel: OraclePanel, symbol: str, row: int, n: int) -> Value:
    parts = [last(b.close, j, n) for _, b, j in _same_bar(panel, symbol, row)]
    votes = [p[-1] > statistics.mean(p) for p in parts if p is not None]
    return None if len(votes) < 2 else sum(votes) / len(votes)


def _returns_now(panel: OraclePanel, time: datetime) -> list[float]:
    rows = [(b, b.row_at(time)) for b in panel.symbols.values()]
    return [log_returns(b)[j] for b, j in rows if j]


def advance(panel: OraclePanel, symbol: str, row: int) -> Value:
    moves = _returns_now(panel, panel.symbols[symbol].times[row])
    return None if len(moves) < 2 else (sum(r > 0 for r in moves) - sum(r < 0 for r in moves)) / len(moves)


def dispersion(panel: OraclePanel, symbol: str, row: int) -> Value:
    moves = _returns_now(panel, panel.symbols[symbol].times[row])
    return None if len(moves) < 2 else sd(moves)


def correlation_proxy(panel: OraclePanel, symbol: str, row: int) -> Value:
    times = sorted({time for b in panel.symbols.values() for time in b.times})
    here = times.index(panel.symbols[symbol].times[row])
    if here < 62:
        return None
    moves = [_returns_now(panel, time) for time in times[here - 62 : here + 1]]
    pooled = [mean(m) for m in moves if len(m) >= 2]
    spreads = [return_sd(b, j, 63) for _, b, j in _same_bar(panel, symbol, row)]
    own = [s**2 for s in spreads if s is not None]
    if len(pooled) < 31 or len(own) < 2 or mean(own) <= FLAT**2:
        return None
    n = len(own)
    return (sd(pooled) ** 2 / mean(own) - 1 / n) / (1 - 1 / n)
