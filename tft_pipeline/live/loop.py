"""The live loop: bars -> decider -> kill switch -> target book, one thread, one bar at a time.

    source     what the market brought (`replay_source`)
    decider    bar history, predictor and strategy as one: a bar in, target weights out (`model_decider`)
    switch     the triggers judge after every bar and every idle second; what they say is latched (`judging`)
    book       what the broker side reads; renewed while the decision counts, so that it runs out soon after the loop is gone
    state      saved after every bar: a restarted loop gives the targets of one that was never stopped

A bar that is refused, or at which the decider fails, is counted, written to the log and left out: what was decided before
counts until its own end, then targets are flat. Only what nobody can go on after (no memory, no disk for the state, an error
of the loop itself) ends the process, and that halts first. Nothing here resets the switch.

Bars that came while nobody ran are decided on one after the other. Only the newest is published, and none whose decision
counts no more. Whether data are stale is asked when the source has nothing left.

A reset by a person makes the equity (`equity`) the new high-water mark and forgets earlier errors and nights. What the broker
really holds is the broker side's to compare.

Not here: when to halt from outside (`watchdog`), the limits (`triggers`), what time it is in the market (`market_clock`).
"""

import signal
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from tft_pipeline.live.equity import fill, mark
from tft_pipeline.live.event_log import EventLog
from tft_pipeline.live.folder_lock import LockBusyError
from tft_pipeline.live.heartbeat import LOOP, STOPPED, Heartbeat
from tft_pipeline.live.judging import Judging
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.loop_contract import Decider, Decision, EndOfBarsError, Remembering, Settings, Source
from tft_pipeline.live.loop_state import LoopState, load_state, save_state
from tft_pipeline.live.market_clock import MarketClock
from tft_pipeline.live.moment import Clock, SystemClock
from tft_pipeline.live.refusals import RefusedBarError
from tft_pipeline.live.switch_states import HALTED
from tft_pipeline.live.target_book import FencedError, TargetBook, flatten, halt, read_targets, written_targets

MOST_SAID = 500


