"""The lines of a ledger: a file of this machine, and with `TFT_STORE` one numbered object a line that all machines share.

    <ledger>.jsonl                 every line that this machine knows, appended to only
    <ledger>/00000001.json ...     in the store: {line, number, previous, sha256}, created once and never replaced
    <ledger>/00000001.json ...     here: copies of these

The number is the order, for every machine the same; `previous` is the hash of the object before, so that a line that was
changed, lost or put between others is an error and never one look fewer. A line is known by its content: one that is in the
file and not in the store, as after work without it, is created there at the next reading, and the other way round. A number
that another machine took first is tried again one higher. Not here: what lines say (`looks`, `trials`).
"""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tft_pipeline.storage.artifacts import IntegrityError, place_in_store
from tft_pipeline.storage.atomic import append_line, canonical_json, replace_file

if TYPE_CHECKING:
    from tft_pipeline.storage.object_store import ObjectStore

T = TypeVar("T")
FIRST = ""
"""`previous` of the first line."""
_LOCK = ".lock"


def read_lines(ledger: Path, parse: Callable[[Any], T], *, a_line: str, lines: str) -> list[T]:
    """Every line in its order: of the file, or of the store where there is one.

    Args:
        parse: a decoded line to what it says; ValueError where it says nothing.
        a_line, lines: for messages: "a look", "looks".
    Raises:
        ValueError: a line that `parse` refuses, here or in the store.
        IntegrityError: a line of the store is missing or was changed.
        StoreError: the store does not answer.
    """

    def checked(where: str, text: str) -> T:
        try:
            return parse(json.loads(text))
        except ValueError as error:
            raise ValueError(
                f"{where} is not {a_line} ({error}): {lines} would be lost from the count; restore the ledger from a copy"
            ) from error

    local = _local(ledger)
    found = [checked(where, text) for where, text in local]
    shared = _shared(ledger)
    if shared is None:
        return found
    with shared.locked():
        numbered = shared.take()
        known = {_identity(line) for _, line in numbered}
        for _, text in local:
            line = json.loads(text)
            if _identity(line) not in known:
                numbered = shared.add(line)
                known.add(_identity(line))
        here = {_identity(json.loads(text)) for _, text in local}
        for _, line in numbered:
            if _identity(line) not in here:
                append_line(ledger, line)
    return [checked(where, json.dumps(line)) for where, line in numbered]


def add_line(ledger: Path, line: dict[str, Any]) -> None:
    """Append a line: to the store first, where there is one, then to the file.

    Raises:
        StoreError: the store did not take it; it is not in the file either.
        IntegrityError: as `read_lines`.
        OSError: the disk is full or broken.
    """
    shared = _shared(ledger)
    if shared is not None:
        with shared.locked():
            if _identity(line) not in {_identity(one) for _, one in shared.take()}:
                shared.add(line)
    append_line(ledger, line)


@dataclass
class _SharedLines:
    """A ledger's lines in the store, and the copies of them in a folder here."""

    store: "ObjectStore"
    key: str
    folder: Path
    _taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _previous: str = FIRST

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """Where each line is, and the line; all of them, in their order."""
        self._taken, self._previous = [], FIRST
        listed = [self._number(key) for key in self.store.names(self.key)]
        copied = [self._number(path.name) for path in self.folder.glob("*.json")]
        highest = max([0, *listed, *copied])
        here = set(listed)
        number = 1
        # the listing may lag behind: the number after the highest one is asked for too
        while self._one(number, needed=number <= highest, listed=number in here):
            number += 1
        return self._taken

    def add(self, line: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Create a line after the last one; to be called after `take`."""
        while True:
            number = len(self._taken) + 1
            body = {"line": line, "number": number, "previous": self._previous}
            content = canonical_json(body | {"sha256": _hash(body)}).encode()
            if self.store.create(self._key(number), content) or self.store.get(self._key(number)) == content:
                self._keep(number, content)
                self._accept(number, content)
                return self._taken
            self._one(number, needed=True, listed=True)  # another machine was first
            if _identity(self._taken[-1][1]) == _identity(line):
                return self._taken

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process of this machine at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _one(self, number: int, *, needed: bool, listed: bool) -> bool:
        copy = self.folder / f"{number:08d}.json"
        content = copy.read_bytes() if copy.is_file() else None
        if content is not None and listed and self._is_next(number, content):
            self._accept(number, content)
            return True
        there = self.store.get(self._key(number))
        if there is None:
            if not needed:
                return False
            mend = f"; {copy} is a copy of it, put it back" if content is not None else ""
            raise IntegrityError(
                f"{self.store.where(self._key(number))} is missing, and there are later lines or a copy: looks or trials "
                f"would be lost from the count; restore the object{mend}"
            )
        self._accept(number, there)
        self._keep(number, there)
        return True

    def _is_next(self, number: int, content: bytes) -> bool:
        try:
            body = json.loads(content)
            stated = body.pop("sha256")
            return bool(stated == _hash(body) and body["number"] == number and body["previous"] == self._previous)
        except (ValueError, KeyError, TypeError, AttributeError):
            return False

    def _accept(self, number: int, content: bytes) -> None:
        where = self.store.where(self._key(number))
        if not self._is_next(number, content):
            raise IntegrityError(
                f"{where} is not the line that was put there after number {number - 1} "
                f"({self._previous or 'none'}): it was changed, and looks or trials would be lost from the count; restore the "
                "object from a copy"
            )
        body = json.loads(content)
        self._taken.append((where, body["line"]))
        self._previous = body["sha256"]

    def _keep(self, number: int, content: bytes) -> None:
        replace_file(self.folder / f"{number:08d}.json", lambda path: path.write_bytes(content))

    def _key(self, number: int) -> str:
        return f"{self.key}/{number:08d}.json"

    def _number(self, key: str) -> int:
        stem = key.rsplit("/", 1)[-1].removesuffix(".json")
        if not stem.isdecimal():
            raise IntegrityError(f"{self.store.where(key)} is no line of a ledger: remove it")
        return int(stem)


def _shared(ledger: Path) -> _SharedLines | None:
    folder = ledger.with_suffix("")
    place = place_in_store(folder)
    return None if place is None else _SharedLines(place.store, place.key, folder)


def _local(ledger: Path) -> list[tuple[str, str]]:
    if not ledger.exists():
        return []
    return [(f"{ledger}:{number}", line) for number, line in enumerate(ledger.read_text().splitlines(), start=1)]


def _identity(line: Any) -> str:
    return sha256(json.dumps(line, sort_keys=True).encode()).hexdigest()


def _hash(body: dict[str, Any]) -> str:
    return sha256(canonical_json(body).encode()).hexdigest()
