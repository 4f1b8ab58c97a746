"""Oracles of group mom: oscillators of closes, places in the range, runs, and how steady a move is."""

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
    change_over,
    changes,
    last,
    log_returns,
    over,
    own,
    per_sigma,
    weighted,
)


@cache
def _strengths(bars: OracleBars, n: int) -> list[Value]:
    change = changes(bars)
    out: list[Value] = [None] * min(n, len(change))
    gain, loss = (math.fsum(max(sign * c, 0) for c in change[1 : n + 1]) / n for sign in (1, -1))
    for row in range(n, len(change)):
        if row > n:
            gain = ((n - 1) * gain + max(change[row], 0)) / n
            loss = ((n - 1) * loss + max(-change[row], 0)) / n
        out.append(over(gain, gain + loss))
    return out


def rsi(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    return _strengths(bars, n)[row]


def rsi_place(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = last(_strengths(bars, 14), row, 14)
    return None if part is None else over(part[-1] - min(part), max(part) - min(part), 1e-9)


def stochastic(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else over(part[-1] - min(part), max(part) - min(part))


def to_extreme(_panel: OraclePanel, bars: OracleBars, row: int, extreme: Callable) -> Value:
    part = last(bars.close, row, 252)
    return None if part is None else per_sigma(bars, row, math.log(part[-1] / extreme(part)), 252)


def up_share(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(changes(bars), row, n)
    return None if part is None else sum(c > 0 for c in part) / n


def streak(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    if row < 1:
        return None
    signs = [(c > 0) - (c < 0) for c in changes(bars)[1 : row + 1]]
    length = 0
    while length < len(signs) and signs[-1 - length] == signs[-1]:
        length += 1
    return float(signs[-1] * length)


def streak_return(panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    length = streak(panel, bars, row)
    return None if length is None else per_sigma(bars, row, change_over(bars, row, abs(int(length))), 1)


@cache
def _trix(bars: OracleBars) -> list[Value]:
    smooth: list[Value] = [math.log(c) for c in bars.close]
    for _ in range(3):
        smooth = weighted(smooth, 15)
    return smooth


def trix(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    if row < 1 or _trix(bars)[row - 1] is None:
        return None
    return per_sigma(bars, row, _trix(bars)[row] - _trix(bars)[row - 1], 1)


@cache
def _twice(bars: OracleBars, of: Callable) -> list[Value]:
    return weighted(weighted([None if c is None else of(c) for c in changes(bars)], 25), 13)


def true_strength(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return over(_twice(bars, float)[row], _twice(bars, abs)[row])


def coppock(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    if row < 23:
        return None
    sums = [change_over(bars, j, 14) + change_over(bars, j, 11) for j in range(row - 9, row + 1)]
    return per_sigma(bars, row, math.fsum(w * s for w, s in enumerate(sums, 1)) / 55, 25)


def efficiency(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(log_returns(bars), row, n)
    return None if part is None else over(change_over(bars, row, n), math.fsum(map(abs, part)), FLAT)


def age(_panel: OraclePanel, bars: OracleBars, row: int, n: int, extreme: Callable) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else part[::-1].index(extreme(part)) / (n - 1)


def discreteness(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(changes(bars), row, n)
    if part is None:
        return None
    whole = bars.close[row] - bars.close[row - n]
    return ((whole > 0) - (whole < 0)) * (sum(c < 0 for c in part) - sum(c > 0 for c in part)) / n


def price_span(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = last(bars.close, row, n)
    return None if part is None else per_sigma(bars, row, math.log(max(part) / min(part)), n)


def months_up(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    if row < 252:
        return None
    closes = [bars.close[row - 21 * k] for k in range(13)]
    return sum(now > before for now, before in pairwise(closes)) / 12


MOMENTUM_ORACLES: dict[str, Oracle] = {
    **{f"mom_rsi_{n}": own(rsi, n=n) for n in (7, 14, 28)},
    "mom_rsi_place_14": own(rsi_place),
    **{f"mom_stochastic_{n}": own(stochastic, n=n) for n in (10, 21, 63, 126, 252)},
    "mom_high_252": own(to_extreme, extreme=max),
    "mom_low_252": own(to_extreme, extreme=min),
    **{f"mom_up_share_{n}": own(up_share, n=n) for n in (10, 21, 63, 252)},
    "mom_streak": own(streak),
    "mom_streak_return": own(streak_return),
    "mom_trix_15": own(trix),
    "mom_strength_25_13": own(true_strength),
    "mom_coppock_14_11": own(coppock),
    **{f"mom_efficiency_{n}": own(efficiency, n=n) for n in (10, 21, 63, 252)},
    **{
        f"mom_{which}_age_{n}": own(age, n=n, extreme=extreme)
        for which, extreme in (("high", max), ("low", min))
        for n in (21, 63, 252)
    },
    **{f"mom_discreteness_{n}": own(discreteness, n=n) for n in (63, 252)},
    **{f"mom_span_{n}": own(price_span, n=n) for n in (21, 63, 252)},
    "mom_months_up_12": own(months_up),
}
