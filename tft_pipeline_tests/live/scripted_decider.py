"""A decider and a source without a market: what the loop is tested with. Not here: tests."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tft_pipeline.live.loop_contract import Decision, EndOfBarsError
from tft_pipeline.live.moment import Moment
from tft_pipeline.live.refusals import UnknownSymbolError
from tft_pipeline_tests.live.hand_clock import HandClock

FIRST = datetime(2026, 1, 5, 12, tzinfo=UTC)
STEP = timedelta(minutes=1)


def minute(number: int) -> datetime:
    return FIRST + number * STEP


class ScriptedSource:
    """Bars that a test wrote, a minute of the clock each; None in the list is a minute without one."""

    def __init__(self, clock: HandClock, bars: Sequence[Any]) -> None:
        self._clock, self._bars, self._next = clock, list(bars), 0

    def seek(self, after: datetime | None) -> None:
        known = [
            place for place, bar in enumerate(self._bars) if after and isinstance(bar, dict) and bar["at"] <= after
        ]
        self._next = known[-1] + 1 if known else 0

    def next(self, timeout_s: float) -> Any | None:
        if self._next >= len(self._bars):
            raise EndOfBarsError
        self._next += 1
        self._clock.pass_time(60.0)
        found = self._bars[self._next - 1]
        if isinstance(found, Exception) and not isinstance(found, UnknownSymbolError | RuntimeError | MemoryError):
            raise found
        return found

    def market_time(self, now: Moment) -> datetime:
        return now.wall


class ScriptedDecider:
    """Raises what it is given; else holds a running mean of prices that no two orders of bars give alike."""

    def __init__(self) -> None:
        self.mean = 0.0
        self.restored: datetime | None = None

    def take(self, bars: Any) -> Decision:
        if isinstance(bars, BaseException):
            raise bars
        self.mean = 0.7 * self.mean + 0.1 * (bars["close"] - 100.0)
        at = bars["at"]
        weights = {"A": max(-1.0, min(1.0, self.mean)), "B": 0.25}
        return Decision(
            bar=at,
            due=at + STEP,
            until=at + 2 * STEP,
            weights=bars.get("weights", weights),
            closes={"A": bars["close"], "B": 50.0},
            model_id=bars.get("model", "m1"),
        )

    def to_bytes(self) -> bytes:
        return json.dumps(self.mean).encode()

    def restore(self, data: bytes | None, last_bar: datetime | None) -> None:
        self.mean, self.restored = (0.0 if data is None else json.loads(data)), last_bar

    def weights_sha256(self) -> str | None:
        return "live"
