"""The kill switch: what is on disk decides, and whatever is wrong with it is HALTED."""

import json
import multiprocessing
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.live.folder_lock import LockBusyError, folder_lock
from tft_pipeline.live.kill_switch import LATCH, KillSwitch, KillSwitchError
from tft_pipeline.live.sealed_json import DamagedRecordError, sealed, write_sealed
from tft_pipeline.live.switch_history import HISTORY
from tft_pipeline.live.switch_states import ACTIVE, HALTED, REDUCING, STATES, allowed_in, stricter, towards_zero

LIVE = Path(__file__).resolve().parents[2] / "tft_pipeline" / "live"


@pytest.fixture
def switch(tmp_path: Path) -> KillSwitch:
    armed = KillSwitch(tmp_path, lock_seconds=0.2)
    armed.arm("tester", "a test")
    return armed


def test_a_folder_that_was_never_armed_is_halted_and_is_armed_once(tmp_path: Path) -> None:
    switch = KillSwitch(tmp_path / "new")
    assert switch.state() == HALTED
    assert switch.arm("tester", "begin").state == ACTIVE
    with pytest.raises(KillSwitchError, match="armed once"):
        switch.arm("tester", "again")
    (tmp_path / "new" / LATCH).unlink()
    with pytest.raises(KillSwitchError, match="armed once"):
        switch.arm("tester", "its file is gone, so it is new")
    assert switch.state() == HALTED


def test_a_trip_only_ever_makes_it_stricter_and_every_one_is_in_the_history(switch: KillSwitch) -> None:
    assert switch.trip(REDUCING, "drift", "three nights").state == REDUCING
    assert switch.trip(HALTED, "drawdown", "11 %").state == HALTED
    assert switch.trip(REDUCING, "drift", "four nights").state == HALTED
    history = switch.history()
    assert [(entry.state, entry.asked, entry.trigger) for entry in history] == [
        (ACTIVE, ACTIVE, "arm"),
        (REDUCING, REDUCING, "drift"),
        (HALTED, HALTED, "drawdown"),
        (HALTED, REDUCING, "drift"),
    ]
    with pytest.raises(ValueError, match="only by a reset"):
        switch.trip(ACTIVE, "manual", "go on")


def test_only_a_reset_by_somebody_with_a_reason_goes_back_and_a_new_process_does_not(switch: KillSwitch) -> None:
    switch.trip(HALTED, "manual", "stop")
    assert KillSwitch(switch.folder).state() == HALTED
    for who, why in (("", "mended"), ("me", " ")):
        with pytest.raises(ValueError, match="say both"):
            switch.reset(who, why)
    assert switch.reset("me", "mended").state == ACTIVE
    assert switch.history()[-1].who == "me"
    assert "was HALTED" in switch.history()[-1].why
    with pytest.raises(KillSwitchError, match="nothing to reset"):
        switch.reset("me", "again")


def _foreign(path: Path) -> None:
    *before, last = path.read_text().splitlines(keepends=True)
    path.write_text("".join(before) + json.dumps(sealed(json.loads(last) | {"schema_version": 2})) + "\n")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _edited(path: Path) -> None:
    path.write_text(path.read_text().replace("HALTED", "ACTIVE").replace("REDUCING", "ACTIVE"))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": _cut,
    "garbage": lambda path: path.write_bytes(os.urandom(300)),
    "a number": lambda path: path.write_text("7\n"),
    "nested": lambda path: path.write_text("[" * 100_000 + "\n"),
    "nested a little": lambda path: path.write_text(
        '{"schema_version": 1, "sha256": "a", "x": ' + "[" * 950 + "]" * 950 + "}\n"
    ),
    "foreign": _foreign,
    "edited": _edited,
    "a folder": _folder,
    "a dead link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.fault("kill_switch", "flipped_byte")
