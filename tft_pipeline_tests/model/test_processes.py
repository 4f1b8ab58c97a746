"""Worker processes: their number, their threads, their end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from tft_pipeline.domain.panel import Panel
from tft_pipeline.model import processes, tuning_fits
from tft_pipeline.model.network import count_parameters
from tft_pipeline.model.processes import THREAD_VARIABLES, InThisProcess, WorkerPool, n_workers, process_pool
from tft_pipeline.model.tuning_fits import PooledFits


def leave_a_note(note: str, _heavy: object) -> None:
    """The second argument's module loads torch and numpy when it is unpickled: the limits must stand before."""
    os.environ["TFT_TEST_NOTE"] = note


def describe_worker() -> dict[str, object]:
    """What a worker looks like once numpy and torch run in it."""
    import numpy as np
    import torch
    from threadpoolctl import threadpool_info

    np.ones((200, 200)) @ np.ones((200, 200))
    return {
        "variables": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        "pools": {pool["internal_api"]: pool["num_threads"] for pool in threadpool_info()},
        "torch": torch.get_num_threads(),
        "interrupt": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "parent": os.getppid(),
        "pid": os.getpid(),
        "note": os.environ.get("TFT_TEST_NOTE"),
    }


def test_a_worker_has_one_thread_in_every_library_and_is_set_up_before_its_work(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with process_pool(1, leave_a_note, ("set up", count_parameters)) as pool:
        found = pool.submit(describe_worker).result(timeout=120)
    assert found["variables"] == dict.fromkeys(THREAD_VARIABLES, "1")
    assert set(found["pools"].values()) == {1}
    assert found["torch"] == 1
    assert found["interrupt"]
    assert found["parent"] == os.getpid()
    assert found["note"] == "set up"
    assert not any(name in os.environ for name in THREAD_VARIABLES)


def test_threads_of_all_workers_together_are_no_more_than_the_cores(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("TFT_WORKERS", raising=False)
    cores, workers = len(os.sched_getaffinity(0)), n_workers()
    with process_pool(workers) as pool:
        found = [job.result(timeout=240) for job in [pool.submit(describe_worker) for _ in range(2 * workers)]]
    threads = {worker["pid"]: max(worker["torch"], *worker["pools"].values()) for worker in found}
    assert len(threads) <= workers
    assert workers * max(threads.values()) <= cores


def test_a_setup_that_fails_breaks_the_pool_instead_of_passing_unnoticed():
    from concurrent.futures.process import BrokenProcessPool

    with process_pool(1, time.sleep, ("no number",)) as pool, pytest.raises(BrokenProcessPool):
        pool.submit(os.getpid).result(timeout=120)


PARENT = """
import os, time
from tft_pipeline.model.processes import process_pool
with process_pool(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600).result()
"""


@pytest.mark.fault("kill_run")
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_worker_dies_with_its_parent():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as stream:
        worker = psutil.Process(int(stream.readline()))
        assert worker.ppid() == parent.pid
        parent.kill()
        assert parent.wait(10) == -signal.SIGKILL
    gone, _ = psutil.wait_procs([worker], timeout=10)
    assert gone or worker.status() == psutil.STATUS_ZOMBIE


def machine(monkeypatch: pytest.MonkeyPatch, *, cores: int, gibibytes: float) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(processes.psutil, "virtual_memory", lambda: SimpleNamespace(available=int(gibibytes * 2**30)))
    monkeypatch.delenv("TFT_WORKERS", raising=False)


@pytest.mark.parametrize(
    ("cores", "gibibytes", "named", "wanted", "expected"),
    [
        (8, 64, None, None, 8),
        (8, 3.5, None, None, 3),
        (8, 0.2, None, None, 1),
        (8, 64, "3", None, 3),
        (2, 64, "16", None, 2),
        (8, 64, None, 5, 5),
        (2, 64, None, 5, 2),
        (8, 64, "3", 2, 2),
        (8, 64, "1", 5, 1),
        (8, 64, None, 0, 1),
    ],
)
def test_workers_are_bounded_by_cores_memory_the_variable_and_the_wish(
    monkeypatch, cores, gibibytes, named, wanted, expected
):
    machine(monkeypatch, cores=cores, gibibytes=gibibytes)
    if named is not None:
        monkeypatch.setenv("TFT_WORKERS", named)
    assert n_workers(wanted) == expected


@pytest.mark.parametrize("named", ["0", "-1", "two", "", "1.5", " ", "²"])
def test_a_variable_that_is_no_number_of_workers_is_refused(monkeypatch, named):
    machine(monkeypatch, cores=8, gibibytes=64)
    monkeypatch.setenv("TFT_WORKERS", named)
    with pytest.raises(ValueError, match=f"TFT_WORKERS is {named!r}: expected a whole number of at least 1"):
        n_workers()


def sleep_and_leave_a_note(note: Path, seconds: float) -> None:
    """A fit that takes long."""
    note.with_name("begun").touch()
    time.sleep(seconds)
    note.touch()


@pytest.mark.fault("sigterm")
def test_a_pool_that_an_interrupt_leaves_waits_for_no_task_and_leaves_no_process(tmp_path):
    note = tmp_path / "done"

    def work() -> None:
        with process_pool(1) as pool:
            pool.submit(sleep_and_leave_a_note, note, 60.0)
            while not note.with_name("begun").exists():
                time.sleep(0.05)
            raise SystemExit

    with pytest.raises(SystemExit):
        work()
    assert not note.exists()
    assert not multiprocessing.active_children()


@pytest.mark.fault("sigterm")
@pytest.mark.parametrize("leaves", [SystemExit, ValueError])
def test_fits_of_trials_that_are_left_leave_no_process(leaves, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning_fits, "n_workers", lambda _wanted: 2)
    tuning: Any = SimpleNamespace(tuning=SimpleNamespace(parallel_trials=2))
    note, seconds = tmp_path / "done", 60.0 if leaves is SystemExit else 1.0

    def work() -> None:
        with PooledFits(cast(Panel, None), (), tuning) as fits:
            assert isinstance(fits._pool, WorkerPool)
            fits._pool.submit(sleep_and_leave_a_note, note, seconds)
            while not note.with_name("begun").exists():
                time.sleep(0.05)
            raise leaves

    with pytest.raises(leaves):
        work()
    assert note.exists() is (leaves is ValueError), "an interrupt waits for nothing; a failure leaves nobody computing"
    assert not multiprocessing.active_children()


def test_one_worker_alone_is_this_process_whose_errors_belong_to_the_task():
    seen = []
    with InThisProcess(seen.append, ("set up",)) as pool:
        assert pool.submit(os.getpid).result() == os.getpid()
        failed = pool.submit(int, "no number")
        with pytest.raises(ValueError, match="no number"):
            failed.result()
        with pytest.raises(SystemExit):  # an interrupt ends the task and whoever submitted it
            pool.submit(sys.exit, 1)
    assert seen == ["set up"]
