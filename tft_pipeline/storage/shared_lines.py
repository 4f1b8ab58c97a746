"""A ledger's lines in the object store, and the copies of them on this machine.

    <ledger>/00000001.json ...     in the store: {line, number, previous, sha256}, created once and never replaced
    <ledger>/00000001.json ...     here: copies of these

The number is the order, for every machine the same; `previous` is the hash of the object before, so that a line that was
changed, lost or put between others is an error and never one look fewer. A copy spares a request, not the question whether the
store still has these bytes: the last one is fetched and compared, the ones before it by what the listing says of them. Not
here: the file of this machine (`ledger_file`).
"""

import json
from dataclasses import dataclass, field
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.atomic import canonical_json, replace_file
from tft_pipeline.storage.object_store import ObjectStore

FIRST = ""
"""`previous` of the first line."""


@dataclass
class SharedLines:
    """A ledger's lines in the store, and the copies of them in a folder here; one process of a machine at a time."""

    store: ObjectStore
    key: str
    folder: Path
    _taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _previous: str = FIRST

    def take(self, *, copies: bool = True) -> list[tuple[str, dict[str, Any]]]:
        """Where each line is, and the line; all of them, in their order.

        Args:
            copies: hold the store against the copies here; else it is read as by a machine that has none, and they are
                made what it has.
        Raises:
            IntegrityError: an object is missing, was changed, or is another one than the copy.
            StoreError: the store does not answer.
        """
        self._taken, self._previous = [], FIRST
        listed = {self._number(key): about for key, about in self.store.names(self.key).items()}
        here = {self._number(path.name): path.read_bytes() for path in self.folder.glob("*.json")} if copies else {}
        same = self._same_as_listed(listed, here)
        highest = max([0, *listed, *here])
        number = 1
        # the listing may lag behind: the number after the highest one is asked for too
        while self._one(number, needed=number <= highest, copy=here.get(number), same=number in same):
            number += 1
        if not copies:
            for path in self.folder.glob("*.json"):
                if self._number(path.name) >= number:
                    path.unlink()
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
            self._one(number, needed=True, copy=None, same=False)  # another machine was first
            if self._taken[-1][1] == line:
                return self._taken

    def put_back(self) -> list[dict[str, Any]]:
        """Create again what the store lost, or never had, of the lines that this machine has a copy of.

        A copy is put only after one that the store has byte for byte; at the first that differs it ends.

        Returns:
            The lines up to there.
        """
        self._taken, self._previous = [], FIRST
        number = 1
        while (copy := self._copy(number)).is_file():
            content = copy.read_bytes()
            if not self._is_next(number, content):
                break
            if not self.store.create(self._key(number), content) and self.store.get(self._key(number)) != content:
                break
            self._accept(number, content)
            number += 1
        return [line for _, line in self._taken]

    def copied(self) -> list[dict[str, Any]]:
        """Every line that there is a copy of, as far as one can be read."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                found.append(json.loads(path.read_bytes())["line"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def _same_as_listed(self, listed: dict[int, Any], here: dict[int, bytes]) -> set[int]:
        """Numbers of the copies that the store has too, as far as it can be known without reading it."""
        both = sorted(listed.keys() & here.keys())
        if not both or self.store.url.startswith("file:"):  # read as quickly as the copy
            return set()
        last = both[-1]
        if self.store.get(self._key(last)) != here[last]:
            return set()
        # an ETag is the MD5 of the bytes, but for some kinds of encryption: the last object tells
        tags = _tag(listed[last]) == _md5(here[last])
        fits = {
            number
            for number in both
            if listed[number].get("size") == len(here[number])
            and (not tags or _tag(listed[number]) == _md5(here[number]))
        }
        return fits | {last}

    def _one(self, number: int, *, needed: bool, copy: bytes | None, same: bool) -> bool:
        sound = copy is not None and self._is_next(number, copy)
        if copy is not None and sound and same:
            self._accept(number, copy)
            return True
        there = self.store.get(self._key(number))
        if there is None:
            if not needed:
                return False
            mend = (
                f"{self._copy(number)} is a copy of it, and `tft push` puts back all that this machine has copies of, into a "
                "store that is new too"
                if sound
                else "restore the object"
            )
            raise IntegrityError(
                f"{self.store.where(self._key(number))} is missing, and there are later lines or a copy: looks or trials "
                f"would be lost from the count; {mend}"
            )
        if sound and there != copy and self._is_next(number, there):
            raise IntegrityError(
                f"{self.store.where(self._key(number))} is another line than its copy {self._copy(number)}: one of the two was "
                "lost from the store, or TFT_STORE names another store than before; `tft push` adds the lines that this "
                "machine has and the store lacks, and removes none"
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
        if not self._copy(number).is_file() or self._copy(number).read_bytes() != content:
            replace_file(self._copy(number), lambda path: path.write_bytes(content))

    def _copy(self, number: int) -> Path:
        return self.folder / f"{number:08d}.json"

    def _key(self, number: int) -> str:
        return f"{self.key}/{number:08d}.json"

    def _number(self, key: str) -> int:
        stem = key.rsplit("/", 1)[-1].removesuffix(".json")
        if not stem.isdecimal():
            raise IntegrityError(f"{self.store.where(key)} is no line of a ledger: remove it")
        return int(stem)


def _hash(body: dict[str, Any]) -> str:
    return sha256(canonical_json(body).encode()).hexdigest()


def _md5(content: bytes) -> str:
    return md5(content, usedforsecurity=False).hexdigest()


def _tag(about: Any) -> str:
    return str(about.get("ETag", "")).strip('"')