@pytest.mark.parametrize("name", [LATCH, HISTORY])
@pytest.mark.parametrize("damage", DAMAGE)
def test_whatever_happens_to_a_file_of_it_is_halted_until_a_reset(switch: KillSwitch, name: str, damage: str) -> None:
    switch.trip(REDUCING, "drift", "three nights")
    DAMAGE[damage](switch.folder / name)
    assert switch.state() == HALTED
    assert switch.trip(REDUCING, "drift", "once more").state == HALTED
    assert KillSwitch(switch.folder).state() == HALTED
    assert switch.reset("me", "looked at it").state == ACTIVE
    assert switch.trip(HALTED, "manual", "still works").state == HALTED
    assert switch.history()[-1].state == HALTED


def test_a_latch_set_back_to_an_older_entry_is_halted(switch: KillSwitch) -> None:
    old = (switch.folder / LATCH).read_bytes()
    switch.trip(HALTED, "manual", "stop")
    switch.reset("me", "go")
    (switch.folder / LATCH).write_bytes(old)
    assert switch.state() == HALTED


@pytest.mark.parametrize("depth", range(800, 1000, 7))
def test_however_deep_a_latch_is_nested_it_is_halted(switch: KillSwitch, depth: int) -> None:
    record = '{"schema_version": 1, "sha256": "a", "x": ' + "[" * depth + "]" * depth + "}"
    (switch.folder / LATCH).write_text(record)
    assert switch.state() == HALTED


@pytest.mark.parametrize("name", ["targets.epoch", "loop_state.json"])
def test_latch_and_history_set_back_together_are_halted_by_what_was_seen_elsewhere(
    switch: KillSwitch, name: str
) -> None:
    kept = {file: (switch.folder / file).read_bytes() for file in (LATCH, HISTORY)}
    switch.trip(HALTED, "manual", "stop")
    switch.reset("me", "go")
    seen = switch.reading().sequence
    write_sealed(switch.folder / name, {"switch_sequence": seen})
    assert switch.state() == ACTIVE

    def set_back() -> None:
        for file, content in kept.items():
            (switch.folder / file).write_bytes(content)

    set_back()
    assert switch.state() == HALTED
    assert "were set back" in switch.reading().why
    # told by who remembers, without the file as well
    assert switch.state(least_sequence=0) == ACTIVE
    assert switch.state(least_sequence=seen) == HALTED
    switch.trip(REDUCING, "drift", "whatever is tripped then")
    assert switch.state() == HALTED
    # a reset begins anew, above what was seen
    assert switch.reset("me", "looked at it").state == ACTIVE
    assert switch.history()[0].sequence == seen + 1
    assert switch.trip(HALTED, "manual", "still works").state == HALTED
    assert switch.reset("me", "again").sequence == seen + 3
    set_back()
    assert switch.reset("me", "looked at it once more").state == ACTIVE


@pytest.mark.fault("kill_switch")
@pytest.mark.parametrize("asked", [REDUCING, HALTED])
def test_a_writer_that_died_between_history_and_state_counts_as_the_stricter(switch: KillSwitch, asked: str) -> None:
    before = (switch.folder / LATCH).read_bytes()
    switch.trip(asked, "drawdown", "deep")
    after = (switch.folder / LATCH).read_bytes()
    (switch.folder / LATCH).write_bytes(before)
    assert switch.state() == asked
    (switch.folder / LATCH).write_bytes(after)
    switch.reset("me", "mended")
    (switch.folder / LATCH).write_bytes(after)  # the reset's own writer died
    assert switch.state() == asked


def test_a_lock_that_somebody_hangs_on_to_keeps_nobody_from_halting(switch: KillSwitch) -> None:
    with folder_lock(switch.lock, seconds=1.0):
        assert switch.state() == ACTIVE
        assert switch.trip(REDUCING, "watchdog", "silent").state == HALTED
        with pytest.raises(LockBusyError, match="hangs or is stopped"):
            switch.reset("me", "mended")
    assert switch.state() == HALTED
    assert switch.reset("me", "mended").state == ACTIVE


