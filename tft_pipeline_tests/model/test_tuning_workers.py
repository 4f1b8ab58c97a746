import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tft_pipeline.model.tuning_workers import is_dead, working


@pytest.fixture
def other():
    """A process that does nothing, and its identity as a worker."""
    with working() as here:
        process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        yield process, {**here, "pid": process.pid, "started": psutil.Process(process.pid).create_time(), "token": "x"}
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
    assert is_dead({**worker, "started": worker["started"] - 3600}, silent=False)


@pytest.mark.parametrize("name", ["host", "namespace"])
def test_a_worker_that_cannot_be_looked_at_is_dead_after_a_silence(other, name):
    _, worker = other
    away = {**worker, name: "elsewhere", "pid": 2**22 - 1}
    assert not is_dead(away, silent=False)
    assert is_dead(away, silent=True)
