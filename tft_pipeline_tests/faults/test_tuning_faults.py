"""Faults of a search, with workers as processes of their own: killed in mid-trial, steered while they run, locked out."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tft_pipeline.domain.reports import TrialRow
from tft_pipeline.model.tuning_rounds import search
from tft_pipeline.model.tuning_storage import StudyStorageError, opened
from tft_pipeline_tests.builders import small
from tft_pipeline_tests.faults.scripted_worker import FOLD_KEYS, score
from tft_pipeline_tests.scripted_fits import ScriptedBench, ScriptedFits, memory_folder, study_in

ROOT = Path(__file__).resolve().parents[2]
SPACE = {"training.learning_rate": {"low": 0.001, "high": 0.1, "log": True}}
LONG = 300.0
HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdout = None
time.sleep(float(sys.argv[2]))
connection.execute("COMMIT")
"""


class Worker:
    """One process that works on the study of a folder."""

    def __init__(self, folder: Path, number: int, allowed: int) -> None:
        self.allowed = folder / f"allowed-{number}"
        self.allow(allowed)
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tft_pipeline_tests.faults.scripted_worker", str(folder), str(self.allowed)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        stream = self.process.stdout
        assert stream is not None
        self.reader = threading.Thread(target=lambda: self.lines.extend(iter(stream.readline, "")), daemon=True)
        self.reader.start()

    def allow(self, n: int) -> None:
        """Give leave for n fits in all."""
        draft = self.allowed.with_suffix(".draft")
        draft.write_text(str(n))
        draft.replace(self.allowed)

    def says(self, words: str) -> None:
        """Wait until it has said something."""
        end = time.monotonic() + LONG
        while words not in "".join(self.lines):
            assert self.process.poll() is None or words in "".join(self.lines), self.lines
            assert time.monotonic() < end, self.lines
            time.sleep(0.01)

    def dies(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ends(self) -> None:
        """Wait until it has ended well."""
        assert self.process.wait(LONG) == 0, self.lines


class Fleet:
    """A study in a folder, worked on by processes."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        settings = {"n_trials": 4, "parallel_trials": 1, "space": SPACE, "folds.max_folds": 3} | changes
        self.folder = folder
        self.experiment = small({f"tuning.{key}": value for key, value in settings.items()})
        (folder / "experiment.json").write_text(self.experiment.model_dump_json())
        self.study = study_in(folder, name=folder.name)
        self.workers: list[Worker] = []

    def start(self, allowed: int = 10**6) -> "Worker":
        """One more worker, with leave for so many fits."""
        worker = Worker(self.folder, len(self.workers), allowed)
        self.workers.append(worker)
        return worker

    def resume(self) -> tuple[TrialRow, ...]:
        """Finish the study in this process."""
        return search(self.experiment, FOLD_KEYS, self.study, ScriptedFits(score), report=print)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """What is stored."""
        with opened(self.study) as storage:
            return optuna.load_study(study_name=self.study.name, storage=storage).get_trials()

    def close(self) -> None:
        """End every process."""
        for worker in self.workers:
            worker.process.kill()
            worker.process.wait()
            worker.reader.join()
            assert worker.process.stdout is not None
            worker.process.stdout.close()

    def control(self, **settings: Any) -> None:
        """Write the control file as an editor does, not atomically."""
        self.study.control.write_text(json.dumps(settings))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Makes a fleet whose processes are gone when the test is over."""
    made: list[Fleet] = []
    with memory_folder(tmp_path) as folder:

        def make(**changes: Any) -> Fleet:
            made.append(Fleet(folder, **changes))
            return made[-1]

        yield make
        for one in made:
            one.close()


@pytest.mark.fault("kill_tuning")
def test_the_trial_of_a_killed_worker_is_retried_once_and_finished_trials_stay_as_they_were(fleet):
    one = fleet()
    worker = one.start(allowed=4)
    worker.says("before fit 5")
    worker.dies()
    left = one.trials()
    assert [trial.state for trial in left] == [TrialState.COMPLETE, TrialState.RUNNING]
    assert len(left[1].intermediate_values) == 1
    rows = one.resume()
    assert Counter(row.state for row in rows) == {"complete": 4, "fail": 1}
    (retry,) = [row for row in rows if row.replaces is not None]
    assert (retry.replaces, retry.params) == (1, rows[1].params)
    assert rows[1].state == "fail"
    assert "is gone; its parameters are tried once more" in rows[1].note
    kept = one.trials()
    for name in ("value", "params", "datetime_complete", "user_attrs", "intermediate_values"):
        assert getattr(kept[0], name) == getattr(left[0], name)
    assert {trial.state for trial in kept} == {TrialState.COMPLETE, TrialState.FAIL}


@pytest.mark.fault("kill_tuning")
@pytest.mark.slow
def test_a_retry_whose_worker_is_killed_again_is_given_up(fleet):
    one = fleet(n_trials=2)
    for number in (0, 1):
        worker = one.start(allowed=0)
        worker.says(f"trial {number} begins")
        worker.dies()
    rows = one.resume()
    assert [row.state for row in rows] == ["fail", "fail", "complete"]
    assert rows[1].replaces == 0
    assert rows[0].params == rows[1].params != rows[2].params
    assert "its parameters are given up" in rows[1].note
    assert all(row.replaces is None for row in (rows[0], rows[2]))


def test_two_workers_of_one_study_complete_exactly_its_trials(fleet):
    one = fleet(n_trials=9, parallel_trials=2)
    workers = [one.start(allowed=1), one.start(allowed=1)]
    for worker in workers:
        worker.says("before fit 2")
    for worker in workers:
        worker.allow(10**6)
    for worker in workers:
        worker.ends()
    trials = one.trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 9
    assert len({trial.user_attrs["worker"]["pid"] for trial in trials}) == 2
    assert len({str(trial.params) for trial in trials}) == 9, "two workers drew the same"


@pytest.mark.fault("kill_tuning")
@pytest.mark.slow
def test_a_live_worker_waits_for_another_and_takes_over_what_it_leaves_when_it_is_killed(fleet):
    one = fleet(n_trials=3)
    stuck = one.start(allowed=0)
    stuck.says("trial 0 begins")
    other = one.start()
    other.says("waiting for 1 running trial(s) of other workers")
    assert Counter(trial.state for trial in one.trials()) == {TrialState.COMPLETE: 2, TrialState.RUNNING: 1}
    stuck.dies()
    other.ends()
    trials = one.trials()
    assert [trial.state for trial in trials] == [TrialState.FAIL, *[TrialState.COMPLETE] * 3]
    assert trials[3].params == trials[0].params


@pytest.mark.fault("kill_switch")
@pytest.mark.slow
def test_a_control_file_edited_while_a_worker_runs_is_obeyed_within_a_fold(fleet):
    one = fleet(n_trials=50)
    worker = one.start(allowed=0)
    worker.says("before fit 1")
    one.control(pause=True)
    worker.allow(50)
    worker.says("paused by")
    assert len(one.trials()[0].intermediate_values) == 1
    assert "before fit 2" not in "".join(worker.lines)
    one.control(max_trials=2, pause=False)
    worker.ends()
    assert [trial.state for trial in one.trials()] == [TrialState.COMPLETE] * 2
    for settings, note, number in (({"stop": True}, "stop", 2), ({"deadline": time.time()}, "deadline", 3)):
        one.control()
        worker = one.start(allowed=0)
        worker.says("before fit 1")
        one.control(**settings)
        worker.allow(50)
        worker.ends()
        ended = one.trials()[number]
        assert ended.state == TrialState.FAIL
        assert ended.user_attrs["note"].startswith(f"was stopped ({note})")
        assert len(ended.intermediate_values) == 1
    states = Counter(trial.state for trial in one.trials())
    assert states == {TrialState.COMPLETE: 2, TrialState.FAIL: 2, TrialState.WAITING: 1}
    log = [json.loads(line)["after"] for line in one.study.control_log.read_text().splitlines()]
    assert {"pause": True} in log
    assert {"stop": True} in log


def hold(database: Path, seconds: float) -> "subprocess.Popen[str]":
    """Another program that locks a database for a while; returns when it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(database), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.stdout.close()
    return process


def locked_bench(folder: Path, **changes: Any) -> ScriptedBench:
    experiment = small({"tuning.space": SPACE, "tuning.n_trials": 3, "tuning.parallel_trials": 1})
    return ScriptedBench(folder, experiment, score, **changes)


@pytest.mark.fault("optuna_locked")
def test_a_database_that_another_program_locks_for_a_while_is_waited_for(tmp_path):
    one = locked_bench(tmp_path)
    holders = []

    def lock(n: int) -> None:
        if n == 6:
            holders.append(hold(one.study.database, 1.5))

    rows = one.run(lock)
    assert holders.pop().wait(LONG) == 0
    assert [row.state for row in rows] == ["complete"] * 3


@pytest.mark.fault("optuna_locked")
def test_a_database_that_stays_locked_is_a_clear_error_and_a_resume_completes(tmp_path):
    one = locked_bench(tmp_path, timeout_seconds=0.3)
    holders = []

    def lock(n: int) -> None:
        if n == 6:
            holders.append(hold(one.study.database, LONG))

    with pytest.raises(StudyStorageError, match=r"did not answer within 0\.3 s \(database is locked\)") as caught:
        one.run(lock)
    assert "Finished trials are kept" in str(caught.value)
    holders[0].kill()
    holders[0].wait()
    rows = one.run()
    assert [row.state for row in rows] == ["complete", "fail", "complete", "complete"]
    assert rows[2].params == rows[1].params


@pytest.mark.fault("optuna_locked")
def test_being_locked_out_of_the_database_again_and_again_gives_no_parameters_up(tmp_path):
    one = locked_bench(tmp_path, timeout_seconds=0.1)
    for _ in range(2):
        holders: list[sqlite3.Connection] = []

        def lock(n: int, holders: list[sqlite3.Connection] = holders) -> None:
            holders.append(sqlite3.connect(one.study.database, isolation_level=None))
            holders[-1].execute("BEGIN EXCLUSIVE")

        with pytest.raises(StudyStorageError, match="database is locked"):
            one.run(lock)
        holders[0].close()
    rows = one.run()
    assert [row.state for row in rows] == ["fail"] * 2 + ["complete"] * 3
    assert len({str(row.params) for row in rows[:3]}) == 1
