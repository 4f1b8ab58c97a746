"""Runs that stop early, and runs that outlive the terminal."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from typer.testing import CliRunner

from tft_pipeline.__main__ import app
from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.background import start_in_background
from tft_pipeline.pipeline.commands import materialise_asset, run_experiment, run_in_background
from tft_pipeline.storage.locks import RunLockedError, run_holder, run_lock
from tft_pipeline_tests.conftest import Workbench

PATIENCE_SECONDS = 240.0


def test_a_run_until_an_asset_computes_it_and_nothing_behind_it(workbench: Callable[..., Workbench]) -> None:
    bench = workbench()
    answer = run_experiment(bench.file, resume=False, until="prefiltered_features", report=bench.lines.append)
    assert (answer["computed_until"], answer["failed"]) == ("prefiltered_features", [])
    assert {name for name, _ in bench.materialisations()} == {
        "snapshot",
        "feature_catalogue",
        "features",
        "targets",
        "prefiltered_features",
    }


def test_going_on_after_a_run_until_an_asset_repeats_nothing(workbench: Callable[..., Workbench]) -> None:
    bench = workbench()
    run_experiment(bench.file, resume=False, until="prefiltered_features", report=bench.lines.append)
    run_experiment(bench.file, resume=True, until="exploration_plan", report=bench.lines.append)
    counts = bench.materialisations()
    assert (counts["features", None], counts["prefiltered_features", None], counts["exploration_plan", None]) == (
        1,
        1,
        1,
    )


def test_an_asset_that_is_not_there_is_refused_before_anything_runs(workbench: Callable[..., Workbench]) -> None:
    bench = workbench()
    with pytest.raises(ConfigurationError, match="tuned_hyperparameters"):
        run_in_background(bench.file, resume=False, until="tuning")
    with pytest.raises(ConfigurationError, match="tuned_hyperparameters"):
        run_experiment(bench.file, resume=False, until="tuning", report=bench.lines.append)
    assert not bench.layout.experiment("small").exists()


def test_research_paths_are_no_end_for_an_experiment_without_them(workbench: Callable[..., Workbench]) -> None:
    with pytest.raises(ConfigurationError, match="research_paths"):
        run_experiment(workbench().file, resume=False, until="research_paths", report=str)


def test_a_run_that_ends_at_once_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"exit code 2(.|\n)*no such experiment file"):
        start_in_background(tmp_path, tmp_path / "run.lock", ["run", str(tmp_path / "absent.yaml")])


def test_nothing_computes_beside_a_whole_run(finished: Workbench) -> None:
    lock = finished.layout.run_lock("small")
    with run_lock(lock):
        for attempt in (
            lambda: finished.run(resume=True),
            lambda: run_in_background(finished.file, resume=True, until=None),
            lambda: materialise_asset(
                finished.file, "drift_report", partition=None, downstream=False, report=finished.lines.append
            ),
        ):
            with pytest.raises(ConfigurationError, match=f"process {os.getpid()}"):
                attempt()
    assert finished.run(resume=True)["failed"] == []


def test_who_only_looks_at_the_lock_keeps_no_run_out(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    lock.touch()
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)  # as `run_holder` does for an instant
        leaves = Timer(0.1, lambda: fcntl.flock(stream, fcntl.LOCK_UN))
        leaves.start()
        with run_lock(lock):
            assert run_holder(lock) is not None
        leaves.join()


def test_parts_may_be_computed_beside_each_other_and_keep_a_whole_run_out(tmp_path: Path) -> None:
    lock = tmp_path / "a" / "run.lock"
    assert run_holder(lock) is None
    with run_lock(lock, shared=True), run_lock(lock, shared=True), pytest.raises(RunLockedError), run_lock(lock):
        pass
    assert run_holder(lock) is None


@pytest.mark.fault("kill_run")
@pytest.mark.slow
def test_a_run_in_the_background_is_killed_and_goes_on_where_it_was(workbench: Callable[..., Workbench]) -> None:
    bench = workbench(changes={"exploration.epochs": 3})
    arguments = ["run", str(bench.file), "--until", "tuned_hyperparameters", "--background", "--json"]
    first = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert os.getsid(first["pid"]) == first["pid"]  # the terminal's hang-up does not reach it
    with pytest.raises(ConfigurationError, match=f"process {first['pid']}"):
        run_in_background(bench.file, resume=True, until=None)
    _wait(lambda: "exploration_fold" in Path(first["log"]).read_text(), first)
    os.kill(first["pid"], signal.SIGKILL)
    os.waitpid(first["pid"], 0)
    done = bench.materialisations()
    second = json.loads(CliRunner().invoke(app, [*arguments, "--resume"]).stdout)
    _wait(lambda: "computed_until" in Path(second["log"]).read_text(), second)
    after = bench.materialisations()
    assert {name for name, count in after.items() if count > done.get(name, 0)} & set(done) == {("snapshot", None)}
    assert bench.artifact("tuned_hyperparameters").exists()
    _wait(lambda: os.waitpid(second["pid"], os.WNOHANG)[0] == second["pid"], second)


def _wait(happened: Callable[[], bool], run: dict[str, Any]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < until, Path(run["log"]).read_text()
        time.sleep(0.2)
