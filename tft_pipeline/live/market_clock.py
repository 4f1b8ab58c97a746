"""What time it is in the market, and how old the newest bar is: by both clocks where bars come as they happen.

Where the market's clock is ours, the wall's, somebody may set it. So it is at least the time at which the newest bar was
decided on and what the steady clock says has passed since, for as long as the machine runs. Not here: what follows from an age.
"""

from datetime import datetime, timedelta

from tft_pipeline.live.loop_contract import Decision, Settings, Source
from tft_pipeline.live.loop_state import LoopState, Taken
from tft_pipeline.live.moment import Clock
from tft_pipeline.live.refusals import FutureBarError

FUTURE = timedelta(seconds=5)
"""A bar may close this much later than our clock says: two clocks are never the same."""


class MarketClock:
    """The market's time for one loop."""

    def __init__(self, source: Source, settings: Settings, clock: Clock) -> None:
        self._source, self._settings, self._clock = source, settings, clock
        self._began = clock.now()

    def begin(self) -> None:
        """The loop begins to wait for its first bar now."""
        self._began = self._clock.now()

    def running_for(self) -> float:
        """Seconds since `begin`."""
        return self._clock.now().seconds_since(self._began.boot_s, self._began.boot_id)

    def time(self, state: LoopState) -> datetime:
        """Now."""
        now = self._clock.now()
        market, taken = self._source.market_time(now), state.taken
        if market != now.wall or taken is None or taken.boot_id != now.boot_id:
            return market
        return max(market, taken.market + timedelta(seconds=now.boot_s - taken.boot_s))

    def take(self, state: LoopState, decision: Decision) -> None:
        """A bar was decided on.

        Raises:
            FutureBarError: it closes later than now: it is in another time zone, or a clock is wrong.
        """
        now = self._clock.now()
        if self._source.market_time(now) != now.wall:
            return
        refuse_future(decision.bar, now.wall)
        state.taken = Taken(market=now.wall, boot_s=now.boot_s, boot_id=now.boot_id)

    def bar_age(self, state: LoopState) -> float:
        """Intervals since the newest bar, one more for each that the next is overdue by; 0 before the first."""
        if state.due is None:
            return self.running_for() / max(self._settings.step_s, self._settings.validity_s)
        late = (self.time(state) - state.due).total_seconds() / self._settings.step_s
        return max(0.0, 1.0 + late)


def refuse_future(close: datetime, now: datetime) -> None:
    """Raises: FutureBarError: a close later than now."""
    if close > now + FUTURE:
        raise FutureBarError(
            f"bar {close.isoformat()} closes {(close - now).total_seconds():.0f} s from now ({now.isoformat()}), limit "
            f"{FUTURE.total_seconds():.0f} s: nobody can know it yet, and no later bar would ever be missed; bring timestamps "
            "in the time zone they are in, and set the clock"
        )
