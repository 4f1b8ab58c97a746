"""Real processes that hang, are killed, run out of memory or raise: flat soon after, and halted until a person resets.

Waits are generous, and nothing is timed: how soon is what the configuration says, that it happens is what is tested.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tft_pipeline.live.heartbeat import LOOP, STOPPED, read_beat
from tft_pipeline.live.kill_switch import LATCH, KillSwitch
from tft_pipeline.live.loop_state import load_state
from tft_pipeline.live.switch_states import ACTIVE, HALTED, REDUCING
from tft_pipeline.live.target_book import read_targets, written_targets
from tft_pipeline_tests.faults.required import MOUNTS_NOTHING

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
"""Ten times the deadlines below, which are long, for a busy machine must not look like a hang."""


class Market:
    """A folder with a loop and a watchdog."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.switch = KillSwitch(folder)
        self.switch.arm("tester", "a test")
        self.processes: list[subprocess.Popen[bytes]] = []

    def loop(self, fault: str = "") -> subprocess.Popen[bytes]:
        return self._start(str(ROOT / "tft_pipeline_tests" / "faults" / "live_child.py"), str(self.folder), fault)

    def watchdog(self) -> subprocess.Popen[bytes]:
        words = ("-m", "tft_pipeline.live.watchdog", str(self.folder))
        return self._start(*words, "--deadline", "6", "--grace", "60", "--poll", "0.1")

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=quiet, stderr=quiet)
        self.processes.append(process)
        return process

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < until, f"{what}: not within {PATIENCE_S} s; {self.switch.reading()}"
            time.sleep(0.02)

    def wait_until_it_holds(self) -> None:
        self.wait(lambda: not self.targets_are_flat(), "nothing is held")

    def targets_are_flat(self) -> bool:
        return read_targets(self.folder).flat

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    made = Market(tmp_path / "live")
    try:
        yield made
    finally:
        made.end()


def stopped(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)


def killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()


def by_its_own_fault(process: subprocess.Popen[bytes]) -> None:
    """The file that `market` writes switches it on."""


FAULTS = {
    "stopped": ("", stopped),
    "killed": ("", killed),
    "hung": ("hang", by_its_own_fault),
    "out of memory": ("memory", by_its_own_fault),
    "raising": ("raise", by_its_own_fault),
    "left without a word": ("die", by_its_own_fault),
}
WAITS_FOR_THE_DEADLINE = ("stopped", "hung")


@pytest.mark.fault("kill_switch")
@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=pytest.mark.slow) if name in WAITS_FOR_THE_DEADLINE else name for name in FAULTS]
)
def test_a_loop_that_goes_wrong_is_flat_and_a_restart_stays_halted_until_a_reset(market: Market, fault: str) -> None:
    kind, strike = FAULTS[fault]
    market.watchdog()
    loop = market.loop(kind)
    market.wait_until_it_holds()
    (market.folder / "go_wrong").touch()
    strike(loop)
    market.wait(lambda: market.switch.state() == HALTED, "not halted")
    market.wait(
        lambda: (book := written_targets(market.folder)) is not None and book.flat, "the book itself is not flat"
    )
    assert market.targets_are_flat()
    if fault == "stopped":
        before = written_targets(market.folder)
        loop.send_signal(signal.SIGCONT)
        # it lives again, and writes flat targets at best
        beat = read_beat(market.folder, LOOP)
        market.wait(lambda: read_beat(market.folder, LOOP) != beat, "it does not go on")
        assert before is not None
        for _ in range(20):
            time.sleep(0.02)
            book = written_targets(market.folder)
            assert book is not None
            assert book.flat
    loop.kill()
    loop.wait()
    (market.folder / "go_wrong").unlink()
    market.loop()
    market.wait(lambda: (state := load_state(market.folder)) is not None and state[0].bars > 0, "no bar")
    bars = load_state(market.folder)[0].bars  # type: ignore[index]
    market.wait(lambda: load_state(market.folder)[0].bars > bars + 5, "the new loop decides nothing")  # type: ignore[index]
    assert market.switch.state() == HALTED
    assert market.targets_are_flat()
    market.switch.reset("tester", "mended")
    market.wait_until_it_holds()
    assert market.switch.state() == ACTIVE


