"""The live loop: every bar to the book, every refusal counted, a restart like none, and nothing that goes wrong holds on."""

import errno
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tft_pipeline.live import loop as loop_module
from tft_pipeline.live.heartbeat import LOOP, STOPPED, WATCHDOG, Heartbeat, read_beat
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.loop import LiveLoop
from tft_pipeline.live.loop_contract import Settings
from tft_pipeline.live.loop_state import STATE, LoopState, LostStateError, load_state, save_state
from tft_pipeline.live.refusals import UnknownSymbolError, UnusableBarsError
from tft_pipeline.live.switch_states import ACTIVE, HALTED, REDUCING
from tft_pipeline.live.target_book import FencedError, TargetBook, Targets, read_targets
from tft_pipeline.live.triggers import DrawdownLimit, ErrorLimit, Limits, StaleDataLimit
from tft_pipeline_tests.live.hand_clock import HandClock
from tft_pipeline_tests.live.scripted_decider import ScriptedDecider, ScriptedSource, minute

PRICES = [100.0, 101.5, 99.25, 103.125, 102.0, 98.5, 97.75, 100.5, 104.0, 101.0]
WIDE = Limits(
    drawdown=DrawdownLimit(reduce_at=0.5, halt_at=0.9),
    error_rate=ErrorLimit(bars=10),
    stale_data=StaleDataLimit(reduce_after=50.0, halt_after=100.0),
)
SETTINGS = Settings(step_s=60.0, validity_s=90.0, watchdog_deadline_s=None, limits=WIDE)


def bars_of(prices: list[float]) -> list[dict[str, Any]]:
    return [{"at": minute(n + 1), "close": price} for n, price in enumerate(prices)]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "live"
    KillSwitch(place).arm("tester", "a test")
    return place


def loop_over(folder: Path, clock: HandClock, bars: list[Any], settings: Settings = SETTINGS) -> LiveLoop:
    return LiveLoop(folder, ScriptedSource(clock, bars), ScriptedDecider(), settings, clock=clock)


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder / "loop.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == name]


def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, dict[str, float]]]:
    """Bar and weights of everything that is written to the book from here on."""
    written: list[tuple[str | None, dict[str, float]]] = []
    publish = TargetBook.publish

    def noted(self: TargetBook, *words: Any, **names: Any) -> Targets:
        targets = publish(self, *words, **names)
        written.append((targets.bar, targets.weights))
        return targets

    monkeypatch.setattr(TargetBook, "publish", noted)
    return written


def test_every_bar_is_published_and_equity_is_marked_at_closes(folder: Path, clock: HandClock) -> None:
    state = loop_over(folder, clock, bars_of(PRICES)).run()
    equity, held, mean, highest = 1.0, 0.0, 0.0, 1.0
    for n, price in enumerate(PRICES):
        if n:
            equity *= 1.0 + held * (price / PRICES[n - 1] - 1.0)
        mean = 0.7 * mean + 0.1 * (price - 100.0)
        held = float(np.clip(mean, -1.0, 1.0))
        highest = max(highest, equity)
    assert state.bars == len(PRICES)
    assert state.held == {"A": held, "B": 0.25}
    assert math.isclose(state.equity, equity, rel_tol=1e-14)
    assert state.high_water_mark == highest
    targets = read_targets(folder, clock.now())
    assert (targets.weights, targets.sequence, targets.state) == (state.held, len(PRICES), ACTIVE)
    beat = read_beat(folder, LOOP)
    assert beat is not None
    assert beat.state == STOPPED


@pytest.mark.parametrize("cut", range(1, len(PRICES)))
def test_a_restart_gives_the_very_targets_of_a_loop_that_was_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    written = published(monkeypatch)
    bars = bars_of(PRICES)
    ended = []
    for name, parts in (("whole", [bars]), ("cut", [bars[:cut], bars])):
        clock, place = HandClock(), tmp_path / name
        KillSwitch(place).arm("tester", "a test")
        for part in parts:
            state = loop_over(place, clock, part).run()
        ended.append((list(written), state, load_state(place)))
        written.clear()
    assert ended[0] == ended[1]


def test_a_loop_that_died_after_publishing_and_before_saving_repeats_that_bar(
    folder: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = published(monkeypatch)
    loop_over(folder, clock, bars_of(PRICES[:4])).run()
    before = {path: path.read_bytes() for path in folder.glob("loop_state*")}
    loop_over(folder, clock, bars_of(PRICES[:5])).run()
    for path in folder.glob("loop_state*"):
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)
    loop_over(folder, clock, bars_of(PRICES[:5])).run()
    assert written[-1] == written[-2]


