"""One whole run of an experiment at a time: a lock that the system drops when its process ends, however it ends.

Not here: locks of single folds and studies.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tft_pipeline.storage.environment import utc_now


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
        try:
            fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = run_holder(path) or {}
            raise RunLockedError(
                f"another run works on this experiment (process {holder.get('pid', 'unknown')}, since "
                f"{holder.get('since', 'unknown')}): both would compute the same assets; wait for it, or end it and go on with "
                "--resume"
            ) from None
        if not shared:
            stream.truncate(0)
            stream.write(json.dumps({"pid": os.getpid(), "since": utc_now().isoformat()}))
            stream.flush()
        yield


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
