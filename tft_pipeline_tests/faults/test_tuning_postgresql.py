"""Workers that share a PostgreSQL database: a private server of this machine's binaries, on a loopback port of its own."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from tft_pipeline.model.tuning_storage import Study, StudyStorageError, clear_errors, locked, opened
from tft_pipeline_tests.faults.test_tuning_faults import Fleet
from tft_pipeline_tests.scripted_fits import study_in

PASSWORD = "not{a}%40secret"
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []

pytestmark = pytest.mark.slow


def _user() -> str | None:
    """Somebody else than root, who may not run the server; None: the one who runs the tests."""
    if os.getuid() != 0:
        return None
    names = [entry.pw_name for entry in pwd.getpwall()]
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of a fresh database."""
    pytest.importorskip("psycopg2", reason="the extra `distributed` is not installed")
    if not BINARIES:
        pytest.skip("PostgreSQL's server is not installed (/usr/lib/postgresql)")
    binaries, user = BINARIES[-1], _user()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="tuning-postgresql-"))  # pytest's own folders are closed to another user
    if user is not None:
        shutil.chown(folder, user)
    try:
        (folder / "password").write_text("not{a}@secret\n")
        (folder / "password").chmod(0o644)

        def run(*command: str) -> None:
            done = subprocess.run(command, cwd=folder, user=user, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

        run(
            str(binaries / "initdb"),
            *("-D", str(folder / "data"), "-U", "tuner", "-A", "scram-sha-256", "--no-sync"),
            f"--pwfile={folder / 'password'}",
        )
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
        control = (str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w")
        run(*control, "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql+psycopg2://tuner:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def fleet(server: str, tmp_path: Path) -> Iterator[Fleet]:
    """Workers on that database."""
    (tmp_path / "url.txt").write_text(server)
    one = Fleet(tmp_path, n_trials=9, parallel_trials=2)
    one.study = study_in(tmp_path, url=server, name=tmp_path.name)
    yield one
    one.close()


@pytest.mark.fault("kill_tuning")
def test_two_workers_complete_exactly_the_trials_and_take_over_from_one_that_is_killed(fleet: Fleet) -> None:
    killed, first, second = fleet.start(allowed=1), fleet.start(allowed=1), fleet.start(allowed=1)
    for worker in fleet.workers:
        worker.says("before fit 2")
    killed.dies()
    for worker in (first, second):
        worker.allow(10**6)
    for worker in (first, second):
        worker.ends()
    trials = fleet.trials()
    assert Counter(trial.state for trial in trials) == {TrialState.COMPLETE: 9, TrialState.FAIL: 2}
    replaced = {trial.user_attrs["replaces"] for trial in trials if "replaces" in trial.user_attrs}
    assert replaced == {trial.number for trial in trials if trial.state == TrialState.FAIL}
    assert len({str(trial.params) for trial in trials}) == 9
    said = "".join(line for worker in fleet.workers for line in worker.lines)
    assert "secret" not in said


def test_a_dead_worker_of_another_machine_is_swept_by_the_databases_clock(fleet: Fleet) -> None:
    worker = fleet.start(allowed=1)
    worker.says("before fit 2")
    worker.dies()
    with opened(fleet.study) as storage:
        study = optuna.load_study(study_name=fleet.study.name, storage=storage)
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            away = {**trial.user_attrs["worker"], "host": "elsewhere"}
            storage.set_trial_user_attr(trial._trial_id, "worker", away)
    fleet.study = study_in(fleet.folder, url=fleet.study.url, stale_seconds=2.0, name=fleet.study.name)
    rows = fleet.resume()
    assert not [trial for trial in fleet.trials() if trial.state == TrialState.RUNNING]
    assert {row.state for row in rows} == {"complete", "fail"}


def test_the_lock_is_held_by_one_at_a_time(server: str, tmp_path: Path) -> None:
    study = study_in(tmp_path, url=server)
    with locked(study):
        engine = sqlalchemy.create_engine(server)
        with engine.connect() as connection:
            held = connection.execute(sqlalchemy.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
            assert held.scalar_one() == 1
        engine.dispose()
    with locked(study):
        pass


def test_a_wrong_password_is_a_clear_error_that_does_not_name_it(server: str, tmp_path: Path) -> None:
    wrong: Study = study_in(tmp_path, url=server.replace("secret", "wrongsecret"))
    refused = pytest.raises(StudyStorageError, match="password authentication failed")
    with refused as caught, clear_errors(wrong), opened(wrong):
        pass
    assert "wrongsecret" not in str(caught.value)
    assert "***" in str(caught.value)
    assert "wrongsecret" not in repr(wrong)
