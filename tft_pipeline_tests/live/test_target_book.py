"""The target book: it runs out, it is fenced, and whatever is wrong with it reads as flat."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from tft_pipeline.live import target_book
from tft_pipeline.live.folder_lock import LockBusyError, folder_lock
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.switch_states import ACTIVE, HALTED, REDUCING
from tft_pipeline.live.target_book import (
    BOOK,
    FencedError,
    TargetBook,
    Targets,
    flatten,
    halt,
    read_targets,
    written_targets,
)
from tft_pipeline_tests.live.hand_clock import HandClock

HELD = {"A": 0.1, "B": -0.2}
WANTED = {"A": 0.3, "B": -0.1}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def switch(tmp_path: Path) -> KillSwitch:
    armed = KillSwitch(tmp_path, lock_seconds=0.1)
    armed.arm("tester", "a test")
    return armed


@pytest.fixture
def book(tmp_path: Path, switch: KillSwitch, clock: HandClock) -> TargetBook:
    owned = TargetBook(tmp_path, switch, clock=clock)
    owned.take_over()
    return owned


def publish(book: TargetBook, weights: dict[str, float] | None = None) -> Targets:
    return book.publish(weights or WANTED, bar="2026-01-05T12:00:00+00:00", model_id="m", validity_s=60.0)


def test_what_is_published_is_read_until_it_runs_out(tmp_path: Path, book: TargetBook, clock: HandClock) -> None:
    written = publish(book)
    assert read_targets(tmp_path, clock.now()) == written
    assert (written.sequence, written.epoch, written.weights, written.state) == (1, 1, WANTED, ACTIVE)
    clock.pass_time(59.9)
    assert read_targets(tmp_path, clock.now()).weights == WANTED
    clock.pass_time(0.1)
    late = read_targets(tmp_path, clock.now())
    assert late.flat
    assert late.weights == {"A": 0.0, "B": 0.0}
    assert "ran out" in late.why
    assert publish(book).sequence == 2


@pytest.mark.parametrize("seconds", [-3600.0, -6.0, 61.0, 3600.0])
def test_a_clock_that_was_set_never_keeps_targets_alive(
    tmp_path: Path, book: TargetBook, clock: HandClock, seconds: float
) -> None:
    publish(book)
    clock.set_wall(seconds)
    assert read_targets(tmp_path, clock.now()).flat
    assert publish(book).sequence == 2
    assert not read_targets(tmp_path, clock.now()).flat


def test_targets_run_out_by_the_steady_clock_too_and_with_the_machine(
    tmp_path: Path, book: TargetBook, clock: HandClock
) -> None:
    publish(book)
    clock.pass_time(70.0)
    clock.set_wall(-69.0)
    assert read_targets(tmp_path, clock.now()).flat
    publish(book)
    clock.boot()
    assert read_targets(tmp_path, clock.now()).flat


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_text(path.read_text().replace("0.3", "0.9")),
        lambda path: path.write_bytes(os.urandom(100)),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["gone", "empty", "cut", "changed", "garbage", "a folder"],
)
def test_a_book_that_is_damaged_reads_as_flat(
    tmp_path: Path, book: TargetBook, clock: HandClock, damage: Callable[[Path], object]
) -> None:
    publish(book)
    damage(tmp_path / BOOK)
    assert read_targets(tmp_path, clock.now()).flat


def test_reducing_writes_and_reads_only_what_lies_towards_zero(
    tmp_path: Path, book: TargetBook, clock: HandClock, switch: KillSwitch
) -> None:
    publish(book, HELD)
    publish(book)
    switch.trip(REDUCING, "drift", "three nights")
    # written before it was tripped: A is not raised above what was held
    assert read_targets(tmp_path, clock.now()).weights == {"A": 0.1, "B": -0.1}
    assert publish(book).weights == {"A": 0.1, "B": -0.1}
    assert publish(book, {"A": -0.5, "C": 0.4}).weights == {"A": 0.0, "B": 0.0, "C": 0.0}


@pytest.mark.parametrize("seed", range(20))
def test_after_a_trip_no_reader_ever_sees_a_position_that_grows_or_changes_sign(
    tmp_path: Path, book: TargetBook, clock: HandClock, switch: KillSwitch, seed: int
) -> None:
    """Writers that want anything, take over from each other and come too late to renew."""
    random = np.random.default_rng(seed)
    names = ("A", "B", "C")
    seen: dict[str, float] = {}
    tripped = int(random.integers(1, 6))
    for step in range(25):
        if step == tripped:
            switch.trip(REDUCING, "manual", "only smaller")
            seen = read_targets(tmp_path, clock.now()).weights
        if random.random() < 0.2:
            book = TargetBook(tmp_path, switch, clock=clock)
            book.take_over()
        publish(book, {name: float(random.uniform(-1.0, 1.0)) for name in names if random.random() < 0.8})
        clock.pass_time(float(random.choice([1.0, 30.0, 61.0], p=[0.6, 0.35, 0.05])))
        if step >= tripped:
            for _ in range(2):
                now = read_targets(tmp_path, clock.now()).weights
                for name in names:
                    before, after = seen.get(name, 0.0), now.get(name, 0.0)
                    assert abs(after) <= abs(before), (step, name)
                    assert after * before >= 0.0, (step, name)
                seen = now


def test_halted_reads_and_writes_flat_and_so_does_a_switch_that_is_gone(
    tmp_path: Path, book: TargetBook, clock: HandClock, switch: KillSwitch
) -> None:
    publish(book)
    switch.trip(HALTED, "manual", "stop")
    assert read_targets(tmp_path, clock.now()).flat
    assert publish(book).flat
    switch.reset("tester", "go on")
    assert not publish(book).flat
    (tmp_path / "kill_switch.json").unlink()
    assert read_targets(tmp_path, clock.now()).flat


def test_a_writer_that_was_replaced_can_write_no_more(
    tmp_path: Path, book: TargetBook, clock: HandClock, switch: KillSwitch
) -> None:
    publish(book)
    newer = TargetBook(tmp_path, switch, clock=clock)
    assert newer.take_over() == 2
    with pytest.raises(FencedError, match="took it over"):
        publish(book)
    assert publish(newer, {"A": 0.5}).weights == {"A": 0.5}
    with pytest.raises(FencedError):
        TargetBook(tmp_path, switch, clock=clock).publish({}, bar=None, model_id=None, validity_s=1.0)
    (tmp_path / "targets.epoch").write_text("?")
    with pytest.raises(FencedError):
        publish(newer)


@pytest.mark.parametrize("moment", ["before it is staged", "before it is renamed"])
@pytest.mark.parametrize("event", ["halted", "taken over", "halted while it held the lock"])
def test_a_writer_that_hung_and_wakes_up_publishes_nothing(
    tmp_path: Path,
    book: TargetBook,
    clock: HandClock,
    switch: KillSwitch,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    event: str,
) -> None:
    """The hang is played: what others do meanwhile happens inside the writer's own step, lock held or as if it were not."""
    publish(book)
    happened = []

    def meanwhile() -> None:
        if happened:
            return
        happened.append(event)
        if event == "taken over":
            with monkeypatch.context() as unlocked:
                unlocked.setattr(target_book, "folder_lock", lambda path, *, seconds: nullcontext())
                TargetBook(tmp_path, KillSwitch(tmp_path), clock=clock).take_over()
        else:
            other = KillSwitch(tmp_path, lock_seconds=0.05)
            halt(tmp_path, other, "watchdog", "silent", clock=clock)
            assert written_targets(tmp_path).flat  # type: ignore[union-attr]

    stage, rename = target_book.stage_sealed, os.replace

    def staged(path: Path, record: dict[str, object], *, durable: bool = True) -> None:
        if moment == "before it is staged":
            meanwhile()
        stage(path, record, durable=durable)

    def renamed(source: Path, target: Path) -> None:
        if moment == "before it is renamed" and target_book.STAGED in str(source):
            meanwhile()
        rename(source, target)

    monkeypatch.setattr(target_book, "stage_sealed", staged)
    monkeypatch.setattr(target_book.os, "replace", renamed)
    if event == "taken over":
        with pytest.raises(FencedError):
            publish(book)
        assert written_targets(tmp_path).sequence == 1  # type: ignore[union-attr]
    else:
        assert publish(book).flat
        assert written_targets(tmp_path).flat  # type: ignore[union-attr]
    assert happened
    assert not list(tmp_path.glob(f"{target_book.STAGED}*"))


