"""A run that outlives the terminal: its own session, its output in a log, one at a time an experiment.

Not here: what a run does (`pipeline.commands`).
"""

import fcntl
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.atomic import canonical_json
from tft_pipeline.storage.environment import utc_now

NEWEST = "newest.json"


def start_in_background(folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Start `tft` with some arguments as a process of its own session; answers its pid, log and command.

    Args:
        folder: where the log goes and where the newest run is written down.
    Raises:
        ConfigurationError: the run that was started last is still going.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = newest_in_background(folder)
        if before is not None and before["running"]:
            raise ConfigurationError(
                f"a run of this experiment is going in the background (process {before['pid']}, log {before['log']}): two "
                "would compute the same folds; wait for it, or end it with kill and start again with --resume"
            )
        command = [sys.executable, "-m", "tft_pipeline", *arguments]
        started = utc_now()
        log = folder / f"{started:%Y%m%dT%H%M%SZ}.log"
        pid = os.posix_spawn(
            sys.executable,
            command,
            os.environ,
            setsid=True,  # the terminal's hang-up does not reach it
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )
        row = {
            "pid": pid,
            "process_started": _start_of(pid),
            "started_at": started.isoformat(),
            "log": str(log),
            "arguments": list(arguments),
        }
        stage = folder / f".{NEWEST}"
        stage.write_text(canonical_json(row))
        os.replace(stage, folder / NEWEST)
    return row


def newest_in_background(folder: Path) -> dict[str, Any] | None:
    """What was started last, with `running`: whether that very process still lives; None where nothing was."""
    path = folder / NEWEST
    if not path.exists():
        return None
    row: dict[str, Any] = json.loads(path.read_text())
    return row | {"running": row["process_started"] is not None and _start_of(row["pid"]) == row["process_started"]}


def _start_of(pid: int) -> float | None:
    """When a process began; None when there is none, or it has ended and waits to be reaped. A pid alone may be reused."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
