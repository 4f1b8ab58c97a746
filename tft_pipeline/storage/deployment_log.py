"""The file of the deployment log: one entry a line, each with a hash over itself and the line before it.

    {"sequence": 1, "from": null, "to": ..., ..., "sha256": SHA-256(hash of the line before + the line without its hash)}

It only ever grows. A line that was changed, lost or put between others breaks the chain from there on; lines lost at the end
do not, and there the link speaks. Not here: what entries mean together with the link (`deployments`).
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.atomic import fsync_folder

LOG_FILE = "deployments.jsonl"
INTENT, DONE, ABANDONED = "intent", "done", "abandoned"
WAY_BACK = "; restore the file, or `tft rollback` to the whole id of a release, which sets the log aside"
_KEYS = {"source": "from", "target": "to"}
_HASH = "sha256"
_LATER = frozenset({"gates", "manifest_sha256"})
"""Keys that older lines do not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One entry; in the file `source` is `from` and `target` is `to`.

    Attributes:
        sequence: 1, 2, ...; orders entries whatever the clock did.
        at: ISO 8601, UTC: when it was decided, just before the link was swapped.
        action: release (by a run), deploy (by a person), rollback or found.
        source, target: release that was live before and that is after; None is none.
        who: user of the system.
        verdict: of the target's card.
        weights_sha256, card_sha256: of the target's files.
        state: done, abandoned, or intent while nobody wrote what became of it.
        note: what the log's reader should know of this entry.
        gates: passed, or "override: " and why; None where no gates let it go live, as in lines from before there were any.
        manifest_sha256: of the target's manifest, which lists the hash of every file; None in lines from before it was kept.
    """

    sequence: int
    at: str
    action: str
    source: str | None
    target: str | None
    who: str
    reason: str
    verdict: str | None
    weights_sha256: str | None
    card_sha256: str | None
    state: str = INTENT
    note: str = ""
    gates: str | None = None
    manifest_sha256: str | None = None

    @property
    def moment(self) -> datetime:
        """`at` as a time."""
        return datetime.fromisoformat(self.at)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, keys as in the file."""
        return {_KEYS.get(name, name): value for name, value in asdict(self).items()}


def read_log(models: Path) -> list[Deployment]:
    """What the file says: one entry a sequence number, the outcome in place of its intent; a torn last line is none.

    Raises:
        IntegrityError: a line that is no entry, or not the one that was written there.
    """
    log = models / LOG_FILE
    return parse_log(log.read_bytes(), str(log)) if log.is_file() else []


def parse_log(content: bytes, where: str, remedy: str = WAY_BACK) -> list[Deployment]:
    """`read_log` of a log's bytes.

    Args:
        where: they were read, for messages. remedy: the end of a message.
    """
    try:
        return list({entry.sequence: entry for _, entry in _chained(content, where)}.values())
    except IntegrityError as error:
        raise IntegrityError(f"{error}{remedy}") from error


def intact_beginning(content: bytes) -> bytes:
    """Of a log: the lines before the first that is damaged."""
    intact = b""
    try:
        for line, _ in _chained(content, LOG_FILE):
            intact += line
    except IntegrityError:  # that is what is asked: how far it can be believed
        pass
    return intact


def _chained(content: bytes, where: str) -> Iterator[tuple[bytes, Deployment]]:
    """Each line with its entry, as long as they follow from each other."""
    n_found, previous = 0, ""
    for number, line in enumerate(whole_lines(content).splitlines(keepends=True), start=1):
        try:
            row = json.loads(line)
            stated = row.pop(_HASH)
            expected = _hash(row, previous)
            there = [name for name in Deployment.__dataclass_fields__ if name not in _LATER or name in row]
            entry = Deployment(**{name: row.pop(_KEYS.get(name, name)) for name in there})
            moment = entry.moment
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(where, number, f"not an entry of the log ({error})") from error
        if stated != expected:
            raise _damaged(where, number, f"its hash is {stated}, its content and the lines before it give {expected}")
        if row or moment.tzinfo is None or entry.sequence not in (n_found, n_found + 1):
            raise _damaged(
                where,
                number,
                f"entry {entry.sequence} after {n_found} with unknown keys {sorted(row)}: a foreign line",
            )
        n_found, previous = entry.sequence, stated
        yield line, entry


def append_entry(models: Path, entry: Deployment) -> None:
    """One line, on the disk when this returns; a disk that takes a part of it gets none. The file was read before, intact."""
    log = models / LOG_FILE
    new = not log.exists()
    lines = [] if new else whole_lines(log.read_bytes()).splitlines()
    line = entry_line(entry.to_dict(), json.loads(lines[-1])[_HASH] if lines else "").encode()
    with log.open("ab", buffering=0) as stream:
        before = stream.tell()
        written = stream.write(line)
        if written != len(line):
            stream.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(log))
        os.fsync(stream.fileno())
    if new:
        fsync_folder(log.parent)


def entry_line(row: dict[str, Any], previous: str) -> str:
    """An entry as it stands in the file.

    Args:
        previous: hash of the line before; "" for the first.
    """
    return json.dumps(row | {_HASH: _hash(row, previous)}, sort_keys=True, allow_nan=False) + "\n"


def end_torn_line(models: Path) -> None:
    """Cut off what a writer that was killed, or a full disk, left of a line, and blank lines: they never were entries."""
    log = models / LOG_FILE
    if not log.is_file():
        return
    content = log.read_bytes()
    whole = whole_lines(content)
    if whole != content:
        with log.open("r+b") as stream:
            stream.truncate(len(whole))
            os.fsync(stream.fileno())


def set_log_aside(models: Path, at: datetime) -> Path:
    """Rename the log, which stays for inspection; the next entry begins a new one."""
    log = models / LOG_FILE
    aside = log.with_name(f"{LOG_FILE}.damaged-{at.astimezone(UTC):%Y-%m-%dT%H-%M-%S-%fZ}")
    os.rename(log, aside)
    fsync_folder(models)
    return aside


def logs_set_aside(models: Path) -> list[str]:
    """Names of the damaged logs, oldest first."""
    return sorted(path.name for path in models.glob(f"{LOG_FILE}.damaged-*"))


def whole_lines(content: bytes) -> bytes:
    """Of a log: up to the last complete line that is not blank."""
    lines = content[: content.rfind(b"\n") + 1].rstrip()
    return lines + b"\n" if lines else b""


def _hash(row: dict[str, Any], previous: str) -> str:
    return hashlib.sha256((previous + json.dumps(row, sort_keys=True)).encode()).hexdigest()


def _damaged(where: str, number: int, why: str) -> IntegrityError:
    return IntegrityError(
        f"{where}, line {number}: {why}: the log is damaged, so what was live when and what was rolled back from is not known"
    )
