"""The processes of a soak, loop and watchdog: starting, sampling and ending them. Not here: what is done to them (`soak`)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tft_pipeline.live.heartbeat import process_start
from tft_pipeline.live.soak_verdict import WATCHDOG

SAMPLE_S = 1.0
GRACE_S = 120.0
STOPPED = "T"


class Processes:
    """Loop and watchdog of one folder."""

    def __init__(self, folder: Path, *, deadline_s: float, rate: float) -> None:
        """Args: rate: bars a second; the watchdog's life is told in the bars that a loop could have had."""
        self._folder, self._deadline_s, self._rate = folder, deadline_s, rate
        self.loop: subprocess.Popen[bytes] | None = None
        self.watchdog: subprocess.Popen[bytes] | None = None
        self._watched_from = self._sampled = 0.0

    def start_loop(self) -> None:
        """A new one."""
        # of a group that loses its shell the system continues whoever is stopped: the soak's stops must last
        self.loop = self._start("tft_pipeline.live.soak_child", str(self._folder / "soak.json"), own_session=True)

    def start_watchdog(self) -> None:
        """A new one."""
        words = ("--deadline", str(self._deadline_s), "--grace", str(GRACE_S), "--poll", "0.2")
        self.watchdog = self._start("tft_pipeline.live.watchdog", str(self._folder), *words)
        self._watched_from = time.monotonic()

    def sample_watchdog(self, path: Path) -> None:
        """What it holds, a line every `SAMPLE_S`; the loop tells its own."""
        now = time.monotonic()
        if self.watchdog is None or self.watchdog.poll() is not None or now - self._sampled < SAMPLE_S:
            return
        self._sampled = now
        try:
            held = held_by(self.watchdog.pid)
        except OSError:  # it ended meanwhile
            return
        bars = (now - self._watched_from) * self._rate
        append_sample(path, {"process": WATCHDOG, "bars": bars} | held)

    def end(self) -> None:
        """Both."""
        for process in (self.loop, self.watchdog):
            if process is None or process.poll() is not None:
                continue
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, module: str, *words: str, own_session: bool = False) -> subprocess.Popen[bytes]:
        limited = os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        with (self._folder / "processes.log").open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, "-m", module, *words],
                stdout=stream,
                stderr=stream,
                env=limited,
                start_new_session=own_session,
            )


def held_by(pid: int) -> dict[str, Any]:
    """Who a process is, and what it holds.

    Raises:
        OSError: it is not there.
    """
    place = Path(f"/proc/{pid}")
    return {
        "pid": pid,
        "started": process_start(pid),
        "rss_kb": int((place / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024,
        "handles": len(os.listdir(place / "fd")),
        "threads": len(os.listdir(place / "task")),
    }


def is_stopped(pid: int) -> bool:
    """Whether a signal stopped it, and none has continued it since."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rfind(")") + 2 :].split()[0] == STOPPED


def append_sample(path: Path, sample: dict[str, Any]) -> None:
    """One line in one write: two processes append here."""
    with path.open("a") as stream:
        stream.write(json.dumps(sample) + "\n")
