"""How many processes of this machine compute at once, over all runs of a home: one slot each, a locked file.

There are as many as `model.processes.n_workers` says at the moment of asking: cores, less where memory is short or
`TFT_WORKERS` says so. The system drops a slot with its process, however it ends. Who comes first is served first.
Dagster's own pools are not used for this: in 1.13 an in-process run that waits for a pool spins on a core and hears no
signal, a pool is one number for all machines of an instance, and a killed run keeps its slot. Not here: which steps need one.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from tft_pipeline.model.processes import n_workers

LOOK_SECONDS = 0.25
TURN = "turn.lock"


@contextmanager
def computing(folder: Path, *, wanted: int = 1, waits: Callable[[str], None]) -> Iterator[int]:
    """Hold slots while the block runs; how many.

    At least one, which is waited for; more, up to `wanted`, only if they are free now, so that two who want many never wait
    for each other. A process that holds slots must not ask again: it could wait for itself.

    Args:
        folder: `Layout.slots`.
        waits: told once, if nothing is free.
    Raises:
        ValueError: `TFT_WORKERS` is no whole number of at least 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with (folder / TURN).open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # in order of arrival; a signal ends the wait
            taken = _take(folder, wanted, held)
            if not taken:
                waits(
                    f"waits for one of {n_workers()} slots: other steps of this machine compute; cores, free memory and "
                    "TFT_WORKERS say how many there are"
                )
            while not taken:
                time.sleep(LOOK_SECONDS)
                taken = _take(folder, wanted, held)
        yield taken


@contextmanager
def at_most(workers: int) -> Iterator[None]:
    """Worker processes that the block starts are no more than its slots."""
    before = os.environ.get("TFT_WORKERS")
    os.environ["TFT_WORKERS"] = str(workers)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TFT_WORKERS"]
        else:
            os.environ["TFT_WORKERS"] = before


def _take(folder: Path, wanted: int, held: ExitStack) -> int:
    """Lock free slots; only the one whose turn it is asks, so that the count stays true."""
    free: list[IO[str]] = []
    busy = 0
    for k in range(n_cores()):
        slot = (folder / f"{k}.lock").open("a")
        try:
            fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            slot.close()
            busy += 1
        else:
            free.append(slot)
    taken = max(0, min(wanted, n_workers() - busy, len(free)))
    for one in free[:taken]:
        held.enter_context(one)
    for one in free[taken:]:
        one.close()
    return taken


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
