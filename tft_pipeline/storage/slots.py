"""How many processes of this machine compute at once, over all runs of a home: one slot each, a locked file.

There are as many as cores; one is given while there is memory for a process more, and always where nobody computes.
`TFT_WORKERS` limits how many one asker gets. The system drops a slot with its process, however it ends. Who looks first when
one is free has it: those who wait look four times a second, in no order, so that one that is stopped holds nobody up.
Dagster's own pools are not used for this: in 1.13 an in-process run that waits for a pool spins on a core and hears no
signal, a pool is one number for all machines of an instance, and a killed run keeps its slot. Not here: which steps need one.
"""

import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import psutil

from tft_pipeline.model.processes import BYTES_A_WORKER, n_workers

LOOK_SECONDS = 0.25


@contextmanager
def computing(folder: Path, *, wanted: int = 1, waits: Callable[[str], None]) -> Iterator[int]:
    """Hold slots while the block runs; how many.

    At least one, which is waited for; more, up to `wanted`, only if they are free now, so that two who want many never wait
    for each other. A process that holds slots must not ask again: it could wait for itself.

    Args:
        folder: `Layout.slots`.
        waits: told once, if nothing is free, who computes.
    Raises:
        ValueError: `TFT_WORKERS` is no whole number of at least 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        taken, busy = _take(folder, wanted, held)
        if not taken:
            waits(
                f"waits for one of {n_cores()} slots, or for memory ({BYTES_A_WORKER >> 30} GiB a process): "
                f"{', '.join(f'process {pid}' for pid in busy)} of this machine compute"
            )
        while not taken:
            time.sleep(LOOK_SECONDS * (0.5 + random.random()))  # two who look at one instant see each other's hands
            taken, _ = _take(folder, wanted, held)
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


def _take(folder: Path, wanted: int, held: ExitStack) -> tuple[int, list[str]]:
    """Lock free slots; how many, and which processes have the others; never too many: who looks holds what it sees."""
    free: list[IO[str]] = []
    busy: list[str] = []
    for k in range(n_cores()):
        slot = (folder / f"{k}.lock").open("a+")
        try:
            fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            slot.seek(0)
            busy.append(slot.read() or "unknown")
            slot.close()
        else:
            free.append(slot)
    room = n_more() if busy else max(1, n_more())
    taken = min(n_workers(wanted), room, len(free))
    for one in free[:taken]:
        one.truncate(0)
        one.write(str(os.getpid()))
        one.flush()
        held.enter_context(one)
    for one in free[taken:]:
        one.close()
    return taken, busy


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def n_more() -> int:
    """Processes for which there is memory beside those that compute already: what these have taken is not available."""
    return int(psutil.virtual_memory().available // BYTES_A_WORKER)
