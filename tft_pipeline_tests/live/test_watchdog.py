"""The watchdog: when it halts, when it does not, and how light it is."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tft_pipeline.live.book_owner import Owner, write_owner
from tft_pipeline.live.heartbeat import LOOP, STOPPED, WATCHDOG, Heartbeat, heartbeat_file, process_start, read_beat
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.sealed_json import write_sealed
from tft_pipeline.live.switch_states import ACTIVE, HALTED
from tft_pipeline.live.target_book import EPOCH, TargetBook, written_targets
from tft_pipeline.live.watchdog import Watchdog, Watching, what_is_wrong
from tft_pipeline_tests.live.hand_clock import HandClock

WATCHING = Watching(deadline_s=30.0, grace_s=60.0, poll_s=1.0)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def switch(tmp_path: Path) -> KillSwitch:
    armed = KillSwitch(tmp_path)
    armed.arm("tester", "a test")
    return armed


def test_a_loop_that_beats_is_left_alone_and_one_that_is_silent_is_halted_and_flat(
    tmp_path: Path, clock: HandClock, switch: KillSwitch
) -> None:
    loop, watchdog = Heartbeat(tmp_path, LOOP), Watchdog(tmp_path, WATCHING, clock=clock)
    book = TargetBook(tmp_path, switch, clock=clock)
    book.take_over()
    book.publish({"A": 0.5}, bar=None, model_id="m", validity_s=600.0)
    for _ in range(5):
        loop.beat(clock.now())
        clock.pass_time(29.0)
        assert watchdog.look() == ""
    clock.pass_time(2.0)
    assert "hangs or is gone" in watchdog.look()
    assert switch.state() == HALTED
    assert written_targets(tmp_path).flat  # type: ignore[union-attr]
    assert switch.history()[-1].trigger == "watchdog"
    assert watchdog.look() == ""


@pytest.mark.fault("clock_jump")
def test_setting_the_clock_is_no_silence_and_no_sign_of_life(
    tmp_path: Path, clock: HandClock, switch: KillSwitch
) -> None:
    loop, watchdog = Heartbeat(tmp_path, LOOP), Watchdog(tmp_path, WATCHING, clock=clock)
    for seconds in (7200.0, -86400.0):
        loop.beat(clock.now())
        clock.set_wall(seconds)
        assert watchdog.look() == ""
    clock.pass_time(31.0)
    clock.set_wall(-31.0)
    assert watchdog.look().startswith("HALTED")


def test_a_loop_that_stopped_on_purpose_is_not_halted_and_one_that_never_came_is(
    tmp_path: Path, clock: HandClock, switch: KillSwitch
) -> None:
    watchdog = Watchdog(tmp_path, WATCHING, clock=clock)
    clock.pass_time(59.0)
    assert watchdog.look() == ""
    Heartbeat(tmp_path, LOOP).beat(clock.now(), state=STOPPED)
    clock.pass_time(10_000.0)
    assert watchdog.look() == ""
    heartbeat_file(tmp_path, LOOP).unlink()
    assert "no loop has beaten" in watchdog.look()
    assert switch.state() == HALTED


def test_a_process_that_is_gone_is_halted_at_once_also_when_its_number_lives_again(
    tmp_path: Path, clock: HandClock
) -> None:
    Heartbeat(tmp_path, LOOP).beat(clock.now())
    beat = read_beat(tmp_path, LOOP)
    assert beat is not None
    assert beat.process_lives()
    judged = {"watched_for": 1.0, "now": clock.now(), "watching": WATCHING}
    assert what_is_wrong(beat, alive=True, **judged) == ""  # type: ignore[arg-type]
    assert "is gone" in what_is_wrong(beat, alive=False, **judged)  # type: ignore[arg-type]
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert process_start(done.pid) == ""
    assert process_start(os.getpid()) != process_start(1)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 9, b'{"boot_s": "soon"}'])
def test_a_damaged_heartbeat_is_no_sign_of_life(
    tmp_path: Path, clock: HandClock, switch: KillSwitch, content: bytes
) -> None:
    Heartbeat(tmp_path, LOOP).beat(clock.now())
    watchdog = Watchdog(tmp_path, WATCHING, clock=clock)
    heartbeat_file(tmp_path, LOOP).write_bytes(content)
    clock.pass_time(61.0)
    assert watchdog.look().startswith("HALTED")


def test_a_book_that_somebody_left_is_flattened_while_it_is_halted(
    tmp_path: Path, clock: HandClock, switch: KillSwitch
) -> None:
    book = TargetBook(tmp_path, switch, clock=clock)
    book.take_over()
    book.publish({"A": 0.5}, bar=None, model_id="m", validity_s=600.0)
    switch.trip(HALTED, "manual", "by hand")
    assert "flattened" in Watchdog(tmp_path, WATCHING, clock=clock).look()
    assert written_targets(tmp_path).flat  # type: ignore[union-attr]


@pytest.mark.parametrize("full", [True, False])
def test_a_hung_loop_is_halted_also_where_the_watchdog_cannot_beat(
    tmp_path: Path, clock: HandClock, switch: KillSwitch, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    Heartbeat(tmp_path, LOOP).beat(clock.now())
    watchdog = Watchdog(tmp_path, WATCHING, clock=clock)

    def no_space(path: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    if full:
        monkeypatch.setattr("tft_pipeline.live.heartbeat.write_sealed", no_space)
    clock.pass_time(31.0)
    said = watchdog.look()
    assert said.startswith("HALTED")
    assert ("could not beat" in said) is full
    assert switch.state() == HALTED


def test_the_end_of_a_fenced_loop_that_beat_last_is_not_the_end_of_the_one_that_took_over(
    tmp_path: Path, clock: HandClock, switch: KillSwitch
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    watchdog, loop = Watchdog(tmp_path, WATCHING, clock=clock), Heartbeat(tmp_path, LOOP)

    def beats(epoch: int) -> None:
        loop.epoch = epoch
        loop.beat(clock.now())
        record = json.loads(heartbeat_file(tmp_path, LOOP).read_text())
        write_sealed(heartbeat_file(tmp_path, LOOP), record | {"pid": gone.pid})

    write_owner(tmp_path / EPOCH, Owner(epoch=2, token="x"))
    beats(1)
    assert watchdog.look() == ""
    # who took over must beat in its turn
    clock.pass_time(31.0)
    assert "silent for 31.0 s" in watchdog.look()
    switch.reset("tester", "once more")
    beats(2)
    assert "is gone" in watchdog.look()


@pytest.mark.parametrize(
    "wrong",
    [
        {"poll_s": 0.0},
        {"poll_s": 40.0},
        {"grace_s": -1.0},
        {"deadline_s": float("inf")},
        {"deadline_s": 1e10},
        {"grace_s": float("inf")},
        {"grace_s": 1e300},
        {"deadline_s": float("nan")},
    ],
)
def test_times_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need 0 < poll"):
        Watching(**wrong)


def test_it_imports_nothing_but_the_standard_library_and_stops_when_told(tmp_path: Path, switch: KillSwitch) -> None:
    code = (
        "import json, sys; import tft_pipeline.live.watchdog\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    foreign = {name for name in json.loads(done.stdout) if not name.startswith("_")}
    assert foreign - {"sitecustomize", "usercustomize"} == {"tft_pipeline"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tft_pipeline.live.watchdog", str(tmp_path), "--deadline", "60", "--poll", "0.05"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("watching")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    beat = read_beat(tmp_path, WATCHDOG)
    assert beat is not None
    assert beat.state == STOPPED
    assert switch.state() == ACTIVE


def test_options_that_cannot_be_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tft_pipeline.live.watchdog", str(tmp_path), "--deadline", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
