"""Statistics of the minutes inside each bar, all bars at once: arrays of minutes cut into stretches, one value a stretch.

Here: the stretches and the formulas of the path of prices. Not here: formulas of trading (`order_flow`), which minute
belongs to which bar (`minutes`), features made of these values (`features.intraday`).

A stretch is the minutes of one bar of one symbol in order of time, n of them, elapsed e_1 = 1 .. e_n minutes counted from the
opening of the first. p, o, h, l, v are close, open, high, low, volume of a minute; r_i = ln(p_i / p_{i-1}), i = 2 .. n, so
m = n - 1 returns and no overnight gap; a minute without a row makes the next return longer. Each value is a function of its
own stretch to the bit: sums are taken stretch by stretch, never as differences of running sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MINUTE = 60_000_000
"""Microseconds."""
OPENING = 30.0
"""Minutes of the opening range, and of the first and last half hour."""
LAST_HOUR = 60.0
BLOCK = 5.0
"""Minutes of the longer returns."""
FEWEST_RETURNS = 10
"""Shapes, autocorrelations and slopes of fewer returns are null."""
FLAT = 1e-12
"""A standard deviation of returns at or below this is rounding, not movement."""


@dataclass(frozen=True)
class Sessions:
    """The minutes of many bars, one after the other.

    Attributes:
        starts: first row of each stretch, ascending from 0; none is empty.
        stamps: time of each minute's close, microseconds.
        close, open, high, low, volume: of each minute; None where the source has no such column.
    """

    starts: NDArray[np.intp]
    stamps: NDArray[np.int64]
    close: Array
    open: Array | None = None
    high: Array | None = None
    low: Array | None = None
    volume: Array | None = None

    def column(self, name: str) -> Array:
        """An optional column that is there."""
        values: Array | None = getattr(self, name)
        assert values is not None, name
        return values

    @cached_property
    def count(self) -> NDArray[np.intp]:
        """n, minutes of each stretch."""
        return np.diff(np.append(self.starts, len(self.close)))

    @cached_property
    def last(self) -> NDArray[np.intp]:
        """Last row of each stretch."""
        return self.starts + self.count - 1

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Rows with a return: all but the first of a stretch."""
        found = np.ones(len(self.close), dtype=np.bool_)
        found[self.starts] = False
        return found

    @cached_property
    def paired(self) -> NDArray[np.bool_]:
        """Rows with a return whose row before has one too."""
        found: NDArray[np.bool_] = self.inside & np.append(False, self.inside[:-1])
        return found

    @cached_property
    def elapsed(self) -> Array:
        """e, minutes from the opening of the stretch's first minute to this minute's close."""
        found: Array = (self.stamps - self.spread(self.stamps[self.starts])) / MINUTE + 1.0
        return found

    @cached_property
    def length(self) -> Array:
        """e_n of each stretch."""
        return self.elapsed[self.last]

    @cached_property
    def returns(self) -> Array:
        """r, 0 on the first row of a stretch."""
        log = np.log(self.close)
        return np.where(self.inside, log - np.append(0.0, log[:-1]), 0.0)

    @cached_property
    def n_returns(self) -> Array:
        """m of each stretch."""
        return (self.count - 1).astype(np.float64)

    @cached_property
    def centred(self) -> Array:
        """r less the mean of its stretch, 0 on the first row."""
        mean = divided(self.total(self.returns), self.n_returns)
        return np.where(self.inside, self.returns - self.spread(mean), 0.0)

    @cached_property
    def variation(self) -> Array:
        """sum r^2 of each stretch."""
        return self.total(self.returns**2)

    @cached_property
    def signs(self) -> Array:
        """Tick rule: sign of the minute's return, of the last one that was not 0 where it is; 0 before any move."""
        sign = np.sign(self.returns)
        rows = np.arange(len(sign))
        moved = np.maximum.accumulate(np.where(sign != 0.0, rows, -1))
        return np.where(moved >= self.spread(self.starts), sign[moved], 0.0)

    def total(self, values: Array) -> Array:
        """Sum over each stretch."""
        return np.add.reduceat(values, self.starts)

    def spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """One value a stretch to one value a row."""
        return np.repeat(values, self.count)

    def close_by(self, elapsed: Array) -> Array:
        """Close of the last minute that closed by some elapsed time; NaN where none had."""
        reached = np.add.reduceat((self.elapsed <= self.spread(elapsed)).astype(np.intp), self.starts)
        found = self.close[self.starts + np.maximum(reached, 1) - 1]
        return np.where(reached > 0, found, np.nan)


