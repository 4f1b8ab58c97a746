"""Slots: as many processes compute at once as the machine has for them, over all of a home, first come first served."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tft_pipeline.storage import slots
from tft_pipeline.storage.slots import at_most, computing

PATIENCE_SECONDS = 120.0
HOLDER = """
import sys
from pathlib import Path
from tft_pipeline.storage.slots import computing
with computing(Path(sys.argv[1]), wanted=int(sys.argv[2]), waits=print) as n:
    print("computes with", n, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with three cores and memory enough for two processes, in this process and its children."""
    monkeypatch.setattr(slots, "n_cores", lambda: 3)
    monkeypatch.setattr(slots, "n_workers", lambda: 2)


def _waits_for_ever(line: str) -> None:
    raise TimeoutError(line)


def test_no_more_compute_than_cores_and_memory_allow(three: None, tmp_path: Path) -> None:
    with computing(tmp_path, waits=print) as first, computing(tmp_path, waits=print) as second:
        assert (first, second) == (1, 1)
        with pytest.raises(TimeoutError, match="waits for one of 2 slots"), computing(tmp_path, waits=_waits_for_ever):
            pass
    with computing(tmp_path, wanted=9, waits=_waits_for_ever) as all_of_them:
        assert all_of_them == 2


def test_who_wants_many_takes_what_is_free_and_waits_for_no_more(three: None, tmp_path: Path) -> None:
    with computing(tmp_path, waits=print), computing(tmp_path, wanted=2, waits=_waits_for_ever) as rest:
        assert rest == 1


def test_who_waits_goes_on_when_a_slot_is_free_and_holds_nobody_up(three: None, tmp_path: Path) -> None:
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
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the only slot."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "1"],
        env=os.environ | {"TFT_WORKERS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "computes with 1\n"
    yield process
    process.kill()
    process.communicate()


def test_a_killed_process_frees_its_slot(
    other: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFT_WORKERS", "1")
    with pytest.raises(TimeoutError), computing(tmp_path, waits=_waits_for_ever):
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
        assert slots.n_workers() == 1
    assert os.environ.get("TFT_WORKERS") == before


def _until(happened: object) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.02)
