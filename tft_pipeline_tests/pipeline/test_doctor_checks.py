"""Each check of the doctor against something that is really broken, or values of a machine that is."""

import http.server
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from tft_pipeline.pipeline import doctor_databases as databases
from tft_pipeline.pipeline import doctor_disk as disk
from tft_pipeline.pipeline import doctor_experiments as experiments
from tft_pipeline.pipeline import doctor_machine as machine
from tft_pipeline.pipeline import doctor_servers as servers
from tft_pipeline.pipeline.doctor_findings import OK, PROBLEM, WARNING, Finding
from tft_pipeline.pipeline.run_process import HOST, OF_RUN, PID, STARTED
from tft_pipeline.storage.layout import Layout
from tft_pipeline_tests.conftest import Workbench

GIB = 1 << 30


def states(findings: list[Finding]) -> list[str]:
    return [one.state for one in findings]


def test_this_python_is_fine_and_an_older_or_newer_one_is_a_problem() -> None:
    assert states(machine.python()) == [OK]
    for version in ("3.10.14", "3.14.0", "2.7.18"):
        (found,) = machine.judge_python(version, ">=3.11,<3.14")
        assert (found.state, version in found.said) == (PROBLEM, True)


REQUIRED = ["torch>=2.13,<3", "lightning>=2.6.6,<2.7", 'pytest>=9; extra == "dev"', "Poly.ars>=2.1"]
FITTING = {"torch": "2.13.0+cpu", "lightning": "2.6.6", "poly-ars": "2.1.0"}
PINNED = ["torch==2.13.0", "lightning==2.6.6", "Poly_ars==2.1.0", "pytest==9.2.0"]


@pytest.mark.parametrize(
    ("changed", "state", "said"),
    [
        ({}, OK, "all 3 libraries are there, as in constraints.txt"),
        ({"torch": None}, PROBLEM, "torch is not installed"),
        ({"torch": "2.12.1"}, PROBLEM, "torch is 2.12.1, needed is <3,>=2.13"),
        ({"torch": "2.14.0"}, WARNING, "torch 2.14.0 (pinned: 2.13.0)"),
        ({"lightning": "2.6.2"}, PROBLEM, "malicious"),
        ({"lightning": "2.6.3"}, PROBLEM, "malicious"),
        ({"pytorch-lightning": "2.6.3"}, PROBLEM, "malicious"),
    ],
)
def test_libraries_that_are_missing_unfit_or_malicious_are_found(
    changed: dict[str, str | None], state: str, said: str
) -> None:
    installed = {name: version for name, version in (FITTING | changed).items() if version is not None}
    found = machine.judge_versions(installed, REQUIRED, PINNED)
    assert found[0].state == state
    assert said in found[0].said


def test_the_libraries_of_this_environment_fit_what_the_package_asks_for() -> None:
    assert PROBLEM not in states(machine.versions())


def test_a_build_of_torch_that_does_not_use_the_gpu_is_a_warning() -> None:
    assert states(machine.judge_torch("2.13.0+cpu", None, 0)) == [OK]
    assert states(machine.judge_torch("2.13.0", "13.0", 1)) == [OK]
    assert states(machine.judge_torch("2.13.0", "13.0", 0)) == [OK]
    (found,) = machine.judge_torch("2.13.0+cpu", None, 2)
    assert (found.state, "2 GPU(s)" in found.said) == (WARNING, True)
    assert states(machine.torch_build()) == [OK]


@pytest.mark.parametrize(
    ("quota", "environment", "state", "said"),
    [
        (None, {}, OK, "8 cores, at most 8 workers"),
        (None, {"TFT_WORKERS": "3"}, OK, "at most 3 workers"),
        (2.0, {}, WARNING, "8 workers wait for each other"),
        (2.0, {"TFT_WORKERS": "2"}, OK, ""),
        (None, {"TFT_WORKERS": "many"}, PROBLEM, "'many'"),
        (None, {"TFT_WORKERS": "0"}, PROBLEM, "'0'"),
        (None, {"OMP_NUM_THREADS": "16"}, WARNING, "more than the 8 cores"),
        (None, {"MKL_NUM_THREADS": "x"}, WARNING, "no number of threads"),
        (None, {"OMP_NUM_THREADS": "1"}, OK, ""),
    ],
)
def test_workers_and_threads_beyond_the_processors_are_found(
    quota: float | None, environment: dict[str, str], state: str, said: str
) -> None:
    (found,) = machine.judge_cores(8, quota, environment)
    assert (found.state, said in found.said) == (state, True)


def test_the_limit_of_a_container_is_read(tmp_path: Path) -> None:
    assert machine.cpu_quota(tmp_path) is None
    for text, expected in (("max 100000\n", None), ("150000 100000\n", 1.5)):
        (tmp_path / "cpu.max").write_text(text)
        assert machine.cpu_quota(tmp_path) == expected


