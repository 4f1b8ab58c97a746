"""What is tried again, and what fails at once: the list, and what Dagster makes of it."""

import errno
import socket
import sqlite3
from typing import Any

import aiohttp
import botocore.exceptions
import dagster as dg
import psycopg2
import pytest
import sqlalchemy.exc
from s3fs.errors import translate_boto_error

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline import transient
from tft_pipeline.pipeline.transient import transient_fault
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.object_store import StoreError
from tft_pipeline.storage.postgres_locks import LockServerError

LOCKED = sqlite3.OperationalError("database is locked")
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def _from(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def _of_s3(status: int) -> Exception:
    """As s3fs gives it on."""
    response: Any = {"Error": {"Code": str(status)}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(botocore.exceptions.ClientError(response, "PutObject"))


PASSES: list[Exception] = [
    LOCKED,
    sqlalchemy.exc.OperationalError("INSERT", {}, LOCKED),
    REFUSED,
    ConnectionResetError(),
    TimeoutError("read"),
    OSError(errno.EBUSY, "SlowDown"),
    OSError(errno.EHOSTUNREACH, "no route"),
    botocore.exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1"),
    botocore.exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1"),
    psycopg2.OperationalError("connection to server failed: Connection refused"),
    _from(RuntimeError("the store did not answer"), REFUSED),
    LockServerError("no lock"),
    StoreError("no answer", may_pass=True),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    aiohttp.ClientOSError(errno.ECONNRESET, "reset"),
    botocore.exceptions.HTTPClientError(error="cut off"),
    botocore.exceptions.ProxyConnectionError(proxy_url="http://127.0.0.1", error="refused"),
    botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    *[_of_s3(status) for status in (500, 502, 503, 504)],
    psycopg2.OperationalError("SSL connection has been closed unexpectedly"),
    psycopg2.InterfaceError("connection already closed"),
]
STAYS: list[BaseException] = [
    sqlite3.OperationalError("no such table: runs"),
    psycopg2.OperationalError('password authentication failed for user "tft"'),
    ValueError("bad bars"),
    _from(ValueError("bad bars"), REFUSED),
    ConfigurationError("no such key"),
    StoreError("no such bucket"),
    LockServerError("password authentication failed", may_pass=False),
    socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    botocore.exceptions.SSLError(endpoint_url="https://127.0.0.1", error="expired"),
    _of_s3(403),
    _of_s3(507),
    FloatingPointError("loss is nan"),
    MemoryError(),
    _from(IntegrityError("not the bytes"), TimeoutError()),
    dg.Failure("gate", allow_retries=False),
    _from(dg.Failure("gate"), REFUSED),
    BrokenPipeError(),
    PermissionError(errno.EACCES, "denied"),
    FileNotFoundError(errno.ENOENT, "gone"),
    OSError(errno.ENOSPC, "disk full"),
    OSError(errno.EIO, "disk broken"),
    RuntimeError("unknown"),
]


@pytest.mark.fault("transient_fault")
@pytest.mark.parametrize("error", PASSES, ids=repr)
def test_a_fault_of_a_server_or_of_another_writer_passes(error: Exception) -> None:
    assert transient_fault(error)


@pytest.mark.fault("transient_fault")
@pytest.mark.parametrize("error", STAYS, ids=repr)
def test_an_error_that_the_same_work_would_meet_again_does_not(error: BaseException) -> None:
    assert transient_fault(error) is None


def test_an_error_that_was_raised_from_itself_ends_the_search() -> None:
    assert transient_fault(_from(one := RuntimeError("loop"), one)) is None


def test_every_name_in_the_list_is_a_class() -> None:
    for name in transient.BY_NAME:
        module, _, kind = name.rpartition(".")
        assert isinstance(getattr(pytest.importorskip(module), kind), type), name
