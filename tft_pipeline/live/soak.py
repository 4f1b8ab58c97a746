"""The soak: the live loop and its watchdog on minute bars, hours long and sped up, while things go wrong at random.

Bars go wrong in the market (`soak_market`: late, twice, missing, NaN, infinite, of another symbol). Here it is processes: they
are restarted, killed and stopped, `current` is swapped, the watchdog is killed, the clock is set, the decider raises, the
source falls silent. After each the consequence that was promised is waited for. Meanwhile invariants are looked at all the
time: flat while HALTED, sequence numbers that only rise, no lost state, bounded weights, refusals of known kinds only. It ends
in GO or NO-GO (`soak_verdict`).

What a person does after a halt, resetting the switch, is the caller's: nothing here does it by itself.
"""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.loop_state import LoopState, LostStateError, load_state
from tft_pipeline.live.refusals import KINDS
from tft_pipeline.live.soak_market import BURST, CLOCK, LARGEST_WEIGHT, OUTAGE, SteppedClock
from tft_pipeline.live.soak_verdict import verdict
from tft_pipeline.live.switch_states import ACTIVE, HALTED
from tft_pipeline.live.target_book import read_targets, written_targets
from tft_pipeline.storage.atomic import replace_link

Operator = Callable[[KillSwitch], None]
"""What a person does: makes a switch ACTIVE, whether it was ever armed or tripped."""
LOOK_S = 0.02
PATIENCE_DEADLINES = 10.0
FLAT_GRACE_S = 5.0
QUIET_SHARE = 0.45
"""Last part of a soak in which no process ends, so that growth can be seen over a long life."""
EXPECTED_FAILURES = ("BurstError",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakSettings:
    """A soak.

    Attributes:
        minutes: how long. rate: bars a second. bad_share: of minutes whose bars are bad.
        between_s: shortest and longest quiet time between two faults.
        deadline_s: of the watchdog, and of the loop for it. validity_s: of targets.
        models: folder of releases to trade; None trades with a few numbers. recorded: Parquet file of minute bars to play
            over and over; None makes them up.
        largest_weight: bound of |weight|.
        leak: for tests: "handles" or "memory" leaks in the loop's process.
    """

    minutes: float
    seed: int = 0
    rate: float = 50.0
    bad_share: float = 0.05
    symbols: tuple[str, ...] = ("AAA", "BBB", "CCC")
    between_s: tuple[float, float] = (1.0, 4.0)
    deadline_s: float = 4.0
    validity_s: float = 5.0
    models: Path | None = None
    recorded: Path | None = None
    largest_weight: float = LARGEST_WEIGHT
    leak: str = ""

    def __post_init__(self) -> None:
        if not self.minutes > 0.0 or not self.rate > 0.0 or not 0.0 <= self.bad_share < 0.5:
            raise ValueError(
                f"minutes {self.minutes}, rate {self.rate}, bad_share {self.bad_share}: need times and rates above 0, and a "
                "share below one half, or the error rate halts for good"
            )


@dataclass(slots=True, kw_only=True)
class Seen:
    """What the observer remembers between two looks."""

    sequence: int = 0
    bars: int = 0
    halted_since: float | None = None
    broken: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)