def test_flattening_needs_no_lock_and_taking_over_does(
    tmp_path: Path, book: TargetBook, clock: HandClock, switch: KillSwitch
) -> None:
    publish(book)
    with folder_lock(switch.lock, seconds=1.0):
        assert flatten(tmp_path, switch, "a test", clock=clock).flat
        with pytest.raises(LockBusyError):
            TargetBook(tmp_path, switch).take_over()
        with pytest.raises(LockBusyError):
            publish(book)
    assert written_targets(tmp_path).sequence == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_and_the_book_stays(
    tmp_path: Path, book: TargetBook, clock: HandClock, weight: float
) -> None:
    publish(book)
    with pytest.raises(ValueError, match="not finite"):
        publish(book, {"A": weight})
    assert read_targets(tmp_path, clock.now()).weights == WANTED
    with pytest.raises(ValueError, match="validity_s"):
        book.publish({}, bar=None, model_id=None, validity_s=0.0)


def damaged(folder: Path) -> None:
    (folder / BOOK).write_bytes(bytes(10))


def an_older_one_after_a_power_cut(folder: Path) -> None:
    (folder / BOOK).write_bytes((folder / "older").read_bytes())


@pytest.mark.parametrize("loss", [damaged, an_older_one_after_a_power_cut])
@pytest.mark.parametrize("writer", ["the same", "the next", "who halts"])
def test_a_book_that_is_lost_never_costs_the_order_of_sequence_numbers(
    tmp_path: Path,
    switch: KillSwitch,
    clock: HandClock,
    monkeypatch: pytest.MonkeyPatch,
    loss: Callable[[Path], None],
    writer: str,
) -> None:
    monkeypatch.setattr(target_book, "RESERVED", 10)
    book = TargetBook(tmp_path, switch, clock=clock)
    book.take_over()
    publish(book)
    (tmp_path / "older").write_bytes((tmp_path / BOOK).read_bytes())
    for _ in range(33):
        highest = publish(book).sequence
    assert highest == 34
    loss(tmp_path)
    if loss is an_older_one_after_a_power_cut:
        clock.boot()
    if writer == "the same":
        after = publish(book)
    elif writer == "who halts":
        after = halt(tmp_path, switch, "manual", "stop", clock=clock)
    else:
        book = TargetBook(tmp_path, switch, clock=clock)
        book.take_over()
        after = publish(book)
    assert after.sequence > highest


def test_a_writer_goes_on_above_what_it_is_told_whatever_became_of_the_files(
    tmp_path: Path, switch: KillSwitch, clock: HandClock
) -> None:
    book = TargetBook(tmp_path, switch, clock=clock)
    assert book.take_over(least_epoch=7, least_sequence=500) == 8
    assert publish(book).sequence > 500
    assert publish(book).sequence == book.sequence


def test_the_newest_entry_of_the_switch_is_written_beside_the_book_and_notices_a_backup(
    tmp_path: Path, book: TargetBook, clock: HandClock, switch: KillSwitch
) -> None:
    publish(book)
    files = {path: path.read_bytes() for path in tmp_path.glob("kill_switch.json*")}
    switch.trip(REDUCING, "manual", "only smaller")
    publish(book)
    for path, content in files.items():
        path.write_bytes(content)
    assert switch.state() == HALTED
    assert read_targets(tmp_path, clock.now()).flat
