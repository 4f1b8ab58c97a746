"""Days of bars on disk: one Parquet file a day, whose name holds the SHA-256 of its bytes, verified before they are parsed.

    <place>/<YYYY-MM-DD>.<sha256>.parquet

Bytes and checksum come into being in one step. Here: writing, finding and reading them. Not here: which days there are to be.
"""

import hashlib
import io
import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from tft_pipeline.domain.bars import TIMESTAMP
from tft_pipeline.storage.atomic import fsync_folder, fsync_tree, stage_beside

NUMBERS = ("open", "high", "low", "close", "volume")
SCHEMA = pl.Schema([("timestamp", TIMESTAMP), ("symbol", pl.String()), *((name, pl.Float64()) for name in NUMBERS)])
DAY = timedelta(days=1)


class StoredDayError(RuntimeError):
    """A day that cannot be read as it was written, or cannot be written; the message says what to do."""


def midnight(day: date) -> datetime:
    """Its first moment, UTC."""
    return datetime.combine(day, datetime.min.time(), UTC)


def days_on_disk(place: Path) -> dict[str, list[Path]]:
    """Files of a market by the day that they begin their names with."""
    found: dict[str, list[Path]] = {}
    for path in sorted(place.glob("????-??-??.*parquet")):
        found.setdefault(path.name[:10], []).append(path)
    return found


def read_day(paths: list[Path], day: date, symbol: str) -> pl.DataFrame:
    """A day that lies on disk.

    Args:
        paths: its files, of which there is one.
        day, symbol: what it must hold: bars that close after the day's first moment and not after its last, sorted.
    Raises:
        StoredDayError: two files of one day; bytes other than those that were written; not a day of bars of this symbol.
    """
    path, remedy = paths[0], "delete it, and the day is asked for again"
    if len(paths) > 1:
        raise StoredDayError(
            f"{path.parent} has {len(paths)} files of {day}, {paths[0].name} and {paths[1].name}: which is right "
            "cannot be known; delete them, and the day is asked for again"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoredDayError(f"{path} cannot be read ({error.strerror}): {remedy}") from error
    is_now = hashlib.sha256(content).hexdigest()
    if path.name != _file_name(day, is_now):
        raise StoredDayError(
            f"{path} is damaged: its bytes have the SHA-256 {is_now}, not the one in its name; {remedy}"
        )
    try:
        found = pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:
        raise StoredDayError(f"{path} cannot be read ({error}): {remedy}") from error
    if found.schema != SCHEMA:
        raise StoredDayError(f"{path} has columns {dict(found.schema)}, not those of a day of bars: {remedy}")
    stamps = found["timestamp"]
    within = ((stamps > midnight(day)) & (stamps <= midnight(day) + DAY)).all()
    if not within or not stamps.is_sorted() or stamps.n_unique() < len(stamps) or (found["symbol"] != symbol).any():
        raise StoredDayError(f"{path} holds other bars than those of {symbol} on {day}, sorted: {remedy}")
    return found


def write_day(place: Path, day: date, bars: pl.DataFrame) -> None:
    """Store a day.

    Raises:
        StoredDayError: see `place_or_say`.
    """
    content = io.BytesIO()
    bars.write_parquet(content)
    written = content.getvalue()
    place_or_say(place / _file_name(day, hashlib.sha256(written).hexdigest()), partial(Path.write_bytes, data=written))


def _file_name(day: date, sha256: str) -> str:
    return f"{day.isoformat()}.{sha256}.parquet"


def place_or_say(path: Path, write: Callable[[Path], Any]) -> None:
    """`place_file`, and a line where it fails.

    Raises:
        StoredDayError: the disk is full, or takes nothing from us.
    """
    try:
        place_file(path, write)
    except OSError as error:
        raise StoredDayError(
            f"{path.parent} takes no file ({error.strerror}): make room there, then run the same command again; days that were "
            "stored are kept"
        ) from error


def place_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file beside its place and move it there in one step: readers, and who comes after a kill, see it whole or not.

    Args:
        path: where it belongs; what is there is replaced.
        write: fills the path that it is given.
    """
    with stage_beside(path.parent) as stage:
        write(stage / path.name)
        fsync_tree(stage)
        os.replace(stage / path.name, path)
    fsync_folder(path.parent)
