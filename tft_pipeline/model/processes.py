"""Worker processes for fits: one thread each, never more than the cores, dead when their parent is dead or asked to stop.

Not here: what the workers run. Nothing heavy is imported before the thread limits are set.
"""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import psutil

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")
BYTES_A_WORKER = 1 << 30
_PR_SET_PDEATHSIG = 1

P = ParamSpec("P")
R = TypeVar("R")


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
    return int(limit if wanted is None else max(1, min(limit, wanted)))


class WorkerPool(ProcessPoolExecutor):
    """A pool whose workers are killed when it is left by an interrupt: closing it would wait for every fit in training.

    Being killed costs a worker what it did since its last training state, and tears nothing (docs/faults.md).
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, Exception):
            self.kill()
        super().__exit__(kind, error, trace)

    def kill(self) -> None:
        """End the workers at once; what they were at raises BrokenProcessPool, what waits is dropped."""
        for worker in list((self._processes or {}).values()):  # public from Python 3.14 on, as kill_workers
            worker.kill()
        self.shutdown(wait=True, cancel_futures=True)


class InThisProcess:
    """What a pool of one worker is: tasks run where they are submitted, one after the other, so that an interrupt ends them."""

    def __init__(self, setup: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        setup(*arguments)

    def submit(self, task: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> Future[R]:
        """The task, done."""
        future: Future[R] = Future()
        try:
            future.set_result(task(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to wait for."""


def process_pool(workers: int, setup: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()) -> WorkerPool:
    """A pool of spawned workers with one thread each; `setup(*arguments)` runs once in each of them."""
    return WorkerPool(
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