@pytest.mark.fault("kill_switch")
def test_an_empty_file_of_the_right_name_stops_everything(switch: KillSwitch) -> None:
    (switch.folder / "kill_switch.halt").touch()
    assert switch.state() == HALTED
    assert switch.reset("me", "it was me").state == ACTIVE


def test_a_halt_file_that_comes_during_a_reset_stays(switch: KillSwitch, monkeypatch: pytest.MonkeyPatch) -> None:
    (switch.folder / "kill_switch.halt").touch()
    record = KillSwitch._record

    def meanwhile(self: KillSwitch, *words: object) -> None:
        (switch.folder / "kill_switch.halt-other").touch()
        record(self, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(KillSwitch, "_record", meanwhile)
    assert switch.reset("me", "mended").state == HALTED


def trips(folder: str, seed: int) -> None:
    """One process of several that trip at once."""
    switch = KillSwitch(Path(folder), lock_seconds=30.0)
    for n in range(5):
        switch.trip(HALTED if (seed + n) % 4 == 0 else REDUCING, "manual", f"{seed}.{n}")


@pytest.mark.fault("kill_switch")
def test_of_processes_that_trip_at_once_the_stricter_wins_and_none_is_lost(switch: KillSwitch) -> None:
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=trips, args=(str(switch.folder), seed)) for seed in range(4)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    entries = switch.history()[1:]
    assert sorted(entry.why.split(" ")[0] for entry in entries) == sorted(
        f"{s}.{n}" for s in range(4) for n in range(5)
    )
    severities = [STATES.index(entry.state) for entry in entries]
    assert severities == sorted(severities)
    assert switch.state() == HALTED


WEIGHTS = st.dictionaries(st.sampled_from("ABC"), st.floats(-3, 3), max_size=3)


@given(weights=WEIGHTS, held=WEIGHTS)
def test_reducing_never_holds_more_than_before_nor_the_other_side(
    weights: dict[str, float], held: dict[str, float]
) -> None:
    allowed = towards_zero(weights, held)
    for symbol in {*weights, *held}:
        now, then, wanted = allowed[symbol], held.get(symbol, 0.0), weights.get(symbol, 0.0)
        assert abs(now) <= abs(then)
        assert now * then >= 0.0
        assert now == sorted((wanted, 0.0, then))[1]  # the median: as wanted where that lies between
    assert not any(allowed_in(HALTED, weights, held).values())
    assert allowed_in(ACTIVE, weights, held) == weights


@given(st.lists(st.sampled_from(STATES), max_size=4))
def test_the_strictest_of_states_is_the_last_of_them_in_order(states: list[str]) -> None:
    expected = HALTED if HALTED in states else REDUCING if REDUCING in states else ACTIVE
    assert stricter(*states) == expected


def test_weights_that_are_not_finite_are_refused_unless_all_is_flat_anyway() -> None:
    for state in (ACTIVE, REDUCING):
        with pytest.raises(ValueError, match="not finite"):
            allowed_in(state, {"A": float("nan")}, {"A": 1.0})
    assert allowed_in(HALTED, {"A": float("nan")}, {"A": 1.0}) == {"A": 0.0}


def test_a_changed_line_of_the_history_is_found(switch: KillSwitch) -> None:
    switch.trip(REDUCING, "drift", "first")
    switch.trip(HALTED, "drift", "second")
    path = switch.folder / HISTORY
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[2]]))
    with pytest.raises(DamagedRecordError, match="does not follow"):
        switch.history()


def test_nothing_that_runs_beside_a_market_resets_or_arms_the_switch() -> None:
    calls = re.compile(r"\.(reset|arm)\(")
    found = [path.name for path in LIVE.rglob("*.py") if calls.search(path.read_text(encoding="utf-8"))]
    assert found == []
