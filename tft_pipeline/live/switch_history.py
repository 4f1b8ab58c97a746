"""The kill switch's history: one sealed line a change, each with the hash of the one before. Not here: what counts now.

It only ever grows. A line that was changed, lost or put between others breaks the chain; one that was not written whole makes
the history damaged, until a reset sets it aside.
"""

import errno
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tft_pipeline.live.sealed_json import SEAL, DamagedRecordError, line_of, parsed
from tft_pipeline.live.switch_states import STATES
from tft_pipeline.storage.atomic import fsync_folder

HISTORY = "kill_switch.jsonl"
TAIL_BYTES = 65536
"""More than the longest line."""
LONGEST_WHY, LONGEST_WHO = 4000, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One change.

    Attributes:
        sequence: 1, 2, ...; orders entries whatever the clock did. A history begun anew goes on counting.
        at: ISO 8601, UTC.
        state: state from here on.
        asked: state that was asked for; milder than `state` where a stricter one held already.
        trigger: what asked: arm, reset, manual, watchdog or the name of a trigger.
        who: a person, or the process.
        previous: hash of the entry before; "" for the first.
    """

    sequence: int
    at: str
    state: str
    asked: str
    trigger: str
    why: str
    who: str
    previous: str


class SwitchHistory:
    """The file of one folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / HISTORY

    def exists(self) -> bool:
        """Whether anything is there."""
        return os.path.lexists(self.path)

    def entries(self) -> list[Entry]:
        """All entries, oldest first.

        Raises:
            DamagedRecordError: a line that is none, or not the one that was written there.
            OSError: it cannot be read.
        """
        if not self.exists():
            return []
        found: list[Entry] = []
        previous = ""
        content = self.path.read_bytes()
        _whole(content)
        for line in content.splitlines():
            entry, sha = _parsed(line)
            # the first of a history that was set aside and begun anew has a number above those of the one before
            if entry.previous != previous or (found and entry.sequence != found[-1].sequence + 1):
                raise DamagedRecordError(f"{HISTORY}: entry {entry.sequence} does not follow the one before it")
            found.append(entry)
            previous = sha
        return found

    def last(self) -> tuple[Entry, str]:
        """Newest entry and its hash, without reading the rest.

        Raises:
            DamagedRecordError: it is none, or there is none.
            OSError: it cannot be read.
        """
        with self.path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - TAIL_BYTES))
            content = stream.read()
        _whole(content)
        return _parsed(content.splitlines()[-1])

    def last_of_whole(self) -> tuple[Entry, str] | None:
        """Newest entry of a history that can be gone on with; None where it is missing or damaged."""
        try:
            self.entries()
            return self.last()
        except (OSError, ValueError):
            return None

    def append(self, entry: Entry) -> None:
        """One line, on the disk when this returns; a disk that takes a part of it gets none."""
        line = line_of(asdict(entry)).encode()
        with self.path.open("ab", buffering=0) as stream:
            before = stream.tell()
            written = stream.write(line)
            if written != len(line):
                stream.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(stream.fileno())
        fsync_folder(self.path.parent)


def entry_of(record: dict[str, Any]) -> tuple[Entry, str]:
    """Entry and hash of a sealed record.

    Raises:
        DamagedRecordError: keys missing, or values that no entry has.
    """
    try:
        entry = Entry(**{name: record[name] for name in Entry.__dataclass_fields__})
    except KeyError as error:
        raise DamagedRecordError(f"an entry of the kill switch without {error}") from None
    if entry.state not in STATES or isinstance(entry.sequence, bool) or not isinstance(entry.sequence, int):
        raise DamagedRecordError(f"an entry of the kill switch with state {entry.state!r}, number {entry.sequence!r}")
    return entry, str(record[SEAL])


def _parsed(line: bytes) -> tuple[Entry, str]:
    return entry_of(parsed(line, name=HISTORY))


def _whole(content: bytes) -> None:
    if not content.endswith(b"\n"):
        raise DamagedRecordError(f"{HISTORY} ends within a line: its last change was not recorded whole")
