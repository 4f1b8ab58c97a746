"""Bars for the live loop: a recording played back at some speed, or a file that grows. Not here: what is decided on them."""

import io
import time
from collections import deque
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from tft_pipeline.domain.bars import TIMESTAMP, utc_column
from tft_pipeline.live.loop_contract import EndOfBarsError
from tft_pipeline.live.moment import Clock, Moment, SystemClock
from tft_pipeline.live.refusals import UnusableBarsError

POLL_S = 0.02


class ReplaySource:
    """A recording: the market's clock begins at the first bar that is played, and runs `speed` times as fast as ours."""

    def __init__(
        self,
        bars: pl.DataFrame,
        *,
        start: datetime | None = None,
        speed: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Args:
            bars: timestamp (UTC) and whatever the decider reads; all rows of a timestamp are one moment.
            start: bars up to it are the past, which is not played.
            speed: 1 plays as it was, 60 a minute a second; None as fast as they are taken.
        Raises:
            ValueError: no bars, or a speed that is not above 0.
        """
        if bars.is_empty() or (speed is not None and not speed > 0.0):
            raise ValueError(f"{bars.height} bars at speed {speed}: a recording needs bars and a speed above 0")
        ordered = bars.sort("timestamp", maintain_order=True)
        self._moments = ordered.partition_by("timestamp", maintain_order=True)
        self._stamps: list[datetime] = ordered["timestamp"].unique(maintain_order=True).to_list()
        self._speed, self._clock = speed, clock or SystemClock()
        self._start = start
        self._next = 0
        self._began: Moment | None = None
        self._anchor = self._stamps[0]

    def history(self, until: datetime | None) -> pl.DataFrame:
        """Bars up to a moment; None: up to the start."""
        until = until or self._start
        kept = [moment for stamp, moment in zip(self._stamps, self._moments, strict=True) if until and stamp <= until]
        return pl.concat(kept) if kept else self._moments[0].clear()

    def seek(self, after: datetime | None) -> None:
        """Begin after a moment; None: after the start."""
        after = after or self._start
        self._next = 0 if after is None else sum(stamp <= after for stamp in self._stamps)
        self._began = None

    def next(self, timeout_s: float) -> pl.DataFrame | None:
        """The next moment's bars; None while it is not its time."""
        if self._next >= len(self._stamps):
            raise EndOfBarsError
        if self._began is None:
            self._began, self._anchor = self._clock.now(), self._stamps[self._next]
        until = time.monotonic() + timeout_s
        while self._speed is not None and self.market_time(self._clock.now()) < self._stamps[self._next]:
            if time.monotonic() >= until:
                return None
            time.sleep(min(POLL_S, timeout_s))
        self._next += 1
        return self._moments[self._next - 1]

    def market_time(self, now: Moment) -> datetime:
        """By the speed; as fast as possible: the newest bar's own time."""
        if self._speed is None or self._began is None:
            return self._stamps[max(0, self._next - 1)]
        return self._anchor + timedelta(
            seconds=now.seconds_since(self._began.boot_s, self._began.boot_id) * self._speed
        )


class GrowingFile:
    """A CSV file that somebody appends bars to, a header first; the market's clock is ours.

    Rows are handed on in the order of the file, a timestamp at a time: late ones too, which the decider refuses by name. What
    is there at the very first start is the past, and not decided on.
    """

    def __init__(self, path: Path, *, timezone: str | None = None, settle_s: float = 1.0) -> None:
        """Args:
        timezone: of naive timestamps.
        settle_s: the last timestamp's rows are complete when another follows, or nothing was appended for so long.
        """
        self._path, self._timezone, self._settle_s = path, timezone, settle_s
        self._header = b""
        self._start: datetime | None = None
        self._offset = 0
        self._rest = b""
        self._waiting: deque[pl.DataFrame] = deque()
        self._grew = time.monotonic()

    def history(self, until: datetime | None) -> pl.DataFrame:
        """Bars of the file up to a moment, the first of a symbol's rows of it; None: all that are there, from now on past."""
        content = self._path.read_bytes()
        header, _, body = content.partition(b"\n")
        self._header = header
        frame = self._parsed(body[: body.rfind(b"\n") + 1])
        if frame is None:
            return pl.DataFrame()
        if until is None:
            newest = frame["timestamp"].max()
            assert isinstance(newest, datetime)
            until = self._start = newest
        return frame.filter(pl.col("timestamp") <= until).unique(
            ["timestamp", "symbol"], keep="first", maintain_order=True
        )

    def seek(self, after: datetime | None) -> None:
        """Begin after a moment; None: after what was the past, all of it where nobody asked for that."""
        after = after or self._start
        self._offset, self._rest = 0, b""
        self._waiting.clear()
        self._read()
        if after is not None:
            self._waiting = deque(frame for frame in self._waiting if frame["timestamp"][0] > after)

    def next(self, timeout_s: float) -> pl.DataFrame | None:
        """The rows of one timestamp, once they are complete."""
        until = time.monotonic() + timeout_s
        while True:
            self._read()
            settled = time.monotonic() - self._grew >= self._settle_s
            if len(self._waiting) > 1 or (self._waiting and settled):
                return self._waiting.popleft()
            if time.monotonic() >= until:
                return None
            time.sleep(min(POLL_S * 5, timeout_s))

    def market_time(self, now: Moment) -> datetime:
        """Our own."""
        return now.wall

    def _read(self) -> None:
        """Take up whole lines that were appended; a file that shrank was another one and is an error."""
        size = self._path.stat().st_size
        if size < self._offset:
            raise UnusableBarsError(
                f"{self._path} has {size} bytes, {self._offset} were read: bars that were decided on are gone; append to the "
                "file, never rewrite it"
            )
        if size == self._offset:
            return
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            content = self._rest + stream.read()
            self._offset = stream.tell()
        cut = content.rfind(b"\n") + 1
        self._rest, content = content[cut:], content[:cut]
        if not self._header and content:
            self._header, _, content = content.partition(b"\n")
        elif content.startswith(self._header + b"\n"):
            content = content[len(self._header) + 1 :]
        frame = self._parsed(content)
        if frame is None:
            return
        self._grew = time.monotonic()
        runs = frame.with_columns(run=pl.col("timestamp").rle_id()).partition_by("run", maintain_order=True)
        parts = [part.drop("run") for part in runs]
        if self._waiting and self._waiting[-1]["timestamp"][0] == parts[0]["timestamp"][0]:
            parts[0] = pl.concat([self._waiting.pop(), parts[0]], how="vertical_relaxed")
        self._waiting.extend(parts)

    def _parsed(self, rows: bytes) -> pl.DataFrame | None:
        if not rows.strip():
            return None
        try:
            frame = pl.read_csv(io.BytesIO(self._header + b"\n" + rows), infer_schema_length=None)
            stamps = utc_column(frame["timestamp"], self._timezone)
        except (pl.exceptions.PolarsError, ValueError) as error:
            raise UnusableBarsError(f"{self._path}: rows that are no bars: {error}") from error
        return frame.with_columns(stamps.cast(TIMESTAMP).alias("timestamp"))
