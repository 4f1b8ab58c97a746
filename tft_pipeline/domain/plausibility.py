"""Prices that may be true and look wrong: jumps like a split or another unit, lone ticks, prices that stand still.

Bars that cannot be are refused elsewhere (`bars`); what is here is said and never changed, for only a person knows whether a
stock was halved or split. Not here: missing bars (`market_days`), names of symbols (`symbol_names`).

The rules. r_t is the log return of the close over one bar, s_t its usual size about t: 1.4826 x the median of |r| over the 101
bars around t, and no less than half of that of all the symbol's returns that are not 0. Both are relative to the symbol's own
movement, so a coin that moves 5 % a day and a bond that moves 0.2 % are judged alike. Over a night or a weekend between
bars shorter than a day, which is an hour and four bars at least, s_t is no less than the usual size of such returns alone:
splits fall there, and a night moves more than a minute does.

    tick    a close that leaves its neighbours by more than 20 s and 5 % on one side, and comes back all but a quarter of the
            way; or a high (a low) more than 20 s and a half away from both open and close
    jump    a return of more than 10 s that stays, within 2 s of the ratio of a split (2, 3, 5/2, 10 ...: `RATIOS`) or its
            inverse; and where there is an open, the jump is between close and open already. Ratios below 2, such as 3:2,
            are not looked for: among 20 large US stocks over 33 years that were adjusted, eight real crashes and one real
            rise land at 3:2, and one at 2:1
    still   as many equal closes in a row, ten at least, as so many bars would show once in a million tries if each stood
            still independently, with the share of all the symbol's bars that do; or nine in ten of all its closes equal to
            the one before
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

Kind = Literal["tick", "jump", "still", "case", "missing", "alone", "future"]
Array = NDArray[np.float64]

AROUND = 101
"""Bars around a return that say what is usual."""
TICK_SCALES, TICK_LEAST, WICK_LEAST = 20.0, float(np.log(1.05)), float(np.log(1.5))
JUMP_SCALES, JUMP_NEAR = 10.0, 2.0
CAME_BACK = 0.25
FEWEST_STILL, STILL_BY_CHANCE = 10, 1e-6
MOSTLY_STILL = 0.9
FEWEST_RETURNS = 20
"""Of fewer returns nothing is usual, and nothing is said."""
RATIOS: tuple[tuple[int, int], ...] = (
    (2, 1), (5, 2), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1), (8, 1), (10, 1), (15, 1), (20, 1), (25, 1), (30, 1),
    (40, 1), (50, 1), (100, 1), (1000, 1),
)  # fmt: skip
"""New shares for old ones; 100 and 1000 are units (pence for pounds) more often than splits."""
UNIT = 100
LONGEST_LISTED = 20
"""Of one kind; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks wrong in bars that could be used.

    Attributes:
        symbol: None where it is about several.
        at: the close of the first bar it is about, UTC; None where it is about none.
        bars: how many bars it is about.
        sentence: what was seen, what it would do, and what to do.
    """

    kind: Kind
    symbol: str | None
    at: datetime | None
    bars: int
    sentence: str


def implausible_prices(bars: pl.DataFrame, *, daily: bool) -> tuple[Finding, ...]:
    """Jumps, ticks and standstills of every symbol, by the rules above.

    Args:
        bars: timestamp, symbol, close, and open, high, low, volume where there are; sorted by symbol and timestamp, prices
            finite and above 0.
        daily: sentences name dates, else times too.
    """
    found: list[Finding] = []
    for (name,), part in bars.group_by("symbol", maintain_order=True):
        if part.height > FEWEST_RETURNS:
            found += _Prices(str(name), part, daily=daily).findings()
    return tuple(found)


class _Prices:
    """The bars of one symbol."""

    def __init__(self, symbol: str, part: pl.DataFrame, *, daily: bool) -> None:
        self.symbol, self.part, self.daily = symbol, part, daily
        self.stamps: list[datetime] = part["timestamp"].to_list()
        self.close: Array = part["close"].to_numpy().astype(np.float64)
        self.returns: Array = np.diff(np.log(self.close))
        """returns[i] leads from bar i to bar i + 1."""
        self.scale = usual_size(self.returns)
        hours = np.diff(part["timestamp"].to_physical().to_numpy()) / 3.6e9
        away = hours >= max(1.0, 4.0 * float(np.median(hours)))
        if not daily and int(away.sum()) >= FEWEST_RETURNS:
            self.scale[away] = np.maximum(self.scale[away], usual_size(self.returns[away]))

    def findings(self) -> Iterator[Finding]:
        ticks = lone_ticks(self.returns, self.scale)
        for bar in ticks:
            yield self._tick(int(bar))
        yield from self._wicks(skip=set(ticks.tolist()))
        beside = {int(bar) + k for bar in ticks for k in (-1, 0)}
        for step, ratio in split_like(self.returns, self.scale, self._gaps()):
            if step not in beside:
                yield self._jump(step, ratio)
        yield from self._still()

    def _gaps(self) -> Array | None:
        """Log of each open over the close before it."""
        if "open" not in self.part.columns:
            return None
        opens = np.log(self.part["open"].to_numpy().astype(np.float64))
        return np.asarray(opens[1:] - np.log(self.close[:-1]))

    def _at(self, bar: int) -> str:
        return f"{self.stamps[bar]:%Y-%m-%d}" if self.daily else f"{self.stamps[bar]:%Y-%m-%d %H:%M}"

    def _finding(self, kind: Kind, bar: int, sentence: str, bars: int = 1) -> Finding:
        return Finding(kind, self.symbol, self.stamps[bar], bars, sentence)

    def _tick(self, bar: int) -> Finding:
        before, value, after = self.close[bar - 1], self.close[bar], self.close[bar + 1]
        return self._finding(
            "tick",
            bar,
            f"{self.symbol} closes at {value:,.6g} on {self._at(bar)}, between {before:,.6g} and {after:,.6g}: looks like a "
            "bad tick, which makes two large returns that never were; look the price up, then correct the row or remove it",
        )

    def _wicks(self, skip: set[int]) -> Iterator[Finding]:
        columns = self.part.columns
        body = [np.log(self.part[name].to_numpy().astype(np.float64)) for name in ("open", "close") if name in columns]
        limit = np.maximum(TICK_SCALES * np.append(self.scale[:1], self.scale), WICK_LEAST)
        for name, sign, inner in (("high", 1.0, np.max(body, axis=0)), ("low", -1.0, np.min(body, axis=0))):
            if name not in columns:
                continue
            values = self.part[name].to_numpy().astype(np.float64)
            for bar in np.flatnonzero(sign * (np.log(values) - inner) > limit):
                if int(bar) not in skip:
                    yield self._finding(
                        "tick",
                        int(bar),
                        f"{self.symbol} has {name} {values[bar]:,.6g} on {self._at(int(bar))} and closes at "
                        f"{self.close[bar]:,.6g}: looks like a bad tick, which features of ranges would see for as long as "
                        "they look back; look it up, then correct the row or remove it",
                    )

    def _jump(self, step: int, ratio: tuple[int, int, bool]) -> Finding:
        new, old, falls = ratio
        before, after = self.close[step], self.close[step + 1]
        told = f"{self.symbol} goes from {before:,.6g} to {after:,.6g} on {self._at(step + 1)}"
        shares = f"{new}:{old}" if falls else f"{old}:{new}"
        what = (
            f"another unit from then on, or a {shares} {'split' if falls else 'reverse split'}"
            if new >= UNIT
            else f"a {shares} {'split' if falls else 'reverse split'}"
        )
        return self._finding(
            "jump",
            step + 1,
            f"{told}: looks like {what} that the prices are not adjusted for{self._volume(step)}, and the return of that bar "
            f"would be learned and scored; {'divide' if falls else 'multiply'} the prices before it by {new / old:g}, or take "
            "adjusted prices; leave it if the move was real",
        )

    def _volume(self, step: int) -> str:
        """Whether trading changed with the price, as shares that were split do."""
        if "volume" not in self.part.columns:
            return ""
        volume = self.part["volume"].to_numpy().astype(np.float64)
        before, after = (
            float(np.median(part)) for part in (volume[max(0, step - 19) : step + 1], volume[step + 1 :][:20])
        )
        return f" (median volume after it: {after / before:.2g} x that before)" if before > 0 else ""

    def _still(self) -> Iterator[Finding]:
        equal = int((self.returns == 0.0).sum())
        if equal >= MOSTLY_STILL * len(self.returns):  # so usual that no run of it is long
            yield self._finding(
                "still",
                0,
                f"{self.symbol} hardly moves: {equal:,} of {len(self.returns):,} closes equal the one before, such as "
                f"{self.close[0]:,.6g}: looks like bars that were filled forward, a wrong column, or a market without trades; "
                "nothing could be earned or learned in them; correct the column, or leave the symbol out with data.symbols",
                bars=equal,
            )
            return
        runs = standstills(self.returns)
        if not runs:
            return
        first, length = max(runs, key=lambda run: run[1])
        times = f"; {len(runs) - 1} more times for {min(run[1] for run in runs)} bars or more" if len(runs) > 1 else ""
        yield self._finding(
            "still",
            first,
            f"{self.symbol} closes at {self.close[first]:,.6g} in {length} bars in a row, {self._at(first)} to "
            f"{self._at(first + length - 1)}{times}: looks like bars that were filled forward, or a market without trades; "
            "nothing could be earned or learned in them; remove them if the market was closed or the data were missing",
            bars=sum(run[1] for run in runs),
        )


def usual_size(returns: Array) -> Array:
    """s of each log return; see the rules above. (N,) of (N,)."""
    size = np.abs(returns)
    moved = size[size > 0]
    least = 0.5 * float(np.median(moved)) if moved.size else 0.0
    around = pl.Series(size).rolling_median(AROUND, center=True, min_samples=1).to_numpy()
    return np.asarray(1.4826 * np.maximum(around, least))


def lone_ticks(returns: Array, scale: Array) -> NDArray[np.intp]:
    """Bars whose close leaves both neighbours on one side and that the next close takes back; (K,) positions of closes."""
    there, back = returns[:-1], returns[1:]
    far = np.minimum(np.abs(there), np.abs(back))
    limit = np.maximum(TICK_SCALES * np.maximum(scale[:-1], scale[1:]), TICK_LEAST)
    lone = (there * back < 0) & (far > limit) & (np.abs(there + back) < CAME_BACK * far)
    return np.flatnonzero(lone) + 1


def split_like(returns: Array, scale: Array, gaps: Array | None) -> list[tuple[int, tuple[int, int, bool]]]:
    """Returns that look like a split: their position, and (new shares, old shares, whether the price falls).

    Args:
        gaps: (N,) log of each open over the close before; None without opens.
    """
    found = []
    for step in np.flatnonzero(np.abs(returns) > JUMP_SCALES * scale):
        near = JUMP_NEAR * scale[step]
        sizes = [float(np.log(new / old)) for new, old in RATIOS]
        nearest = int(np.argmin([abs(abs(returns[step]) - size) for size in sizes]))
        signed = np.sign(returns[step]) * sizes[nearest]
        misses = abs(returns[step] - signed) > near or (gaps is not None and abs(gaps[step] - signed) > near)
        if not misses:
            new, old = RATIOS[nearest]
            found.append((int(step), (new, old, bool(returns[step] < 0))))
    return found


def standstills(returns: Array) -> list[tuple[int, int]]:
    """Runs of equal closes that are too long to be chance: first bar, number of bars."""
    same = np.concatenate([[False], returns == 0.0, [False]])
    edges = np.flatnonzero(np.diff(same.astype(np.int8)))
    runs = [(int(first), int(stop - first)) for first, stop in zip(edges[::2], edges[1::2], strict=True)]
    still = int((returns == 0.0).sum())
    found = []
    for first, length in runs:
        # the share without the run itself, which would make itself usual
        share = (still - length + 1.0) / (len(returns) - length + 1.0)
        if length + 1 >= FEWEST_STILL and len(returns) * share**length < STILL_BY_CHANCE:
            found.append((first, length + 1))
    return found


def listed(findings: Sequence[Finding]) -> list[Finding]:
    """At most `LONGEST_LISTED` of each kind; behind them one that counts the rest."""
    kept: list[Finding] = []
    for kind in dict.fromkeys(one.kind for one in findings):
        own = [one for one in findings if one.kind == kind]
        kept += own[:LONGEST_LISTED]
        if len(own) > LONGEST_LISTED:
            more = len(own) - LONGEST_LISTED
            kept.append(Finding(kind, None, own[LONGEST_LISTED].at, more, f"and {more} more like these ({kind})"))
    return kept
