"""The live loop: bars -> decider -> kill switch -> target book, one thread, one bar at a time.

    source     what the market brought (`replay_source`)
    decider    bar history, predictor and strategy as one: a bar in, target weights out (`model_decider`)
    switch     the triggers judge after every bar and every idle second; what they say is latched
    book       what the broker side reads; renewed while the decision counts, so that it runs out soon after the loop is gone
    state      saved after every bar: a restarted loop gives the targets of one that was never stopped

A bar that is refused, or at which the decider fails, is counted, written to the log and left out: what was decided before
counts until its own end, then targets are flat. Only what nobody can go on after (no memory, no disk for the state, an error
of the loop itself) ends the process, and that halts first. Nothing here resets the switch.

Equity is marked at closes and takes targets for filled: E <- E (1 + sum_i w_i (c_i / c'_i - 1)), w held since the bar before,
c' its close, before costs. A reset by a person makes the equity the new high-water mark and forgets earlier errors and nights.
What the broker really holds is the broker side's to compare.

Not here: when to halt from outside (`watchdog`), the limits (`triggers`).
"""

import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tft_pipeline.live.drift_nights import newest_night, read_nights
from tft_pipeline.live.event_log import EventLog
from tft_pipeline.live.folder_lock import LockBusyError
from tft_pipeline.live.heartbeat import LOOP, STOPPED, WATCHDOG, Heartbeat, read_beat
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.loop_contract import Decider, Decision, EndOfBarsError, Settings, Source
from tft_pipeline.live.loop_state import LoopState, load_state, save_state
from tft_pipeline.live.moment import Clock, Moment, SystemClock
from tft_pipeline.live.refusals import RefusedBarError
from tft_pipeline.live.switch_states import HALTED, STATES
from tft_pipeline.live.target_book import FencedError, TargetBook, flatten, halt, read_targets
from tft_pipeline.live.triggers import Facts, judge

DRIFT_EVERY_S = 60.0
NEVER = float("-inf")
MOST_SAID = 500


