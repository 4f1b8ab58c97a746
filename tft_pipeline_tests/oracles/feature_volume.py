"""Oracles of the group `vlm`."""

import math
import statistics
from collections.abc import Callable
from itertools import pairwise

from tft_pipeline_tests.oracles.feature_bars import (
    FLAT,
    OracleBars,
    OraclePanel,
    Value,
    last,
    log,
    mean,
    over,
    pearson,
    per_sigma,
    sd,
)
from tft_pipeline_tests.oracles.feature_each_bar import (
    OfBar,
    distance,
    hlc,
    log_volume,
    move,
    signed,
    typical,
    value,
    volume,
    window,
)
from tft_pipeline_tests.oracles.feature_sections import own


def _z_of_last(part: list[float] | None) -> Value:
    return None if part is None else over(part[-1] - mean(part), sd(part), FLAT)


def volume_z(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    return _z_of_last(window(bars, row, n, log_volume))


def _log_value(bars: OracleBars, row: int) -> Value:
    return None if bars.volume[row] is None else math.log(1 + value(bars, row))


def value_z(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    return _z_of_last(window(bars, row, 63, _log_value))


def turnover(_panel: OraclePanel, bars: OracleBars, row: int, short: int, long: int) -> Value:
    a, b = window(bars, row, short, volume), window(bars, row, long, volume)
    return None if a is None or b is None else log(over(mean(a), mean(b)))


def trend(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = window(bars, row, n, log_volume)
    return None if part is None else n * statistics.linear_regression(range(n), part).slope


def variability(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    part = window(bars, row, n, volume)
    return None if part is None else over(sd(part), mean(part))


def change_volatility(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = window(bars, row, 64, log_volume)
    return None if part is None else sd([b - a for a, b in pairwise(part)])


def concentration(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = window(bars, row, 21, volume)
    return None if part is None else over(max(part), math.fsum(part))


def idle(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    part = window(bars, row, 63, volume)
    return None if part is None else part.count(0.0) / 63


def illiquidity(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    moves, values = window(bars, row, 21, distance), window(bars, row, 21, value)
    return None if moves is None or values is None else log(over(math.fsum(moves), math.fsum(values)))


def _share(bars: OracleBars, row: int, n: int, of: OfBar) -> Value:
    part, total = window(bars, row, n, of), window(bars, row, n, volume)
    return None if part is None or total is None else over(math.fsum(part), math.fsum(total))


def flow(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    return _share(bars, row, n, signed)


def balance_z(_panel: OraclePanel, bars: OracleBars, row: int) -> Value:
    parts = [window(bars, j, 21, signed) for j in range(max(row - 62, 0), row + 1)]
    return _z_of_last(last([None if part is None else math.fsum(part) for part in parts], len(parts) - 1, 63))


def _located(bars: OracleBars, row: int) -> Value:
    three = hlc(bars, row)
    if three is None or bars.volume[row] is None:
        return None
    h, low, c = three
    return 0.0 if h == low else bars.volume[row] * (2 * c - h - low) / (h - low)


def accumulation(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    return _share(bars, row, n, _located)


def _typical_value(bars: OracleBars, row: int) -> Value:
    price = typical(bars, row)
    return None if price is None or bars.volume[row] is None else price * bars.volume[row]


def vwap_gap(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    average = _share(bars, row, n, _typical_value)
    return None if average is None else per_sigma(bars, row, math.log(bars.close[row] / average), n)


def up_down(_panel: OraclePanel, bars: OracleBars, row: int, n: int) -> Value:
    moves, volumes = window(bars, row, n, move), window(bars, row, n, volume)
    if moves is None or volumes is None:
        return None
    rose = [v for r, v in zip(moves, volumes, strict=True) if r > 0]
    fell = [v for r, v in zip(moves, volumes, strict=True) if r < 0]
    return log(over(mean(rose), mean(fell))) if rose and fell else None


def correlation(_panel: OraclePanel, bars: OracleBars, row: int, n: int, of: OfBar, back: int = 0) -> Value:
    moves, volumes = window(bars, row, n, of), None if row < back else window(bars, row - back, n, log_volume)
    if moves is None or volumes is None:
        return None
    return pearson(list(zip(moves, volumes, strict=True)))


VOLUME_ORACLES: dict[str, Callable[[OraclePanel, str, int], Value]] = {
    **{f"vlm_z_{n}": own(volume_z, n=n) for n in (5, 10, 21, 63, 126, 252)},
    "vlm_value_z_63": own(value_z),
    **{f"vlm_turnover_{s}_{m}": own(turnover, short=s, long=m) for s, m in ((1, 21), (5, 63), (21, 252))},
    **{f"vlm_trend_{n}": own(trend, n=n) for n in (21, 63)},
    **{f"vlm_variability_{n}": own(variability, n=n) for n in (21, 63)},
    "vlm_change_vol_63": own(change_volatility),
    "vlm_concentration_21": own(concentration),
    "vlm_idle_63": own(idle),
    "vlm_illiquidity_21": own(illiquidity),
    **{f"vlm_flow_{n}": own(flow, n=n) for n in (5, 21, 63)},
    "vlm_balance_z_63": own(balance_z),
    **{f"vlm_accumulation_{n}": own(accumulation, n=n) for n in (5, 21, 63)},
    **{f"vlm_vwap_gap_{n}": own(vwap_gap, n=n) for n in (5, 21, 63)},
    **{f"vlm_up_down_{n}": own(up_down, n=n) for n in (21, 63)},
    **{f"vlm_price_corr_{n}": own(correlation, n=n, of=move) for n in (21, 63)},
    "vlm_move_corr_63": own(correlation, n=63, of=distance),
    "vlm_premium_63": own(correlation, n=63, of=move, back=1),
}