class Soak:
    """One soak in one folder, which must be new."""

    def __init__(
        self, folder: Path, settings: SoakSettings, operator: Operator, *, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.folder, self._settings, self._operator, self._say = folder, settings, operator, say
        self.switch = KillSwitch(folder)
        self.seen = Seen()
        self._random = random.Random(settings.seed)
        self._clock = SteppedClock(folder / CLOCK)
        self._offset = 0.0
        self._loop: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._ending: dict[str, Callable[[], None]] = {
            "restart": self._restart,
            "sigkill": self._sigkill,
            "sigstop": self._sigstop,
            "watchdog_killed": self._watchdog_killed,
        }
        self._lasting: dict[str, Callable[[], None]] = {
            "clock_step": self._clock_step,
            "error_burst": self._error_burst,
            "outage": self._outage,
        }
        if settings.models is None:
            self._lasting["swap"] = self._swap

    def run(self) -> dict[str, Any]:
        """Until the time is over; the report of `soak_verdict.verdict` and what it was made from."""
        began = time.monotonic()
        end = began + self._settings.minutes * 60.0
        quiet = end - QUIET_SHARE * self._settings.minutes * 60.0
        try:
            self._begin()
            deck: list[str] = []
            while time.monotonic() < end and not self.seen.broken:
                low, high = self._settings.between_s
                self._watch(lambda: False, min(self._random.uniform(low, high), max(0.0, end - time.monotonic())))
                known = self._lasting | (self._ending if time.monotonic() < quiet else {})
                deck = [name for name in deck if name in known] or self._random.sample(sorted(known), len(known))
                if time.monotonic() < end - self._patience / PATIENCE_DEADLINES:
                    self._inject(deck.pop(), known)
        finally:
            self._end()
        report = verdict(samples=self._samples(), broken=self.seen.broken, faults=self.seen.faults, bars=self.seen.bars)
        state = self._state()
        return report | {
            "minutes": (time.monotonic() - began) / 60.0,
            "rate": self._settings.rate,
            "seed": self._settings.seed,
            "refused": dict(state.refused) if state else {},
            "failed": dict(state.failed) if state else {},
            "trips": len([entry for entry in self.switch.history() if entry.trigger not in ("arm", "reset")]),
            "model": "released" if self._settings.models else "made up",
        }

    @property
    def _patience(self) -> float:
        return PATIENCE_DEADLINES * max(self._settings.deadline_s, self._settings.validity_s)

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "models").mkdir()
        (self.folder / "models" / "current").symlink_to("model-1")
        given = {
            "folder": str(self.folder),
            "symbols": list(self._settings.symbols),
            "seed": self._settings.seed,
            "rate": self._settings.rate,
            "bad_share": self._settings.bad_share,
            "validity_s": self._settings.validity_s,
            "watchdog_deadline_s": self._settings.deadline_s,
            "models": str(self._settings.models) if self._settings.models else None,
            "recorded": str(self._settings.recorded) if self._settings.recorded else None,
            "leak": self._settings.leak,
        }
        (self.folder / "soak.json").write_text(json.dumps(given))
        self._operator(self.switch)
        self._start_watchdog()
        self._start_loop()
        self._must(self._holds, "nothing was ever held")

    def _inject(self, name: str, known: dict[str, Callable[[], None]]) -> None:
        self._say(f"{name} after {self.seen.bars} bars")
        self.seen.faults[name] = self.seen.faults.get(name, 0) + 1
        known[name]()
        if self.switch.state() != ACTIVE:
            self._operator(self.switch)
        self._must(lambda: self.switch.state() == ACTIVE and self._holds(), f"after {name}: nothing is held again")

    # the faults, each with what must follow

    def _restart(self) -> None:
        loop = self._running(self._loop)
        loop.send_signal(signal.SIGTERM)
        self._must(lambda: loop.poll() is not None, "a loop told to stop goes on")
        if loop.returncode != 0:
            self.seen.broken.append(f"a loop told to stop left with {loop.returncode}")
        bars = self.seen.bars
        self._start_loop()
        self._must(lambda: self.seen.bars > bars, "a restarted loop decides nothing")

    def _sigkill(self) -> None:
        loop = self._running(self._loop)
        loop.kill()
        loop.wait()
        self._must(lambda: self.switch.state() == HALTED, "a killed loop was not halted")
        self._start_loop()
        bars = self.seen.bars
        self._must(lambda: self.seen.bars > bars, "a loop started while HALTED decides nothing")

    def _sigstop(self) -> None:
        loop = self._running(self._loop)
        loop.send_signal(signal.SIGSTOP)
        self._must(lambda: self.switch.state() == HALTED, "a stopped loop was not halted")
        loop.send_signal(signal.SIGCONT)
        bars = self.seen.bars
        self._must(lambda: self.seen.bars > bars, "a loop that goes on decides nothing")

    def _watchdog_killed(self) -> None:
        watchdog = self._running(self._watchdog)
        watchdog.kill()
        watchdog.wait()
        self._must(lambda: self.switch.state() == HALTED, "the loop did not miss its watchdog")
        self._start_watchdog()
        # the loop must see it before somebody resets, or it halts again
        self._watch(lambda: False, self._settings.deadline_s / 2.0)

    def _clock_step(self) -> None:
        self._offset = self._random.choice([-7200.0, -90.0, 90.0, 7200.0])
        (self.folder / CLOCK).write_text(str(self._offset))
        self._must(self._holds, "after the clock was set nothing is held again")

    def _error_burst(self) -> None:
        (self.folder / BURST).touch()
        self._must(lambda: self.switch.state() == HALTED, "errors at every bar were not halted")
        (self.folder / BURST).unlink()

    def _outage(self) -> None:
        (self.folder / OUTAGE).touch()
        self._must(lambda: self.switch.state() != ACTIVE, "a source that fell silent was not noticed")
        (self.folder / OUTAGE).unlink()
        # whoever resets before a bar came is halted again, and rightly
        bars = self.seen.bars
        self._must(lambda: self.seen.bars > bars, "after an outage nothing is decided")

    def _swap(self) -> None:
        link = self.folder / "models" / "current"
        wanted = f"model-{int(os.readlink(link).rpartition('-')[2]) + 1}"
        replace_link(link, wanted)
        self._must(
            lambda: (state := self._state()) is not None and state.model_id == wanted, "a swapped model does not decide"
        )

    # looking

    def _must(self, condition: Callable[[], bool], what: str) -> None:
        if not self._watch(condition, self._patience) and not self.seen.broken:
            self.seen.broken.append(f"{what} (waited {self._patience:.0f} s; {self.switch.reading().why})")

    def _watch(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Look at the invariants until something holds or the time is over."""
        until = time.monotonic() + seconds
        while True:
            self._look()
            if condition():
                return True
            if time.monotonic() >= until or self.seen.broken:
                return False
            time.sleep(LOOK_S)

    def _look(self) -> None:
        before = self.switch.state()
        raw, read = written_targets(self.folder), read_targets(self.folder, self._clock.now())
        after = self.switch.state()
        if before == after == HALTED:
            now = time.monotonic()
            since = self.seen.halted_since = self.seen.halted_since or now
            if not read.flat:
                self._break(f"HALTED, and {read.weights} is read from the book")
            if raw is not None and not raw.flat and now - since > FLAT_GRACE_S + self._settings.deadline_s:
                self._break(f"HALTED for {now - since:.1f} s, and the book says {raw.weights}")
        else:
            self.seen.halted_since = None
        if raw is not None:
            if raw.sequence < self.seen.sequence:
                self._break(f"the book's sequence went from {self.seen.sequence} back to {raw.sequence}")
            self.seen.sequence = raw.sequence
            most = max((abs(weight) for weight in raw.weights.values()), default=0.0)
            if not most <= self._settings.largest_weight + 1e-12:
                self._break(f"a weight of {most} is above {self._settings.largest_weight}")
        self._look_at_state()

    def _look_at_state(self) -> None:
        state = self._state()
        if state is None:
            return
        if state.bars < self.seen.bars:
            self._break(f"the state went from {self.seen.bars} bars back to {state.bars}")
        self.seen.bars = state.bars
        if not (math.isfinite(state.equity) and state.equity > 0.0 and state.high_water_mark >= state.equity):
            self._break(f"equity {state.equity}, high-water mark {state.high_water_mark}")
        unknown = set(state.refused) - {kind.kind for kind in KINDS}
        unexpected = set(state.failed) - set(EXPECTED_FAILURES)
        if unknown or unexpected:
            self._break(f"refusals of no known kind {sorted(unknown)}, failures nobody injected {sorted(unexpected)}")

    def _state(self) -> LoopState | None:
        for _ in range(20):  # a writer may be between its two files
            try:
                found = load_state(self.folder)
                return found[0] if found else None
            except LostStateError as error:
                lost = error
                time.sleep(0.01)
        self._break(f"lost state: {lost}")
        return None

    def _holds(self) -> bool:
        return not read_targets(self.folder, self._clock.now()).flat

    def _break(self, what: str) -> None:
        if len(self.seen.broken) < 20:
            self.seen.broken.append(what)

    # processes

    def _start_loop(self) -> None:
        self._loop = self._start("tft_pipeline.live.soak_child", str(self.folder / "soak.json"))

    def _start_watchdog(self) -> None:
        deadline = str(self._settings.deadline_s)
        words = (str(self.folder), "--deadline", deadline, "--grace", "120", "--poll", "0.2")
        self._watchdog = self._start("tft_pipeline.live.watchdog", *words)

    def _start(self, module: str, *words: str) -> subprocess.Popen[bytes]:
        limited = os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
        with (self.folder / "processes.log").open("ab") as stream:
            return subprocess.Popen([sys.executable, "-m", module, *words], stdout=stream, stderr=stream, env=limited)

    def _running(self, process: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes]:
        assert process is not None
        if process.poll() is not None:
            self._break(f"a process ended by itself with {process.returncode}, see processes.log")
        return process

    def _end(self) -> None:
        for process in (self._loop, self._watchdog):
            if process is None:
                continue
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _samples(self) -> list[dict[str, Any]]:
        path = self.folder / "samples.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
