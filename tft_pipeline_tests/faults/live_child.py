"""A live loop in a process of its own that a test can make go wrong: a bar every few milliseconds, always something held.

    python live_child.py FOLDER [hang|raise|memory|die]

The file `go_wrong` in the folder switches the fault on. Not here: tests.
"""

import os
import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tft_pipeline.live.loop import LiveLoop, stop_on_signals
from tft_pipeline.live.loop_contract import Decision, Settings
from tft_pipeline.live.moment import Moment
from tft_pipeline.live.triggers import ErrorLimit, Limits, StaleDataLimit

STEP_S = 0.05
VALIDITY_S, WATCHDOG_S = 2.0, 8.0


class Ticks:
    """A bar every `STEP_S`, numbered by the clock."""

    def seek(self, after: datetime | None) -> None:
        pass

    def next(self, timeout_s: float) -> datetime | None:
        time.sleep(STEP_S)
        return datetime.now(UTC)

    def market_time(self, now: Moment) -> datetime:
        return now.wall


class Misbehaving:
    """Holds half of the capital in A, until it is told to go wrong."""

    def __init__(self, folder: Path, fault: str) -> None:
        self._file, self._fault = folder / "go_wrong", fault
        self._hoard: list[bytearray] = []
        self._bars = 0

    def take(self, bars: datetime) -> Decision:
        if self._fault and self._file.exists():
            self._go_wrong()
        self._bars += 1
        until = bars + timedelta(seconds=VALIDITY_S)
        due = bars + timedelta(seconds=STEP_S)
        return Decision(bar=bars, due=due, until=until, weights={"A": 0.5}, closes={"A": 100.0}, model_id="made up")

    def _go_wrong(self) -> None:
        if self._fault == "hang":
            while True:
                time.sleep(60)
        if self._fault == "raise":
            raise RuntimeError("the decider is broken")
        if self._fault == "die":
            os._exit(7)
        resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))
        while True:
            self._hoard.append(bytearray(16 << 20))

    def to_bytes(self) -> bytes:
        return str(self._bars).encode()

    def restore(self, data: bytes | None, last_bar: datetime | None) -> None:
        self._bars = int(data or b"0")

    def weights_sha256(self) -> str | None:
        return None


def main() -> None:
    folder = Path(sys.argv[1])
    settings = Settings(
        step_s=STEP_S,
        validity_s=VALIDITY_S,
        idle_s=0.2,
        watchdog_deadline_s=WATCHDOG_S,
        limits=Limits(
            # this machine may be busy: only what the test breaks may trip
            stale_data=StaleDataLimit(reduce_after=1e4, halt_after=1e5),
            error_rate=ErrorLimit(bars=20, reduce_share=0.25, halt_share=0.5),
        ),
    )
    loop = LiveLoop(folder, Ticks(), Misbehaving(folder, sys.argv[2] if len(sys.argv) > 2 else ""), settings)
    stop_on_signals(loop)
    loop.run()


if __name__ == "__main__":
    main()
