"""The doctor as a whole: checks by themselves, nothing written, words and exit codes."""

import hashlib
import json
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.pipeline import doctor as module
from tft_pipeline.pipeline import doctor_experiments
from tft_pipeline.pipeline.doctor import Check, answer, checks, in_words, look_at
from tft_pipeline.pipeline.doctor_databases import dagster, dead_runs
from tft_pipeline.pipeline.doctor_experiments import would_run
from tft_pipeline.pipeline.doctor_findings import OK, PROBLEM, WARNING, Finding
from tft_pipeline.storage.layout import Layout
from tft_pipeline_tests.conftest import SERVERS, Workbench

FINE = Finding("fine", OK, "as it should be")


@pytest.fixture(autouse=True)
def _plenty_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no finding of these tests."""
    monkeypatch.setattr(module, "SECONDS", 120.0)
    monkeypatch.setattr(module, "LOCAL_SECONDS", 120.0)
    for name in (*SERVERS, "TFT_EXPERIMENTS"):
        monkeypatch.delenv(name, raising=False)


SQLITE_WORKS_IN = ("dagster/history", "dagster/history/runs", "dagster/schedules")
"""Folders whose time changes, for SQLite keeps files of its own there while a database is open."""


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash and time, folders with their time, links with their target; what SQLite keeps
    while a file is open left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(("-wal", "-shm")):
            continue
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        elif path.is_file():
            found[str(path)] = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        else:
            found[str(path)] = "folder" if str(path).endswith(SQLITE_WORKS_IN) else f"folder {path.stat().st_mtime_ns}"
    return found


def test_a_check_that_crashes_or_hangs_is_its_own_problem_and_the_others_speak() -> None:
    def crashes() -> list[Finding]:
        raise RuntimeError("broken at postgresql://user:secret@host/db")

    def leaves() -> list[Finding]:
        raise SystemExit(3)

    def hangs() -> list[Finding]:
        time.sleep(30.0)
        return [FINE]

    began = time.monotonic()
    tried = [Check("a", crashes), Check("b", hangs), Check("c", lambda: [FINE]), Check("d", leaves)]
    a, b, c, d = look_at(tried, seconds=0.5, local_seconds=0.5)
    assert time.monotonic() - began < 10.0
    assert (a.name, a.state) == ("a", PROBLEM)
    assert "RuntimeError: broken at" in a.said
    assert "secret" not in a.said
    assert (b.name, b.state) == ("b", WARNING)
    assert "no answer within 0.5 s" in b.said
    assert c == FINE
    assert (d.state, "SystemExit: 3" in d.said) == (PROBLEM, True)


def test_a_folder_of_experiments_that_crashes_or_hangs_is_one_finding_and_each_of_its_files_speaks_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path | None) -> list[Path]:
        raise OSError("the disk is gone")

    monkeypatch.setattr(doctor_experiments, "chosen", broken)
    (check,) = [one for one in checks(Layout(tmp_path), None) if one.name == "would run"]
    (found,) = look_at([check], seconds=60.0)
    assert (found.name, found.state, "the disk is gone" in found.said) == ("would run", PROBLEM, True)

    def plan(path: Path, _: Layout) -> list[Finding]:
        if path.name == "a.yaml":
            raise KeyError("broken")
        return [FINE]

    monkeypatch.setattr(doctor_experiments, "chosen", lambda _: [Path("a.yaml"), Path("b.yaml")])
    monkeypatch.setattr(doctor_experiments, "would_run", plan)
    (check,) = [one for one in checks(Layout(tmp_path), None) if one.name == "would run"]
    first, second = look_at([check], seconds=60.0)
    assert (first.name, first.state) == ("would run: a.yaml", PROBLEM)
    assert second == FINE

    over = threading.Event()

    def hanging(path: Path, _: Layout) -> list[Finding]:
        if path.name == "b.yaml":
            over.wait()
        return [Finding("a", PROBLEM, "cannot be loaded", "")]

    monkeypatch.setattr(doctor_experiments, "would_run", hanging)
    (check,) = [one for one in checks(Layout(tmp_path), None) if one.name == "would run"]
    told, unanswered = look_at([check], seconds=60.0, local_seconds=0.5)
    over.set()
    assert told.said == "cannot be loaded"
    assert (unanswered.name, unanswered.state) == ("would run", WARNING)


def test_what_is_local_may_take_longer_and_what_did_not_answer_is_no_run_that_can_work() -> None:
    over = threading.Event()

    def slow() -> list[Finding]:
        time.sleep(0.5)
        return [FINE]

    def hanging() -> list[Finding]:
        over.wait()
        return [FINE]

    local, server = look_at([Check("a", slow), Check("b", hanging, is_local=False)], seconds=0.1, local_seconds=60.0)
    over.set()
    assert local == FINE
    assert (server.name, server.state) == ("b", WARNING)
    assert in_words([local, server])[-1].endswith("but b could not be looked at")
    assert in_words([local])[-1].endswith("a run can work here")
    remote = {one.name for one in checks(Layout(Path("nowhere")), None) if not one.is_local}
    assert remote == {"mlflow", *SERVERS} - {"MLFLOW_TRACKING_URI"}, "a test on this machine alone must know them all"


def test_a_problem_is_what_failed_and_warnings_are_not() -> None:
    wrong = Finding("locks", PROBLEM, "two writers", "a local disk")
    odd = Finding("memory", WARNING, "little", "TFT_WORKERS=1")
    assert answer([FINE, odd])["failed"] == []
    found = answer([FINE, odd, wrong])
    assert found["failed"] == ["locks: two writers"]
    assert found["count"] == {OK: 1, WARNING: 1, PROBLEM: 1}
    lines = in_words([FINE, odd, wrong])
    assert lines[0].split() == ["ok", "fine", "as", "it", "should", "be"]
    assert lines[2].strip() == "-> TFT_WORKERS=1"
    assert lines[-1].startswith("1 problems, 1 warnings: a run would be stopped")


def test_on_a_new_machine_nothing_is_wrong_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workbench: type[Workbench]
) -> None:
    bench = workbench()
    monkeypatch.chdir(tmp_path)
    before = content(tmp_path)
    done = CliRunner().invoke(app, ["doctor", str(bench.file), "--json", "-q"])
    assert done.exit_code == 0, done.stdout
    found = json.loads(done.stdout)
    assert found["failed"] == []
    assert content(tmp_path) == before
    assert not bench.layout.home.exists()
    (plan,) = [one for one in found["findings"] if one["name"].startswith("would run")]
    assert "18 of 20 steps run; 2 may run; 0 are current." in plan["said"]


def test_on_a_machine_that_has_run_it_says_what_is_there_and_writes_nothing(finished: Workbench) -> None:
    CliRunner().invoke(app, ["plan", str(finished.file), "-q"])  # the copy has no record of its owner: none is needed
    before = content(finished.folder)
    done = CliRunner().invoke(app, ["doctor", str(finished.file), "-q"])
    assert done.exit_code == 0, done.stdout
    assert content(finished.folder) == before
    for said in (
        "runs.db opens, schema",
        "index.db opens, schema",
        "mlflow.db opens, schema",
        "small 0.0",
        "1 database(s) open",
    ):
        assert said in done.stdout
    assert "its steps took" in done.stdout
    assert "none; 0 under way" in done.stdout


@pytest.mark.parametrize("lost", ["schedules/schedules.db", "history/runs.db", "history/runs/index.db", "dagster.yaml"])
def test_a_database_that_is_missing_is_named_and_not_made(finished: Workbench, lost: str) -> None:
    (finished.layout.dagster_home / lost).unlink()
    before = content(finished.folder)
    runs, plan = dead_runs(finished.layout), would_run(finished.file, finished.layout)
    assert content(finished.folder) == before
    for found in (runs, plan):
        assert [one.state for one in found] == [WARNING]
        assert f"not asked: {lost} missing in " in found[0].said
    assert [one.state for one in dagster(finished.layout)] == [OK, OK, OK]
    assert content(finished.folder) == before


def test_damaged_databases_and_a_file_that_does_not_load_are_problems_and_exit_code_1(finished: Workbench) -> None:
    home = finished.layout.dagster_home
    for file in (home / "history" / "runs.db", finished.layout.mlflow_database, finished.layout.study("small")):
        for beside in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
            beside.unlink(missing_ok=True)
        file.write_bytes(b"this is no database, and long enough to be looked at\n" * 40)
    finished.file.write_text("name: small\nunknown: 1\n")
    done = CliRunner().invoke(app, ["doctor", str(finished.file), "--json", "-q"])
    assert done.exit_code == 1
    failed = json.loads(done.stdout)["failed"]
    for said in (
        "runs.db cannot be read: file is not a database",
        "mlflow.db cannot be read",
        "study.db cannot be read",
    ):
        assert any(said in one for one in failed), (said, failed)
    assert any("small.yaml cannot be loaded" in one and "unknown" in one for one in failed)
    assert not any("Traceback" in one for one in failed)


def test_a_home_that_is_a_file_is_a_problem_and_the_rest_is_still_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").touch()
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "home" / "data"))
    monkeypatch.setenv("TFT_EXPERIMENTS", str(tmp_path / "none.yaml"))
    done = CliRunner().invoke(app, ["doctor", "-q"])
    assert done.exit_code == 1
    assert "cannot be made" in done.stdout
    assert "none.yaml cannot be loaded" in done.stdout
    for name in ("python", "versions", "torch", "memory", "clock"):
        assert f" {name} " in done.stdout
