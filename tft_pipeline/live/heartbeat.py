"""Signs of life in a file: who, when by both clocks, which process. Standard library only.

A beat comes from the thread that does the work, so that a process whose work hangs stops beating although it lives. Not here:
what follows when beats stop (`watchdog`, `loop`).
"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tft_pipeline.live.moment import Moment
from tft_pipeline.live.sealed_json import read_sealed, write_sealed

LOOP, WATCHDOG = "loop", "watchdog"
RUNNING, STOPPED = "running", "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One sign of life.

    Attributes:
        pid, started: process and when the system says it began; a pid alone may be another process's by now.
        sequence: 1, 2, ... of this process.
        wall: ISO 8601, UTC, for people.
        boot_s, boot_id: see `Moment`; ages are told by these.
        state: running, or stopped on purpose.
        note: where the work stands.
        epoch: of the target book that the process may write; 0 while it has none.
    """

    pid: int
    started: str
    sequence: int
    wall: str
    boot_s: float
    boot_id: str
    state: str
    note: str
    epoch: int

    def age(self, now: Moment) -> float:
        """Seconds; infinite when the machine started again since."""
        return now.seconds_since(self.boot_s, self.boot_id)

    def process_lives(self) -> bool:
        """Whether the very process that beat is there; a zombie is not."""
        return process_start(self.pid) == self.started


class Heartbeat:
    """The writing side; one a process. `epoch` is the writer's to set when it has taken the target book over."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = heartbeat_file(folder, name)
        self.epoch = 0
        self._sequence = 0
        self._started = process_start(os.getpid())

    def beat(self, now: Moment, *, state: str = RUNNING, note: str = "") -> None:
        """Say that the work goes on.

        Raises:
            OSError: the file cannot be written.
        """
        self._sequence += 1
        beat = Beat(
            pid=os.getpid(),
            started=self._started,
            sequence=self._sequence,
            wall=now.wall.isoformat(),
            boot_s=now.boot_s,
            boot_id=now.boot_id,
            state=state,
            note=note,
            epoch=self.epoch,
        )
        # after a power cut nobody asks how old it was: the machine's start is another one
        write_sealed(self.path, asdict(beat), durable=False)


def heartbeat_file(folder: Path, name: str) -> Path:
    """Where `name` beats."""
    return folder / f"heartbeat_{name}.json"


def read_beat(folder: Path, name: str) -> Beat | None:
    """The newest beat; None where there is none, or nothing that can be trusted, which is the same to who waits for one."""
    try:
        record: dict[str, Any] = read_sealed(heartbeat_file(folder, name))
        beat = Beat(**{name: record[name] for name in Beat.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(beat.boot_s, float) or not isinstance(beat.pid, int) or not isinstance(beat.epoch, int):
        return None
    return beat


def process_start(pid: int) -> str:
    """When a process began, in ticks of the system; "" where there is none or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # the name in brackets may hold anything, brackets too; state is field 3, start is field 22
    fields = text[text.rfind(")") + 2 :].split()
    return "" if fields[0] in ("Z", "X") else fields[19]
