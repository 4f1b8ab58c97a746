"""The target book: the one file that the broker side reads. Standard library only.

    targets.json    sequence, epoch, ts, valid_until, bar, model_id, weights, held, state, and the record's hash
    targets.epoch   which process may write it: a new one takes over, and the one before can write no more; and what must
                    outlast a power cut: a number that no book is above, and the newest entry of the switch that was seen

A symbol that is not named has the target 0. Whoever reads with `read_targets` gets flat targets when the book is missing,
damaged, of another start of the machine, from the future or past its `valid_until`, and when the kill switch is HALTED: so
everything is flat within the time of validity even if every process is dead.

Fencing. A writer stages its record in a file of its own, then looks at kill switch and epoch, then renames. Who halts or takes
over changes those first and removes staged files second. So a process that hung at any point in between either sees the
change, or finds nothing left to rename. No lock is needed for that, and a hung holder of the lock stops nobody from halting.

REDUCING. A writer cuts by what a reader is told at that moment, so that positions only go towards zero however often it is
written, and what was read as flat stays flat.

Not here: the kill switch itself, how weights are made.
"""

import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tft_pipeline.live.book_owner import Owner, read_owner, write_owner
from tft_pipeline.live.folder_lock import LockBusyError, folder_lock
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.moment import Clock, Moment, SystemClock
from tft_pipeline.live.sealed_json import read_sealed, stage_sealed, write_sealed
from tft_pipeline.live.switch_history import LONGEST_WHY
from tft_pipeline.live.switch_states import ACTIVE, HALTED, STATES, allowed_in
from tft_pipeline.live.targets import Targets, Wanted, flat_targets, targets_of

BOOK, EPOCH, STAGED = "targets.json", "targets.epoch", ".targets-staged-"
FLAT_S = 3600.0
"""Validity of a book that is flat anyway."""
FUTURE_S = 5.0
"""A book may be this much younger than the reader's clock says before it counts as one from the future."""
RESERVED = 1000
"""Sequence numbers that are written down, durably, before they are used: a book that is lost costs numbers, never order."""


class FencedError(RuntimeError):
    """Another process has taken the book over: this one may write no more."""


class TargetBook:
    """The writing side."""

    def __init__(self, folder: Path, switch: KillSwitch, *, clock: Clock | None = None) -> None:
        self._folder, self._switch = folder, switch
        self._clock = clock or SystemClock()
        self._owner = Owner()
        self.sequence = 0
        """Of the newest book when this writer took over, and of its own since."""

    @property
    def epoch(self) -> int:
        """Number of this writer; 0 before it took over."""
        return self._owner.epoch

    def take_over(self, *, least_epoch: int = 0, least_sequence: int = 0) -> int:
        """Become the one process that may publish; returns its epoch.

        Args:
            least_epoch: the epoch goes on above it, whatever became of the files here.
            least_sequence: the same for the numbers of books.
        Raises:
            LockBusyError: a process that hangs holds the lock: end it first.
            OSError: the folder cannot be written.
        """
        with folder_lock(self._switch.lock, seconds=self._switch.lock_seconds):
            before, book = read_owner(self._folder / EPOCH), written_targets(self._folder)
            highest = _highest(self._folder, self._clock.now())
            if highest < least_sequence:  # the book was set back, and how far it had gone is not known
                highest = max(before.reserved, least_sequence + RESERVED)
            owner = Owner(
                epoch=max(before.epoch, book.epoch if book else 0, least_epoch) + 1,
                token=uuid.uuid4().hex,
                reserved=max(before.reserved, highest),
                switch_sequence=max(before.switch_sequence, self._switch.reading().sequence),
            )
            write_owner(self._folder / EPOCH, owner)
            self._owner, self.sequence = owner, highest
            _remove_staged(self._folder)
        return owner.epoch

    @property
    def replaced(self) -> bool:
        """Whether another process took over from this one."""
        return bool(self._owner.token) and read_owner(self._folder / EPOCH).token != self._owner.token

    def check_owner(self) -> None:
        """Raises: FencedError: another process took over, or this one never did."""
        if not self._owner.token or self.replaced:
            raise FencedError(f"epoch {self.epoch} of the target book is over: another process took it over")

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the folder's lock as the owner of the book: nobody takes over meanwhile.

        Raises:
            FencedError: another process took over. LockBusyError: a process that hangs holds the lock.
        """
        with folder_lock(self._switch.lock, seconds=self._switch.lock_seconds):
            self.check_owner()
            yield

    def publish(
        self, weights: Mapping[str, float], *, bar: str | None, model_id: str | None, validity_s: float
    ) -> Targets:
        """Write what the kill switch lets through of some weights; returns what was written.

        Args:
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
        decision = Wanted(bar=bar, model_id=model_id, weights=weights, validity_s=validity_s)
        for _ in STATES:  # each time round the switch has become stricter
            with self.owned():
                written = self._write(decision)
            if written is not None:
                return written
        return flatten(self._folder, self._switch, "the kill switch was tripped meanwhile", clock=self._clock)

    def _write(self, decision: Wanted) -> Targets | None:
        """None where the switch was tripped since the decision was cut to what it allows."""
        now, switch = self._clock.now(), self._switch.reading()
        held = _read(self._folder, now, switch.state).weights
        sequence = max(self.sequence, _highest(self._folder, now)) + 1
        self._reserve(sequence, switch.sequence)
        record = decision.record(now, switch.state, sequence, held=held) | {"epoch": self.epoch}
        staged = self._folder / f"{STAGED}{self.epoch}-{uuid.uuid4().hex[:12]}"
        try:
            stage_sealed(staged, record, durable=False)
            self.check_owner()
            if self._switch.state() != switch.state:
                return None
            os.replace(staged, self._folder / BOOK)
        except FileNotFoundError:  # removed by who halted or took over since it was staged
            self.check_owner()
            return None
        finally:
            staged.unlink(missing_ok=True)
        self.sequence = sequence
        return targets_of(record)

    def _reserve(self, sequence: int, seen: int) -> None:
        """Write down, before they are used, that numbers from here on may be; and the switch's newest entry."""
        owner = self._owner
        if sequence <= owner.reserved - RESERVED // 2 and seen <= owner.switch_sequence:
            return
        owner = replace(
            owner,
            reserved=max(owner.reserved, sequence + RESERVED),
            switch_sequence=max(owner.switch_sequence, seen),
        )
        write_owner(self._folder / EPOCH, owner)
        self._owner = owner


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
        book = written_targets(folder)
        names = {*(book.weights if book else ()), *(book.held if book else ())}
        flat = dict.fromkeys(sorted(names), 0.0)
        decision = Wanted(bar=book.bar if book else None, model_id=None, weights=flat, validity_s=FLAT_S)
        record = decision.record(now, switch.state(), _highest(folder, now) + 1, held=flat)
        record |= {"epoch": book.epoch if book else 0, "why": why[:LONGEST_WHY]}
        write_sealed(folder / BOOK, record, durable=False)
        return targets_of(record)

    try:
        with folder_lock(switch.lock, seconds=switch.lock_seconds):
            return write()
    except LockBusyError:
        return write()


