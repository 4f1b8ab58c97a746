"""Oracles of the group `osc`."""

import math
import statistics
from collections.abc import Callable
from functools import cache

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    OracleBars,
    OraclePanel,
    Value,
    last,
    log,
    mean,
    over,
    per_sigma,
)
from tft_pipeline_tests.oracles.feature_each_bar import (
    bar,
    close,
    each,
    high,
    hlc,
    low,
    move,
    present,
    true_span,
    typical,
    volume,
    width,
    wilder,
    window,
)
from tft_pipeline_tests.oracles.feature_sections import own


def _place(bars: OracleBars, row: int, n: int, back: int = 0) -> Value:
    tops, bottoms = (window(bars, row - back, n, of) if row >= back else None for of in (high, low))
    if tops is None or bottoms is None:
        return None
    return over(bars.close[row] - min(bottoms), max(tops) - min(bottoms))


def stochastic(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    return _place(bars, row, n)


def smoothed_stochastic(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    three = [_place(bars, j, 14) for j in range(row - 2, row + 1)] if row >= 2 else [None]
    return None if None in three else mean(three)


def donchian(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    return _place(bars, row, n, back=1)


def cci(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = window(bars, row, n, typical)
    if part is None:
        return None
    deviation = mean([abs(v - mean(part)) for v in part])
    return over(part[-1] - mean(part), 0.015 * deviation, 0.015 * FLAT * mean(part))


def keltner(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    prices, spans = window(bars, row, 20, typical), window(bars, row, 20, true_span)
    return None if prices is None or spans is None else over(bars.close[row] - mean(prices), mean(spans))


def bollinger(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = window(bars, row, 20, close)
    if part is None:
        return None
    m, s = mean(part), statistics.pstdev(part)
    return None if s <= FLAT * m else (part[-1] - (m - 2 * s)) / ((m + 2 * s) - (m - 2 * s))


def bollinger_width(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = window(bars, row, 20, close)
    return None if part is None else 4 * statistics.pstdev(part) / mean(part)


def squeeze(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part, spans = window(bars, row, 20, close), window(bars, row, 20, true_span)
    return None if part is None or spans is None else over(statistics.pstdev(part), mean(spans))


def _middle(bars: OracleBars, row: int) -> Value:
    return (bars.high[row] + bars.low[row]) / 2 if present(bars.high[row], bars.low[row]) else None


def awesome(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    short, long, spans = window(bars, row, 5, _middle), window(bars, row, 34, _middle), window(bars, row, 34, true_span)
    return None if short is None or long is None or spans is None else over(mean(short) - mean(long), mean(spans))


def _weighted(values: list[Value]) -> list[Value]:
    """EWM mean with span 9, None until nine values are known."""
    out: list[Value] = []
    top = bottom = 0.0
    seen = 0
    for v in values:
        if v is not None:
            top, bottom, seen = 0.8 * top + v, 0.8 * bottom + 1, seen + 1
        out.append(None if v is None or seen < 9 else top / bottom)
    return out


@cache
def _width_ratios(bars: OracleBars) -> list[Value]:
    first = _weighted(list(each(bars, width)))
    return [over(a, b) for a, b in zip(first, _weighted(first), strict=True)]


def mass(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = last(_width_ratios(bars), row, 25)
    return None if part is None else math.fsum(part)


@cache
def _directions(bars: OracleBars) -> tuple[list[Value], list[Value], list[Value]]:
    """+DI, -DI and ADX of every bar."""
    rises: list[Value] = []
    falls: list[Value] = []
    spans: list[Value] = []
    for row in range(len(bars.close)):
        now, before = hlc(bars, row), hlc(bars, row - 1) if row else None
        known = now is not None and before is not None
        up, down = (now[0] - before[0], before[1] - now[1]) if known else (0.0, 0.0)
        rises.append((up if up > down and up > 0 else 0.0) if known else None)
        falls.append((down if down > up and down > 0 else 0.0) if known else None)
        spans.append(true_span(bars, row) if known else None)
    smooth = wilder(spans, 14)
    plus = [over(a, b) for a, b in zip(wilder(rises, 14), smooth, strict=True)]
    minus = [over(a, b) for a, b in zip(wilder(falls, 14), smooth, strict=True)]
    strength = [None if None in (a, b) else over(abs(a - b), a + b) for a, b in zip(plus, minus, strict=True)]
    return plus, minus, wilder(strength, 14)


def direction(_panel: OraclePanel, bars: OracleBars, row: int, which: int) -> Value:
    return _directions(bars)[which][row]


def aroon(_panel: OraclePanel, bars: OracleBars, row: int, top: bool) -> Value:
    part = window(bars, row, 26, high if top else low)
    if part is None:
        return None
    extreme = max(part) if top else min(part)
    return 1 - part[::-1].index(extreme) / 25


def choppiness(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    tops, bottoms, spans = (window(bars, row, 14, of) for of in (high, low, true_span))
    if tops is None or bottoms is None or spans is None:
        return None
    path = log(over(math.fsum(spans), max(tops) - min(bottoms)))
    return None if path is None else path / math.log(14)


def _lead(bars: OracleBars, row: int) -> Value:
    if row == 0 or not present(*(side[j] for side in (bars.high, bars.low) for j in (row, row - 1))):
        return None
    return abs(bars.high[row] - bars.low[row - 1]) - abs(bars.low[row] - bars.high[row - 1])


def vortex(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    leads, spans = window(bars, row, 14, _lead), window(bars, row, 14, true_span)
    return None if leads is None or spans is None else over(math.fsum(leads), math.fsum(spans))


def money_flow(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    prices, volumes = window(bars, row, 15, typical), window(bars, row, 14, volume)
    if prices is None or volumes is None:
        return None
    moves = list(zip(prices, prices[1:], volumes, strict=False))
    gained = math.fsum(b * v for a, b, v in moves if b > a)
    return over(gained, gained + math.fsum(b * v for a, b, v in moves if b < a))


def _bought(bars: OracleBars, row: int) -> Value:
    if row == 0 or bars.low[row] is None:
        return None
    return bars.close[row] - min(bars.low[row], bars.close[row - 1])


def ultimate(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    total = 0.0
    for n, weight in ((7, 4), (14, 2), (28, 1)):
        bought, spans = window(bars, row, n, _bought), window(bars, row, n, true_span)
        average = None if bought is None or spans is None else over(math.fsum(bought), math.fsum(spans))
        if average is None:
            return None
        total += weight * average / 7
    return total


def _pushed(bars: OracleBars, row: int) -> Value:
    return move(bars, row) * bars.volume[row] if row and bars.volume[row] is not None else None


def force(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    pushed, volumes = window(bars, row, n, _pushed), window(bars, row, 63, volume)
    if pushed is None or volumes is None:
        return None
    return per_sigma(bars, row, over(mean(pushed), mean(volumes)), 1)


def _gained(bars: OracleBars, row: int) -> Value:
    four = bar(bars, row)
    return None if four is None else four[3] - four[0]


def balance(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    gained, widths = window(bars, row, 14, _gained), window(bars, row, 14, width)
    return None if gained is None or widths is None else over(math.fsum(gained), math.fsum(widths))


OSCILLATOR_ORACLES: dict[str, Callable[[OraclePanel, str, int], Value]] = {
    **{f"osc_stochastic_{n}": own(stochastic, n=n) for n in (14, 63)},
    "osc_stochastic_14_3": own(smoothed_stochastic),
    **{f"osc_cci_{n}": own(cci, n=n) for n in (14, 20)},
    **{f"osc_donchian_{n}": own(donchian, n=n) for n in (20, 55)},
    "osc_keltner_20": own(keltner),
    "osc_bollinger_20": own(bollinger),
    "osc_bollinger_width_20": own(bollinger_width),
    "osc_squeeze_20": own(squeeze),
    "osc_awesome_5_34": own(awesome),
    "osc_mass_25": own(mass),
    "osc_plus_di_14": own(direction, which=0),
    "osc_minus_di_14": own(direction, which=1),
    "osc_adx_14": own(direction, which=2),
    "osc_aroon_up_25": own(aroon, top=True),
    "osc_aroon_down_25": own(aroon, top=False),
    "osc_choppiness_14": own(choppiness),
    "osc_vortex_14": own(vortex),
    "osc_money_flow_14": own(money_flow),
    "osc_ultimate": own(ultimate),
    **{f"osc_force_{n}": own(force, n=n) for n in (2, 13)},
    "osc_balance_14": own(balance),
}
