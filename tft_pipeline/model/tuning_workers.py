"""Who works on a study, and whether they still live: identity, liveness on this machine, heartbeats for others.

Not here: what happens to the trials of a dead worker (`tuning_trials`).
"""

import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self

import psutil
from optuna.storages import RDBStorage

from tft_pipeline.model.tuning_storage import STORAGE_ERRORS

START_TOLERANCE_SECONDS = 5.0
"""Where there is no /proc: a start time is told by the clock, which a correction moves."""
PROC = Path("/proc")
START_FIELD = 22
_ACTIVE: set[str] = set()
"""Tokens of the searches that run in this process now."""


@contextmanager
def working() -> Iterator[dict[str, Any]]:
    """The identity of a search of this process, alive while the context is open."""
    token = uuid.uuid4().hex[:12]
    _ACTIVE.add(token)
    try:
        yield {
            **_machine(),
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
            "ticks": start_ticks(os.getpid()),
            "token": token,
        }
    finally:
        _ACTIVE.discard(token)


def named(worker: Mapping[str, Any]) -> str:
    """A worker for people."""
    return f"{worker['host']}:{worker['pid']}"


def is_dead(worker: Mapping[str, Any], *, silent: bool) -> bool:
    """Whether a worker is gone: at once for a process of this machine that ended, after a silence for any other.

    Args:
        silent: its last heartbeat is older than allowed.
    """
    here = _machine()
    # trials of an earlier version name no boot
    if any(worker.get(name, here[name]) != here[name] for name in here):
        return silent
    if worker["pid"] == os.getpid() and worker["token"] in _ACTIVE:
        return False
    try:
        process = psutil.Process(worker["pid"])
        if worker.get("ticks") is not None:
            another = start_ticks(worker["pid"]) != worker["ticks"]
        else:
            another = abs(process.create_time() - worker["started"]) > START_TOLERANCE_SECONDS
        if another or process.status() == psutil.STATUS_ZOMBIE:
            return True
    except psutil.NoSuchProcess:
        return True
    return silent or worker["pid"] == os.getpid()


def start_ticks(pid: int) -> int | None:
    """Clock ticks from the boot to the start of a process, which no correction of the clock moves; None without /proc/PID."""
    try:
        status = (PROC / str(pid) / "stat").read_text()
    except OSError:  # no /proc, or the process is gone
        return None
    # the second field is the program's name in parentheses, which may hold spaces and parentheses
    return int(status.rpartition(")")[2].split()[START_FIELD - 3])


def _machine() -> dict[str, str]:
    """Containers may share a host name and yet not see each other's processes; ticks count from one boot."""
    try:
        namespace = os.readlink(PROC / "self" / "ns" / "pid")
        boot = (PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    except OSError:  # not Linux: one namespace a machine
        namespace = boot = ""
    return {"host": socket.gethostname(), "namespace": namespace, "boot": boot}


def excuse(path: Path, token: str) -> None:
    """Append a worker that could not put its trials back, though they are not to blame."""
    with path.open("a") as stream:
        stream.write(f"{token}\n")


def excuses(path: Path) -> frozenset[str]:
    """Tokens of those workers."""
    return frozenset(path.read_text().split()) if path.exists() else frozenset()


class Heartbeats:
    """A thread that tells the database every few seconds that some trials live."""

    def __init__(self, storage: RDBStorage, seconds: float) -> None:
        self._storage, self._seconds = storage, seconds
        self._trials: set[int] = set()
        self._missed: list[str] = []
        self._lock, self._stop = Lock(), Event()
        self._thread = Thread(target=self._beat, name="tuning heartbeats", daemon=True)

    def watch(self, trial_id: int) -> None:
        """First heartbeat of a trial now, from the calling thread; the next ones follow."""
        self._storage.record_heartbeat(trial_id)
        with self._lock:
            self._trials.add(trial_id)

    def forget(self, trial_id: int) -> None:
        """No more heartbeats."""
        with self._lock:
            self._trials.discard(trial_id)

    def missed(self) -> list[str]:
        """Heartbeats that could not be written since the last call."""
        with self._lock:
            missed, self._missed = self._missed, []
        return missed

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        try:
            while not self._stop.wait(self._seconds):
                with self._lock:
                    trials = sorted(self._trials)
                try:
                    for trial_id in trials:
                        self._storage.record_heartbeat(trial_id)
                except STORAGE_ERRORS as error:  # told at the next boundary; the next beat may succeed
                    with self._lock:
                        self._missed.append(str(error).splitlines()[0])
        finally:
            self._storage.remove_session()
