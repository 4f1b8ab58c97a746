"""The kill switch: a latch on disk that only gets stricter, until a person resets it. Standard library only.

    ACTIVE -> REDUCING (positions may only shrink) -> HALTED (everything flat)

    kill_switch.json     the state: the newest entry of the history, sealed with its hash
    kill_switch.jsonl    the history: one entry a change, each with the hash of the one before; only ever grows
    kill_switch.halt*    HALTED, whatever the rest says: `touch kill_switch.halt` is enough to stop
    kill_switch.lock     one writer at a time

It fails closed: missing, damaged, unreadable, foreign or contradictory files are HALTED. An entry is written to the history
first and to the state second; where a writer died in between, the stricter of the two counts. A change that cannot be
recorded (disk full, lock held by a process that hangs) leaves a halt file, and if not even that is possible removes the state,
which needs no space. State and history set back together, by a backup, are whole: only who remembers a later number, or finds
one that the loop wrote elsewhere (`switch_seen`), can tell.

Not here: when to trip (`triggers`, `watchdog`), what the broker side reads (`target_book`).
"""

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tft_pipeline.live.folder_lock import LockBusyError, folder_lock
from tft_pipeline.live.sealed_json import read_sealed, write_sealed
from tft_pipeline.live.switch_history import LONGEST_WHO, LONGEST_WHY, Entry, SwitchHistory, entry_of
from tft_pipeline.live.switch_seen import seen_sequence
from tft_pipeline.live.switch_states import ACTIVE, HALTED, REDUCING, STATES, allowed_in, stricter
from tft_pipeline.storage.atomic import fsync_folder

LATCH, LOCK, MARKER = "kill_switch.json", "kill_switch.lock", "kill_switch.halt"
NEVER_ARMED = "it was never armed: `tft kill-switch arm` once, by a person"
DAMAGED = "damaged"
"""Trigger of a reading that rests on files nobody can trust."""
NOT_ARMED, HALT_FILE = "never armed", "halt file"
UNNUMBERED = (DAMAGED, NOT_ARMED, HALT_FILE)
"""Triggers of readings that rest on no entry; HALTED, all of them."""
READS, READ_PAUSE_S = 40, 0.002


class KillSwitchError(RuntimeError):
    """A change of the kill switch that was not made; what it says stands."""


class TripFailedError(KillSwitchError):
    """Not even a halt could be recorded: whoever sees this must treat the state as HALTED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the switch says now; `sequence` is 0 and `since` None where no entry can be trusted."""

    state: str
    why: str
    trigger: str
    sequence: int = 0
    since: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


