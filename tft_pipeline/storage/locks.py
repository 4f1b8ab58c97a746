"""Who may work: one whole run of an experiment, and one writer of an asset's partition. A lock goes when its process goes.

Locks are files of this machine (`flock`), or with `TFT_LOCKS` held by a PostgreSQL server for all machines
(`storage.postgres_locks`). Either way the system drops them with the process, however it ends; nothing has to be cleaned up.
Files stay, and name their last holder. Python marks their descriptors close-on-exec, so that a spawned worker has none and
cannot keep a lock beyond its parent. Not here: locks of studies, deployments and ledgers.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import psutil

from tft_pipeline.storage import postgres_locks
from tft_pipeline.storage.environment import utc_now

LOOK_SECONDS, LOOKS = 0.05, 6
"""How long, and how often, somebody who only looks is waited for, and a new holder for its name."""


class RunLockedError(RuntimeError):
    """Another process works on the whole experiment."""


class WriterLockedError(RuntimeError):
    """Another process computes the same asset and partition."""


class LockLostError(RuntimeError):
    """The lock went while it was held: somebody else may be computing the same."""


class Held(Protocol):
    """A lock that is held."""

    def check(self) -> None:
        """Ask whether it still is.

        Raises:
            LockLostError: no longer.
        """


@contextmanager
def run_lock(path: Path, *, shared: bool = False) -> Iterator[Held]:
    """Hold the lock of an experiment; who holds it for long asks now and then whether it still does.

    Args:
        path: `Layout.run_lock`.
        shared: for a part of the graph: parts may run beside each other, a whole run beside nothing.
    Raises:
        RunLockedError: held by another process, or by this one.
        ConfigurationError: `TFT_LOCKS` names no server that can be used.
    """
    with _held(path, path.parent.name, shared=shared) as lock:
        if lock is None:
            raise RunLockedError(
                f"another run works on this experiment ({_words(run_holder(path))}): both would compute the same assets; "
                "wait for it, or end it and go on with --resume"
            )
        yield lock


@contextmanager
def writer_lock(path: Path) -> Iterator[Held]:
    """Be the only one that computes and stores a partition of an asset.

    Args:
        path: `Layout.writer_lock`.
    Raises:
        WriterLockedError: held by another process, or by this one.
        ConfigurationError: `TFT_LOCKS` names no server that can be used.
    """
    name = f"{path.parent.parent.name}/{path.stem}"
    with _held(path, name, shared=False) as lock:
        if lock is None:
            raise WriterLockedError(
                f"{name} is being computed by another run ({_words(_holder(path, name))}): of two writers one would work in "
                "vain; nothing was computed here. Wait for the other one, or end it and start this again"
            )
        yield lock


def run_holder(path: Path) -> dict[str, Any] | None:
    """Who runs the whole experiment now: pid, host and since; empty where that is not known yet; None where nobody does."""
    return _holder(path, path.parent.name)


@contextmanager
def _held(path: Path, name: str, *, shared: bool) -> Iterator[Held | None]:
    """The lock, or None where somebody else has it."""
    server = postgres_locks.lock_server()
    if server is not None:
        with postgres_locks.advisory_lock(server, name, shared=shared) as session:
            yield None if session is None else _OfServer(session)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        if not _taken(stream, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            yield None
            return
        if not shared:
            stream.truncate(0)
            stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": utc_now().isoformat()}))
            stream.flush()
        yield _OfFile(path, stream)


class _OfFile:
    def __init__(self, path: Path, stream: IO[str]) -> None:
        self._path, self._stream = path, stream

    def check(self) -> None:
        mine = os.fstat(self._stream.fileno())
        try:
            named = self._path.stat()
        except FileNotFoundError:
            named = None
        if named is None or (named.st_ino, named.st_dev) != (mine.st_ino, mine.st_dev):
            raise LockLostError(
                f"the lock's file {self._path} was removed while it was held: another run may be computing the same; what was "
                "not stored before is not stored. Run it again, and leave the folder alone"
            )


class _OfServer:
    def __init__(self, session: postgres_locks.Session) -> None:
        self._session = session

    def check(self) -> None:
        reason = self._session.lost()
        if reason:
            raise LockLostError(
                f"the lock of {self._session.name} is lost ({reason}): another machine may be computing the same; what was "
                "not stored before is not stored. Run it again when the server of TFT_LOCKS can be reached"
            )


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


def _holder(path: Path, name: str) -> dict[str, Any] | None:
    server = postgres_locks.lock_server()
    if server is not None:
        return postgres_locks.holder(server, name)
    if not path.exists():
        return None
    with path.open() as stream:
        for wait in (*[LOOK_SECONDS] * LOOKS, None):
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found = _named(path)
                if found or wait is None:
                    return found
                time.sleep(wait)
            else:
                return None
    return None


def _named(path: Path) -> dict[str, Any]:
    """Who wrote its name; empty between taking the lock and writing, when the file may still name an earlier, dead holder."""
    text = path.read_text()
    found: dict[str, Any] = json.loads(text) if text.endswith("}") else {}
    gone = found.get("host") == socket.gethostname() and not psutil.pid_exists(found["pid"])
    return {} if gone else found


def _words(holder: dict[str, Any] | None) -> str:
    known = holder or {}
    return f"process {known.get('pid', 'unknown')} on {known.get('host', 'unknown')}, since {known.get('since', 'unknown')}"
