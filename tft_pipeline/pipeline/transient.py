"""Which faults pass by themselves: what met one is tried again, a few times. Every other error fails at once.

A fault counts when the error, or one it was raised from, is listed here; an error of values, arithmetic, memory or integrity
never does, whatever it was raised from, and neither does `dagster.Failure`. Libraries are known by name, for none is imported
for this. Not here: runs whose process died (`dagster.yaml`, `pipeline.reaping`).
"""

import errno
import random
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.object_store import StoreError
from tft_pipeline.storage.postgres_locks import LockServerError

RETRIES = 3
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 2.0, 60.0
LINKS = 10
"""How many errors back the reason is looked for."""

FINAL = (dg.Failure, ValueError, ArithmeticError, MemoryError, IntegrityError, PermissionError, FileNotFoundError)
"""What the same work would meet again."""

SQLITE_WORDS = ("database is locked", "database table is locked", "database schema is locked")
"""Another process writes for longer than SQLite waits; it ends."""

ERRNOS = {
    errno.ETIMEDOUT: "no answer in time",
    errno.EHOSTUNREACH: "no way to the host",
    errno.ENETUNREACH: "no way to the network",
    errno.ENETDOWN: "the network is down",
    errno.ECONNRESET: "a server broke the connection",
    errno.ECONNREFUSED: "a server refused the connection",
    errno.ECONNABORTED: "a server broke the connection",
    errno.EBUSY: "busy; s3fs says so for 503 and SlowDown",
    errno.EREMOTEIO: "an internal error of the other side; s3fs says so for 500",
}
"""Faults of a network or of a server behind it. Not EIO and ENOSPC: a disk does not mend itself."""

BY_NAME = {
    "botocore.exceptions.EndpointConnectionError": "the object store cannot be reached",
    "botocore.exceptions.ConnectTimeoutError": "the object store does not answer",
    "botocore.exceptions.ReadTimeoutError": "the object store does not answer",
    "botocore.exceptions.ConnectionClosedError": "the object store hung up",
    "botocore.exceptions.ResponseStreamingError": "the object store hung up",
    "botocore.exceptions.IncompleteReadError": "the object store hung up",
    "botocore.exceptions.ProxyConnectionError": "the way to the object store is closed",
    "aiohttp.client_exceptions.ClientConnectorError": "the object store cannot be reached",
    "aiohttp.client_exceptions.ServerDisconnectedError": "the object store hung up",
    "aiohttp.client_exceptions.ClientPayloadError": "the object store hung up",
    "requests.exceptions.ConnectionError": "a server cannot be reached",
    "requests.exceptions.Timeout": "a server does not answer",
    "urllib3.exceptions.NewConnectionError": "a server cannot be reached",
    "urllib3.exceptions.ProtocolError": "a server hung up",
    "sqlalchemy.exc.TimeoutError": "every connection to the database is in use",
}
"""Names of classes, and of classes they inherit from."""

HTTP_CLIENT = "botocore.exceptions.HTTPClientError"
"""Of this class itself: what the connection met that botocore has no name for. A certificate that is refused is a subclass."""
HTTP_REFUSAL = "botocore.exceptions.ClientError"
PASSING_STATUS = (429, 500, 502, 503, 504)
"""s3fs makes a broken disk (EIO) of 502 and 504; what it was made from tells."""

POSTGRES_WORDS = (
    "connection refused",
    "could not connect",
    "connection timed out",
    "timeout expired",
    "server closed the connection",
    "terminating connection",
    "connection reset",
    "connection has been closed unexpectedly",
    "connection already closed",
    "no connection to the server",
    "is starting up",
    "is shutting down",
    "too many clients",
    "remaining connection slots",
    "could not translate host name",
    "deadlock detected",
)
"""What a PostgreSQL that restarts or is full says. A wrong password or name is an OperationalError too, and stays one."""


def transient_fault(error: BaseException) -> str | None:
    """Why an error may be gone next time, in a few words; None if it will not."""
    one: BaseException | None = error
    for _ in range(LINKS):
        if one is None:
            return None
        if (reason := _reason(one)) is not None:
            return reason
        if isinstance(one, FINAL):
            return None
        one = getattr(one, "orig", None) or one.__cause__  # SQLAlchemy keeps the driver's error in `orig`
    return None


@contextmanager
def transient_faults_are_tried_again(attempt: int, log: dg.DagsterLogManager) -> Iterator[None]:
    """Ask Dagster to run the step again where the block met a transient fault; the last attempt's error stays as it is.

    Args:
        attempt: how often the step was tried before.
    Raises:
        dagster.RetryRequested: after 2, 4, 8 seconds and a random part of as much again.
    """
    try:
        yield
    except Exception as error:
        wait = _until_next(error, attempt, log)
        if wait is None:
            raise
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=wait) from error


def until_stored(store: Callable[[], None], log: dg.DagsterLogManager) -> None:
    """Call what stores a value, and again after a transient fault: the value is in hand, and to compute it may take a day.

    The waits are those of a step. The last attempt's error stays as it is.
    """
    attempt = 0
    while True:
        try:
            return store()
        except Exception as error:
            wait = _until_next(error, attempt, log)
            if wait is None:
                raise
        time.sleep(wait)
        attempt += 1


def _until_next(error: Exception, attempt: int, log: dg.DagsterLogManager) -> float | None:
    """Seconds to the next attempt; None where there is none."""
    reason = transient_fault(error)
    if reason is None or attempt >= RETRIES:
        return None
    wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2**attempt) * (1.0 + random.random())
    log.warning(f"a fault that passes ({reason}): {error}; attempt {attempt + 2} of {RETRIES + 1} in {wait:.0f} s")
    found: float | None = wait
    return found


def _reason(error: BaseException) -> str | None:
    if isinstance(error, StoreError) and error.may_pass:
        return "the object store does not answer"
    if isinstance(error, LockServerError):
        return "the server of TFT_LOCKS does not answer" if error.may_pass else None
    if isinstance(error, sqlite3.OperationalError):
        return "another process writes to the database" if any(w in str(error) for w in SQLITE_WORDS) else None
    if isinstance(error, BrokenPipeError):
        return None  # a child of ours that died: of what, the same work would meet again
    if isinstance(error, ConnectionError):
        return "a server refused or broke the connection"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "names of hosts cannot be looked up now" if error.errno == socket.EAI_AGAIN else None
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    for name in sorted(names & BY_NAME.keys()):
        return BY_NAME[name]
    if f"{type(error).__module__}.{type(error).__qualname__}" == HTTP_CLIENT:
        return "the connection to the object store broke"
    if HTTP_REFUSAL in names:
        status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
        return f"the object store, or what stands before it, says {status}" if status in PASSING_STATUS else None
    if "psycopg2.OperationalError" in names or "psycopg2.InterfaceError" in names:
        said = str(error).lower()
        return "the database's server is not ready" if any(word in said for word in POSTGRES_WORDS) else None
    return ERRNOS.get(error.errno or 0) if isinstance(error, OSError) else None
