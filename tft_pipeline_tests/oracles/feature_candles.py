"""Oracles of the group `bar`."""

import math
from collections.abc import Callable

from tft_pipeline_tests.oracles.feature_bars import FLAT, OracleBars, OraclePanel, Value, mean, over, per_sigma, sd
from tft_pipeline_tests.oracles.feature_each_bar import bar, day, hlc, night, present, width, window
from tft_pipeline_tests.oracles.feature_sections import own


def intrabar(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return per_sigma(bars, row, day(bars, row), 1)


def overnight(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return per_sigma(bars, row, night(bars, row), 1)


def close_location(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    three = hlc(bars, row)
    return None if three is None else over(three[2] - three[1], three[0] - three[1])


def body(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    four = bar(bars, row)
    return None if four is None else over(four[3] - four[0], four[1] - four[2])


def shadow(_panel: OraclePanel, bars: OracleBars, row: int, upper: bool) -> Value:
    four = bar(bars, row)
    if four is None:
        return None
    o, h, low, c = four
    return over(min(h - o, h - c) if upper else min(o - low, c - low), h - low)


def _above_low(bars: OracleBars, row: int) -> Value:
    three = hlc(bars, row)
    return None if three is None else three[2] - three[1]


def mean_location(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    places, widths = window(bars, row, n, _above_low), window(bars, row, n, width)
    return None if places is None or widths is None else over(math.fsum(places), math.fsum(widths))


def intrabar_sum(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    days = window(bars, row, n, day)
    return None if days is None else per_sigma(bars, row, math.fsum(days), n)


def overnight_mean(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    nights = window(bars, row, n, night)
    if nights is None or sd(nights) <= FLAT:
        return None
    return mean(nights) / (sd(nights) / math.sqrt(n))


def range_gap(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    if row == 0 or not present(bars.open[row], bars.high[row - 1], bars.low[row - 1]):
        return None
    start, top, bottom = bars.open[row], bars.high[row - 1], bars.low[row - 1]
    beyond = math.log(start / top) if start > top else math.log(start / bottom) if start < bottom else 0.0
    return per_sigma(bars, row, beyond, 1)


def held(_panel: OraclePanel, bars: OracleBars, row: int, within: bool) -> Value:
    if row == 0 or not present(bars.high[row], bars.low[row], bars.high[row - 1], bars.low[row - 1]):
        return None
    if within:
        return float(bars.high[row - 1] >= bars.high[row] and bars.low[row - 1] <= bars.low[row])
    return float(bars.high[row] > bars.high[row - 1] and bars.low[row] < bars.low[row - 1])


def _upper(bars: OracleBars, row: int) -> Value:
    three = hlc(bars, row)
    return None if three is None else float(three[2] > (three[0] + three[1]) / 2)


def upper_half(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = window(bars, row, 21, _upper)
    return None if part is None else sum(part) / 21


def tug(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    nights, days = window(bars, row, n, night), window(bars, row, n, day)
    if nights is None or days is None:
        return None
    path = math.fsum(map(abs, nights + days))
    return over(math.fsum(nights) - math.fsum(days), path, FLAT)


CANDLE_ORACLES: dict[str, Callable[[OraclePanel, str, int], Value]] = {
    "bar_intrabar": own(intrabar),
    "bar_overnight": own(overnight),
    "bar_close_location": own(close_location),
    "bar_body": own(body),
    "bar_upper_shadow": own(shadow, upper=True),
    "bar_lower_shadow": own(shadow, upper=False),
    **{f"bar_close_location_{n}": own(mean_location, n=n) for n in (5, 21)},
    **{f"bar_intrabar_{n}": own(intrabar_sum, n=n) for n in (5, 21, 63)},
    **{f"bar_overnight_{n}": own(overnight_mean, n=n) for n in (5, 21, 63)},
    "bar_gap": own(range_gap),
    "bar_inside": own(held, within=True),
    "bar_outside": own(held, within=False),
    "bar_upper_half_21": own(upper_half),
    **{f"bar_tug_{n}": own(tug, n=n) for n in (21, 63)},
}
