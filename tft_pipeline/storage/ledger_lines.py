"""The lines of a ledger: a file of this machine, and with `TFT_STORE` one numbered object a line that all machines share.

A line is known by its content: one that is in the file and not in the store, as after work without it, is created there at the
next reading, and the other way round. A number that another machine took first is tried again one higher. A damaged file
gives nothing to the store: it is set aside and made again from the store's lines, where all of its own are known to be there;
else it is an error. Not here: what lines say (`looks`, `trials`), the file (`ledger_file`), the objects (`shared_lines`).
"""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tft_pipeline.storage.artifacts import IntegrityError, place_in_store
from tft_pipeline.storage.ledger_file import DamagedLedgerError, LedgerFile, is_there, locked, set_file_aside

if TYPE_CHECKING:
    from tft_pipeline.storage.shared_lines import SharedLines

T = TypeVar("T")
Numbered = list[tuple[str, dict[str, Any]]]
_LOOKING: ContextVar[bool] = ContextVar("looking", default=False)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What lines of a ledger say.

    Attributes:
        parse: a decoded line to what it says; ValueError where it says nothing.
        a_line, lines: for messages: "a look", "looks".
    """

    parse: Callable[[Any], T]
    a_line: str
    lines: str

    def of(self, where: str, line: Any) -> T:
        """What a line says; ValueError names where it is."""
        try:
            return self.parse(line)
        except ValueError as error:
            raise ValueError(
                f"{where} is not {self.a_line} ({error}): {self.lines} would be lost from the count; restore the ledger from a "
                "copy"
            ) from error


def read_lines(ledger: Path, kind: Kind[T]) -> list[T]:
    """Every line in its order: of the file, or of the store where there is one.

    Raises:
        ValueError: a line that says nothing, here or in the store.
        IntegrityError: a line was changed, is missing, or stands where none was written; of the store or of the file.
        StoreError: the store does not answer.
    """
    shared = _shared(ledger)
    if shared is None and not is_there(ledger):
        return []
    with locked(ledger):
        if shared is None:
            return [kind.of(f"{ledger}:{k}", line) for k, line in enumerate(LedgerFile.read(ledger).lines, start=1)]
        numbered = shared.take()
        numbered = _both(ledger, shared, numbered) if _LOOKING.get() else _synced(ledger, shared, numbered, kind)
        return [kind.of(where, line) for where, line in numbered]


@contextmanager
def only_looking() -> Iterator[None]:
    """Within it, reading gives the lines of file and store together, brings neither what it lacks and mends nothing."""
    before = _LOOKING.set(True)
    try:
        yield
    finally:
        _LOOKING.reset(before)


def add_line(ledger: Path, line: dict[str, Any]) -> None:
    """Append a line: to the store first, where there is one, then to the file.

    Raises:
        StoreError: the store did not take it; it is not in the file either.
        IntegrityError: as `read_lines`.
        OSError: the disk is full or broken; the line may be counted all the same, never twice.
    """
    shared = _shared(ledger)
    with locked(ledger):
        file = LedgerFile.read(ledger)
        if shared is None:
            file.append(line, store=None)
            return
        if _identity(line) not in {_identity(one) for _, one in shared.take()}:
            shared.add(line)
        if _identity(line) not in {_identity(one) for one in file.lines}:
            file.append(line, store=shared.store.url)


def push_lines(ledger: Path, kind: Kind[T]) -> int:
    """Put into the store what it lacks of this machine's lines, also where it lost some or is another store than before.

    What the store has stays, in its order: lost objects are put back from their copies, and what does not fit after the
    store's lines is added behind them.

    Returns:
        How many lines were put.
    Raises:
        IntegrityError, StoreError: as `read_lines`; IntegrityError also for a line that says nothing.
    """
    shared = _shared(ledger)
    assert shared is not None, "callers have a store"
    with locked(ledger):
        before = len(shared.store.names(shared.key))
        put_back = shared.put_back()
        try:
            lines = LedgerFile.read(ledger).lines
        except DamagedLedgerError as damage:  # which `_synced` mends or refuses
            lines = damage.intact
        known = {_identity(line) for line in (*lines, *put_back)}
        if lost := [line for line in shared.copied() if _identity(line) not in known]:
            raise IntegrityError(
                f"{shared.folder} holds copies of {len(lost)} {kind.lines} that neither {ledger} nor "
                f"{shared.store.where(shared.key)} has: they would be lost from the count; restore the ledger from a copy"
            )
        try:
            return len(_synced(ledger, shared, shared.take(copies=False), kind)) - before
        except ValueError as error:
            raise IntegrityError(str(error)) from error


def _both(ledger: Path, shared: "SharedLines", numbered: Numbered) -> Numbered:
    known = {_identity(line) for _, line in numbered}
    try:
        lines = LedgerFile.read(ledger).lines
    except DamagedLedgerError as damage:
        _refuse_unless_all_there(ledger, shared, numbered, damage)
        return numbered
    own = [(f"{ledger}:{k}", line) for k, line in enumerate(lines, start=1)]
    return [*numbered, *((where, line) for where, line in own if _identity(line) not in known)]


def _synced(ledger: Path, shared: "SharedLines", numbered: Numbered, kind: Kind[T]) -> Numbered:
    """Let the file and the store each have what the other one has; all lines in the store's order."""
    url = shared.store.url
    try:
        file = LedgerFile.read(ledger)
    except DamagedLedgerError as damage:
        file = _made_again(ledger, shared, numbered, damage)
    known = {_identity(line) for _, line in numbered}
    lacking = [(k, line) for k, line in enumerate(file.lines, start=1) if _identity(line) not in known]
    for k, line in lacking:
        kind.of(f"{ledger}:{k}", line)
    for _, line in lacking:
        if _identity(line) not in known:
            known.add(_identity(line))
            numbered = shared.add(line)
    here = {_identity(line) for line in file.lines}
    for _, line in numbered:
        if _identity(line) not in here:
            file.append(line, store=url)
    if file.lines:
        file.vouch(url)
    return numbered


