"""The target book: the one file that the broker side reads. Standard library only.

    targets.json    sequence, epoch, ts, valid_until, bar, model_id, weights, held, state, and the record's hash
    targets.epoch   which process may write it: a new one takes over, and the one before can write no more

A symbol that is not named has the target 0. Whoever reads with `read_targets` gets flat targets when the book is missing,
damaged, of another start of the machine, from the future or past its `valid_until`, and when the kill switch is HALTED: so
everything is flat within the time of validity even if every process is dead.

Fencing. A writer stages its record in a file of its own, then looks at kill switch and epoch, then renames. Who halts or takes
over changes those first and removes staged files second. So a process that hung at any point in between either sees the
change, or finds nothing left to rename. No lock is needed for that, and a hung holder of the lock stops nobody from halting.

Not here: the kill switch itself, how weights are made.
"""

import math
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tft_pipeline.live.folder_lock import LockBusyError, folder_lock
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.moment import Clock, Moment, SystemClock
from tft_pipeline.live.sealed_json import DamagedRecordError, read_sealed, stage_sealed, write_sealed
from tft_pipeline.live.switch_history import LONGEST_WHY
from tft_pipeline.live.switch_states import ACTIVE, HALTED, STATES, allowed_in

BOOK, EPOCH, STAGED = "targets.json", "targets.epoch", ".targets-staged-"
FLAT_S = 3600.0
"""Validity of a book that is flat anyway."""
FUTURE_S = 5.0
"""A book may be this much younger than the reader's clock says before it counts as one from the future."""


class FencedError(RuntimeError):
    """Another process has taken the book over: this one may write no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What should be held.

    Attributes:
        sequence: 1, 2, ... through all writers.
        epoch: number of the writing process; 0 where nobody's.
        ts, valid_until: UTC, by the wall clock, when it was written and when it runs out.
        bar: timestamp of the bar it was decided on, as the data has it; None where none was.
        weights: fraction of capital by symbol; a symbol not named has 0.
        held: weights before this book, towards zero from which REDUCING goes.
        state: of the kill switch when it was written.
        why: why it is flat, where it is so for a reason; "" otherwise.
    """

    sequence: int
    epoch: int
    ts: datetime
    valid_until: datetime
    bar: str | None
    model_id: str | None
    weights: dict[str, float]
    held: dict[str, float]
    state: str
    why: str = ""

    @property
    def flat(self) -> bool:
        """Whether nothing is held."""
        return not any(self.weights.values())


