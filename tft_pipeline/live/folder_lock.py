"""One writer at a time in a folder, and nobody waits for ever: a holder may hang. Standard library only."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_S = 0.005


class LockBusyError(RuntimeError):
    """Somebody holds the lock for longer than a writer ever needs."""


@contextmanager
def folder_lock(path: Path, *, seconds: float) -> Iterator[None]:
    """Hold a lock that the system drops when its holder ends.

    Args:
        path: the lock's file; it stays.
        seconds: how long to wait; writers hold it for milliseconds, so who does not get it waits for a process that hangs.
    Raises:
        LockBusyError: not free in time.
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        until = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise LockBusyError(
                        f"{path} has been held for {seconds:g} s by a process that writes nothing: it hangs or is stopped; "
                        f"end it (`fuser {path.name}` in its folder names it)"
                    ) from None
                time.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)