def _made_again(ledger: Path, shared: "SharedLines", numbered: Numbered, damage: DamagedLedgerError) -> LedgerFile:
    """The file with the store's lines, in place of a damaged one all of whose lines are known to be there."""
    from tft_pipeline.storage.stored_versions import DamagedCopyWarning

    _refuse_unless_all_there(ledger, shared, numbered, damage)
    aside = set_file_aside(ledger)
    made = LedgerFile.written(ledger, [line for _, line in numbered], store=shared.store.url)
    warnings.warn(
        f"{damage}; this was done: it was set aside as {aside.name} and made again from "
        f"{shared.store.where(shared.key)}, which has all of its lines: look at this machine's disk",
        DamagedCopyWarning,
        stacklevel=4,
    )
    return made


def _refuse_unless_all_there(
    ledger: Path, shared: "SharedLines", numbered: Numbered, damage: DamagedLedgerError
) -> None:
    """A damaged file may go only where the store is known to have all of its lines; else IntegrityError."""
    known, head = {_identity(line) for _, line in numbered}, damage.head
    if (
        head is None
        or head.store != shared.store.url
        or head.lines > len(numbered)
        or not all(_identity(line) in known for line in damage.intact)
    ):
        raise IntegrityError(
            f"{damage}; it is not made again from {shared.store.where(shared.key)}, which may lack some of its lines; to go on "
            f"with the store's lines alone, move {ledger.name} and {ledger.name}.head away"
        ) from damage


def _shared(ledger: Path) -> "SharedLines | None":
    folder = ledger.with_suffix("")
    place = place_in_store(folder)
    if place is None:
        return None
    from tft_pipeline.storage.shared_lines import SharedLines

    return SharedLines(place.store, place.key, folder)


def _identity(line: Any) -> str:
    return sha256(json.dumps(line, sort_keys=True).encode()).hexdigest()
