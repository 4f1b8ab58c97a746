"""Bars for the live loop: a recording played back at some speed, or a file that grows. Not here: what is decided on them.

`history` speaks of timestamps as they are in the bars, `seek` and `market_time` of closes.
"""

import io
import time
from collections import deque
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tft_pipeline.domain.bars import AT_CLOSE
from tft_pipeline.live.bar_lines import BarLines, BarRows
from tft_pipeline.live.loop_contract import EndOfBarsError
from tft_pipeline.live.moment import Clock, Moment, SystemClock
from tft_pipeline.live.refusals import RefusedBarError, UnusableBarsError

POLL_S = 0.02
MOST_REFUSED = 1000
"""Newest lines, and newest bars, whose refusal is remembered over a restart."""


class ReplaySource:
    """A recording: the market's clock begins at the first bar that is played, and runs `speed` times as fast as ours."""

    def __init__(
        self,
        bars: pl.DataFrame,
        *,
        start: datetime | None = None,
        speed: float | None = None,
        opened_before: timedelta = AT_CLOSE,
        clock: Clock | None = None,
    ) -> None:
        """Args:
            bars: timestamp (UTC) and whatever the decider reads; all rows of a timestamp are one moment.
            start: bars up to it are the past, which is not played.
            speed: 1 plays as it was, 60 a minute a second; None as fast as they are taken.
            opened_before: what timestamps are earlier than the closes of their bars.
        Raises:
            ValueError: no bars, or a speed that is not above 0.
        """
        if bars.is_empty() or (speed is not None and not speed > 0.0):
            raise ValueError(f"{bars.height} bars at speed {speed}: a recording needs bars and a speed above 0")
        ordered = bars.sort("timestamp", maintain_order=True)
        self._moments = ordered.partition_by("timestamp", maintain_order=True)
        self._stamps: list[datetime] = ordered["timestamp"].unique(maintain_order=True).to_list()
        self._speed, self._opened_before, self._clock = speed, opened_before, clock or SystemClock()
        self._start = start
        self._next = 0
        self._began: Moment | None = None
        self._anchor = self._stamps[0]
        self._left_out: list[datetime] = []

    def waiting(self) -> bool:
        """A recording waits for nobody: each of its bars is the newest when its time comes."""
        return False

    def leave_out(self) -> None:
        """The last bars were refused."""
        self._left_out.append(self._stamps[self._next - 1])

    def kept(self) -> dict[str, Any]:
        """What was refused."""
        return _kept(self._left_out)

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on with what `kept` gave."""
        self._left_out = _restored(kept)

    def history(self, until: datetime | None) -> pl.DataFrame:
        """Bars up to a moment; None: up to the start."""
        until = until or self._start
        left_out = set(self._left_out)
        kept = [
            moment
            for stamp, moment in zip(self._stamps, self._moments, strict=True)
            if until and stamp <= until and stamp not in left_out
        ]
        return pl.concat(kept) if kept else self._moments[0].clear()

    def seek(self, after: datetime | None) -> None:
        """Begin after a close; None: after the start."""
        after = self._start if after is None else after - self._opened_before
        self._next = 0 if after is None else sum(stamp <= after for stamp in self._stamps)
        self._began = None

    def next(self, timeout_s: float) -> pl.DataFrame | None:
        """The next moment's bars; None while it is not its time."""
        while self._next < len(self._stamps) and self._stamps[self._next] in self._left_out:
            self._next += 1
        if self._next >= len(self._stamps):
            raise EndOfBarsError
        if self._began is None:
            self._began, self._anchor = self._clock.now(), self._stamps[self._next]
        until = time.monotonic() + timeout_s
        due = self._stamps[self._next] + self._opened_before
        while self._speed is not None and self.market_time(self._clock.now()) < due:
            if time.monotonic() >= until:
                return None
            time.sleep(min(POLL_S, timeout_s))
        self._next += 1
        return self._moments[self._next - 1]

    def market_time(self, now: Moment) -> datetime:
        """By the speed; as fast as possible: the newest bar's own close."""
        if self._speed is None or self._began is None:
            return self._stamps[max(0, self._next - 1)] + self._opened_before
        played = now.seconds_since(self._began.boot_s, self._began.boot_id) * self._speed
        return self._anchor + self._opened_before + timedelta(seconds=played)


