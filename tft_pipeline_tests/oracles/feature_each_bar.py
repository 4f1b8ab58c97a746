"""What the loop oracles read from a single bar and the one before it, as functions of (bars, row); None is missing."""

import math
from collections.abc import Callable
from functools import cache

from tft_pipeline_tests.oracles.feature_bars import OracleBars, Value, last

OfBar = Callable[[OracleBars, int], Value]


@cache
def each(bars: OracleBars, of: OfBar) -> tuple[Value, ...]:
    return tuple(of(bars, row) for row in range(len(bars.close)))


def window(bars: OracleBars, row: int, n: int, of: OfBar) -> list[float] | None:
    """The value of the last n bars, or None if there are fewer or one is missing."""
    return last(each(bars, of), row, n)


def present(*values: Value) -> bool:
    return all(v is not None for v in values)


def bar(bars: OracleBars, row: int) -> tuple[float, float, float, float] | None:
    """O, H, L, C, if all are there."""
    four = bars.open[row], bars.high[row], bars.low[row], bars.close[row]
    return four if present(*four) else None


def hlc(bars: OracleBars, row: int) -> tuple[float, float, float] | None:
    three = bars.high[row], bars.low[row], bars.close[row]
    return three if present(*three) else None


def high(bars: OracleBars, row: int) -> Value:
    return bars.high[row]


def low(bars: OracleBars, row: int) -> Value:
    return bars.low[row]


def close(bars: OracleBars, row: int) -> Value:
    return bars.close[row]


def volume(bars: OracleBars, row: int) -> Value:
    return bars.volume[row]


def move(bars: OracleBars, row: int) -> Value:
    return None if row == 0 else math.log(bars.close[row] / bars.close[row - 1])


def distance(bars: OracleBars, row: int) -> Value:
    """|r|."""
    return None if row == 0 else abs(move(bars, row))


def span(bars: OracleBars, row: int) -> Value:
    """ln(H/L)."""
    return math.log(bars.high[row] / bars.low[row]) if present(bars.high[row], bars.low[row]) else None


def width(bars: OracleBars, row: int) -> Value:
    """H - L."""
    return bars.high[row] - bars.low[row] if present(bars.high[row], bars.low[row]) else None


def day(bars: OracleBars, row: int) -> Value:
    """ln(C/O)."""
    return math.log(bars.close[row] / bars.open[row]) if bars.open[row] is not None else None


def night(bars: OracleBars, row: int) -> Value:
    """ln(O_t / C_t-1)."""
    return math.log(bars.open[row] / bars.close[row - 1]) if row and bars.open[row] is not None else None


def typical(bars: OracleBars, row: int) -> Value:
    three = hlc(bars, row)
    return None if three is None else sum(three) / 3


def true_span(bars: OracleBars, row: int) -> Value:
    """The largest of H - L, |H - C_t-1| and |L - C_t-1|: Wilder's own wording."""
    three = hlc(bars, row)
    if row == 0 or three is None:
        return None
    before = bars.close[row - 1]
    return max(three[0] - three[1], abs(three[0] - before), abs(three[1] - before))


def log_volume(bars: OracleBars, row: int) -> Value:
    return None if bars.volume[row] is None else math.log(1 + bars.volume[row])


def value(bars: OracleBars, row: int) -> Value:
    """C * volume."""
    return None if bars.volume[row] is None else bars.close[row] * bars.volume[row]


def signed(bars: OracleBars, row: int) -> Value:
    """Volume with the sign of the change of the close."""
    if row == 0 or bars.volume[row] is None:
        return None
    before, now = bars.close[row - 1], bars.close[row]
    return bars.volume[row] * ((now > before) - (now < before))


def wilder(values: list[Value], n: int) -> list[Value]:
    """Wilder's mean bar by bar; a missing value leaves it as it was and has none of its own."""
    out: list[Value] = []
    seen: list[float] = []
    smooth = None
    for v in values:
        if v is None:
            out.append(None)
            continue
        seen.append(v)
        if len(seen) == n:
            smooth = math.fsum(seen) / n
        elif len(seen) > n:
            smooth = smooth + (v - smooth) / n
        out.append(smooth)
    return out
