"""The made-up market of a soak: minute bars without end, faults in them drawn from a seed, and a small model that trades them.

Not here: the faults of processes (`soak`), the verdict (`soak_verdict`).
"""

import json
import math
import os
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from tft_pipeline.domain.minute_generator import MINUTES, generate_minute_bars
from tft_pipeline.live.loop_contract import Decider, Decision
from tft_pipeline.live.moment import Moment, SystemClock
from tft_pipeline.live.refusals import (
    DuplicateBarError,
    NotFiniteError,
    RefusedBarError,
    StaleBarError,
    UnknownSymbolError,
    UnusableBarsError,
)

START = date(2025, 1, 6)
BAD_BARS = ("late", "duplicate", "gap", "nan", "infinite", "wrong_symbol")
MINUTE_S = 60.0
LARGEST_WEIGHT = 0.2
BURST, OUTAGE, CLOCK = "burst", "outage", "clock_offset"
"""Files that the soak writes: the decider raises, the source is silent, the clock on the wall is so many seconds off."""


class SteppedClock:
    """The machine's clocks, the wall's off by what a file says: as if somebody had set it."""

    def __init__(self, path: Path) -> None:
        self._path, self._system = path, SystemClock()

    def now(self) -> Moment:
        """This instant."""
        now = self._system.now()
        try:
            offset = float(self._path.read_text())
        except (OSError, ValueError):
            offset = 0.0
        return Moment(wall=now.wall + timedelta(seconds=offset), boot_s=now.boot_s, boot_id=now.boot_id)


class SoakSource:
    """Minutes one after the other, `rate` a second, some of them bad; or those of a recording, over and over."""

    def __init__(
        self,
        folder: Path,
        *,
        symbols: tuple[str, ...],
        seed: int,
        rate: float,
        bad_share: float,
        recorded: pl.DataFrame | None = None,
    ) -> None:
        """Args: bad_share: of minutes that are bad, each in one of the ways of `BAD_BARS`."""
        self._folder, self._symbols, self._seed, self._rate, self._bad = folder, symbols, seed, rate, bad_share
        self._recorded = recorded
        self._day: tuple[int, dict[datetime, pl.DataFrame]] = (-1, {})
        self._waiting: deque[pl.DataFrame] = deque()
        self._minute = 0
        self._newest, self._delivered = _at(0), time.monotonic()
        self._last: pl.DataFrame | None = None

    def history(self, until: datetime | None) -> pl.DataFrame:
        """Good bars of two days up to a moment."""
        last = _minute_of(until) if until else 0
        frames = [frame for k in range(max(1, last - 2 * MINUTES), last + 1) if (frame := self._bars(k)) is not None]
        return pl.concat(frames) if frames else pl.DataFrame()

    def seek(self, after: datetime | None) -> None:
        """Begin after a moment."""
        self._minute = _minute_of(after) if after else 0
        self._waiting.clear()
        self._newest, self._delivered = _at(self._minute), time.monotonic()

    def next(self, timeout_s: float) -> pl.DataFrame | None:
        """The next minute's bars, when it is its time and there is no outage."""
        if self._waiting:
            return self._waiting.popleft()
        due = self._delivered + 1.0 / self._rate
        wait = due - time.monotonic()
        if (self._folder / OUTAGE).exists() or wait > timeout_s:
            time.sleep(timeout_s)
            return None
        time.sleep(max(0.0, wait))
        while True:
            self._minute += 1
            self._newest, self._delivered = _at(self._minute), max(due, time.monotonic() - 1.0 / self._rate)
            bars = self._bars(self._minute)
            if bars is None:
                return None
            self._waiting.extend(self._spoiled(bars))
            self._last = bars
            return self._waiting.popleft() if self._waiting else None

    def market_time(self, now: Moment) -> datetime:
        """A minute every 1 / rate seconds."""
        return self._newest + timedelta(seconds=(time.monotonic() - self._delivered) * self._rate * MINUTE_S)

    def _bars(self, minute: int) -> pl.DataFrame | None:
        """All symbols of a minute; None where the market has none."""
        day = (minute - 1) // MINUTES
        if day != self._day[0]:
            self._day = day, self._made(day)
        return self._day[1].get(_at(minute))

    def _made(self, day: int) -> dict[datetime, pl.DataFrame]:
        if self._recorded is None:
            bars = generate_minute_bars(self._symbols, start=START + timedelta(days=day), days=1, seed=self._seed)
        else:
            stamps = self._recorded["timestamp"].dt.date().unique().sort()
            of_day = self._recorded.filter(pl.col("timestamp").dt.date() == stamps[day % len(stamps)])
            shift = timedelta(days=(START - stamps[day % len(stamps)]).days + day)
            bars = of_day.with_columns(pl.col("timestamp") + shift)
        return {part["timestamp"][0]: part for part in bars.sort("symbol").partition_by("timestamp")}

    def _spoiled(self, bars: pl.DataFrame) -> list[pl.DataFrame]:
        """What arrives instead of good bars."""
        random = np.random.default_rng([self._seed, self._minute])
        if random.random() >= self._bad:
            return [bars]
        way = BAD_BARS[int(random.integers(len(BAD_BARS)))]
        first = pl.int_range(pl.len()) == 0
        if way == "late":
            return [bars] if self._last is None else [bars, self._last]
        if way == "duplicate":
            return [bars, bars]
        if way == "gap":
            return []
        if way == "wrong_symbol":
            return [bars.with_columns(symbol=pl.when(first).then(pl.lit("NOBODY")).otherwise("symbol"))]
        value = math.nan if way == "nan" else math.inf
        return [bars.with_columns(close=pl.when(first).then(value).otherwise("close"))]


