"""The soak: the live loop and its watchdog on minute bars, hours long and sped up, while things go wrong at random.

Bars go wrong in the market (`soak_market`: late, twice, missing, NaN, infinite, of another symbol). Here it is processes: they
are restarted, killed and stopped, `current` is swapped, the watchdog is killed, the clock is set, the decider raises, the
source falls silent, somebody trips REDUCING. After each the consequence that was promised is waited for, and a book that is
HALTED is looked at for a time of validity. Meanwhile invariants are looked at all the time (`soak_observer`). It ends in GO or
NO-GO (`soak_verdict`).

What a person does after a halt, resetting the switch, is the caller's: nothing here does it by itself.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.soak_book import BookWatch
from tft_pipeline.live.soak_market import BURST, CLOCK, LARGEST_WEIGHT, OUTAGE, SteppedClock
from tft_pipeline.live.soak_observer import SAMPLES, Observer
from tft_pipeline.live.soak_processes import Processes, is_stopped
from tft_pipeline.live.soak_verdict import verdict
from tft_pipeline.live.switch_states import ACTIVE, HALTED, REDUCING
from tft_pipeline.storage.atomic import replace_link

Operator = Callable[[KillSwitch], None]
"""What a person does: makes a switch ACTIVE, whether it was ever armed or tripped."""
LOOK_S = 0.02
PATIENCE_DEADLINES = 10.0
FLAT_GRACE_S = 5.0
QUIET_SHARE = 0.45
"""Last part of a soak in which no process ends, so that growth can be seen over a long life."""


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


class Soak:
    """One soak in one folder, which must be new."""

    def __init__(
        self, folder: Path, settings: SoakSettings, operator: Operator, *, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.folder, self._settings, self._operator, self._say = folder, settings, operator, say
        self.switch = KillSwitch(folder)
        rules = BookWatch(largest_weight=settings.largest_weight, flat_within_s=FLAT_GRACE_S + settings.deadline_s)
        self.seen = Observer(folder, self.switch, SteppedClock(folder / CLOCK), rules)
        self.processes = Processes(folder, deadline_s=settings.deadline_s, rate=settings.rate)
        self.faults: dict[str, int] = {}
        self._random = random.Random(settings.seed)
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
            "reducing": self._reducing,
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
            self.processes.end()
        samples, state = self.seen.samples(), self.seen.state()
        report = verdict(samples=samples, broken=self.seen.broken, faults=self.faults, bars=self.seen.bars)
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
        self.processes.start_watchdog()
        self.processes.start_loop()
        self._must(self.seen.holds, "nothing was ever held")

    def _inject(self, name: str, known: dict[str, Callable[[], None]]) -> None:
        self._say(f"{name} after {self.seen.bars} bars")
        self.faults[name] = self.faults.get(name, 0) + 1
        known[name]()
        if self.switch.state() == HALTED:
            self._must(lambda: self.seen.book.settled, f"after {name}: HALTED, and the book itself is not flat")
            # it must stay so, also behind a loop that decides on
            self._watch(lambda: False, self._settings.validity_s)
        if self.switch.state() != ACTIVE and not self.seen.broken:
            self._operator(self.switch)
        self._must(lambda: self.switch.state() == ACTIVE and self.seen.holds(), f"after {name}: nothing is held again")

    # the faults, each with what must follow

    def _restart(self) -> None:
        loop = self._running(self.processes.loop)
        loop.send_signal(signal.SIGTERM)
        self._must(lambda: loop.poll() is not None, "a loop told to stop goes on")
        if loop.returncode != 0:
            self.seen.broke(f"a loop told to stop left with {loop.returncode}")
        bars = self.seen.bars
        self.processes.start_loop()
        self._must(lambda: self.seen.bars > bars, "a restarted loop decides nothing")

    def _sigkill(self) -> None:
        loop = self._running(self.processes.loop)
        loop.kill()
        loop.wait()
        self._must(lambda: self.switch.state() == HALTED, "a killed loop was not halted")
        self.processes.start_loop()
        bars = self.seen.bars
        self._must(lambda: self.seen.bars > bars, "a loop started while HALTED decides nothing")

    def _sigstop(self) -> None:
        loop = self._running(self.processes.loop)
        loop.send_signal(signal.SIGSTOP)
        self._must(lambda: is_stopped(loop.pid), "a loop told to stop by a signal runs on")
        self._must(lambda: self.switch.state() == HALTED or not is_stopped(loop.pid), "a stopped loop was not halted")
        if self.switch.state() != HALTED:
            self.seen.broke("somebody else continued the loop that was stopped: this soak shows nothing")
        loop.send_signal(signal.SIGCONT)
        bars = self.seen.bars
        self._must(lambda: self.seen.bars > bars, "a loop that goes on decides nothing")

    def _watchdog_killed(self) -> None:
        watchdog = self._running(self.processes.watchdog)
        watchdog.kill()
        watchdog.wait()
        self._must(lambda: self.switch.state() == HALTED, "the loop did not miss its watchdog")
        self.processes.start_watchdog()
        # the loop must see it before somebody resets, or it halts again
        self._watch(lambda: False, self._settings.deadline_s / 2.0)

    def _clock_step(self) -> None:
        offset = self._random.choice([-7200.0, -90.0, 90.0, 7200.0])
        (self.folder / CLOCK).write_text(str(offset))
        self._must(self.seen.holds, "after the clock was set nothing is held again")

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

    def _reducing(self) -> None:
        self.switch.trip(REDUCING, "manual", "the soak asked for it")
        bars = self.seen.bars
        self._watch(lambda: False, self._settings.validity_s)
        self._must(lambda: self.seen.bars > bars, "a loop that is REDUCING decides nothing")

    def _swap(self) -> None:
        link = self.folder / "models" / "current"
        wanted = f"model-{int(os.readlink(link).rpartition('-')[2]) + 1}"
        replace_link(link, wanted)
        self._must(
            lambda: (state := self.seen.state()) is not None and state.model_id == wanted,
            "a swapped model does not decide",
        )

    # looking

    def _must(self, condition: Callable[[], bool], what: str) -> None:
        if not self._watch(condition, self._patience) and not self.seen.broken:
            self.seen.broke(f"{what} (waited {self._patience:.0f} s; {self.switch.reading().why})")

    def _watch(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Look at the invariants until something holds or the time is over."""
        until = time.monotonic() + seconds
        while True:
            self.seen.look()
            self.processes.sample_watchdog(self.folder / SAMPLES)
            if condition():
                return True
            if time.monotonic() >= until or self.seen.broken:
                return False
            time.sleep(LOOK_S)

    def _running(self, process: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes]:
        assert process is not None
        if process.poll() is not None:
            self.seen.broke(f"a process ended by itself with {process.returncode}, see processes.log")
        return process