class LiveLoop:
    """One loop over one folder."""

    def __init__(
        self, folder: Path, source: Source, decider: Decider, settings: Settings, *, clock: Clock | None = None
    ) -> None:
        self._folder, self._source, self._decider, self._settings = folder, source, decider, settings
        self._clock = clock or SystemClock()
        self._over = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        self.switch = KillSwitch(folder)
        self.state = LoopState()
        self._book = TargetBook(folder, self.switch, clock=self._clock)
        self._heartbeat = Heartbeat(folder, LOOP)
        self._log = EventLog(folder / "loop.jsonl")
        self._began = self._published = self._clock.now()
        self._drift: tuple[float, tuple[str, ...]] = (NEVER, ())

    def stop(self) -> None:
        """End after the bar at hand; safe in a signal handler."""
        self._over.set()

    def run(self) -> LoopState:
        """Until `stop`, or the end of a recording; the state is saved and nothing is halted.

        Raises:
            LostStateError: the saved state is damaged. FencedError: another loop took over.
            Exception: what the loop cannot go on after; it halted first.
        """
        try:
            self._begin()
            while not self._over.is_set():
                try:
                    bars = self._source.next(self._settings.idle_s)
                except EndOfBarsError:
                    self._say("end_of_bars", {})
                    break
                except (RefusedBarError, OSError) as error:
                    self._source_failed(error)
                    continue
                if bars is not None:
                    self.take(bars)
                else:
                    self.look_around()
        except FencedError:
            raise  # the folder is another loop's: its switch and its book are not this one's to touch
        except BaseException as error:
            self._halt("loop", f"{type(error).__name__}: {error}")
            raise
        self._heartbeat.beat(self._clock.now(), state=STOPPED, note="stopped on purpose")
        self._say("stopped", {"bars": self.state.bars})
        return self.state

    def take(self, bars: Any) -> None:
        """One moment's bars, from decision to book."""
        decision = None
        try:
            decision = self._decider.take(bars)
        except MemoryError:
            raise
        except RefusedBarError as error:
            self._count(self.state.refused, "refused", error.kind, error)
        except (
            Exception
        ) as error:  # a decider that fails at one bar may be well at the next; the error rate tells when not
            self._count(self.state.failed, "failed", type(error).__name__, error)
        if decision is not None:
            self._mark(decision)
        self._remember(decision is None)
        self._judge()
        if decision is not None:
            self._publish(decision.weights)
        else:
            self._renew()
        self._save()
        self._beat()

    def look_around(self) -> None:
        """Between bars: judge again, renew targets that count, flatten those that do not any more."""
        self._judge()
        if self._renew():
            self._save()
        self._beat()

    def _renew(self) -> bool:
        """Targets that still count are written again before they run out, those that do not are ended: whether any were."""
        now = self._clock.now()
        if self._until_passed(now):
            if not any(self.state.held.values()):
                return False
            self._say("expired", {"until": self.state.until})
            self._publish({})
            return True
        if self.state.held and self._age(now) >= self._settings.validity_s / 3.0:
            self._publish(self.state.held)
        return False

    def _source_failed(self, error: RefusedBarError | OSError) -> None:
        """What the source brings is no bars, or it cannot be read: as much a bad bar as any, and no reason to hurry."""
        if isinstance(error, RefusedBarError):
            self._count(self.state.refused, "refused", error.kind, error)
        else:
            self._count(self.state.failed, "source", type(error).__name__, error)
        self._remember(True)
        self.look_around()
        self._save()
        self._over.wait(self._settings.idle_s)

    def _begin(self) -> None:
        self._heartbeat.beat(self._clock.now(), note="beginning")
        before = load_state(self._folder)
        # what the broker side read until now, before this loop's first targets
        standing = read_targets(self._folder, self._clock.now(), switch=self.switch)
        self._book.take_over()
        if before is None:
            self._decider.restore(None, None)
        else:
            self.state, kept = before
            self._decider.restore(kept, self.state.last_bar)
            if standing.flat:
                self.state.held = dict.fromkeys(self.state.held, 0.0)
        self._source.seek(self.state.last_bar)
        reading = self.switch.reading()
        self._say(
            "begin",
            {"last_bar": self.state.last_bar, "state": reading.state, "why": reading.why, "bars": self.state.bars},
        )
        self._began = self._clock.now()
        self._beat()

    def _mark(self, decision: Decision) -> None:
        state = self.state
        earned = sum(
            weight * (decision.closes[symbol] / state.closes[symbol] - 1.0)
            for symbol, weight in state.held.items()
            if weight and symbol in decision.closes and symbol in state.closes
        )
        state.equity *= 1.0 + earned
        state.high_water_mark = max(state.high_water_mark, state.equity)
        state.closes |= decision.closes
        state.last_bar, state.due, state.until = decision.bar, decision.due, decision.until
        if state.model_id != decision.model_id:
            self._say("model", {"from": state.model_id, "to": decision.model_id, "bar": decision.bar})
        state.model_id = decision.model_id
        state.bars += 1

    def _judge(self) -> None:
        """Trip what the triggers say; a state that is at least as strict is left alone."""
        self._heed_reset()
        now = self._clock.now()
        wrong = self._watchdog_missing(now)
        if wrong:
            self._trip(HALTED, "no_watchdog", wrong)
        facts = Facts(
            equity=self.state.equity,
            high_water_mark=self.state.high_water_mark,
            bar_age=self._bar_age(now),
            nights=self._nights(now),
            errors=tuple(self.state.errors),
        )
        for finding in judge(self._settings.limits, facts):
            self._trip(finding.state, finding.trigger, finding.why)
        if self.switch.state() == HALTED and any(self.state.held.values()):
            flatten(self._folder, self.switch, self.switch.reading().why, clock=self._clock)
            self.state.held = dict.fromkeys(self.state.held, 0.0)

    def _heed_reset(self) -> None:
        """A person looked at what there was, and resets it: triggers begin anew, or the same facts would trip it at once."""
        reading = self.switch.reading()
        if reading.trigger != "reset" or reading.sequence == self.state.reset_seen:
            return
        self.state.reset_seen = reading.sequence
        self.state.high_water_mark, self.state.errors = self.state.equity, []
        if self._settings.drift_folder is not None:
            self.state.nights_after = newest_night(self._settings.drift_folder)
            self._drift = (NEVER, ())
        self._say("reset", {"why": reading.why, "high_water_mark": self.state.equity})

    def _trip(self, state: str, trigger: str, why: str) -> None:
        if STATES.index(self.switch.state()) >= STATES.index(state):
            return
        self.switch.trip(state, trigger, why)
        self._say("trip", {"state": state, "trigger": trigger, "why": why})

    def _publish(self, weights: Mapping[str, float]) -> None:
        """Write targets; what was written is held. A book that cannot be written runs out, and the failure is counted."""
        try:
            written = self._book.publish(
                weights,
                held=self.state.held,
                bar=None if self.state.last_bar is None else self.state.last_bar.isoformat(),
                model_id=self.state.model_id,
                validity_s=self._settings.validity_s,
            )
        except (LockBusyError, OSError, ValueError) as error:
            self._count(self.state.failed, "unpublished", type(error).__name__, error)
            if self.state.errors:
                self.state.errors[-1] = True
            return
        self.state.held = dict(written.weights)
        self._published = self._clock.now()

    def _save(self) -> None:
        save_state(self._folder, self.state, self._decider.to_bytes())

    def _remember(self, failed: bool) -> None:
        self.state.errors = [*self.state.errors, failed][-self._settings.limits.error_rate.bars :]

    def _count(self, counts: dict[str, int], event: str, kind: str, error: Exception) -> None:
        counts[kind] = counts.get(kind, 0) + 1
        self._say(event, {"kind": kind, "why": str(error)[:MOST_SAID], "after": self.state.last_bar})

    def _halt(self, trigger: str, why: str) -> None:
        """Last act of a process that cannot go on; if even that fails, targets run out and the watchdog halts."""
        try:
            halt(self._folder, self.switch, trigger, why, clock=self._clock)
        except Exception as error:
            self._say("not_halted", {"why": str(error)})
        self._say("died", {"why": why})

    def _until_passed(self, now: Moment) -> bool:
        return self.state.until is not None and self._source.market_time(now) >= self.state.until

    def _bar_age(self, now: Moment) -> float:
        """Intervals since the newest bar, one more for each that the next is overdue by; 0 before the first."""
        if self.state.due is None:
            waited = now.seconds_since(self._began.boot_s, self._began.boot_id)
            return waited / max(self._settings.step_s, self._settings.validity_s)
        late = (self._source.market_time(now) - self.state.due).total_seconds() / self._settings.step_s
        return max(0.0, 1.0 + late)

    def _age(self, now: Moment) -> float:
        return now.seconds_since(self._published.boot_s, self._published.boot_id)

    def _watchdog_missing(self, now: Moment) -> str:
        deadline = self._settings.watchdog_deadline_s
        if deadline is None or now.seconds_since(self._began.boot_s, self._began.boot_id) <= deadline:
            return ""
        beat = read_beat(self._folder, WATCHDOG)
        age = float("inf") if beat is None else beat.age(now)
        if age <= deadline:
            return ""
        return f"the watchdog has been silent for {age:.1f} s, deadline {deadline:g} s: nobody would notice if this loop hung"

    def _nights(self, now: Moment) -> tuple[str, ...]:
        if self._settings.drift_folder is None:
            return ()
        read_at, nights = self._drift
        if now.boot_s - read_at >= DRIFT_EVERY_S:
            nights = read_nights(
                self._settings.drift_folder,
                weights_sha256=self._decider.weights_sha256(),
                after=self.state.nights_after,
            )
            self._drift = (now.boot_s, nights)
        return nights

    def _beat(self) -> None:
        self._heartbeat.beat(self._clock.now(), note=f"bar {self.state.last_bar}, {self.state.bars} decided")

    def _say(self, event: str, fields: dict[str, Any]) -> None:
        self._log.write(event, {"at": self._clock.now().wall.isoformat()} | fields)


def stop_on_signals(loop: LiveLoop) -> None:
    """SIGTERM and SIGINT end a loop after its bar."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
