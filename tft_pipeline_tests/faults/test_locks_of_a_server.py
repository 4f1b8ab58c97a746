"""Locks of a PostgreSQL server, as several machines share them: one writer, freed with its process, and never no lock."""

import io
import os
import socket
import time
from pathlib import Path

import psycopg2
import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.runs import materialise, open_instance
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.locks import (
    LockLostError,
    RunLockedError,
    WriterLockedError,
    run_holder,
    run_lock,
    writer_lock,
)
from tft_pipeline.storage.postgres_locks import LockServerError, lock_key
from tft_pipeline_tests.faults.scripted_run import KEY, scripted_definitions
from tft_pipeline_tests.faults.scripted_runs import ScriptedRun
from tft_pipeline_tests.faults.test_tuning_postgresql import server as server  # the same private server

SECRET = "not{a}"
PLACE = Path("/nowhere/experiments/small")
"""Nothing is written there."""


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://u:s3cret@127.0.0.1", "does not start with postgresql://"),
        ("", "does not start with postgresql://"),
        ("postgresql://u:s3cret%zz@127.0.0.1/db", "no URL that PostgreSQL understands"),
        ("postgresql://u:s3cret@/db", "names no host"),
        ("postgresql://u:s3cret@127.0.0.1", "names no database"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(
    url: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFT_LOCKS", url)
    with pytest.raises(ConfigurationError, match=words) as refused, run_lock(PLACE / "run.lock"):
        pass
    assert "s3cret" not in str(refused.value)


def test_a_server_that_is_not_there_is_never_taken_for_a_free_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens on it
        monkeypatch.setenv("TFT_LOCKS", f"postgresql://u:s3cret@127.0.0.1:{taken.getsockname()[1]}/db")
        for lock in (run_lock(PLACE / "run.lock"), writer_lock(PLACE / "locks" / "thing.lock")):
            with pytest.raises(LockServerError, match="nothing is computed without it") as refused, lock:
                pass
            assert "s3cret" not in str(refused.value)
            assert refused.value.__cause__ is None
            assert refused.value.may_pass


def test_a_key_is_of_64_bits_and_the_same_on_every_machine() -> None:
    assert lock_key("small") == -1884818995078972847  # other versions of this code share the server
    keys = {lock_key(f"small/fold@{k}") for k in range(1000)}
    assert len(keys) == 1000
    assert min(keys) < 0 < max(keys) < 2**63


@pytest.fixture
def url(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of the server, in `TFT_LOCKS`."""
    found = server.replace("+psycopg2", "")
    monkeypatch.setenv("TFT_LOCKS", found)
    return found


@pytest.mark.fault("two_writers")
@pytest.mark.slow
def test_a_writer_on_another_machine_is_named_and_its_lock_goes_with_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setenv("DAGSTER_HOME", "")
    first = ScriptedRun(there, "a")
    try:
        first.says("computes")
        with open_instance(Layout(here)) as instance:
            definitions = scripted_definitions(here)
            refused = materialise(definitions, instance, [KEY], partition="a")
            assert not refused.ok
            assert f"process {first.pid} on {socket.gethostname()}, since 2" in refused.reason
            assert materialise(definitions, instance, [KEY], partition="b").ok
            first.dies()
            assert materialise(definitions, instance, [KEY], partition="a").ok
    finally:
        first.close()
    assert not Layout(here).writer_lock("small", "thing", "a").exists()


@pytest.mark.fault("two_writers")
@pytest.mark.slow
def test_parts_share_the_lock_of_a_run_that_a_whole_run_has_alone(url: str) -> None:
    lock = PLACE / "run.lock"
    assert run_holder(lock) is None
    with run_lock(lock, shared=True), run_lock(lock, shared=True):
        assert run_holder(lock) is None
        with pytest.raises(RunLockedError), run_lock(lock):
            pass
    with run_lock(lock):
        assert (run_holder(lock) or {})["pid"] == os.getpid()
        with pytest.raises(RunLockedError, match=f"process {os.getpid()}"), run_lock(lock, shared=True):
            pass
        with writer_lock(PLACE / "locks" / "thing@a.lock"), run_lock(PLACE.with_name("other") / "run.lock"):
            pass
    assert run_holder(lock) is None


@pytest.mark.fault("two_writers")
@pytest.mark.slow
def test_a_connection_that_broke_stores_nothing(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class CutsOff:
        def readline(self) -> str:
            connection = psycopg2.connect(url)
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            connection.close()
            return ""

    monkeypatch.setattr("sys.stdin", CutsOff())
    monkeypatch.setenv("DAGSTER_HOME", "")
    with open_instance(Layout(tmp_path)) as instance:
        outcome = materialise(scripted_definitions(tmp_path), instance, [KEY], partition="a")
    assert not outcome.ok
    assert "the lock of small/thing@a is lost" in outcome.reason
    assert "what was not stored before is not stored" in outcome.reason
    assert not Layout(tmp_path).artifact("small", "thing", "a").exists()
    with writer_lock(PLACE / "locks" / "thing@a.lock"):
        pass


@pytest.mark.fault("two_writers")
@pytest.mark.slow
def test_a_server_that_ends_idle_sessions_leaves_locks_alone_and_one_that_was_restarted_does_not(url: str) -> None:
    lock = PLACE / "run.lock"
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("ALTER ROLE CURRENT_USER SET idle_session_timeout = '200ms'")
            with run_lock(lock) as held:
                time.sleep(1.0)
                held.check()
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
                with pytest.raises(LockLostError, match="the lock of small is lost"):
                    held.check()
            cursor.execute("ALTER ROLE CURRENT_USER RESET idle_session_timeout")
    finally:
        connection.close()


@pytest.mark.slow
def test_a_wrong_password_is_not_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFT_LOCKS", url.replace("tuner:", "tuner:wr0ng"))
    with pytest.raises(LockServerError) as refused, writer_lock(PLACE / "locks" / "thing.lock"):
        pass
    assert SECRET not in str(refused.value)
    assert "wr0ng" not in str(refused.value)
    assert not refused.value.may_pass
    monkeypatch.setenv("TFT_LOCKS", url)
    with writer_lock(PLACE / "locks" / "thing.lock"), pytest.raises(WriterLockedError):
        writer_lock(PLACE / "locks" / "thing.lock").__enter__()