class LiveLoop:
    """One loop over one folder."""

    def __init__(
        self, folder: Path, source: Source, decider: Decider, settings: Settings, *, clock: Clock | None = None
    ) -> None:
        self._folder, self._source, self._decider, self._settings = folder, source, decider, settings
        self._clock = clock or SystemClock()
        self._over = False
        folder.mkdir(parents=True, exist_ok=True)
        self.switch = KillSwitch(folder)
        self.state = LoopState()
        self._book = TargetBook(folder, self.switch, clock=self._clock)
        self._heartbeat = Heartbeat(folder, LOOP)
        self._log = EventLog(folder / "loop.jsonl")
        self._market = MarketClock(source, settings, self._clock)
        self._judging = Judging(
            folder, self.switch, self._book, settings, decider, market=self._market, clock=self._clock, say=self._say
        )
        self._published = self._clock.now()

    def stop(self) -> None:
        """End after the bar at hand; safe in a signal handler, as it takes no lock."""
        self._over = True

    def run(self) -> LoopState:
        """Until `stop`, or the end of a recording; the state is saved and nothing is halted.

        Raises:
            LostStateError: the saved state is damaged. FencedError: another loop took over.
            Exception: what the loop cannot go on after; it halted first.
        """
        try:
            self._begin()
            while not self._over:
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
        """One moment's bars, from decision to book.

        Raises:
            FencedError: another loop took over.
        """
        self._book.check_owner()
        decision = self._decided(bars)
        self._judge(waited=False)
        if decision is None or self._waiting():
            self._renew()
        elif self._market.time(self.state) >= decision.until:
            self._say("late", {"bar": decision.bar, "until": decision.until})
            self._renew()
        else:
            self._publish(decision.weights, until=decision.until, at=decision.closes)
        self._save()
        self._beat()

    def look_around(self) -> None:
        """Between bars: judge again, renew targets that count, flatten those that do not any more.

        Raises:
            FencedError: another loop took over.
        """
        self._book.check_owner()
        self._judge(waited=not self._waiting())
        if self._renew():
            self._save()
        self._beat()

    def _decided(self, bars: Any) -> Decision | None:
        """What the decider makes of them, taken into the state; None where that is nothing."""
        try:
            decision = self._decider.take(bars)
            if decision is not None:
                self._market.take(self.state, decision)
        except MemoryError:
            raise
        except RefusedBarError as error:
            self._leave_out()
            self._count(self.state.refused, "refused", error.kind, error)
            return None
        except Exception as error:
            # a decider that fails at one bar may be well at the next; the error rate tells when not
            self._leave_out()
            self._count(self.state.failed, "failed", type(error).__name__, error)
            return None
        if decision is None:
            return None
        self._remember(False)
        state = self.state
        mark(state, decision.closes)
        state.last_bar, state.due = decision.bar, decision.due
        if state.model_id != decision.model_id:
            self._say("model", {"from": state.model_id, "to": decision.model_id, "bar": decision.bar})
        state.model_id = decision.model_id
        state.bars += 1
        return decision

    def _leave_out(self) -> None:
        self._remember(True)
        if isinstance(self._source, Remembering):
            self._source.leave_out()

    def _renew(self) -> bool:
        """Targets that still count are written again before they run out, those that do not are ended: whether any were."""
        if self._until_passed():
            if not any(self.state.held.values()):
                return False
            self._say("expired", {"until": self.state.until})
            self._publish({})
            return True
        age = self._clock.now().seconds_since(self._published.boot_s, self._published.boot_id)
        if self.state.held and age >= self._settings.validity_s / 3.0:
            self._publish(self.state.held)
        return False

    def _source_failed(self, error: RefusedBarError | OSError) -> None:
        """What the source brings is no bars, or it cannot be read: as much a bad bar as any.

        No reason to hurry, unless good ones stand behind it.
        """
        self._book.check_owner()
        if isinstance(error, RefusedBarError):
            self._count(self.state.refused, "refused", error.kind, error)
        else:
            self._count(self.state.failed, "source", type(error).__name__, error)
        self._remember(True)
        self.look_around()
        self._save()
        if not self._waiting():
            time.sleep(self._settings.idle_s)

    def _begin(self) -> None:
        self._heartbeat.beat(self._clock.now(), note="beginning")
        before = load_state(self._folder)
        known = before[0] if before else self.state
        self._book.take_over(least_epoch=known.epoch, least_sequence=known.sequence)
        self._heartbeat.epoch = self._book.epoch
        # once more: until now the loop before may have saved
        before = load_state(self._folder)
        self.state, kept = before or (self.state, b"")
        if isinstance(self._source, Remembering):
            self._source.restore(self.state.source)
        # before the first bar there is nothing to go on from, only refusals
        self._decider.restore(None if self.state.last_bar is None else kept, self.state.last_bar)
        self._source.seek(self.state.last_bar)
        if self.state.last_bar is not None:
            self._hold_what_stands()
        reading = self.switch.reading()
        self._say(
            "begin",
            {"last_bar": self.state.last_bar, "state": reading.state, "why": reading.why, "bars": self.state.bars},
        )
        self._market.begin()
        self._beat()

    def _hold_what_stands(self) -> None:
        """Go on from what a reader is told now; targets that ran out while nobody ran are written again while they count."""
        told = read_targets(self._folder, self._clock.now(), switch=self.switch)
        if not told.flat:
            self.state.held = dict(told.weights)
            return
        last, self.state.held = self.state.held, dict.fromkeys(self.state.held, 0.0)
        written = written_targets(self._folder)
        if any(last.values()) and written is not None and written.state != HALTED and not self._until_passed():
            self._publish(last)

    def _judge(self, *, waited: bool) -> None:
        self._judging.judge(self.state, waited=waited)
        if self.switch.state() == HALTED and any(self.state.held.values()):
            flatten(self._folder, self.switch, self.switch.reading().why, clock=self._clock)
            fill(self.state, dict.fromkeys(self.state.held, 0.0))

    def _publish(
        self, weights: Mapping[str, float], *, until: datetime | None = None, at: Collection[str] = ()
    ) -> None:
        """Write targets; what was written is held. A book that cannot be written runs out, and the failure is counted.

        Args:
            until: when they count no more; None leaves it as it is. at: symbols whose close is the newest bar's.
        """
        try:
            written = self._book.publish(
                weights,
                bar=None if self.state.last_bar is None else self.state.last_bar.isoformat(),
                model_id=self.state.model_id,
                validity_s=self._settings.validity_s,
            )
        except (LockBusyError, OSError, ValueError) as error:
            self._failed("unpublished", error)
            return
        fill(self.state, written.weights, at=at)
        self.state.until = until or self.state.until
        self._published = self._clock.now()

    def _save(self) -> None:
        """After every bar; where a process that hangs holds the lock, the state before stays, and the failure is counted."""
        self.state.epoch, self.state.sequence = self._book.epoch, self._book.sequence
        if isinstance(self._source, Remembering):
            self.state.source = self._source.kept()
        try:
            save_state(self._folder, self.state, self._decider.to_bytes(), owned=self._book.owned)
        except LockBusyError as error:
            self._failed("unsaved", error)

    def _failed(self, event: str, error: Exception) -> None:
        """What a bar led to could not be written: it is a bad one."""
        self._count(self.state.failed, event, type(error).__name__, error)
        if self.state.errors:
            self.state.errors[-1] = True

    def _remember(self, failed: bool) -> None:
        self.state.errors = [*self.state.errors, failed][-self._settings.limits.error_rate.bars :]

    def _count(self, counts: dict[str, int], event: str, kind: str, error: Exception) -> None:
        counts[kind] = counts.get(kind, 0) + 1
        self._say(event, {"kind": kind, "why": str(error)[:MOST_SAID], "after": self.state.last_bar})

    def _halt(self, trigger: str, why: str) -> None:
        """Last act of a process that cannot go on; if even that fails, targets run out and the watchdog halts."""
        try:
            if not self._book.replaced:
                halt(self._folder, self.switch, trigger, why, clock=self._clock)
        except Exception as error:
            self._say("not_halted", {"why": str(error)})
        self._say("died", {"why": why})

    def _waiting(self) -> bool:
        return isinstance(self._source, Remembering) and self._source.waiting()

    def _until_passed(self) -> bool:
        return self.state.until is not None and self._market.time(self.state) >= self.state.until

    def _beat(self) -> None:
        self._heartbeat.beat(self._clock.now(), note=f"bar {self.state.last_bar}, {self.state.bars} decided")

    def _say(self, event: str, fields: dict[str, Any]) -> None:
        self._log.write(event, {"at": self._clock.now().wall.isoformat()} | fields)


def stop_on_signals(loop: LiveLoop) -> None:
    """SIGTERM and SIGINT end a loop after its bar."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