def divided(numerator: Array, denominator: Array, *, floor: float = 0.0) -> Array:
    """numerator / denominator, NaN where the denominator is not above `floor`."""
    out = np.full(np.shape(numerator), np.nan)
    found: Array = np.divide(numerator, denominator, out=out, where=denominator > floor)
    return found


def _where(condition: NDArray[np.bool_], values: Array) -> Array:
    return np.where(condition, values, np.nan)


def enough(sessions: Sessions, values: Array) -> Array:
    """The values; NaN for stretches of fewer than FEWEST_RETURNS returns."""
    return _where(sessions.n_returns >= FEWEST_RETURNS, values)


def _opening(sessions: Sessions) -> tuple[Array, Array]:
    """High and low of the first 30 minutes; NaN for stretches that are shorter."""
    early = sessions.elapsed <= OPENING
    whole = sessions.length >= OPENING
    high = np.maximum.reduceat(np.where(early, sessions.column("high"), -np.inf), sessions.starts)
    low = np.minimum.reduceat(np.where(early, sessions.column("low"), np.inf), sessions.starts)
    return _where(whole, high), _where(whole, low)


def _extremes(sessions: Sessions) -> tuple[Array, Array]:
    high = np.maximum.reduceat(sessions.column("high"), sessions.starts)
    return high, np.minimum.reduceat(sessions.column("low"), sessions.starts)


def _open(sessions: Sessions) -> Array:
    return sessions.column("open")[sessions.starts]


def _final(sessions: Sessions) -> Array:
    return sessions.close[sessions.last]


def orb_width(sessions: Sessions) -> Array:
    """(H30 - L30) / O."""
    high, low = _opening(sessions)
    return (high - low) / _open(sessions)


def orb_break(sessions: Sessions) -> Array:
    """(C - (H30 + L30) / 2) / (H30 - L30); NaN without a range."""
    high, low = _opening(sessions)
    return divided(_final(sessions) - 0.5 * (high + low), high - low)


def bipower(sessions: Sessions) -> Array:
    """(pi/2) * m/(m-1) * sum |r_i| |r_{i-1}|. Source: Barndorff-Nielsen & Shephard (2004), J. Fin. Econometrics 2(1)."""
    size = np.abs(sessions.returns)
    pairs = sessions.total(np.where(sessions.paired, size * np.append(0.0, size[:-1]), 0.0))
    m = sessions.n_returns
    return divided(0.5 * np.pi * m * pairs, m - 1.0)


def five_minute_variation(sessions: Sessions) -> Array:
    """Sum of squared log returns between the last closes of consecutive blocks of 5 elapsed minutes."""
    block = np.ceil(sessions.elapsed / BLOCK)
    same = sessions.inside & (np.append(np.nan, block[:-1]) == block)
    ends = ~np.append(same[1:], False)
    log, begins = np.log(sessions.close[ends]), np.cumsum(ends)[sessions.starts] - ends[sessions.starts]
    step = np.append(0.0, np.diff(log))
    step[begins] = 0.0
    blocks = np.add.reduceat(ends.astype(np.intp), sessions.starts)
    return _where(blocks > 1, np.add.reduceat(step**2, begins))


def one_minute_variation(sessions: Sessions) -> Array:
    """sum r^2."""
    return _where(sessions.count > 1, sessions.variation)


def up_variation(sessions: Sessions) -> Array:
    """sum r^2 over r > 0. Source: Barndorff-Nielsen, Kinnebrock & Shephard (2010)."""
    return _where(sessions.count > 1, sessions.total(np.maximum(sessions.returns, 0.0) ** 2))


def down_variation(sessions: Sessions) -> Array:
    """sum r^2 over r < 0."""
    return _where(sessions.count > 1, sessions.total(np.minimum(sessions.returns, 0.0) ** 2))


def skew(sessions: Sessions) -> Array:
    """sqrt(m) * sum r^3 / (sum r^2)^1.5. Source: Amaya, Christoffersen, Jacobs & Vasquez (2015), JFE 118(1)."""
    value = np.sqrt(sessions.n_returns) * sessions.total(sessions.returns**3)
    return enough(sessions, divided(value, sessions.variation**1.5, floor=FLAT**3))