class KillSwitch:
    """The latch of one folder; any number of processes may hold one."""

    def __init__(self, folder: Path, *, lock_seconds: float = 1.0) -> None:
        """Args: lock_seconds: how long a change waits for another writer before it takes the way that needs no lock."""
        self.folder = Path(folder)
        self.lock = self.folder / LOCK
        self._latch, self._history = self.folder / LATCH, SwitchHistory(self.folder)
        self.lock_seconds = lock_seconds

    def state(self, *, least_sequence: int | None = None) -> str:
        """ACTIVE, REDUCING or HALTED; never raises, whatever is on disk. Args: see `reading`."""
        return self.reading(least_sequence=least_sequence).state

    def reading(self, *, least_sequence: int | None = None) -> Reading:
        """State and why. Takes no lock: a writer that hangs keeps nobody from reading.

        Args:
            least_sequence: highest entry that was ever seen; a newest entry before it was set back. None: the highest that the
                loop wrote elsewhere in the folder.
        """
        # before the entries themselves: whoever makes one between the two must not look like a set back
        least = seen_sequence(self.folder) if least_sequence is None else least_sequence
        found = self._read_once()
        for _ in range(READS):
            if found is not None:
                break
            time.sleep(READ_PAUSE_S)
            found = self._read_once()
        if found is None:
            return _halted("state and history are of different entries: one of them was replaced or set back", DAMAGED)
        if found.trigger not in UNNUMBERED and found.sequence < least:
            return _halted(
                f"the newest entry is {found.sequence}, and {least} was seen before: state and history were set back",
                DAMAGED,
            )
        return found

    def allowed(self, weights: Mapping[str, float], held: Mapping[str, float]) -> dict[str, float]:
        """Weights that may be held now, see `allowed_in`."""
        return allowed_in(self.state(), weights, held)

    def arm(self, who: str, why: str) -> Reading:
        """Make a folder's first state, ACTIVE; once.

        Raises:
            KillSwitchError: it was armed before (also if its file is gone since), or tripped already.
            ValueError: nobody, or no reason, is named.
            LockBusyError, OSError: it cannot be written.
        """
        _named(who, why)
        self.folder.mkdir(parents=True, exist_ok=True)
        with folder_lock(self.lock, seconds=self.lock_seconds):
            if self._was_armed():
                raise KillSwitchError(
                    f"the kill switch in {self.folder} was armed or tripped before: it is armed once; look at its status and "
                    "reset it if what stopped it is mended"
                )
            self._record(ACTIVE, ACTIVE, "arm", why, who, None)
        return self.reading()

    def trip(self, state: str, trigger: str, why: str, who: str = "") -> Reading:
        """Make the state at least as strict as `state`. It stays so until a person resets it.

        Args:
            state: REDUCING or HALTED. Where it cannot be recorded, it becomes HALTED.
            who: the process by default.
        Raises:
            ValueError: another state.
            TripFailedError: nothing at all can be written in the folder.
        """
        if state not in (REDUCING, HALTED):
            raise ValueError(f"trip to {state!r}: it is REDUCING or HALTED; back to ACTIVE only by a reset")
        who = who or f"process {os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with folder_lock(self.lock, seconds=self.lock_seconds):
                before = self.reading()
                last = self._history.last_of_whole()
                if before.trigger == DAMAGED or last is None:
                    raise KillSwitchError(before.why)  # a damaged history takes no further entries
                if stricter(before.state, state) != state:
                    why = f"{why} (it was {before.state} already, see entry {before.sequence})"
                self._record(stricter(before.state, state), state, trigger, why, who, last)
        except (OSError, ValueError, LockBusyError, KillSwitchError) as error:
            self._halt_without_lock(f"{trigger}: {why} ({who}); not recorded in the history: {error}")
        return self.reading()

    def reset(self, who: str, why: str) -> Reading:
        """Back to ACTIVE: a person looked, and mended what tripped it. Damaged files are renamed and stay for inspection.

        Raises:
            KillSwitchError: never armed, or ACTIVE already.
            ValueError: nobody, or no reason, is named.
            LockBusyError, OSError: it cannot be written; it stays as it was.
        """
        _named(who, why)
        if not self.folder.is_dir() or not self._was_armed():
            raise KillSwitchError(f"{self.folder}: {NEVER_ARMED}")
        with folder_lock(self.lock, seconds=self.lock_seconds):
            before, markers = self.reading(), self._markers()
            if before.state == ACTIVE:
                raise KillSwitchError("the kill switch is ACTIVE: there is nothing to reset")
            last = self._history.last_of_whole()
            if last is None or last[0].sequence < seen_sequence(self.folder):
                _set_aside(self._history.path)
                last = None
            if before.trigger == DAMAGED or self._latch.is_dir():
                _set_aside(self._latch)
            self._record(ACTIVE, ACTIVE, "reset", f"{why} (was {before.state}: {before.why})", who, last)
            # only those that were there at the start: one that came since is a trip nobody has looked at
            for marker in markers:
                marker.unlink(missing_ok=True)
            fsync_folder(self.folder)
        return self.reading()

    def history(self) -> list[Entry]:
        """All entries, oldest first; see `SwitchHistory.entries` for what is refused."""
        return self._history.entries()

    def _read_once(self) -> Reading | None:
        """None where state and history cannot both be true; a writer may be between the two, so look again."""
        try:
            markers = self._markers()
            if markers:
                return _halted(_said(markers[0]), HALT_FILE)
            try:
                entry, sha = entry_of(read_sealed(self._latch))
            except FileNotFoundError:
                if not self._history.exists():
                    return _halted(NEVER_ARMED, NOT_ARMED)
                return _halted(f"{LATCH} is missing although the switch was armed", DAMAGED)
            last, last_sha = self._history.last()
        except (OSError, ValueError) as error:
            return _halted(str(error), DAMAGED)
        if last.sequence == entry.sequence and last_sha == sha:
            counted = entry
        elif last.sequence == entry.sequence + 1 and last.previous == sha:
            # its writer is about to replace the state, or died before it could
            counted = last if STATES.index(last.state) >= STATES.index(entry.state) else entry
        else:
            return None
        return Reading(
            state=counted.state, why=counted.why, trigger=counted.trigger, sequence=counted.sequence, since=counted.at
        )

    def _record(self, state: str, asked: str, trigger: str, why: str, who: str, last: tuple[Entry, str] | None) -> None:
        """History first, state second; the lock is held."""
        # a history that begins anew goes on above what was seen of the one before, or it would look set back
        number, previous = (last[0].sequence + 1, last[1]) if last else (seen_sequence(self.folder) + 1, "")
        entry = Entry(
            sequence=number,
            at=_now().isoformat(),
            state=state,
            asked=asked,
            trigger=trigger,
            why=why[:LONGEST_WHY],
            who=who[:LONGEST_WHO],
            previous=previous,
        )
        self._history.append(entry)
        write_sealed(self._latch, asdict(entry))

    def _halt_without_lock(self, why: str) -> None:
        """HALTED by a file that is only there; where none can be made, by removing the state."""
        marker = self.folder / f"{MARKER}-{uuid.uuid4().hex[:12]}"
        failed: OSError | None = None
        try:
            descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except OSError as error:
            failed = error
        else:
            try:
                os.write(descriptor, why.encode()[:4000])
                os.fsync(descriptor)
            except OSError:  # no space for the words: that the file is there says enough
                pass
            finally:
                os.close(descriptor)
        if failed is not None:
            try:
                self._latch.unlink()
            except FileNotFoundError:
                pass
            except OSError as error:
                if self.state() == HALTED:  # by what is damaged there, or by somebody else
                    return
                raise TripFailedError(
                    f"the kill switch in {self.folder} could not be tripped ({failed}; {error}): treat it as HALTED, and "
                    "flatten by hand; targets run out by themselves at their valid_until"
                ) from error
        fsync_folder(self.folder)

    def _was_armed(self) -> bool:
        return os.path.lexists(self._latch) or self._history.exists() or bool(self._markers())

    def _markers(self) -> list[Path]:
        try:
            with os.scandir(self.folder) as found:
                return sorted(Path(one.path) for one in found if one.name.startswith(MARKER))
        except FileNotFoundError:  # no folder, no state either: never armed
            return []


def _said(marker: Path) -> str:
    """What a halt file says; empty and unreadable ones count as well."""
    try:
        text = marker.read_bytes()[:4000].decode(errors="replace").strip()
    except OSError as error:
        text = str(error)
    return f"{marker.name}: {text or 'says nothing more'}"


def _set_aside(path: Path) -> None:
    """Rename what is damaged; it stays for inspection."""
    if os.path.lexists(path):
        os.rename(path, path.with_name(f"{path.name}.damaged-{_now():%Y-%m-%dT%H-%M-%S-%fZ}"))


def _halted(why: str, trigger: str) -> Reading:
    return Reading(state=HALTED, why=why, trigger=trigger)


def _named(who: str, why: str) -> None:
    if not who.strip() or not why.strip():
        raise ValueError(f"who {who!r}, why {why!r}: say both, for the next one who looks at the history")


def _now() -> datetime:
    return datetime.now(UTC)
