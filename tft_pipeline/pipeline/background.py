"""A run that outlives the terminal: a process of a session of its own, with its output in a log.

Not here: what a run does (`pipeline.commands`), that there is only one (`storage.locks`).
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.locks import run_holder

START_SECONDS = 120.0
"""For the process to take the lock; libraries load slowly on a busy machine."""


def start_in_background(folder: Path, lock: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Start `tft` with some arguments and wait until it has taken the lock of its experiment.

    Args:
        folder: where the log goes.
        lock: of the experiment, as `storage.locks` takes it.
    Returns:
        pid and log.
    Raises:
        ConfigurationError: a run of the experiment is going; the process ended with an error before it began; it did not begin
            in time (it is left to itself).
    """
    if (holder := run_holder(lock)) is not None:
        number = holder.get("pid", "unknown")
        raise ConfigurationError(
            f"a run of this experiment is going (process {number}): two would compute the same assets; "
            "wait for it, or end it with kill and start again with --resume"
        )
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{utc_now():%Y%m%dT%H%M%SZ}-{os.getpid()}.log"
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "tft_pipeline", *arguments],
        os.environ,
        setsid=True,  # the terminal's hang-up does not reach it
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            if code := os.waitstatus_to_exitcode(status):
                raise ConfigurationError(
                    f"the run ended at once with exit code {code}; its log is {log}:\n{log.read_text()}"
                )
            return {"pid": pid, "log": str(log)}
        if (run_holder(lock) or {}).get("pid") == pid:
            return {"pid": pid, "log": str(log)}
        time.sleep(0.1)
    raise ConfigurationError(
        f"process {pid} has not begun within {START_SECONDS:.0f} s; it goes on by itself: look at {log}, or end it with kill"
    )