class GrowingFile:
    """A CSV file that somebody appends bars to, a header first; the market's clock is ours.

    Bars are handed on a timestamp at a time, in the order of time; which lines are refused, see `bar_lines`. What is there at
    the very first start is the past, and not decided on.
    """

    def __init__(
        self,
        path: Path,
        *,
        timezone: str | None = None,
        opened_before: timedelta = AT_CLOSE,
        settle_s: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        """Args:
        timezone: of naive timestamps.
        opened_before: what timestamps are earlier than the closes of their bars.
        settle_s: the last timestamp's rows are complete when another follows, or nothing was appended for so long.
        """
        self._path, self._timezone, self._opened_before = path, timezone, opened_before
        self._settle_s, self._clock = settle_s, clock or SystemClock()
        self._position: int | None = None  # lines before it were told apart; None: whatever is there now
        self._refused: set[int] = set()
        self._left_out: list[datetime] = []
        self._start: datetime | None = None
        self._lines: BarLines | None = None
        self._queue: deque[BarRows | RefusedBarError] = deque()
        self._grew = time.monotonic()

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on with what `kept` gave; of a file that was cut since then, all up to the newest bar is the past."""
        self._left_out = _restored(kept)
        if kept.get("position"):
            with self._path.open("rb") as stream:
                stream.seek(kept["position"] - 1)
                if stream.read(1) == b"\n":
                    self._position, self._refused = kept["position"], set(kept["refused"])

    def kept(self) -> dict[str, Any]:
        """How far the file was read, and the places of lines that must stay refused."""
        return _kept(self._left_out) | {"position": self._position, "refused": sorted(self._refused)[-MOST_REFUSED:]}

    def waiting(self) -> bool:
        """Whether bars were read that nobody took yet."""
        return any(isinstance(one, BarRows) for one in self._queue)

    def leave_out(self) -> None:
        """The last bars were refused."""
        if self._lines is not None and self._lines.closed is not None:
            self._left_out.append(self._lines.closed)

    def history(self, until: datetime | None) -> pl.DataFrame:
        """Bars of the file up to a timestamp; None: all that are there, from now on past."""
        lines, found, end = self._read(0, None, closed=until)
        moments = [one for one in found if isinstance(one, BarRows)]
        if lines is None or not moments:
            return pl.DataFrame()
        if until is None:
            until, self._position = moments[-1].stamp, end
            self._start = until
        left_out = set(self._left_out)
        return lines.frame([moment for moment in moments if moment.stamp <= until and moment.stamp not in left_out])

    def seek(self, after: datetime | None) -> None:
        """Begin after a close; None: after what was the past, all of it where nobody asked for that."""
        after = self._start if after is None else after - self._opened_before
        handed_on = [*self._left_out, *([] if after is None else [after])]
        self._lines, found, self._position = self._read(0, None, closed=max(handed_on, default=None))
        newer = (n for n, one in enumerate(found) if isinstance(one, BarRows) and (after is None or one.stamp > after))
        # what was refused before the newest bar that was decided on was told then
        first = 0 if after is None else next(newer, len(found))
        left_out = set(self._left_out)
        self._queue = deque(one for one in found[first:] if isinstance(one, Exception) or one.stamp not in left_out)
        self._grew = time.monotonic()

    def next(self, timeout_s: float) -> pl.DataFrame | None:
        """The rows of one timestamp, once they are complete.

        Raises:
            RefusedBarError: a line that must not be decided on, one at a time. OSError: the file cannot be read.
        """
        until = time.monotonic() + timeout_s
        while True:
            before = self._position or 0
            self._lines, found, self._position = self._read(before, self._lines, closed=None)
            if self._position > before:
                self._grew = time.monotonic()
            self._queue.extend(found)
            if self._queue and self._complete(self._queue[0]):
                return self._taken(self._queue.popleft())
            if time.monotonic() >= until:
                return None
            time.sleep(min(POLL_S * 5, timeout_s))

    def market_time(self, now: Moment) -> datetime:
        """Our own."""
        return now.wall

    def _complete(self, one: BarRows | RefusedBarError) -> bool:
        assert self._lines is not None
        return one is not self._lines.newest or time.monotonic() - self._grew >= self._settle_s

    def _taken(self, one: BarRows | RefusedBarError) -> pl.DataFrame:
        if isinstance(one, RefusedBarError):
            raise one
        assert self._lines is not None
        self._lines.closed = one.stamp
        return self._lines.frame([one])

    def _read(
        self, offset: int, lines: BarLines | None, *, closed: datetime | None
    ) -> tuple[BarLines | None, list[BarRows | RefusedBarError], int]:
        """Whole lines from a place on, what comes of them, and the place behind them.

        Raises:
            UnusableBarsError: a file that shrank, which was another one.
        """
        with self._path.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            if size < offset:
                raise UnusableBarsError(
                    f"{self._path} has {size} bytes, {offset} were read: bars that were decided on are gone; append to the "
                    "file, never rewrite it while somebody follows it"
                )
            stream.seek(offset)
            content = stream.read(size - offset)
        end = offset + content.rfind(b"\n") + 1
        placed, place = [], offset
        for line in content[: end - offset].split(b"\n")[:-1]:
            placed.append((place, line))
            place += len(line) + 1
        if lines is None and placed:
            lines = BarLines(
                placed.pop(0)[1].decode(errors="replace").strip("\r"),
                timezone=self._timezone,
                opened_before=self._opened_before,
                closed=closed,
                position=end if self._position is None else self._position,
                refused=self._refused,
            )
        return lines, [] if lines is None else lines.add(placed, self._clock.now().wall), end


def _kept(left_out: list[datetime]) -> dict[str, Any]:
    return {"left_out": [stamp.isoformat() for stamp in left_out[-MOST_REFUSED:]]} if left_out else {}


def _restored(kept: dict[str, Any]) -> list[datetime]:
    return [datetime.fromisoformat(stamp) for stamp in kept.get("left_out", ())]