def test_after_targets_ran_out_a_restarted_loop_holds_nothing_any_more(folder: Path, clock: HandClock) -> None:
    loop_over(folder, clock, bars_of(PRICES[:4])).run()
    clock.pass_time(120.0)
    KillSwitch(folder).trip(REDUCING, "manual", "only smaller")
    state = loop_over(folder, clock, bars_of(PRICES[:6])).run()
    assert not any(state.held.values())


def test_a_refused_bar_is_counted_and_logged_and_what_was_decided_before_counts_until_its_end(
    folder: Path, clock: HandClock
) -> None:
    refused = UnknownSymbolError("bar brings XYZ")
    bars = bars_of(PRICES[:3])
    state = loop_over(folder, clock, [*bars, refused]).run()
    assert state.refused == {"unknown_symbol": 1}
    assert any(state.held.values())
    assert events(folder, "refused")[0]["why"] == "bar brings XYZ"
    state = loop_over(folder, clock, [*bars, refused, refused]).run()
    assert not any(state.held.values())
    assert read_targets(folder, clock.now()).flat
    assert len(events(folder, "expired")) == 1
    assert KillSwitch(folder).reading().trigger == "error_rate"


def test_errors_at_many_bars_reduce_and_then_halt_and_the_loop_goes_on(folder: Path, clock: HandClock) -> None:
    bars: list[Any] = bars_of(PRICES[:2])
    broken = [RuntimeError("broken")] * 5
    assert loop_over(folder, clock, [*bars, *broken[:3]]).run().failed == {"RuntimeError": 3}
    assert KillSwitch(folder).state() == REDUCING
    state = loop_over(folder, clock, [*bars, *broken, *bars_of(PRICES)[2:]]).run()
    assert KillSwitch(folder).state() == HALTED
    assert [event["trigger"] for event in events(folder, "trip")] == ["error_rate", "error_rate"]
    assert state.bars == len(PRICES)
    assert not any(state.held.values())
    assert read_targets(folder, clock.now()).flat


def test_a_reset_begins_the_triggers_anew(folder: Path, clock: HandClock) -> None:
    limits = Limits(drawdown=DrawdownLimit(reduce_at=0.1, halt_at=0.2))
    settings = Settings(step_s=60.0, validity_s=90.0, watchdog_deadline_s=None, limits=limits)
    bars = [
        {"at": minute(n + 1), "close": price, "weights": {"A": 1.0}}
        for n, price in enumerate([100.0, 75.0, 76.0, 77.0])
    ]
    loop_over(folder, clock, bars[:3], settings).run()
    switch = KillSwitch(folder)
    assert switch.reading().trigger == "drawdown"
    assert switch.state() == HALTED
    switch.reset("tester", "that was the weather")
    state = loop_over(folder, clock, bars, settings).run()
    assert switch.state() == ACTIVE
    assert state.held == {"A": 1.0}
    assert state.high_water_mark == 0.75


def test_nights_of_drift_reduce_and_a_reset_forgets_them(tmp_path: Path, folder: Path, clock: HandClock) -> None:
    reports = tmp_path / "drift"
    reports.mkdir()
    for day in (1, 2, 3):
        (reports / f"drift_2026-01-0{day}.json").write_text(
            json.dumps({"verdict": "retrain", "weights_sha256": "live"})
        )
    settings = Settings(step_s=60.0, validity_s=90.0, watchdog_deadline_s=None, limits=WIDE, drift_folder=reports)
    loop_over(folder, clock, bars_of(PRICES[:2]), settings).run()
    switch = KillSwitch(folder)
    assert (switch.state(), switch.reading().trigger) == (REDUCING, "drift")
    switch.reset("tester", "a retrain is under way")
    loop_over(folder, clock, bars_of(PRICES[:4]), settings).run()
    assert switch.state() == ACTIVE
    clock.pass_time(8 * 86_400.0)
    loop_over(folder, clock, bars_of(PRICES[:5]), settings).run()
    assert "no drift report of late" in switch.reading().why


def test_without_bars_it_reduces_and_halts_and_targets_end_with_their_decision(folder: Path, clock: HandClock) -> None:
    bars: list[Any] = [*bars_of(PRICES[:2]), *[None] * 3]
    limits = Limits(drawdown=WIDE.drawdown, error_rate=WIDE.error_rate)
    settings = Settings(step_s=60.0, validity_s=90.0, watchdog_deadline_s=None, limits=limits)
    loop_over(folder, clock, bars, settings).run()
    assert read_targets(folder, clock.now()).flat
    assert KillSwitch(folder).reading().trigger == "stale_data"
    assert KillSwitch(folder).state() == REDUCING
    loop_over(folder, clock, [*bars, *[None] * 12], settings).run()
    assert KillSwitch(folder).state() == HALTED


