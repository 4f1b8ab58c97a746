"""Now, twice: by the clock on the wall, which people set, and by the one that only runs on. Standard library only."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One instant.

    Attributes:
        wall: UTC; may jump either way when somebody sets the clock.
        boot_s: seconds since the machine started, sleep included; never jumps, means nothing after a restart.
        boot_id: which start of the machine `boot_s` counts from.
    """

    wall: datetime
    boot_s: float
    boot_id: str

    def seconds_since(self, boot_s: float, boot_id: str) -> float:
        """Seconds since an instant of the steady clock; infinite where that was before the machine started again."""
        return self.boot_s - boot_s if boot_id == self.boot_id else float("inf")


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> Moment:
        """This instant."""


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._boot_id = BOOT_ID.read_text().strip()

    def now(self) -> Moment:
        """This instant."""
        return Moment(
            wall=datetime.now(UTC),
            boot_s=time.clock_gettime(time.CLOCK_BOOTTIME),
            boot_id=self._boot_id,
        )