class TargetBook:
    """The writing side."""

    def __init__(self, folder: Path, switch: KillSwitch, *, clock: Clock | None = None) -> None:
        self._folder, self._switch = folder, switch
        self._clock = clock or SystemClock()
        self._token, self._epoch, self._sequence = "", 0, 0

    def take_over(self) -> int:
        """Become the one process that may publish; returns its epoch.

        Raises:
            LockBusyError: a process that hangs holds the lock: end it first.
            OSError: the folder cannot be written.
        """
        with folder_lock(self._switch.lock, seconds=self._switch.lock_seconds):
            number, _ = self._owner()
            book = _last_book(self._folder)
            self._epoch, self._token = max(number, book.epoch if book else 0) + 1, uuid.uuid4().hex
            write_sealed(self._folder / EPOCH, {"epoch": self._epoch, "token": self._token, "pid": os.getpid()})
            _remove_staged(self._folder)
        return self._epoch

    def publish(
        self,
        weights: Mapping[str, float],
        *,
        held: Mapping[str, float],
        bar: str | None,
        model_id: str | None,
        validity_s: float,
    ) -> Targets:
        """Write what the kill switch lets through of some weights; returns what was written.

        Args:
            held: weights before this.
            validity_s: seconds after which it reads as flat.
        Raises:
            FencedError: another process took over.
            ValueError: a number that is not finite, or no time of validity.
            LockBusyError, OSError: not written; the book before stays, until it runs out.
        """
        if not 0.0 < validity_s < math.inf:
            raise ValueError(
                f"validity_s {validity_s} is no time above 0: targets must run out when nobody renews them"
            )
        decision = _Decision(bar=bar, model_id=model_id, weights=weights, held=held, validity_s=validity_s)
        for _ in STATES:  # each time round the switch has become stricter
            with folder_lock(self._switch.lock, seconds=self._switch.lock_seconds):
                written = self._write(decision)
            if written is not None:
                return written
        return flatten(self._folder, self._switch, "the kill switch was tripped meanwhile", clock=self._clock)

    def _write(self, decision: "_Decision") -> Targets | None:
        """None where the switch was tripped since the decision was cut to what it allows."""
        state = self._switch.state()
        record = decision.record(self._clock.now(), state, self._next_sequence()) | {"epoch": self._epoch}
        staged = self._folder / f"{STAGED}{self._epoch}-{uuid.uuid4().hex[:12]}"
        try:
            stage_sealed(staged, record, durable=False)
            self._check_owner()
            if self._switch.state() != state:
                return None
            os.replace(staged, self._folder / BOOK)
        except FileNotFoundError:  # removed by who halted or took over since it was staged
            self._check_owner()
            return None
        finally:
            staged.unlink(missing_ok=True)
        self._sequence = record["sequence"]
        return _targets(record)

    def _next_sequence(self) -> int:
        book = _last_book(self._folder)
        return max(self._sequence, book.sequence if book else 0) + 1

    def _check_owner(self) -> None:
        if not self._token or self._owner()[1] != self._token:
            raise FencedError(f"epoch {self._epoch} of the target book is over: another process took it over")

    def _owner(self) -> tuple[int, str]:
        try:
            record = read_sealed(self._folder / EPOCH)
            return int(record["epoch"]), str(record["token"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""


def halt(folder: Path, switch: KillSwitch, trigger: str, why: str, *, clock: Clock | None = None) -> Targets:
    """Trip to HALTED and flatten.

    Raises:
        TripFailedError, OSError: nothing can be written there; the book before runs out.
    """
    switch.trip(HALTED, trigger, why)
    return flatten(folder, switch, f"HALTED by {trigger}: {why}", clock=clock)


def flatten(folder: Path, switch: KillSwitch, why: str, *, clock: Clock | None = None) -> Targets:
    """Write flat targets now, whoever owns the book; what any writer has staged is removed.

    A writer that hangs with the lock is waited for only as long as the switch allows, then it is done without the lock: flat
    replaces anything.

    Raises:
        OSError: it cannot be written; the book before stays, until it runs out.
    """
    now = (clock or SystemClock()).now()
    _remove_staged(folder)

    def write() -> Targets:
        book = _last_book(folder)
        names = {*(book.weights if book else ()), *(book.held if book else ())}
        flat = dict.fromkeys(sorted(names), 0.0)
        decision = _Decision(bar=book.bar if book else None, model_id=None, weights=flat, held=flat, validity_s=FLAT_S)
        record = decision.record(now, switch.state(), (book.sequence if book else 0) + 1)
        record |= {"epoch": book.epoch if book else 0, "why": why[:LONGEST_WHY]}
        write_sealed(folder / BOOK, record, durable=False)
        return _targets(record)

    try:
        with folder_lock(switch.lock, seconds=switch.lock_seconds):
            return write()
    except LockBusyError:
        return write()


def written_targets(folder: Path) -> Targets | None:
    """The book as it stands, whatever the clock and the kill switch say; None where none can be read. To watch writers by."""
    return _last_book(folder)


def read_targets(folder: Path, now: Moment | None = None, *, switch: KillSwitch | None = None) -> Targets:
    """What should be held now: the book, or flat with the reason. Never raises for what is on disk.

    Args:
        now: by both clocks; the machine's by default.
    """
    now = now or SystemClock().now()
    state = (switch or KillSwitch(folder)).state()
    try:
        record = read_sealed(folder / BOOK)
        targets = _targets(record)
        age = now.seconds_since(record["boot_s"], record["boot_id"])
        validity = float(record["validity_s"])
    except FileNotFoundError:
        return _flat(None, now, state, "there is no target book")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return _flat(None, now, state, f"the target book is damaged: {error}")
    if state == HALTED:
        return _flat(targets, now, state, targets.why or "the kill switch is HALTED")
    if not age <= validity or now.wall >= targets.valid_until:
        return _flat(targets, now, state, f"the target book ran out at {targets.valid_until.isoformat()}")
    if (targets.ts - now.wall).total_seconds() > FUTURE_S:
        return _flat(
            targets, now, state, f"the target book is from the future, {targets.ts.isoformat()}: a clock was set"
        )
    if state == ACTIVE:
        return targets
    # a book written before the switch was tripped may still ask for more than is held
    return replace(targets, weights=allowed_in(state, targets.weights, targets.held), state=state)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    """What somebody wants to publish."""

    bar: str | None
    model_id: str | None
    weights: Mapping[str, float]
    held: Mapping[str, float]
    validity_s: float

    def record(self, now: Moment, state: str, sequence: int) -> dict[str, Any]:
        """The book's content, cut to what the state allows."""
        allowed = allowed_in(state, self.weights, self.held)
        return {
            "sequence": sequence,
            "ts": now.wall.isoformat(),
            "valid_until": (now.wall + timedelta(seconds=self.validity_s)).isoformat(),
            "boot_s": now.boot_s,
            "boot_id": now.boot_id,
            "validity_s": self.validity_s,
            "bar": self.bar,
            "model_id": self.model_id,
            "weights": {symbol: float(weight) for symbol, weight in allowed.items()},
            "held": {symbol: float(weight) for symbol, weight in self.held.items()},
            "state": state,
            "why": "",
        }


def _targets(record: Mapping[str, Any]) -> Targets:
    """Raises: ValueError, KeyError, TypeError: not a book."""
    weights, held = dict(record["weights"]), dict(record["held"])
    if not all(isinstance(one, float) and math.isfinite(one) for one in (*weights.values(), *held.values())):
        raise DamagedRecordError("weights that are no finite numbers")
    return Targets(
        sequence=int(record["sequence"]),
        epoch=int(record["epoch"]),
        ts=datetime.fromisoformat(record["ts"]).astimezone(UTC),
        valid_until=datetime.fromisoformat(record["valid_until"]).astimezone(UTC),
        bar=record["bar"],
        model_id=record["model_id"],
        weights=weights,
        held=held,
        state=str(record["state"]),
        why=str(record["why"]),
    )


def _flat(book: Targets | None, now: Moment, state: str, why: str) -> Targets:
    if book is None:
        return Targets(
            sequence=0,
            epoch=0,
            ts=now.wall,
            valid_until=now.wall,
            bar=None,
            model_id=None,
            weights={},
            held={},
            state=state,
            why=why,
        )
    return replace(book, weights=dict.fromkeys({*book.weights, *book.held}, 0.0), state=state, why=why)


def _last_book(folder: Path) -> Targets | None:
    """The book as it stands; None where there is none that can be read: numbering then begins anew."""
    try:
        return _targets(read_sealed(folder / BOOK))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remove_staged(folder: Path) -> None:
    for staged in folder.glob(f"{STAGED}*"):
        staged.unlink(missing_ok=True)
