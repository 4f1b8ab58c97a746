"""What the loop knows at one moment, judged by the triggers and told to the kill switch. Not here: the limits (`triggers`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tft_pipeline.live.drift_nights import newest_night, read_nights
from tft_pipeline.live.heartbeat import WATCHDOG, read_beat
from tft_pipeline.live.kill_switch import KillSwitch
from tft_pipeline.live.loop_contract import Decider, Settings
from tft_pipeline.live.loop_state import LoopState
from tft_pipeline.live.market_clock import MarketClock
from tft_pipeline.live.moment import Clock
from tft_pipeline.live.switch_states import HALTED, STATES
from tft_pipeline.live.target_book import TargetBook
from tft_pipeline.live.triggers import Facts, judge

DRIFT_EVERY_S = 60.0
NEVER = float("-inf")
Say = Callable[[str, dict[str, Any]], None]


class Judging:
    """The triggers of one loop."""

    def __init__(
        self,
        folder: Path,
        switch: KillSwitch,
        book: TargetBook,
        settings: Settings,
        decider: Decider,
        *,
        market: MarketClock,
        clock: Clock,
        say: Say,
    ) -> None:
        """Args: book: only its owner trips. say: takes an event and what is known of it."""
        self._folder, self._switch, self._book, self._settings = folder, switch, book, settings
        self._decider, self._market, self._clock, self._say = decider, market, clock, say
        self._drift: tuple[float, tuple[str, ...]] = (NEVER, ())

    def judge(self, state: LoopState, *, waited: bool) -> None:
        """Trip what the triggers say; a state that is at least as strict is left alone.

        Args: waited: whether the source had nothing; until then what it brings next may be as new as can be.
        Raises:
            FencedError: another process took over.
        """
        self._heed_reset(state)
        wrong = self._watchdog_missing()
        if wrong:
            self._trip(HALTED, "no_watchdog", wrong)
        facts = Facts(
            equity=state.equity,
            high_water_mark=state.high_water_mark,
            bar_age=self._market.bar_age(state) if waited else 0.0,
            nights=self._nights(state),
            errors=tuple(state.errors),
        )
        for finding in judge(self._settings.limits, facts):
            self._trip(finding.state, finding.trigger, finding.why)

    def _heed_reset(self, state: LoopState) -> None:
        """A person looked at what there was, and resets it: triggers begin anew, or the same facts would trip it at once."""
        reading = self._switch.reading()
        state.switch_sequence = max(state.switch_sequence, reading.sequence)
        if reading.trigger != "reset" or reading.sequence == state.reset_seen:
            return
        state.reset_seen = reading.sequence
        state.high_water_mark, state.errors = state.equity, []
        if self._settings.drift_folder is not None:
            state.nights_after = newest_night(self._settings.drift_folder)
            self._drift = (NEVER, ())
        self._say("reset", {"why": reading.why, "high_water_mark": state.equity})

    def _trip(self, state: str, trigger: str, why: str) -> None:
        if STATES.index(self._switch.state()) >= STATES.index(state):
            return
        self._book.check_owner()
        self._switch.trip(state, trigger, why)
        self._say("trip", {"state": state, "trigger": trigger, "why": why})

    def _watchdog_missing(self) -> str:
        deadline = self._settings.watchdog_deadline_s
        if deadline is None or self._market.running_for() <= deadline:
            return ""
        beat = read_beat(self._folder, WATCHDOG)
        age = float("inf") if beat is None else beat.age(self._clock.now())
        if age <= deadline:
            return ""
        return f"the watchdog has been silent for {age:.1f} s, deadline {deadline:g} s: nobody would notice if this loop hung"

    def _nights(self, state: LoopState) -> tuple[str, ...]:
        if self._settings.drift_folder is None:
            return ()
        now, (read_at, nights) = self._clock.now(), self._drift
        if now.boot_s - read_at >= DRIFT_EVERY_S:
            nights = read_nights(
                self._settings.drift_folder,
                weights_sha256=self._decider.weights_sha256(),
                after=state.nights_after,
                today=self._market.time(state).date(),
            )
            self._drift = (now.boot_s, nights)
        return nights