class SoakDecider:
    """A model of a few numbers, whichever the link `current` names: it holds against the mean of the last returns."""

    def __init__(self, folder: Path, symbols: tuple[str, ...]) -> None:
        self._link, self._symbols = folder / "models" / "current", symbols
        self._mean: dict[str, float] = {}
        self._closes: dict[str, float] = {}
        self._last: datetime | None = None

    def take(self, bars: pl.DataFrame) -> Decision:
        """Weights in [-LARGEST_WEIGHT, LARGEST_WEIGHT].

        Raises:
            RefusedBarError: a bar of another symbol, not finite, late or twice.
        """
        at, closes = self._accepted(bars)
        mean = dict(self._mean)
        for symbol, close in closes.items():
            change = math.log(close / self._closes.get(symbol, close))
            mean[symbol] = 0.9 * mean.get(symbol, 0.0) + 0.1 * change
        self._mean, self._closes, self._last = mean, self._closes | closes, at
        weights = {symbol: -LARGEST_WEIGHT * math.tanh(2000.0 * value) for symbol, value in mean.items()}
        minute = timedelta(minutes=1)
        return Decision(
            bar=at,
            due=at + minute,
            until=at + 10 * minute,
            weights=weights,
            closes=closes,
            model_id=os.readlink(self._link),
        )

    def to_bytes(self) -> bytes:
        """JSON."""
        last = None if self._last is None else self._last.isoformat()
        return json.dumps({"mean": self._mean, "closes": self._closes, "last": last}, sort_keys=True).encode()

    def restore(self, data: bytes | None, last_bar: datetime | None) -> None:
        """Go on from there."""
        if data is None:
            return
        kept = json.loads(data)
        self._mean, self._closes = kept["mean"], kept["closes"]
        self._last = None if kept["last"] is None else datetime.fromisoformat(kept["last"])

    def weights_sha256(self) -> str | None:
        """It has none."""
        return None

    def _accepted(self, bars: pl.DataFrame) -> tuple[datetime, dict[str, float]]:
        at: datetime = bars["timestamp"][0]
        for wrong, refusal in (
            (self._last is not None and at == self._last, DuplicateBarError),
            (self._last is not None and at < self._last, StaleBarError),
            (not set(bars["symbol"]) <= set(self._symbols), UnknownSymbolError),
            (bars["close"].is_infinite().any(), NotFiniteError),
            (bars["close"].is_nan().any() or bars["close"].null_count() > 0, UnusableBarsError),
        ):
            if wrong:
                raise _refused(refusal, at)
        return at, dict(zip(bars["symbol"].to_list(), bars["close"].to_list(), strict=True))


class BurstError(Exception):
    """What a decider raises while the soak asks for it."""


class Bursting:
    """Any decider, broken while the file `burst` is there."""

    def __init__(self, decider: Decider, folder: Path) -> None:
        self._decider, self._burst = decider, folder / BURST
        self.to_bytes, self.restore = decider.to_bytes, decider.restore
        self.weights_sha256 = decider.weights_sha256

    def take(self, bars: pl.DataFrame) -> Decision | None:
        """As the decider.

        Raises:
            BurstError: while it is asked for.
        """
        if self._burst.exists():
            raise BurstError("the soak asked for it")
        return self._decider.take(bars)


def leaking(kind: str, folder: Path) -> Callable[[], None]:
    """For tests of the soak: what is called once a bar and lets go of nothing. "" leaks nothing."""
    kept: list[object] = []

    def leak() -> None:
        if kind == "handles":
            kept.append((folder / "leak").open("w"))
        elif kind == "memory":
            kept.append(np.ones(50_000))

    return leak


def _refused(kind: type[RefusedBarError], at: datetime) -> RefusedBarError:
    return kind(f"bar {at.isoformat()} of the soak: {kind.kind}")


def _at(minute: int) -> datetime:
    return datetime(START.year, START.month, START.day, tzinfo=UTC) + timedelta(minutes=minute)


def _minute_of(at: datetime) -> int:
    return round((at - _at(0)).total_seconds() / MINUTE_S)
