import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tft_pipeline.model import tuning_workers
from tft_pipeline.model.tuning_workers import is_dead, start_ticks, working


@pytest.fixture
def other():
    """A process that does nothing, and its identity as a worker."""
    with working() as here:
        process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        started = {"started": psutil.Process(process.pid).create_time(), "ticks": start_ticks(process.pid)}
        yield process, {**here, "pid": process.pid, **started, "token": "x"}
        process.kill()
        process.communicate()


def test_a_search_of_this_process_lives_until_it_is_left_however_silent():
    with working() as worker:
        assert worker["pid"] == os.getpid()
        assert worker["host"] == socket.gethostname()
        assert not is_dead(worker, silent=True)
    assert is_dead(worker, silent=False)


def test_a_living_process_of_this_machine_is_dead_only_when_it_is_silent(other):
    _, worker = other
    assert not is_dead(worker, silent=False)
    assert is_dead(worker, silent=True)


def test_a_killed_process_is_dead_at_once_even_before_its_parent_asked_for_it(other):
    process, worker = other
    process.kill()
    end = time.monotonic() + 10
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < end:
        time.sleep(0.01)
    assert is_dead(worker, silent=False)
    process.communicate()
    assert is_dead(worker, silent=False)


def test_another_process_that_was_given_the_same_number_is_not_the_worker(other):
    _, worker = other
    assert is_dead({**worker, "ticks": worker["ticks"] - 1}, silent=False), "started a hundredth of a second earlier"
    assert is_dead({**worker, "ticks": None, "started": worker["started"] - 3600}, silent=False), "no /proc there"


@pytest.mark.fault("clock_jump")
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times are told by the clock here")
def test_a_clock_that_is_set_kills_nobody(other, monkeypatch):
    _, worker = other
    boot_time = psutil._pslinux.boot_time
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot_time() + 60.0)
    assert abs(psutil.Process(worker["pid"]).create_time() - worker["started"]) > 50.0
    assert not is_dead(worker, silent=False)


def test_a_start_is_read_whatever_the_program_is_called(tmp_path, monkeypatch):
    (tmp_path / "7").mkdir()
    fields = " ".join(str(number) for number in range(4, 53))
    (tmp_path / "7" / "stat").write_text(f"7 (a) S (9 9) S {fields}\n")
    monkeypatch.setattr(tuning_workers, "PROC", tmp_path)
    assert start_ticks(7) == 22
    assert start_ticks(8) is None


@pytest.mark.parametrize("name", ["host", "namespace", "boot"])
def test_a_worker_that_cannot_be_looked_at_is_dead_after_a_silence(other, name):
    _, worker = other
    away = {**worker, name: "elsewhere", "pid": 2**22 - 1}
    assert not is_dead(away, silent=False)
    assert is_dead(away, silent=True)
