"""Where a study is stored and how several workers share it: the database, one lock, heartbeats read back.

SQLite by default, PostgreSQL for workers on several machines. Optuna's own rows are safe under concurrent workers; what it does
not offer is an atomic "count, then ask", so that happens under a lock of ours. Not here: what is asked (`tuning_trials`).
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

STORAGE_ERRORS = (DBAPIError, StorageInternalError)
"""What Optuna raises when the database does not answer."""
BACKENDS = ("postgresql", "sqlite")
ADVISORY_LOCK = 0x7F74_7475_6E65
"""Key of the PostgreSQL advisory lock: one for all studies of a database, held for moments."""
_HEARTBEATS = sqlalchemy.table(
    "trial_heartbeats",
    sqlalchemy.column("trial_id", sqlalchemy.Integer),
    sqlalchemy.column("heartbeat", sqlalchemy.DateTime),
)


class StudyStorageError(RuntimeError):
    """The database of a study cannot be opened, or did not answer in time; what it holds is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Where a study lives and what identifies it.

    Attributes:
        name: carries a fingerprint of everything the objective depends on, so that other inputs start a new study.
        database: SQLite file; created when absent. Beside it lies its lock.
        control: JSON file that steers the study: see `tuning_control`.
        control_log: every change of its settings, one JSON line each.
        url: SQLAlchemy URL to use instead of `database`; may hold a password, so it is never shown.
        timeout_seconds: how long a locked or silent database is waited for.
        poll_seconds: how often a paused or waiting worker looks again.
        heartbeat_seconds: how often a worker says that its trials live.
        stale_seconds: silence after which a trial of another machine, or of a hung process, counts as cut off.
    """

    name: str
    database: Path
    control: Path
    control_log: Path
    url: str | None = field(default=None, repr=False)
    timeout_seconds: float = 60.0
    poll_seconds: float = 1.0
    heartbeat_seconds: float = 15.0
    stale_seconds: float = 120.0

    @property
    def excuses(self) -> Path:
        """Beside the database: workers that were locked out of it, whose trials are not to blame."""
        return self.database.with_name(f"{self.database.name}.excuses")

    @property
    def shown_url(self) -> str:
        """The URL for people: its password as three stars, its query, which may hold another one, as three dots."""
        url = _parsed(self)
        return url.set(query={}).render_as_string(hide_password=True) + ("?..." if url.query else "")


def _parsed(study: Study) -> sqlalchemy.URL:
    try:
        url = make_url(study.url or f"sqlite:///{study.database}")
    except (ArgumentError, ValueError):  # a port that is no number may be a piece of a password
        raise StudyStorageError(
            "the tuning storage is not an SQLAlchemy URL; expected postgresql+psycopg2://user:password@host/database, with "
            "special characters of the password percent-encoded"
        ) from None
    if url.get_backend_name() not in BACKENDS:
        raise StudyStorageError(
            f"the tuning storage is a {url.get_backend_name()} database; workers can share {' or '.join(BACKENDS)} only"
        )
    return url


def _driver_arguments(url: sqlalchemy.URL, timeout_seconds: float) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": timeout_seconds}}
    # a connection that idled through a long fold may be dead
    return {"connect_args": {"connect_timeout": max(2, int(timeout_seconds))}, "pool_pre_ping": True}


@contextmanager
def opened(study: Study) -> Iterator[RDBStorage]:
    """Optuna's storage of a study, its tables made under the lock; connections are closed afterwards.

    Raises:
        StudyStorageError: no such kind of database, no driver for it, or it does not answer.
    """
    url = _parsed(study)
    study.database.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locked(study):
            storage = RDBStorage(
                url.render_as_string(hide_password=False),
                engine_kwargs=_driver_arguments(url, study.timeout_seconds),
            )
    except (ImportError, NoSuchModuleError) as error:
        raise StudyStorageError(
            f"the tuning storage {study.shown_url} needs a driver that is not installed ({error}); install the extra "
            "`distributed` of this package"
        ) from error
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def locked(study: Study) -> Iterator[None]:
    """One worker at a time, on all machines; a worker that dies lets go."""
    url = _parsed(study)
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or study.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
        return
    arguments = _driver_arguments(url, study.timeout_seconds)
    engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=arguments["connect_args"])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_lock(ADVISORY_LOCK)))
        try:
            yield
        finally:
            connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_unlock(ADVISORY_LOCK)))


@contextmanager
def clear_errors(study: Study) -> Iterator[None]:
    """A database that does not answer, said in a way that helps.

    Raises:
        StudyStorageError: instead of what Optuna and SQLAlchemy raise.
    """
    try:
        yield
    except STORAGE_ERRORS as error:
        cause: BaseException = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        reason = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
        raise StudyStorageError(
            f"{study.shown_url} did not answer within {study.timeout_seconds:g} s ({reason}): another program may hold it "
            "locked, or its server is not reached. Finished trials are kept; free it and start again, which resumes the study"
        ) from error


def silent_trials(storage: RDBStorage, study_name: str, seconds: float) -> set[int]:
    """Numbers of running trials whose last heartbeat, by the database's own clock, is older than `seconds` or absent."""
    study_id = storage.get_study_id_from_name(study_name)
    running = storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
    with storage.engine.connect() as connection:
        now = connection.execute(sqlalchemy.select(sqlalchemy.func.now())).scalar_one().replace(tzinfo=None)
        beats = {row.trial_id: row.heartbeat for row in connection.execute(sqlalchemy.select(_HEARTBEATS))}
    silent = set()
    for trial in running:
        last = beats.get(storage.get_trial_id_from_study_id_trial_number(study_id, trial.number))
        if last is None or now - last > timedelta(seconds=seconds):
            silent.add(trial.number)
    return silent