def test_memory_that_does_not_hold_one_worker_is_a_warning() -> None:
    assert states(machine.judge_memory(8 * GIB, 4 * GIB, None)) == [OK]
    assert states(machine.judge_memory(8 * GIB, GIB // 2, None)) == [WARNING]
    assert states(machine.judge_memory(64 * GIB, 60 * GIB, GIB // 2)) == [WARNING]  # the container's limit


def test_what_a_container_holds_already_is_not_free(tmp_path: Path) -> None:
    assert machine.memory_limit(tmp_path) == (None, 0)
    for name, text in {
        "memory.max": f"{4 * GIB}\n",
        "memory.current": f"{3 * GIB + GIB // 2}\n",
        "memory.stat": f"anon {3 * GIB}\nfile {GIB // 2}\ninactive_file {GIB // 4}\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert machine.memory_limit(tmp_path) == (4 * GIB, 3 * GIB + GIB // 4)
    (found,) = machine.judge_memory(64 * GIB, 60 * GIB, *machine.memory_limit(tmp_path))
    assert found.state == WARNING
    assert found.said.startswith("0.8 GiB free of 4.0 GiB; ")
    assert states(machine.judge_memory(64 * GIB, 60 * GIB, 4 * GIB, 5 * GIB)) == [WARNING]
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory_limit(tmp_path) == (None, 0)


def test_misspelt_variables_are_found_and_passwords_are_not_shown() -> None:
    words = machine.judge_variables({"TFT_LOCKS": "host=h user=me password='my \\' secret' dbname=x"})
    assert [one.said for one in words] == ["TFT_LOCKS=host=h user=me password=... dbname=x"]
    given = {"TFT_WORKER": "2", "TFT_LOCKS": "postgresql://me:secret@host/locks", "TFT_QWERTY": "1", "HOME": "/x"}
    found = machine.judge_variables(given)
    assert states(found) == [WARNING, WARNING, OK]
    assert [one.said.split()[0] for one in found] == ["TFT_QWERTY", "TFT_WORKER", "TFT_LOCKS=postgresql://host/locks"]
    assert found[1].remedy == "did you mean TFT_WORKERS?"
    assert not any("secret" in one.said + one.remedy for one in found)


def test_automation_that_is_neither_on_nor_off_is_a_problem_as_the_ui_says() -> None:
    assert [states(machine.judge_automation(value)) for value in (None, "on", "off")] == [[OK]] * 3
    assert [states(machine.judge_automation(value)) for value in ("", "yes")] == [[PROBLEM]] * 2


def test_a_home_in_which_nothing_can_be_written_is_a_problem(tmp_path: Path) -> None:
    assert states(disk.home(Layout(tmp_path / "not" / "yet"))) == [OK]
    (tmp_path / "file").touch()
    assert states(disk.home(Layout(tmp_path / "file"))) == [PROBLEM]
    (found,) = disk.home(Layout(Path("/proc/tft")))  # nobody can write there, not even root
    assert (found.state, "cannot be written" in found.said or "can be written" in found.said) == (PROBLEM, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_closed_folder_is_a_problem(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert states(disk.home(Layout(closed))) == [PROBLEM]


def test_a_network_file_system_is_told_from_a_local_one() -> None:
    mounts = (
        "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        "23 22 0:40 / /srv/share\\040d rw - nfs4 server:/export rw\n"
        "24 23 8:2 / /srv/share\\040d/local rw - xfs /dev/sdb1 rw\n"
    )
    kinds = {"/var/tft": "ext4", "/srv/share d/tft": "nfs4", "/srv/share d/local/x": "xfs", "/srv/shared": "ext4"}
    assert {path: disk.file_system(Path(path), mounts) for path in kinds} == kinds
    assert disk.file_system(Path("/x"), "") == ""
    assert "nfs4".startswith(disk.OVER_A_NETWORK)
    assert not any(kind.startswith(disk.OVER_A_NETWORK) for kind in ("ext4", "xfs", "tmpfs", "overlay", "btrfs", "zfs"))


def test_little_room_is_a_warning_and_none_a_problem() -> None:
    assert states(disk.judge_room(50.0, {})) == [OK]
    assert states(disk.judge_room(1.0, {})) == [WARNING]
    assert states(disk.judge_room(1.0, {"demo": 0.3})) == [OK]
    assert states(disk.judge_room(1.0, {"demo": 0.3, "daily": 4.0})) == [WARNING]
    assert states(disk.judge_room(0.1, {})) == [PROBLEM]


def test_what_experiments_take_is_added_up(tmp_path: Path) -> None:
    folder = tmp_path / "experiments" / "mine" / "features"
    folder.mkdir(parents=True)
    for k in range(3):
        (folder / f"{k}.bin").write_bytes(b"x" * 1000)
    assert disk.taken(Layout(tmp_path)) == {"mine": pytest.approx(3000 / GIB)}
    assert disk.taken(Layout(tmp_path / "none")) == {}


def test_locks_that_keep_nobody_out_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(disk.locks(Layout(tmp_path))) == [OK]
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(disk.fcntl, "flock", lambda *_: None)  # as a file system that says yes to everybody
    assert states(disk.locks(Layout(tmp_path))) == [PROBLEM]


def test_a_clock_that_stands_before_what_was_recorded_is_a_problem(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.looks_ledger.touch()
    assert states(disk.clock(layout)) == [OK]
    ahead = time.time() + 7200.0
    os.utime(layout.looks_ledger, (ahead, ahead))
    (found,) = disk.clock(layout)
    assert (found.state, "2.0 h" in found.said) == (PROBLEM, True)


def test_a_database_of_another_schema_is_a_problem_with_the_command_that_brings_it_up(finished: Workbench) -> None:
    assert states(databases.dagster(finished.layout)) == [OK, OK, OK]
    file = finished.layout.dagster_home / "history" / "runs.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '567bc23fd1ac'")
        connection.commit()
    broken, *others = databases.dagster(finished.layout)
    assert (broken.state, states(others)) == (PROBLEM, [OK, OK])
    assert "567bc23fd1ac" in broken.said
    assert "dagster instance migrate" in broken.remedy


def test_a_run_whose_process_is_gone_is_named(finished: Workbench) -> None:
    assert states(databases.dead_runs(finished.layout)) == [OK]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run_id = "0a1b2c3d-0000-4000-8000-000000000000"
    tags = {HOST: socket.gethostname(), PID: str(gone.pid), STARTED: "long ago", OF_RUN: run_id}
    with finished.instance() as instance:
        instance.add_run(dg.DagsterRun(job_name="x", run_id=run_id, status=dg.DagsterRunStatus.STARTED, tags=tags))
    (found,) = databases.dead_runs(finished.layout)
    assert (found.state, "0a1b2c3d" in found.said, "gone" in found.said) == (WARNING, True, True)


@pytest.fixture
def port_of_nobody() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield int(server.getsockname()[1])


class Health(http.server.BaseHTTPRequestHandler):
    """MLflow, as far as it is asked."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_mlflow_that_is_away_is_a_warning_and_one_that_answers_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port_of_nobody: int
) -> None:
    assert states(databases.mlflow(Layout(tmp_path))) == [OK]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port_of_nobody}")
    (found,) = databases.mlflow(Layout(tmp_path))
    assert (found.state, "secret" in found.said) == (WARNING, False)
    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        answering = threading.Thread(target=server.serve_forever, daemon=True)
        answering.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        assert states(databases.mlflow(Layout(tmp_path))) == [OK]
        server.shutdown()
        answering.join()


def test_servers_that_are_away_are_problems_without_their_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port_of_nobody: int
) -> None:
    away = f"postgresql://me:secret@127.0.0.1:{port_of_nobody}/db"
    for name, check in (("TFT_LOCKS", servers.lock_server), ("TFT_TUNING_STORAGE", servers.study_server)):
        monkeypatch.delenv(name, raising=False)
        assert states(check()) == [OK]
        in_words = f"host=127.0.0.1 port={port_of_nobody} user=me password=secret dbname=db"
        for value in (away, in_words, "postgresql://me:secret@[/db", "mysql+nothing://me:secret@host/db"):
            monkeypatch.setenv(name, value)
            (found,) = check()
            assert (found.name, found.state) == (name, PROBLEM), value
            assert "secret" not in found.said + found.remedy


def test_a_store_that_is_there_and_one_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFT_STORE", raising=False)
    assert states(servers.store()) == [OK]
    monkeypatch.setenv("TFT_STORE", (tmp_path / "store").as_uri())
    assert states(servers.store()) == [OK]
    assert not list(tmp_path.iterdir())
    for value in ("https://example.com/x", "no-such-protocol://bucket", "s3://user:secret@bucket/x"):
        monkeypatch.setenv("TFT_STORE", value)
        (found,) = servers.store()
        assert (found.state, "secret" in found.said) == (PROBLEM, False), value


def test_files_that_cannot_be_loaded_are_named_and_bars_that_are_not_there_are_a_warning(
    finished: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [")
    monkeypatch.setenv("TFT_EXPERIMENTS", os.pathsep.join((str(finished.file), str(bad))))
    assert states(experiments.files(None)) == [PROBLEM, OK]
    assert experiments.chosen(None) == [finished.file]
    assert states(experiments.would_run(finished.file, finished.layout)) == [OK]
    (finished.folder / "bars.parquet").unlink()
    (found,) = experiments.would_run(finished.file, finished.layout)
    assert (found.state, "bars.parquet" in found.said) == (WARNING, True)


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, silent_port: int) -> None:
    from tft_pipeline.pipeline.doctor import Check, look_at

    monkeypatch.setenv("TFT_LOCKS", f"postgresql://me:secret@127.0.0.1:{silent_port}/db")
    began = time.monotonic()
    (found,) = look_at([Check("TFT_LOCKS", servers.lock_server, is_local=False)], seconds=1.0)
    assert time.monotonic() - began < 9.0  # psycopg2 itself would wait for ten
    assert found.state == WARNING
