"""Locks for several machines: advisory locks of a PostgreSQL server, each on a connection of its own that stays open.

The server drops a lock with its connection: at once when the process ends, within a minute when its machine is cut off
(keep-alives are asked for on both sides). The connection must be direct: a pooler that shares sessions between clients, as
PgBouncer in transaction mode, loses locks, which `lost` finds. A key is a hash of the lock's name alone: machines have homes of
their own, so experiments of one name that share a server share their locks.
The password is never part of a message. Not here: what is locked (`storage.locks`).
"""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.environment import utc_now

VARIABLE = "TFT_LOCKS"
SCHEMES = ("postgresql://", "postgres://")
CONNECT_SECONDS = 10
MARK = "tft"
IDLE_LIMIT_SINCE = 140000
"""The version of PostgreSQL that began to end idle sessions where it is told to; before, the option does not exist."""
HOST_LETTERS = 36
"""PostgreSQL cuts the name of an application at 63 bytes; mark, process and time take up to 25."""
KEEP_ALIVE = {"keepalives": 1, "keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3}
SERVER_KEEP_ALIVE = "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
REFUSALS = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied",
    "not permitted to log in",
)
"""What a server says to those whom it will refuse next time too."""
OF_KEY = (
    "l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid::bigint = %(high)s AND l.objid::bigint = %(low)s "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class LockServerError(ConfigurationError):
    """The server of `TFT_LOCKS` does not answer, or not to us. Nothing is computed without the lock.

    Attributes:
        may_pass: it may answer next time; not where it refuses this user, password or database.
    """

    def __init__(self, message: str, *, may_pass: bool = True) -> None:
        self.may_pass = may_pass
        super().__init__(message)


def lock_server() -> str | None:
    """The URL in `TFT_LOCKS`; None: locks of this machine.

    Raises:
        ConfigurationError: it is no such URL.
    """
    url = os.environ.get(VARIABLE)
    if url is None:
        return None
    expected = f"expected postgresql://user:password@host/database; unset {VARIABLE} for locks of this machine alone"
    if not url.startswith(SCHEMES):
        raise ConfigurationError(f"{VARIABLE} does not start with postgresql://: {expected}")
    try:
        from psycopg2 import ProgrammingError
        from psycopg2.extensions import parse_dsn
    except ImportError as error:
        raise ConfigurationError(f"{VARIABLE} needs psycopg2: install the extra `distributed`") from error
    try:
        parts = parse_dsn(url)
    except ProgrammingError:  # its words repeat parts of the URL, and with them the password
        raise ConfigurationError(f"{VARIABLE} is no URL that PostgreSQL understands: {expected}") from None
    for part, said in (("host", "host"), ("dbname", "database")):
        if not parts.get(part):
            raise ConfigurationError(f"{VARIABLE} names no {said}: {expected}")
    return url


@dataclass(frozen=True, slots=True)
class Session:
    """The connection that holds a lock."""

    name: str
    connection: Any
    key: int

    def lost(self) -> str:
        """Why the lock is not held any more; empty while it is."""
        import psycopg2

        try:
            with self.connection.cursor() as cursor:
                cursor.execute(
                    f"SELECT count(*) FROM pg_locks l WHERE l.pid = pg_backend_pid() AND {OF_KEY}", _halves(self.key)
                )
                (count,) = cursor.fetchone()
        except psycopg2.Error as error:
            return f"the connection broke: {_first_line(error)}"
        return "" if count else "the session belongs to somebody else now; is there a pooler between?"


@contextmanager
def advisory_lock(url: str, name: str, *, shared: bool) -> Iterator[Session | None]:
    """Hold a lock while the block runs; None where somebody else has it.

    Raises:
        LockServerError: the server does not answer, or refuses us.
    """
    with _connected(url) as connection:
        key = lock_key(name)
        call = "pg_try_advisory_lock_shared" if shared else "pg_try_advisory_lock"
        ((taken,),) = _asked(connection, url, f"SELECT {call}(%(key)s)", {"key": key})
        yield Session(name, connection, key) if taken else None


def holder(url: str, name: str) -> dict[str, Any] | None:
    """Who holds a lock alone: pid, host and since, as far as the server tells us; None where nobody does.

    Raises:
        LockServerError: the server does not answer, or refuses us.
    """
    query = (
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
        f"WHERE l.mode = 'ExclusiveLock' AND {OF_KEY}"
    )
    with _connected(url) as connection:
        rows = _asked(connection, url, query, _halves(lock_key(name)))
    if not rows:
        return None
    mark, _, rest = (rows[0][0] or "").partition(" ")  # empty to a user that may not see others' sessions
    if mark != MARK:
        return {}
    pid, since, host = rest.split(" ", 2)
    return {"pid": int(pid), "host": host, "since": datetime.fromtimestamp(int(since), UTC).isoformat()}


def lock_key(name: str) -> int:
    """A signed 64-bit number that is the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"tft lock {name}".encode()).digest()[:8], "big", signed=True)


def _halves(key: int) -> dict[str, int]:
    """As `pg_locks` shows a key."""
    return {"high": (key >> 32) & 0xFFFFFFFF, "low": key & 0xFFFFFFFF}


@contextmanager
def _connected(url: str) -> Iterator[Any]:
    import psycopg2

    named = f"{MARK} {os.getpid()} {int(utc_now().timestamp())} {socket.gethostname()[:HOST_LETTERS]}"
    try:
        connection = psycopg2.connect(
            url,
            connect_timeout=CONNECT_SECONDS,
            application_name=named,
            options=SERVER_KEEP_ALIVE,
            **KEEP_ALIVE,
        )
    except psycopg2.Error as error:
        raise _server_error(url, error) from None
    try:
        connection.autocommit = True  # no transaction stays open meanwhile
        if connection.server_version >= IDLE_LIMIT_SINCE:  # a lock's session says nothing for as long as a fold trains
            _asked(connection, url, "SELECT set_config('idle_session_timeout', '0', false)", {})
        yield connection
    finally:
        connection.close()


def _asked(connection: Any, url: str, query: str, values: dict[str, int]) -> list[Any]:
    import psycopg2

    try:
        with connection.cursor() as cursor:
            cursor.execute(query, values)
            found: list[Any] = cursor.fetchall()
    except psycopg2.Error as error:
        raise _server_error(url, error) from None
    return found


def _server_error(url: str, error: Exception) -> LockServerError:
    from psycopg2.extensions import parse_dsn

    parts = parse_dsn(url)
    said = _first_line(error)
    if parts.get("password"):
        said = said.replace(parts["password"], "***")
    return LockServerError(
        f"{VARIABLE}: no lock from {parts['host']}/{parts['dbname']}: {said}; nothing is computed without it: start the "
        f"server, correct {VARIABLE}, or unset it if no other machine works on these experiments",
        may_pass=not any(word in str(error).lower() for word in REFUSALS),
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
