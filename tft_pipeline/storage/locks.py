"""One whole run of an experiment at a time: a lock that the system drops when its process ends, however it ends.

Not here: locks of single folds and studies.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tft_pipeline.storage.environment import utc_now

LOOK_SECONDS, LOOKS = 0.05, 6
"""How long, and how often, somebody who only looks is waited for."""


class RunLockedError(RuntimeError):
    """Another process works on the whole experiment."""


@contextmanager
def run_lock(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of an experiment.

    Args:
        path: the lock's file; it stays, and names its last holder.
        shared: for a part of the graph: parts may run beside each other, a whole run beside nothing.
    Raises:
        RunLockedError: held by another process, or by this one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        if not _taken(stream, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            holder = run_holder(path) or {}
            raise RunLockedError(
                f"another run works on this experiment (process {holder.get('pid', 'unknown')}, since "
                f"{holder.get('since', 'unknown')}): both would compute the same assets; wait for it, or end it and go on with "
                "--resume"
            )
        if not shared:
            stream.truncate(0)
            stream.write(json.dumps({"pid": os.getpid(), "since": utc_now().isoformat()}))
            stream.flush()
        yield


def _taken(stream: IO[str], kind: int) -> bool:
    """Whether the lock could be had; who only looks (`run_holder`) holds it for an instant, which is waited for."""
    for wait in (*[LOOK_SECONDS] * LOOKS, None):
        try:
            fcntl.flock(stream, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is not None:
                time.sleep(wait)
        else:
            return True
    return False


def run_holder(path: Path) -> dict[str, Any] | None:
    """Who runs the whole experiment now: pid and since; empty where a part runs; None where nothing does."""
    if not path.exists():
        return None
    with path.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = path.read_text()
            # between taking the lock and writing its name the holder is not known
            found: dict[str, Any] = json.loads(text) if text.endswith("}") else {}
            return found
    return None