@pytest.mark.fault("kill_switch")
@pytest.mark.slow
def test_with_every_process_dead_targets_run_out_by_themselves(market: Market) -> None:
    watchdog = market.watchdog()
    loop = market.loop()
    market.wait_until_it_holds()
    watchdog.kill()
    loop.kill()
    market.wait(market.targets_are_flat, "targets outlive everybody")
    assert "ran out" in read_targets(market.folder).why


@pytest.mark.fault("kill_switch")
@pytest.mark.slow
def test_a_watchdog_that_dies_is_missed_by_the_loop_which_halts_itself(market: Market) -> None:
    watchdog = market.watchdog()
    market.loop()
    market.wait_until_it_holds()
    watchdog.kill()
    market.wait(lambda: market.switch.state() == HALTED, "not halted")
    assert market.switch.reading().trigger == "no_watchdog"
    market.wait(lambda: written_targets(market.folder).flat, "not flat")  # type: ignore[union-attr]


def test_a_second_loop_fences_the_first_which_ends_without_halting(market: Market) -> None:
    market.watchdog()
    first = market.loop()
    market.wait_until_it_holds()
    market.loop()
    assert first.wait(PATIENCE_S) != 0
    market.wait(lambda: read_targets(market.folder).epoch == 2 and not market.targets_are_flat(), "nobody goes on")
    assert market.switch.state() == ACTIVE


@pytest.mark.slow
def test_a_loop_that_is_told_to_stop_saves_and_is_not_halted(market: Market) -> None:
    market.watchdog()
    loop = market.loop()
    market.wait_until_it_holds()
    loop.terminate()
    assert loop.wait(PATIENCE_S) == 0
    beat = read_beat(market.folder, LOOP)
    assert beat is not None
    assert beat.state == STOPPED
    market.wait(market.targets_are_flat, "targets outlive the loop")
    assert market.switch.state() == ACTIVE
    saved = load_state(market.folder)
    assert saved is not None
    assert saved[0].bars > 0


DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "truncated": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(os.urandom(200)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.fault("kill_switch", "flipped_byte")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_latch_that_is_damaged_under_a_running_loop_is_halted(
    market: Market, damage: Callable[[Path], object]
) -> None:
    market.watchdog()
    market.loop()
    market.wait_until_it_holds()
    DAMAGE[damage](market.folder / LATCH)
    assert market.targets_are_flat()
    market.wait(
        lambda: (book := written_targets(market.folder)) is not None and book.flat, "the book itself is not flat"
    )
    assert market.switch.reset("tester", "mended").state == ACTIVE
    market.wait_until_it_holds()


@pytest.mark.fault("kill_switch", "disk_full")
@pytest.mark.skipif(os.geteuid() != 0, reason=f"{MOUNTS_NOTHING}: that needs root")
@pytest.mark.parametrize("asked", [REDUCING, HALTED])
def test_a_full_disk_keeps_nobody_from_halting(tmp_path: Path, asked: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=24", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip(MOUNTS_NOTHING)
    try:
        switch = KillSwitch(disk)
        switch.arm("tester", "a test")
        full(disk)
        assert switch.state() == ACTIVE
        assert switch.trip(asked, "manual", "x" * 3000).state == HALTED
        (disk / "filler").unlink()
        for more in disk.glob("more-*"):
            more.unlink()
        assert switch.state() == HALTED
        assert switch.reset("tester", "there is space again").state == ACTIVE
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def full(disk: Path) -> None:
    """Not a byte and not a file more."""
    with (disk / "filler").open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(1024))
        except OSError:
            pass
    try:
        for number in range(100):
            (disk / f"more-{number}").touch()
    except OSError:
        pass
