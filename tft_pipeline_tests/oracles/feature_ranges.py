"""Oracles of the group `range`."""

import math
from collections.abc import Callable
from functools import cache

from tft_pipeline_tests.oracles.feature_bars import FLAT, OracleBars, OraclePanel, Value, log, mean, over, sd
from tft_pipeline_tests.oracles.feature_each_bar import (
    bar,
    day,
    each,
    move,
    night,
    present,
    span,
    true_span,
    wilder,
    window,
)
from tft_pipeline_tests.oracles.feature_sections import own


def parkinson(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    spans = window(bars, row, n, span)
    if spans is None:
        return None
    return math.sqrt(panel.bars_per_year * mean([s * s for s in spans]) / (4 * math.log(2)))


def garman_klass(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    spans, days = window(bars, row, n, span), window(bars, row, n, day)
    if spans is None or days is None:
        return None
    terms = [s * s / 2 - (2 * math.log(2) - 1) * b * b for s, b in zip(spans, days, strict=True)]
    return math.sqrt(panel.bars_per_year * mean(terms))


def _rs_term(bars: OracleBars, row: int) -> Value:
    four = bar(bars, row)
    if four is None:
        return None
    o, h, low, c = four
    return math.log(h / c) * math.log(h / o) + math.log(low / c) * math.log(low / o)


def rogers_satchell(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    terms = window(bars, row, n, _rs_term)
    return None if terms is None else math.sqrt(panel.bars_per_year * mean(terms))


def yang_zhang(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    nights, days, terms = (window(bars, row, n, of) for of in (night, day, _rs_term))
    if nights is None or days is None or terms is None:
        return None
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    return math.sqrt(panel.bars_per_year * (sd(nights) ** 2 + k * sd(days) ** 2 + (1 - k) * mean(terms)))


def relative_range(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    spans = window(bars, row, n, span)
    return None if spans is None else over(spans[-1], mean(spans))


def range_zscore(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    spans = window(bars, row, n, span)
    return None if spans is None else over(spans[-1] - mean(spans), sd(spans), FLAT)


@cache
def _wilder_ranges(bars: OracleBars) -> list[Value]:
    return wilder(list(each(bars, true_span)), 14)


def average_true_range(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return over(_wilder_ranges(bars)[row], bars.close[row])


def _log_true_span(bars: OracleBars, row: int) -> Value:
    top, bottom = bars.high[row], bars.low[row]
    if row == 0 or not present(top, bottom):
        return None
    return math.log(max(top, bars.close[row - 1]) / min(bottom, bars.close[row - 1]))


def true_range_ratio(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    short, long = window(bars, row, 5, _log_true_span), window(bars, row, 63, _log_true_span)
    return None if short is None or long is None else log(over(mean(short), mean(long)))


def range_to_close(panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    inside, moves = parkinson(panel, bars, row, n), window(bars, row, n, move)
    if inside is None or moves is None:
        return None
    return log(over(inside / math.sqrt(panel.bars_per_year), sd(moves), FLAT))


def overnight_share(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    nights, days = window(bars, row, n, night), window(bars, row, n, day)
    if nights is None or days is None:
        return None
    a, b = math.fsum(v * v for v in nights), math.fsum(v * v for v in days)
    return over(a, a + b)


def _quotient(bars: OracleBars, row: int) -> Value:
    return bars.high[row] / bars.low[row] if present(bars.high[row], bars.low[row]) else None


def narrowest(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = window(bars, row, 7, _quotient)
    return None if part is None else float(all(part[-1] <= v for v in part))


RANGE_ORACLES: dict[str, Callable[[OraclePanel, str, int], Value]] = {
    **{
        f"range_{formula.__name__}_{n}": own(formula, n=n)
        for formula in (parkinson, garman_klass, rogers_satchell, yang_zhang)
        for n in (5, 10, 21, 63, 126)
    },
    **{f"range_relative_{n}": own(relative_range, n=n) for n in (5, 21, 63)},
    **{f"range_z_{n}": own(range_zscore, n=n) for n in (21, 63)},
    "range_atr_14": own(average_true_range),
    "range_atr_ratio_5_63": own(true_range_ratio),
    **{f"range_to_close_{n}": own(range_to_close, n=n) for n in (21, 63)},
    **{f"range_overnight_share_{n}": own(overnight_share, n=n) for n in (21, 63)},
    "range_narrow_7": own(narrowest),
}
