"""The loop over time: bars that waited, targets that ran out, two loops over one folder, clocks that are set."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tft_pipeline.live import loop_state
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.loop import LiveLoop
from tft_pipeline.live.loop_contract import Decision, EndOfBarsError, Settings
from tft_pipeline.live.loop_state import LoopState, load_state, save_state
from tft_pipeline.live.refusals import UnknownSymbolError
from tft_pipeline.live.switch_states import ACTIVE, HALTED, REDUCING
from tft_pipeline.live.target_book import BOOK, FencedError, TargetBook, flatten, read_targets, written_targets
from tft_pipeline.live.triggers import DrawdownLimit, ErrorLimit, Limits, StaleDataLimit
from tft_pipeline_tests.live.hand_clock import HandClock
from tft_pipeline_tests.live.scripted_decider import ScriptedDecider, ScriptedSource, minute

STRICT = Limits(
    drawdown=DrawdownLimit(reduce_at=0.5, halt_at=0.9),
    error_rate=ErrorLimit(bars=10),
    stale_data=StaleDataLimit(reduce_after=3.0, halt_after=15.0),
)
SETTINGS = Settings(step_s=60.0, validity_s=90.0, watchdog_deadline_s=None, limits=STRICT)
DAY = timedelta(days=1)


class Feed(ScriptedSource):
    """Bars that are there when the clock says that they closed; who comes late finds them waiting."""

    def next(self, timeout_s: float) -> Any | None:
        if self._next >= len(self._bars):
            raise EndOfBarsError
        if self._bars[self._next]["at"] > self._clock.now().wall:
            return None
        self._next += 1
        return self._bars[self._next - 1]

    def waiting(self) -> bool:
        return self._next < len(self._bars) and self._bars[self._next]["at"] <= self._clock.now().wall

    def leave_out(self) -> None:
        pass

    def kept(self) -> dict[str, Any]:
        return {"next": self._next}

    def restore(self, kept: dict[str, Any]) -> None:
        pass


class DailyDecider(ScriptedDecider):
    """Decides for two days."""

    def take(self, bars: Any) -> Decision | None:
        at = bars["at"]
        return Decision(
            bar=at, due=at + DAY, until=at + 2 * DAY, weights=bars["weights"], closes={"A": 1.0}, model_id="m"
        )


class Beside(ScriptedDecider):
    """Reads some bars without deciding on them."""

    def take(self, bars: Any) -> Decision | None:
        return None if isinstance(bars, str) else super().take(bars)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "live"
    KillSwitch(place).arm("tester", "a test")
    return place


def bars_of(*weights: float) -> list[dict[str, Any]]:
    return [{"at": minute(n + 1), "close": 100.0 + n, "weights": {"A": weight}} for n, weight in enumerate(weights)]


def begun(folder: Path, clock: HandClock, bars: list[Any], source: type[ScriptedSource] = ScriptedSource) -> LiveLoop:
    loop = LiveLoop(folder, source(clock, bars), ScriptedDecider(), SETTINGS, clock=clock)
    loop._begin()
    return loop


def step(loop: LiveLoop, times: int = 1) -> None:
    for _ in range(times):
        loop.take(loop._source.next(0.0))


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(("before", "last", "told"), [((0.1, 0.5), 0.45, 0.1), ((0.5, -0.5), -0.5, 0.0)])
def test_reducing_never_gives_back_what_a_reader_was_told_to_cut(
    folder: Path, clock: HandClock, before: tuple[float, ...], last: float, told: float, restart: bool
) -> None:
    loop = begun(folder, clock, bars_of(*before, last, last))
    step(loop, 2)
    KillSwitch(folder).trip(REDUCING, "manual", "only smaller")
    assert read_targets(folder, clock.now()).weights == {"A": told}
    if restart:
        loop = begun(folder, clock, bars_of(*before, last, last))
    for _ in range(2):
        step(loop)
        assert read_targets(folder, clock.now()).weights == {"A": told}
        assert loop.state.held == {"A": told}


@pytest.mark.fault("clock_jump")
def test_a_wall_clock_that_is_set_back_keeps_no_decision_and_hides_no_silence(folder: Path, clock: HandClock) -> None:
    loop = begun(folder, clock, bars_of(0.5))
    step(loop)
    clock.set_wall(-7200.0)
    loop.look_around()
    assert loop.switch.state() == ACTIVE
    for minutes in range(1, 20):
        clock.pass_time(60.0)
        loop.look_around()
        assert read_targets(folder, clock.now()).flat or minutes < 2
        assert (loop.switch.state() != ACTIVE) == (minutes >= 3)
    assert loop.switch.reading().trigger == "stale_data"
    assert loop.switch.state() == HALTED


@pytest.mark.fault("clock_jump")
def test_a_wall_clock_that_is_set_back_while_nobody_ran_is_no_younger_bar(folder: Path, clock: HandClock) -> None:
    step(begun(folder, clock, bars_of(0.5)))
    clock.set_wall(-7200.0)
    clock.pass_time(600.0)
    loop = begun(folder, clock, bars_of(0.5))
    assert not any(loop.state.held.values())
    loop.look_around()
    assert loop.switch.reading().trigger == "stale_data"


def test_a_bar_of_the_future_is_refused_and_does_not_blind_the_stale_trigger(folder: Path, clock: HandClock) -> None:
    bars = bars_of(0.5, 0.6)
    bars[1]["at"] += timedelta(hours=5)
    loop = begun(folder, clock, bars)
    step(loop, 2)
    assert loop.state.refused == {"future_bar": 1}
    assert loop.state.last_bar == minute(1)
    assert loop.state.held == {"A": 0.5}
    for _ in range(5):
        clock.pass_time(60.0)
        loop.look_around()
    assert loop.switch.reading().trigger == "stale_data"
    assert read_targets(folder, clock.now()).flat


def test_bars_that_waited_are_decided_on_without_a_trip_and_only_the_newest_is_published(
    folder: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = bars_of(*(0.01 * n for n in range(1, 41)))
    clock.pass_time(120.0)
    loop = begun(folder, clock, bars, Feed)
    step(loop, 2)
    clock.pass_time(20 * 60.0)
    written = []
    publish = TargetBook.publish
    monkeypatch.setattr(TargetBook, "publish", lambda *a, **k: written.append(k["bar"]) or publish(*a, **k))
    loop = begun(folder, clock, bars, Feed)
    loop.look_around()
    step(loop, 20)
    loop.look_around()
    assert loop.switch.state() == ACTIVE
    assert loop.state.bars == 22
    assert written == [minute(22).isoformat()]
    assert read_targets(folder, clock.now()).weights == {"A": 0.22}


def test_a_decision_that_counts_no_more_is_not_published(folder: Path, clock: HandClock) -> None:
    clock.pass_time(3600.0)
    loop = begun(folder, clock, bars_of(0.5))
    step(loop)
    assert loop.state.bars == 1
    assert written_targets(folder) is None
    loop.look_around()
    assert loop.switch.reading().trigger == "stale_data"


def test_bars_that_are_only_read_are_no_errors_and_no_decisions(folder: Path, clock: HandClock) -> None:
    loop = LiveLoop(folder, ScriptedSource(clock, [*bars_of(0.5), "index"]), Beside(), SETTINGS, clock=clock)
    state = loop.run()
    assert (state.bars, state.errors, state.held) == (1, [False], {"A": 0.5})


def test_bars_that_were_refused_or_failed_on_are_told_to_the_source_and_what_it_knows_is_kept(
    folder: Path, clock: HandClock
) -> None:
    class Noting(Feed):
        left_out = 0

        def leave_out(self) -> None:
            self.left_out += 1

        def kept(self) -> dict[str, Any]:
            return {"left_out": self.left_out}

        def restore(self, kept: dict[str, Any]) -> None:
            self.left_out = kept.get("left_out", 0)

    loop = begun(folder, clock, bars_of(0.5), Noting)
    for bars in (UnknownSymbolError("XYZ"), RuntimeError("broken")):
        loop.take(bars)
    again = begun(folder, clock, bars_of(0.5), Noting)
    assert again._source.left_out == 2  # type: ignore[attr-defined]


def test_a_restart_before_the_first_decision_begins_behind_the_past(folder: Path, clock: HandClock) -> None:
    step(begun(folder, clock, [UnknownSymbolError("XYZ")]))
    decider = ScriptedDecider()
    given: list[Any] = []
    decider.restore = lambda *words: given.append(words)  # type: ignore[method-assign]
    LiveLoop(folder, ScriptedSource(clock, []), decider, SETTINGS, clock=clock)._begin()
    assert given == [(None, None)]


# two loops


def two_loops(folder: Path, clock: HandClock) -> tuple[LiveLoop, LiveLoop]:
    first = begun(folder, clock, bars_of(0.5))
    step(first)
    second = begun(folder, clock, bars_of(0.5, 0.4, 0.3, 0.2))
    step(second, 2)
    return first, second


@pytest.mark.parametrize("act", ["take", "look_around", "_source_failed", "_save"])
def test_a_loop_that_was_fenced_off_touches_neither_state_nor_book_nor_switch(
    folder: Path, clock: HandClock, act: str
) -> None:
    first, second = two_loops(folder, clock)
    first.state.equity = 0.01
    before = {path: path.read_bytes() for path in folder.iterdir() if "loop.jsonl" not in path.name}
    words = {"take": [bars_of(1.0)[0]], "_source_failed": [OSError("gone")]}.get(act, [])
    with pytest.raises(FencedError):
        getattr(first, act)(*words)
    after = {path: path.read_bytes() for path in folder.iterdir() if "loop.jsonl" not in path.name}
    assert {path: after.get(path) for path in before} == before
    assert load_state(folder) == (second.state, second._decider.to_bytes())
    step(second)


@pytest.mark.parametrize("moment", ["_judge", "_publish", "_save"])
def test_a_loop_that_hung_within_a_bar_while_another_took_over_changes_nothing(
    folder: Path, clock: HandClock, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    first = begun(folder, clock, bars_of(0.5, 0.4))
    step(first)
    first.state.equity = 0.01  # it would halt
    act = getattr(first, moment)
    seen: list[LiveLoop] = []

    def hung(*words: Any, **names: Any) -> None:
        second = begun(folder, clock, bars_of(0.5, 0.4, 0.3))
        step(second, 2)
        seen.append(second)
        act(*words, **names)

    if moment != "_judge":
        monkeypatch.setattr(first, "_judge", lambda **_: None)
    monkeypatch.setattr(first, moment, hung)
    with pytest.raises(FencedError):
        step(first)
    assert KillSwitch(folder).state() == ACTIVE
    assert load_state(folder) == (seen[0].state, seen[0]._decider.to_bytes())
    assert read_targets(folder, clock.now()).weights == {"A": 0.3}


def test_a_fenced_loop_that_dies_halts_nobody(folder: Path, clock: HandClock) -> None:
    first, _ = two_loops(folder, clock)
    first._halt("loop", "MemoryError")
    assert KillSwitch(folder).state() == ACTIVE
    assert not read_targets(folder, clock.now()).flat


def test_epoch_and_sequence_outlive_the_files_beside_the_state(folder: Path, clock: HandClock) -> None:
    first = begun(folder, clock, bars_of(0.5, 0.4, 0.3))
    step(first, 2)
    for name in (BOOK, "targets.epoch"):
        (folder / name).unlink()
    second = begun(folder, clock, bars_of(0.5, 0.4, 0.3))
    step(second)
    book = written_targets(folder)
    assert book is not None
    assert (book.epoch, book.sequence > 2) == (2, True)
    with pytest.raises(FencedError):
        first.look_around()


def test_a_state_is_read_whole_while_somebody_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer renames the record and removes the old file between a reader's two looks."""
    save_state(tmp_path, LoopState(bars=1), b"1")
    read, meanwhile = loop_state.read_sealed, iter([b"2", b"3", b"4"])

    def then_written(path: Path) -> dict[str, Any]:
        record = read(path)
        content = next(meanwhile, None)
        if content is not None:
            save_state(tmp_path, LoopState(bars=int(content)), content)
        return record

    monkeypatch.setattr(loop_state, "read_sealed", then_written)
    assert load_state(tmp_path) == (LoopState(bars=4), b"4")


