"""What must hold of the target book while a soak goes on, told from one look to the next. Pure.

The book is looked at twice: raw, as the file stands, for that is what a broker side without our reader sees; and as
`read_targets` reads it. Not here: looking (`soak_observer`), equity (`soak_equity`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tft_pipeline.live.kill_switch import Reading
from tft_pipeline.live.switch_states import HALTED, REDUCING
from tft_pipeline.live.targets import Targets

TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One look.

    Attributes:
        at: seconds of a steady clock.
        before, after: the switch, read before and after the book: only where both say the same is it known what held.
        raw: the book as it stands; None where none can be read.
        read: the book as the broker side reads it.
    """

    at: float
    before: Reading
    after: Reading
    raw: Targets | None
    read: Targets


@dataclass(slots=True, kw_only=True)
class BookWatch:
    """The rules, and what of earlier looks they need.

    Attributes:
        largest_weight: bound of |weight|.
        flat_within_s: how long after a halt the raw book may still hold something.
        settled: whether the raw book became flat since the switch is HALTED; it must stay so.
    """

    largest_weight: float
    flat_within_s: float
    settled: bool = False
    _sequence: int = 0
    _halted_since: float | None = None
    _reducing: int = 0
    _last: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def see(self, sight: Sight) -> list[str]:
        """What does not hold."""
        same = (sight.before.state, sight.before.sequence) == (sight.after.state, sight.after.sequence)
        state = sight.after.state if same else ""
        return [
            *self._numbers(sight.raw),
            *self._halted(sight, state == HALTED),
            *self._shrinking(sight, state == REDUCING),
        ]

    def _numbers(self, raw: Targets | None) -> Iterator[str]:
        if raw is None:
            return
        if raw.sequence < self._sequence:
            yield f"the book's sequence went from {self._sequence} back to {raw.sequence}"
        self._sequence = raw.sequence
        most = max((abs(weight) for weight in raw.weights.values()), default=0.0)
        if not most <= self.largest_weight + TOLERANCE:
            yield f"a weight of {most} is above {self.largest_weight}"

    def _halted(self, sight: Sight, halted: bool) -> Iterator[str]:
        if not halted:
            self._halted_since, self.settled = None, False
            return
        if self._halted_since is None:
            self._halted_since = sight.at
        waited, raw = sight.at - self._halted_since, sight.raw
        if not sight.read.flat:
            yield f"HALTED, and {sight.read.weights} is read from the book"
        if raw is None:
            return
        if raw.flat:
            # flat by itself, before the halt, says nothing yet: a writer may have been on its way
            self.settled = self.settled or raw.state == HALTED or waited > self.flat_within_s
        elif self.settled:
            yield f"HALTED and flat, and then the book says {raw.weights} again"
        elif waited > self.flat_within_s:
            yield f"HALTED for {waited:.1f} s, and the book says {raw.weights}"

    def _shrinking(self, sight: Sight, reducing: bool) -> Iterator[str]:
        if not reducing or sight.after.sequence != self._reducing:
            self._last.clear()
        self._reducing = sight.after.sequence if reducing else 0
        if not reducing:
            return
        seen = {} if sight.raw is None else {"written": sight.raw.weights}
        # one that ran out reads as flat until it is renewed: that is no target
        seen |= {} if sight.read.why else {"read": sight.read.weights}
        for which, weights in seen.items():
            before = self._last.get(which)
            if before is not None and _grew(before, weights):
                yield f"REDUCING, and the book as {which} went from {dict(before)} to {weights}"
            self._last[which] = weights


def _grew(before: Mapping[str, float], now: Mapping[str, float]) -> bool:
    return any(
        abs(weight) > abs(before.get(symbol, 0.0)) + TOLERANCE or weight * before.get(symbol, 0.0) < 0.0
        for symbol, weight in now.items()
    )
