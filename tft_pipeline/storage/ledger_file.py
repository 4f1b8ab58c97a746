"""The file of a ledger on this machine: JSON lines, each with a hash over itself and over everything before it.

    <ledger>.jsonl         {..., "previous": SHA-256 of all bytes before this line, "sha256": of the line without this key}
    <ledger>.jsonl.head    {lines, sha256, store}: how many lines there are, the hash of all their bytes, and the store that has
                           all of them, or null

Lines from before there were hashes stand first, and the first hashed one covers them. Only the head knows of lines that were
cut off at the end. It is replaced after a line is on the disk, so after a crash the file is one line ahead, or a line is torn:
nobody was told that either was written. Not here: the store's lines (`shared_lines`), and who wins (`ledger_lines`).
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.atomic import append_line, canonical_json, fsync_folder, replace_file

PREVIOUS, SEAL = "previous", "sha256"


class DamagedLedgerError(IntegrityError):
    """A ledger's file, or its head, is not what was written.

    Attributes:
        intact: decoded lines that carry a hash which fits them.
        head: what the head says; None where it is missing or damaged.
    """

    def __init__(self, said: str, intact: list[Any], head: "Head | None") -> None:
        super().__init__(said)
        self.intact, self.head = intact, head


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a ledger's file apart from it.

    Attributes:
        lines: their number. sha256: of all their bytes.
        store: URL of the store that has every one of them; None: perhaps none has.
    """

    lines: int
    sha256: str
    store: str | None


class LedgerFile:
    """A ledger's file as it was read, every line verified; to be used while it is `locked`.

    Attributes:
        lines: decoded, without their hashes, in their order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Any] = []
        self._hash, self._n_bytes = sha256(), 0
        self._head = _read_head(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """All of it; what a crash left of a last line is passed over.

        Raises:
            DamagedLedgerError: a line was changed, lost, or put between others.
        """
        found = cls(path)
        content = path.read_bytes() if path.is_file() else b""
        *whole, torn = content.split(b"\n")
        head, sealed = found._head, False
        vouched = head.lines if head is not None else 0
        for number, raw in enumerate(whole, start=1):
            try:
                row = json.loads(raw)
            except ValueError as error:
                raise found._damage(f":{number}", f"no line of a ledger ({error})", whole) from error
            line, own = _stripped(row)
            sealed = sealed or own or (head is not None and number > vouched)
            if sealed and _sealed(line, found._hash.hexdigest()) != raw + b"\n":
                raise found._damage(f":{number}", "not the line that was written there after the ones before it", whole)
            found._take(line, raw + b"\n")
            if head is not None and number == vouched and found._hash.hexdigest() != head.sha256:
                raise found._damage("", f"not the {number} lines that were written, by the hash in its head", whole)
        if head is None and sealed:
            state = canonical_json(found._state(None)).split()
            raise found._damage(
                "",
                f"without its head {_head_path(path)}, so that lines may be lost at its end; where you know that "
                f"{len(whole)} are all, write {' '.join(state)} there",
                whole,
            )
        if head is not None and not vouched <= len(whole) <= vouched + 1:
            raise found._damage("", f"{len(whole)} lines long, and {vouched} were written", whole)
        if torn and head is None:
            raise found._damage(f":{len(whole) + 1}", "no whole line of a ledger", whole)
        return found

    def append(self, line: dict[str, Any], *, store: str | None) -> None:
        """Write a line, on the disk when this returns.

        Args:
            store: URL of the store that has it already; None: none.
        Raises:
            OSError: the disk is full or broken; the line is in the file or not, whole.
        """
        known = self._head is not None and self._head.lines == len(self.lines)
        all_there = not self.lines or (known and self._head is not None and self._head.store == store)
        if not known:  # lines from before there were heads, or the one of a writer that was killed
            self.vouch(store if all_there else None)
        if self.path.is_file() and self.path.stat().st_size > self._n_bytes:
            os.truncate(self.path, self._n_bytes)  # of a line that a crash tore
        raw = _sealed(line, self._hash.hexdigest())
        append_line(self.path, json.loads(raw))
        self._take(line, raw)
        self.vouch(store if all_there else None)

    def vouch(self, store: str | None) -> None:
        """Write the head: these are all lines, and a store has every one of them, or perhaps not."""
        state = self._state(store)
        if self._head != Head(**state):
            replace_file(_head_path(self.path), lambda path: path.write_text(canonical_json(state)))
            self._head = Head(**state)

    @classmethod
    def written(cls, path: Path, lines: list[dict[str, Any]], *, store: str) -> Self:
        """A file of these lines, in place of what is there; killed before it has its head, it counts as damaged."""
        content, running = b"", sha256()
        for line in lines:
            content += _sealed(line, running.hexdigest())
            running = sha256(content)
        replace_file(path, lambda staged: staged.write_bytes(content))
        found = cls(path)
        for line, raw in zip(lines, content.splitlines(keepends=True), strict=True):
            found._take(line, raw)
        found.vouch(store)
        return found

    def _take(self, line: Any, raw: bytes) -> None:
        self.lines.append(line)
        self._hash.update(raw)
        self._n_bytes += len(raw)

    def _state(self, store: str | None) -> dict[str, Any]:
        return {"lines": len(self.lines), "sha256": self._hash.hexdigest(), "store": store}

    def _damage(self, where: str, why: str, whole: list[bytes]) -> DamagedLedgerError:
        return DamagedLedgerError(
            f"{self.path}{where} is {why}: looks or trials would be lost from the count; restore the ledger and its head "
            "from a copy",
            [line for raw in whole if (line := _own_word(raw)) is not None],
            self._head,
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process of this machine at a time reads or writes a ledger and its head."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_there(path: Path) -> bool:
    """Whether anything of a ledger was written."""
    return path.exists() or _head_path(path).exists()


def set_file_aside(path: Path) -> Path:
    """Rename a damaged file, which stays for inspection; its head stays, and says that a file is missing."""
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y-%m-%dT%H-%M-%S-%fZ}")
    if path.exists():
        os.rename(path, aside)
        fsync_folder(path.parent)
    return aside


def _head_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.head")


def _read_head(path: Path) -> Head | None:
    place = _head_path(path)
    if not place.is_file():
        return None
    try:
        row = json.loads(place.read_bytes())
        head = Head(**row)
        if type(head.lines) is int and head.lines >= 0 and isinstance(head.sha256, str):
            return head
    except (ValueError, TypeError):
        pass
    raise DamagedLedgerError(
        f"{place} is no head of a ledger: whether lines of {path} were lost is not known; restore it from a copy",
        [],
        None,
    )


def _stripped(row: Any) -> tuple[Any, bool]:
    """A decoded line without its hashes, and whether it has any."""
    if not isinstance(row, dict) or not row.keys() & {PREVIOUS, SEAL}:
        return row, False
    return {key: value for key, value in row.items() if key not in (PREVIOUS, SEAL)}, True


def _sealed(line: Any, previous: str) -> bytes:
    """A line as it stands in the file."""
    if not isinstance(line, dict):
        return b""
    row = line | {PREVIOUS: previous}
    stated = sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
    return (json.dumps(row | {SEAL: stated}, sort_keys=True) + "\n").encode()


def _own_word(raw: bytes) -> Any:
    """A line whose own hash fits it, whatever stands before it; None where it is none."""
    try:
        row = json.loads(raw)
        line, own = _stripped(row)
        return line if own and _sealed(line, row[PREVIOUS]) == raw + b"\n" else None
    except (ValueError, KeyError, TypeError):
        return None