def written_targets(folder: Path) -> Targets | None:
    """The book as it stands, whatever the clock and the kill switch say; None where none can be read. To watch writers by."""
    try:
        return targets_of(read_sealed(folder / BOOK))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_targets(folder: Path, now: Moment | None = None, *, switch: KillSwitch | None = None) -> Targets:
    """What should be held now: the book, or flat with the reason. Never raises for what is on disk.

    Args:
        now: by both clocks; the machine's by default.
    """
    return _read(folder, now or SystemClock().now(), (switch or KillSwitch(folder)).state())


def _read(folder: Path, now: Moment, state: str) -> Targets:
    try:
        record = read_sealed(folder / BOOK)
        targets = targets_of(record)
        age = now.seconds_since(record["boot_s"], record["boot_id"])
        validity = float(record["validity_s"])
    except FileNotFoundError:
        return flat_targets(None, now, state, "there is no target book")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return flat_targets(None, now, state, f"the target book is damaged: {error}")
    if state == HALTED:
        return flat_targets(targets, now, state, targets.why or "the kill switch is HALTED")
    if not age <= validity or now.wall >= targets.valid_until:
        return flat_targets(targets, now, state, f"the target book ran out at {targets.valid_until.isoformat()}")
    if (targets.ts - now.wall).total_seconds() > FUTURE_S:
        return flat_targets(
            targets, now, state, f"the target book is from the future, {targets.ts.isoformat()}: a clock was set"
        )
    if state == ACTIVE:
        return targets
    # a book written before the switch was tripped may still ask for more than is held
    return replace(targets, weights=allowed_in(state, targets.weights, targets.held), state=state)


def _highest(folder: Path, now: Moment) -> int:
    """A number that no book was above: the standing one's, and where an older one may stand, or none, what was reserved.

    Books are not forced to the disk, so after a power cut any one before the last may be there.
    """
    try:
        record = read_sealed(folder / BOOK)
        sequence, newest = int(record["sequence"]), record["boot_id"] == now.boot_id
    except (OSError, ValueError, KeyError, TypeError):
        sequence, newest = 0, False
    return sequence if newest else max(sequence, read_owner(folder / EPOCH).reserved)


def _remove_staged(folder: Path) -> None:
    for staged in folder.glob(f"{STAGED}*"):
        staged.unlink(missing_ok=True)