def test_a_state_survives_a_lock_that_somebody_holds_and_says_so(folder: Path, clock: HandClock) -> None:
    loop = begun(folder, clock, bars_of(0.5, 0.4))
    step(loop)
    before = load_state(folder)
    with loop._book.owned():
        loop._book._switch.lock_seconds = 0.01
        step(loop)
    assert loop.state.failed == {"LockBusyError": 2}
    assert loop.state.errors == [False, True]
    assert load_state(folder) == before


# targets that ran out


def daily(folder: Path, clock: HandClock, n: int = 1) -> LiveLoop:
    source = ScriptedSource(clock, [{"at": minute(1), "weights": {"A": 0.5}}][:n])
    settings = Settings(step_s=86_400.0, validity_s=60.0, watchdog_deadline_s=None, limits=STRICT)
    loop = LiveLoop(folder, source, DailyDecider(), settings, clock=clock)
    loop._begin()
    return loop


def kept_on(folder: Path, clock: HandClock) -> dict[str, float]:
    clock.pass_time(3600.0)
    loop = daily(folder, clock)
    for _ in range(3):
        clock.pass_time(25.0)
        loop.look_around()
    return {symbol: weight for symbol, weight in read_targets(folder, clock.now()).weights.items() if weight}


def test_a_daily_decision_is_held_again_after_a_restart_for_as_long_as_it_counts(
    folder: Path, clock: HandClock
) -> None:
    step(daily(folder, clock))
    for _ in range(10):
        assert kept_on(folder, clock) == {"A": 0.5}
    clock.boot()
    assert kept_on(folder, clock) == {"A": 0.5}
    clock.pass_time(2 * 86_400.0 - 11 * 3700.0)
    assert kept_on(folder, clock) == {}


