"""Worker processes for fits: one thread each, never more than the cores, dead when their parent is dead.

Not here: what the workers run. Nothing heavy is imported before the thread limits are set.
"""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import psutil

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
BYTES_A_WORKER = 1 << 30
_PR_SET_PDEATHSIG = 1


def n_workers(wanted: int | None = None) -> int:
    """How many fits may run at once: cores, less where memory is short (1 GiB a worker), at most `wanted`.

    The variable `TFT_WORKERS` lowers it.

    Raises:
        ValueError: `TFT_WORKERS` is not a whole number of at least 1.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = min(cores, max(1, psutil.virtual_memory().available // BYTES_A_WORKER))
    named = os.environ.get("TFT_WORKERS")
    if named is not None:
        if not named.isdecimal() or int(named) < 1:
            raise ValueError(f"TFT_WORKERS is {named!r}: expected a whole number of at least 1; unset it for the cores")
        limit = min(limit, int(named))
    return limit if wanted is None else max(1, min(limit, wanted))


def process_pool(
    workers: int, setup: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """A pool of spawned workers with one thread each; `setup(*arguments)` runs once in each of them."""
    return ProcessPoolExecutor(
        max_workers=workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(), pickle.dumps((setup, arguments))),
    )


def limit_threads() -> None:
    """One thread for every numeric library that this process loads from now on."""
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"


def _start_worker(parent: int, pickled: bytes) -> None:
    """Limit first, unpickle after: naming a function imports its module, and with it torch, numpy and their threads."""
    limit_threads()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    setup, arguments = pickle.loads(pickled)
    if setup is not None:
        setup(*arguments)
