"""Slots: as many processes compute at once as the machine has for them, over all of a home, whoever looks first."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from tft_pipeline.storage import slots
from tft_pipeline.storage.slots import at_most, computing

PATIENCE_SECONDS = 120.0
HOLDER = """
import sys
from pathlib import Path
from tft_pipeline.storage.slots import computing
with computing(Path(sys.argv[1]), wanted=int(sys.argv[2]), waits=lambda line: print(line, flush=True)) as n:
    print("computes with", n, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two cores and much memory, in this process."""
    _machine(monkeypatch, cores=2, gib=lambda: 64)


def _machine(monkeypatch: pytest.MonkeyPatch, *, cores: int, gib: Callable[[], int]) -> None:
    monkeypatch.delenv("TFT_WORKERS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(cores)))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=gib() << 30))


def _waits_for_ever(line: str) -> None:
    raise TimeoutError(line)


def test_no_more_compute_than_there_are_cores(two: None, tmp_path: Path) -> None:
    with computing(tmp_path, waits=print) as first, computing(tmp_path, waits=print) as second:
        assert (first, second) == (1, 1)
        said = f"one of 2 slots.*: process {os.getpid()}, process {os.getpid()} of this machine"
        with pytest.raises(TimeoutError, match=said), computing(tmp_path, waits=_waits_for_ever):
            pass
    with computing(tmp_path, wanted=9, waits=_waits_for_ever) as all_of_them:
        assert all_of_them == 2


def test_memory_that_computing_processes_have_taken_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[int] = []
    _machine(monkeypatch, cores=8, gib=lambda: 6 - len(running))
    with ExitStack() as stack:
        for _ in range(6):
            running.append(stack.enter_context(computing(tmp_path, waits=_waits_for_ever)))
        with pytest.raises(TimeoutError, match="or for memory"), computing(tmp_path, waits=_waits_for_ever):
            pass
    with computing(tmp_path, wanted=8, waits=_waits_for_ever) as n:  # still no memory: who is alone goes on
        assert n == 1


def test_a_limit_of_workers_is_the_askers_own(two: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFT_WORKERS", "1")
    with (
        computing(tmp_path, wanted=9, waits=_waits_for_ever) as first,
        computing(tmp_path, wanted=9, waits=_waits_for_ever) as second,
    ):
        assert (first, second) == (1, 1)


def test_who_wants_many_takes_what_is_free_and_waits_for_no_more(two: None, tmp_path: Path) -> None:
    with computing(tmp_path, waits=print), computing(tmp_path, wanted=9, waits=_waits_for_ever) as rest:
        assert rest == 1


def test_who_waits_goes_on_when_a_slot_is_free(two: None, tmp_path: Path) -> None:
    order: list[str] = []

    def wait(name: str) -> None:
        with computing(tmp_path, waits=lambda line: order.append(f"{name} waits")):
            order.append(f"{name} computes")

    with computing(tmp_path, wanted=2, waits=_waits_for_ever):
        thread = Thread(target=wait, args=("second",))
        thread.start()
        _until(lambda: "second waits" in order)
        assert order == ["second waits"]
    thread.join(PATIENCE_SECONDS)
    assert order == ["second waits", "second computes"]


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For this process and those it starts."""
    own = os.sched_getaffinity(0)
    monkeypatch.delenv("TFT_WORKERS", raising=False)
    os.sched_setaffinity(0, {min(own)})
    yield
    os.sched_setaffinity(0, own)


@pytest.fixture
def other(one_core: None, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the only slot."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "computes with 1\n"
    yield process
    process.kill()
    process.communicate()


def test_a_killed_process_frees_its_slot_and_one_that_is_stopped_while_it_waits_takes_it_from_nobody(
    other: subprocess.Popen[str], tmp_path: Path
) -> None:
    waiter = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), "1"], stdout=subprocess.PIPE, text=True)
    try:
        assert waiter.stdout is not None
        assert f"process {other.pid} of this machine" in waiter.stdout.readline()
        waiter.send_signal(signal.SIGSTOP)
        _freed(other, tmp_path)
    finally:
        waiter.kill()
        waiter.communicate()


def _freed(other: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match=f"process {other.pid}"), computing(tmp_path, waits=_waits_for_ever):
        pass
    other.kill()
    other.wait(PATIENCE_SECONDS)
    with computing(tmp_path, waits=_waits_for_ever) as n:
        assert n == 1


@pytest.mark.parametrize("before", [None, "5"])
def test_worker_processes_of_a_step_are_no_more_than_its_slots(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is None:
        monkeypatch.delenv("TFT_WORKERS", raising=False)
    else:
        monkeypatch.setenv("TFT_WORKERS", before)
    with at_most(1):
        assert slots.n_workers(9) == 1
    assert os.environ.get("TFT_WORKERS") == before


def _until(happened: object) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.02)