@pytest.mark.parametrize("stopped_by", ["halted", "halted and reset", "reducing", "no book"])
def test_what_was_stopped_is_not_held_again_by_a_restart(folder: Path, clock: HandClock, stopped_by: str) -> None:
    step(daily(folder, clock))
    switch = KillSwitch(folder)
    if stopped_by == "no book":
        (folder / BOOK).unlink()
    else:
        switch.trip(REDUCING if stopped_by == "reducing" else HALTED, "manual", "a test")
        if stopped_by != "reducing":
            flatten(folder, switch, "a test", clock=clock)
    if stopped_by == "halted and reset":
        switch.reset("tester", "mended")
    assert kept_on(folder, clock) == {}


def test_a_loss_while_bars_were_refused_is_seen_at_the_next_close(folder: Path, clock: HandClock) -> None:
    first, last = bars_of(1.0, 1.0)
    last |= {"at": minute(5), "close": 40.0}
    loop = begun(folder, clock, [first, *[UnknownSymbolError("x")] * 3, last])
    step(loop, 5)
    assert loop.state.equity == pytest.approx(0.4)
    assert loop.switch.reading().trigger in ("drawdown", "error_rate")


def test_a_halt_between_two_closes_hides_no_loss(folder: Path, clock: HandClock) -> None:
    first, last = bars_of(1.0, 1.0)
    last["close"] = 60.0
    loop = begun(folder, clock, [first, last])
    step(loop)
    loop.switch.trip(HALTED, "watchdog", "silent")
    loop.look_around()
    assert read_targets(folder, clock.now()).flat
    step(loop)
    assert loop.state.equity == pytest.approx(0.6)


def test_the_switch_that_the_loop_saw_is_in_its_state(folder: Path, clock: HandClock) -> None:
    loop = begun(folder, clock, bars_of(0.5, 0.4))
    step(loop)
    files = {path: path.read_bytes() for path in folder.glob("kill_switch.json*")}
    loop.switch.trip(REDUCING, "manual", "only smaller")
    step(loop)
    (folder / "targets.epoch").unlink()
    for path, content in files.items():
        path.write_bytes(content)
    assert loop.switch.state() == HALTED


def test_a_state_with_a_moment_in_it_goes_to_disk_and_back(tmp_path: Path) -> None:
    taken = loop_state.Taken(market=minute(1), boot_s=0.1 + 0.2, boot_id="x")
    save_state(tmp_path, LoopState(taken=taken, epoch=3, source={"refused": [1]}), b"")
    found = load_state(tmp_path)
    assert found is not None
    assert (found[0].taken, found[0].epoch, found[0].source) == (taken, 3, {"refused": [1]})
    assert isinstance(found[0].taken.market, datetime)  # type: ignore[union-attr]
