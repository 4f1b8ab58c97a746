"""Which lines of a file that grows are bars, and which are refused: line by line, so that a bad one costs no other.

Whoever reads the file again must find the same bars, or a restarted loop would decide on others. Most refusals follow from the
file alone: a line that is no bar, one older than a line before it, a second one of the same symbol, time and publication. Two
depend on when it was read, and are remembered by the line's place: a bar that came after the others of its time were handed
on, and one that was of the future then. Not here: reading the file (`replay_source`).
"""

import csv
import io
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import polars as pl

from tft_pipeline.domain.bars import PRICES, TIMESTAMP, BarsError, utc_column
from tft_pipeline.live.market_clock import refuse_future
from tft_pipeline.live.refusals import (
    DuplicateBarError,
    FutureBarError,
    RefusedBarError,
    StaleBarError,
    UnusableBarsError,
)

NUMBERS = (*PRICES, "volume")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf|nan|", re.IGNORECASE)
MOST_SHOWN = 80


@dataclass(slots=True)
class BarRows:
    """The lines of one timestamp."""

    stamp: datetime
    lines: list[str] = field(default_factory=list)
    keys: set[tuple[str, str]] = field(default_factory=set)
    """Symbol and time of publication, of each line."""


class BarLines:
    """What the lines of one file are, given in order."""

    def __init__(
        self,
        header: str,
        *,
        timezone: str | None,
        opened_before: timedelta,
        closed: datetime | None,
        position: int,
        refused: set[int],
    ) -> None:
        """Args:
            header: names of columns.
            timezone: of naive timestamps. opened_before: what timestamps are earlier than closes.
            closed: newest timestamp that was handed on.
            position: lines from this place on came after that was handed on.
            refused: places of lines that are refused whatever they say; those that must be remembered are added.
        Raises:
            UnusableBarsError: no column of times or symbols.
        """
        self._header, self._names = header, next(csv.reader([header]), [])
        self._timezone, self._opened_before, self._position, self._refused = timezone, opened_before, position, refused
        self.closed = closed
        self.newest: BarRows | None = None
        self._told: tuple[str, datetime | None] = ("", None)
        missing = [name for name in ("timestamp", "symbol") if name not in self._names]
        if missing:
            raise UnusableBarsError(f"the first line {header[:MOST_SHOWN]!r} names no column {', '.join(missing)}")

    def add(self, lines: list[tuple[int, bytes]], now: datetime) -> list[BarRows | RefusedBarError]:
        """What comes of some more lines and their places: moments that begin, and refusals; others join the newest moment.

        Symbols of one time that are refused for the same reason, one behind the other, are one refused bar.
        """
        found: list[BarRows | RefusedBarError] = []
        rows = [(place, self._fields(line)) for place, line in lines if line.strip() and place not in self._refused]
        stamps = iter(self._stamps([row["timestamp"] for _, row in rows if isinstance(row, dict)]))
        for place, row in rows:
            if not isinstance(row, dict):
                found.append(row)
                continue
            stamp = next(stamps)
            try:
                moment = self._placed(place, row, stamp, now)
            except RefusedBarError as error:
                if stamp is None or (error.kind, stamp) != self._told:
                    found.append(error)
                self._told = (error.kind, stamp)
                continue
            if moment is not None:
                found.append(moment)
        return found

    def frame(self, moments: list[BarRows]) -> pl.DataFrame:
        """All columns of some moments, timestamps in UTC.

        Raises:
            UnusableBarsError: columns that no frame can hold.
        """
        text = "\n".join([self._header, *(line for moment in moments for line in moment.lines)])
        known = {name: pl.Float64 for name in NUMBERS if name in self._names} | {"symbol": pl.String}
        try:
            frame = pl.read_csv(io.StringIO(text), infer_schema_length=None, schema_overrides=known)
        except pl.exceptions.PolarsError as error:
            raise UnusableBarsError(f"lines that are no bars: {error}") from error
        stamps = [moment.stamp for moment in moments for _ in moment.lines]
        return frame.with_columns(pl.Series("timestamp", stamps, dtype=TIMESTAMP))

    def _placed(self, place: int, row: dict[str, str], stamp: datetime | None, now: datetime) -> BarRows | None:
        """The moment that begins with a line; None where it joins the newest.

        Raises:
            RefusedBarError: it must not be decided on.
        """
        symbol, newest = row["symbol"], self.newest
        key = symbol, row.get("available_at", "")
        if stamp is None:
            raise UnusableBarsError(
                f"a line whose timestamp {row['timestamp']!r} is none: write ISO 8601 with an offset"
            )
        said = f"bar {stamp.isoformat()} of {symbol}"
        try:
            refuse_future(stamp + self._opened_before, now)
        except FutureBarError:
            self._refused.add(place)
            raise
        if newest is not None and stamp < newest.stamp:
            raise StaleBarError(
                f"{said} stands behind one of {newest.stamp.isoformat()}: append bars in the order of time"
            )
        if newest is not None and stamp == newest.stamp and key in newest.keys:
            raise DuplicateBarError(f"{said} is there already: the first one counts")
        if self.closed is not None and stamp <= self.closed and place >= self._position:
            self._refused.add(place)
            raise StaleBarError(
                f"{said} came after the others of its time were decided on: bring all bars of a time at once"
            )
        began = newest is None or stamp > newest.stamp
        if began:
            newest = self.newest = BarRows(stamp)
        assert newest is not None
        newest.lines.append(row[""])
        newest.keys.add(key)
        return newest if began else None

    def _fields(self, line: bytes) -> dict[str, str] | UnusableBarsError:
        """Values by column and, by "", the line itself; or why it is no bar."""
        shown = repr(line[:MOST_SHOWN])
        try:
            text = line.decode().strip("\r")
            values = next(csv.reader([text], strict=True))
        except (ValueError, csv.Error, StopIteration) as error:
            return UnusableBarsError(f"a line that is no bar, {shown}: {error}")
        if len(values) != len(self._names):
            return UnusableBarsError(
                f"a line that is no bar, {shown}: {len(values)} values, {len(self._names)} columns"
            )
        row = dict(zip(self._names, values, strict=True))
        wrong = [name for name in NUMBERS if not NUMBER.fullmatch(row.get(name, ""))]
        if wrong:
            return UnusableBarsError(f"a line that is no bar, {shown}: {', '.join(wrong)} must be a number")
        return row | {"": text}

    def _stamps(self, texts: list[str]) -> list[datetime | None]:
        """UTC; None where a text is no time. All at once where all are times, else by halves."""
        if not texts:
            return []
        try:
            return utc_column(pl.Series("timestamp", texts), self._timezone).cast(TIMESTAMP).to_list()
        except BarsError:
            half = len(texts) // 2
            return [None] if half == 0 else self._stamps(texts[:half]) + self._stamps(texts[half:])