def test_targets_that_count_are_renewed_between_bars(folder: Path, clock: HandClock) -> None:
    settings = Settings(step_s=60.0, validity_s=90.0, watchdog_deadline_s=None, limits=WIDE)
    running = loop_over(folder, clock, bars_of(PRICES[:1]), settings)
    running.run()
    before = read_targets(folder, clock.now())
    for _ in range(2):
        clock.pass_time(25.0)
        running.look_around()
    after = read_targets(folder, clock.now())
    assert after.weights == before.weights
    assert after.sequence == before.sequence + 1
    assert after.valid_until > before.valid_until


def test_a_watchdog_that_is_missed_halts(folder: Path, clock: HandClock) -> None:
    settings = Settings(step_s=60.0, validity_s=90.0, watchdog_deadline_s=100.0, limits=WIDE)
    Heartbeat(folder, WATCHDOG).beat(clock.now())
    loop_over(folder, clock, bars_of(PRICES[:1]), settings).run()
    assert KillSwitch(folder).state() == ACTIVE
    state = loop_over(folder, clock, bars_of(PRICES[:4]), settings).run()
    assert KillSwitch(folder).reading().trigger == "no_watchdog"
    assert not any(state.held.values())


@pytest.mark.fault("out_of_memory")
def test_out_of_memory_halts_and_ends(folder: Path, clock: HandClock) -> None:
    with pytest.raises(MemoryError):
        loop_over(folder, clock, [*bars_of(PRICES[:2]), MemoryError("no more")]).run()
    assert KillSwitch(folder).state() == HALTED
    assert read_targets(folder, clock.now()).flat
    assert events(folder, "died")


def test_a_state_that_cannot_be_saved_halts_and_ends(
    folder: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = loop_over(folder, clock, bars_of(PRICES))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(loop_module, "save_state", full)
    with pytest.raises(OSError, match="no space"):
        running.run()
    assert KillSwitch(folder).state() == HALTED


def test_a_book_that_cannot_be_written_is_counted_and_runs_out(
    folder: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop_over(folder, clock, bars_of(PRICES[:2])).run()

    def full(self: TargetBook, *_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(TargetBook, "publish", full)
    state = loop_over(folder, clock, bars_of(PRICES[:4])).run()
    assert state.failed == {"OSError": 2}
    assert state.errors == [False, False, True, True]
    assert read_targets(folder, clock.now()).flat


def test_a_source_that_fails_is_a_bad_bar_and_no_end(folder: Path, clock: HandClock) -> None:
    bars = [*bars_of(PRICES[:2]), OSError("gone"), UnusableBarsError("no bars"), *bars_of(PRICES)[2:4]]
    settings = Settings(step_s=60.0, validity_s=90.0, idle_s=0.001, watchdog_deadline_s=None, limits=WIDE)
    state = loop_over(folder, clock, bars, settings).run()
    assert (state.failed, state.refused, state.bars) == ({"OSError": 1}, {"unusable_bars": 1}, 4)


def test_a_loop_whose_book_was_taken_over_ends_and_touches_nothing(folder: Path, clock: HandClock) -> None:
    first = loop_over(folder, clock, bars_of(PRICES[:2]))
    first.run()
    TargetBook(folder, KillSwitch(folder), clock=clock).take_over()
    with pytest.raises(FencedError):
        first.take(bars_of(PRICES)[2])
    assert KillSwitch(folder).state() == ACTIVE


@pytest.mark.fault("flipped_byte")
@pytest.mark.parametrize("damage", ["record", "decider", "gone"])
def test_a_damaged_state_is_no_new_beginning(folder: Path, clock: HandClock, damage: str) -> None:
    loop_over(folder, clock, bars_of(PRICES[:3])).run()
    (kept,) = folder.glob("loop_state-*.bin")
    if damage == "record":
        (folder / STATE).write_bytes((folder / STATE).read_bytes()[:-3])
    elif damage == "decider":
        kept.write_bytes(b"1")
    else:
        kept.unlink()
    with pytest.raises(LostStateError, match="see what the broker"):
        loop_over(folder, clock, bars_of(PRICES)).run()
    assert KillSwitch(folder).state() == HALTED


def test_a_state_goes_to_disk_and_back_and_leaves_one_file_behind(tmp_path: Path) -> None:
    state = LoopState(last_bar=minute(1), held={"A": 0.1 + 0.2}, errors=[True, False], refused={"stale_bar": 2})
    save_state(tmp_path, LoopState(), b"old")
    save_state(tmp_path, state, b"new")
    assert load_state(tmp_path) == (state, b"new")
    assert len(list(tmp_path.iterdir())) == 2
    assert load_state(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "wrong", [{"step_s": 0.0}, {"step_s": 60.0, "validity_s": 3.0}, {"step_s": 60.0, "idle_s": 0.0}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need a step"):
        Settings(**wrong)  # type: ignore[arg-type]
