"""Checks of `tft doctor`: the object store, the lock server, the server of studies. Nothing is written there.

Passwords are never part of what is said. Not here: how long a check may take (`doctor`).
"""

import os

from tft_pipeline.domain.credentials import without_credentials
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.doctor_findings import OK, PROBLEM, Finding
from tft_pipeline.pipeline.tuning_worker import STORAGE_VARIABLE
from tft_pipeline.storage import object_store, postgres_locks

ABSENT = "doctor"
"""A key and a lock that nobody has: asking for them changes nothing."""
CONNECT_SECONDS = 3
BACKENDS = ("postgresql", "sqlite")
"""As `model.tuning_storage` takes them, which takes seconds to import."""


def store() -> list[Finding]:
    """Whether the store that `TFT_STORE` names answers."""
    name = object_store.VARIABLE
    try:
        found = object_store.open_store()
        if found is None:
            return [Finding(name, OK, "not set: results stay on this machine")]
        found.get(ABSENT)
    except (ConfigurationError, object_store.StoreError) as error:
        remedy = f"see that it answers and its credentials are set; or unset {name}"
        return [Finding(name, PROBLEM, without_credentials(str(error)), remedy)]
    return [Finding(name, OK, f"{without_credentials(found.url)} answers")]


def lock_server() -> list[Finding]:
    """Whether the server that `TFT_LOCKS` names answers."""
    name = postgres_locks.VARIABLE
    try:
        url = postgres_locks.lock_server()
        if url is None:
            return [Finding(name, OK, "not set: locks are files of this machine")]
        postgres_locks.holder(url, ABSENT)
    except ConfigurationError as error:
        return [Finding(name, PROBLEM, str(error), f"start the server, correct {name}, or unset it")]
    return [Finding(name, OK, f"{without_credentials(url)} answers")]


def study_server() -> list[Finding]:
    """Whether the database that `TFT_TUNING_STORAGE` names answers."""
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    given = os.environ.get(STORAGE_VARIABLE)
    if not given:
        return [Finding(STORAGE_VARIABLE, OK, "not set: a SQLite file an experiment")]
    remedy = f"start the server, correct {STORAGE_VARIABLE}, or unset it"
    try:
        url = sqlalchemy.make_url(given)
    except (ArgumentError, ValueError):  # its words may repeat a password
        return [Finding(STORAGE_VARIABLE, PROBLEM, "it is no URL of a database", remedy)]
    if url.get_backend_name() not in BACKENDS:
        said = f"a {url.get_backend_name()} database, and workers can share {' or '.join(BACKENDS)} only"
        return [Finding(STORAGE_VARIABLE, PROBLEM, said, remedy)]
    limits = {"connect_timeout": CONNECT_SECONDS} if url.get_backend_name() == "postgresql" else {}
    try:
        engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=limits)
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
    except (ImportError, SQLAlchemyError) as error:  # its driver is not installed, or it does not answer
        said = without_credentials(str(error).splitlines()[0])
        if url.password:
            said = said.replace(str(url.password), "***")
        return [Finding(STORAGE_VARIABLE, PROBLEM, f"no answer: {said}", remedy)]
    return [Finding(STORAGE_VARIABLE, OK, f"{without_credentials(given)} answers")]