def kurtosis(sessions: Sessions) -> Array:
    """m * sum r^4 / (sum r^2)^2, raw: 3 for normal returns. Source: as `skew`."""
    value = sessions.n_returns * sessions.total(sessions.returns**4)
    return enough(sessions, divided(value, sessions.variation**2, floor=FLAT**4))


def first_half_hour(sessions: Sessions) -> Array:
    """ln(p at e <= 30 / O)."""
    value = np.log(sessions.close_by(np.full(len(sessions.starts), OPENING))) - np.log(_open(sessions))
    return _where(sessions.length >= OPENING, value)


def last_half_hour(sessions: Sessions) -> Array:
    """ln(C / p at e <= e_n - 30)."""
    return np.log(_final(sessions)) - np.log(sessions.close_by(sessions.length - OPENING))


def session_return(sessions: Sessions) -> Array:
    """ln(C / O)."""
    return np.log(_final(sessions)) - np.log(_open(sessions))


def vwap_gap(sessions: Sessions) -> Array:
    """ln(C / VWAP), VWAP = sum(p v) / sum(v)."""
    volume = sessions.column("volume")
    return np.log(_final(sessions)) - np.log(divided(sessions.total(sessions.close * volume), sessions.total(volume)))


def range_position(sessions: Sessions) -> Array:
    """(C - L) / (H - L)."""
    high, low = _extremes(sessions)
    return divided(_final(sessions) - low, high - low)


def largest_move(sessions: Sessions) -> Array:
    """max |r|."""
    return _where(sessions.count > 1, np.maximum.reduceat(np.abs(sessions.returns), sessions.starts))


def minutes_with_a_row(sessions: Sessions) -> Array:
    """n."""
    return sessions.count.astype(np.float64)


def idle_share(sessions: Sessions) -> Array:
    """1 - minutes with v > 0 / e_n; a minute without a row had no trade."""
    return 1.0 - sessions.total((sessions.column("volume") > 0.0).astype(np.float64)) / sessions.length


def high_time(sessions: Sessions) -> Array:
    """(e of the first minute that reaches H - 1) / (e_n - 1)."""
    return _time_of(sessions, sessions.column("high") == sessions.spread(_extremes(sessions)[0]))


def low_time(sessions: Sessions) -> Array:
    """(e of the first minute that reaches L - 1) / (e_n - 1)."""
    return _time_of(sessions, sessions.column("low") == sessions.spread(_extremes(sessions)[1]))


def _time_of(sessions: Sessions, there: NDArray[np.bool_]) -> Array:
    first = np.minimum.reduceat(np.where(there, sessions.elapsed, np.inf), sessions.starts)
    return divided(first - 1.0, sessions.length - 1.0)


def efficiency(sessions: Sessions) -> Array:
    """|ln(p_n / p_1)| / sum |r|. Source: Kaufman (1995), Smarter Trading."""
    way = np.abs(np.log(_final(sessions)) - np.log(sessions.close[sessions.starts]))
    return divided(way, sessions.total(np.abs(sessions.returns)), floor=FLAT)


SESSION: dict[str, tuple[Callable[[Sessions], Array], tuple[str, ...]]] = {
    "minute_orb_width": (orb_width, ("open", "high", "low")),
    "minute_orb_break": (orb_break, ("high", "low")),
    "minute_variation_1": (one_minute_variation, ()),
    "minute_variation_5": (five_minute_variation, ()),
    "minute_bipower": (bipower, ()),
    "minute_variation_up": (up_variation, ()),
    "minute_variation_down": (down_variation, ()),
    "minute_skew": (skew, ()),
    "minute_kurtosis": (kurtosis, ()),
    "minute_return": (session_return, ("open",)),
    "minute_first_half_hour": (first_half_hour, ("open",)),
    "minute_last_half_hour": (last_half_hour, ()),
    "minute_vwap_gap": (vwap_gap, ("volume",)),
    "minute_range_position": (range_position, ("high", "low")),
    "minute_largest_move": (largest_move, ()),
    "minute_count": (minutes_with_a_row, ()),
    "minute_idle_share": (idle_share, ("volume",)),
    "minute_high_time": (high_time, ("high",)),
    "minute_low_time": (low_time, ("low",)),
    "minute_efficiency": (efficiency, ()),
}
"""Raw column -> its formula and the columns of the minutes it needs beside close."""
