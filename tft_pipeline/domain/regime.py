"""A daily signal as context for a strategy on shorter bars: bull, bear or neutral, with hysteresis; it can only take risk away.

    strength s = clip(position / full_position, -1, 1)
    neutral -> bull where s >= enter;  bull -> neutral where s < exit;  bull -> bear where s <= -enter;  bear the mirror image
    a regime lasts at least min_stay signals

    weight out = sign(w) * min(scale * |w|, limit)       scale in [0, 1], by regime and direction, so |out| <= |w|

Without a valid signal the context is neutral and stale, and by default that closes everything: nobody knows what the day's
model would say, and `TFTStrategy` holds nothing then either. Neutral alone would be too mild: in a bear market it would open
longs again because a process died. What the regime was is kept for `forget_after_s`, so that one late signal does not
restart the hysteresis.

Not here: who makes the daily signal, the strategy whose weights are restrained.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from tft_pipeline.domain.signal import Signal, utc_time

WEEK_S = 7 * 86_400.0


class Regime(StrEnum):
    """What the daily signal makes of the market."""

    BULL = "bull"
    BEAR = "bear"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """How much of a weight w may stay: min(scale * |w|, limit).

    Attributes:
        scale: share of the size, in [0, 1]; 0 closes the direction.
        limit: largest |weight| that may stay; infinite for none.
    Raises:
        ValueError: outside these limits: it could add risk.
    """

    scale: float
    limit: float = math.inf

    def __post_init__(self) -> None:
        if not 0.0 <= self.scale <= 1.0:
            raise ValueError(f"scale {self.scale} is outside [0, 1]: an overlay may only take risk away")
        if not self.limit >= 0.0:
            raise ValueError(f"limit {self.limit} is not a size: use 0 to close a direction, infinity for no limit")

    def allows_no_more_than(self, other: "Permission") -> bool:
        """Closed, or neither scale nor limit above the other's."""
        closed = self.scale == 0.0 or self.limit == 0.0
        return closed or (self.scale <= other.scale and self.limit <= other.limit)

    def restrained(self, weight: float) -> float:
        """The weight that stays; never larger, never of the other sign.

        Raises:
            ValueError: a weight that is not finite.
        """
        if not math.isfinite(weight):
            raise ValueError(f"weight {weight} is not finite: nothing may be held on it")
        kept = min(self.scale * abs(weight), self.limit)
        return math.copysign(kept, weight) if kept > 0.0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimeSettings:
    """Thresholds of the regimes, and what each permits.

    Attributes:
        enter: strength from which a bull or bear market begins, in (0, 1].
        exit: strength below which it ends, in [0, enter].
        min_stay: signals that a regime lasts at least, its first included.
        full_position: position that counts as strength 1: the model's `max_position`.
        forget_after_s: seconds without a valid signal after which the regime before them is forgotten.
        in_favour: for weights in the direction of a bull or bear market.
        neutral: for both directions without one.
        against: for weights against it; closed by default.
        stale: for both directions without a valid signal; closed by default.
    Raises:
        ValueError: outside these limits, or a regime that permits more than one that is milder:
            against <= neutral <= in_favour, stale <= neutral.
    """

    enter: float = 0.3
    exit: float = 0.1
    min_stay: int = 2
    full_position: float = 1.0
    forget_after_s: float = WEEK_S
    in_favour: Permission = field(default_factory=lambda: Permission(scale=1.0))
    neutral: Permission = field(default_factory=lambda: Permission(scale=0.5))
    against: Permission = field(default_factory=lambda: Permission(scale=0.0))
    stale: Permission = field(default_factory=lambda: Permission(scale=0.0))

    def __post_init__(self) -> None:
        if not 0.0 < self.enter <= 1.0 or not 0.0 <= self.exit <= self.enter:
            raise ValueError(
                f"enter {self.enter}, exit {self.exit}: expected 0 <= exit <= enter <= 1 and enter above 0; a regime that "
                "ends above where it begins would flicker"
            )
        if self.min_stay < 1:
            raise ValueError(f"min_stay {self.min_stay} < 1: a regime lasts at least the signal that begins it")
        if not 0.0 < self.full_position <= 1.0:
            raise ValueError(f"full_position {self.full_position} is outside (0, 1]: give the model's max_position")
        if not 0.0 <= self.forget_after_s < math.inf:
            raise ValueError(f"forget_after_s {self.forget_after_s}: expected seconds, finite and not below 0")
        for stricter, milder in (("against", "neutral"), ("neutral", "in_favour"), ("stale", "neutral")):
            if not getattr(self, stricter).allows_no_more_than(getattr(self, milder)):
                raise ValueError(f"{stricter} permits more than {milder}: the overlay would reward the worse context")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimeContext:
    """What holds for a symbol at a moment.

    Attributes:
        regime: neutral where the signal is stale.
        stale: no valid signal at that moment.
    """

    regime: Regime
    stale: bool

    def permission(self, weight: float, settings: RegimeSettings) -> Permission:
        """For a weight of this direction."""
        if self.stale:
            return settings.stale
        if self.regime is Regime.NEUTRAL:
            return settings.neutral
        return settings.in_favour if (weight > 0.0) == (self.regime is Regime.BULL) else settings.against


UNKNOWN = RegimeContext(regime=Regime.NEUTRAL, stale=True)
"""No valid signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegimeState:
    """All that the next signal's regime depends on; JSON-ready through `to_dict`.

    Attributes:
        symbol: whose signals these are.
        regime: after the last signal.
        stay: signals that this regime has lasted, the last one included.
        position: of the last signal. model_id: who said it.
        ts: bar of the last signal.
        valid_from, valid_until: when the last signal counts.
    """

    symbol: str
    regime: Regime
    stay: int
    position: float
    model_id: str
    ts: datetime
    valid_from: datetime
    valid_until: datetime

    def at(self, now: datetime) -> RegimeContext:
        """The context at a moment.

        Raises:
            ValueError: a moment before the last signal could be known.
        """
        now = utc_time(now, "now")
        if now < self.valid_from:
            raise ValueError(
                f"the regime rests on a signal usable from {self.valid_from.isoformat()}, and it is asked for "
                f"{now.isoformat()}: that would look ahead"
            )
        return UNKNOWN if now >= self.valid_until else RegimeContext(regime=self.regime, stale=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` gives it back."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "RegimeState":
        """The state that `to_dict` wrote.

        Raises:
            ValueError: anything else.
        """
        try:
            times = {
                name: utc_time(datetime.fromisoformat(record[name]), name)
                for name in ("ts", "valid_from", "valid_until")
            }
            stay, position = int(record["stay"]), float(record["position"])
            state = cls(
                symbol=str(record["symbol"]),
                regime=Regime(record["regime"]),
                stay=stay,
                position=position,
                model_id=str(record["model_id"]),
                **times,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not the state of a regime ({error}): start from none") from None
        if stay < 1 or not abs(position) <= 1.0 or not times["ts"] <= times["valid_from"] < times["valid_until"]:
            raise ValueError(f"not the state of a regime: {dict(record)}; start from none")
        return state


def next_regime(state: RegimeState | None, signal: Signal, settings: RegimeSettings) -> RegimeState:
    """The state after one more daily signal. The same signal again changes nothing.

    Args:
        state: after the signal before; None at the start, which is neutral and may be left at once.
    Raises:
        ValueError: a signal older than the last one, of another symbol, or another one of the same bar.
    """
    if state is not None and signal.symbol != state.symbol:
        raise ValueError(
            f"a signal of {signal.symbol} after those of {state.symbol}: the regime of one would follow another; keep a state "
            "for each"
        )
    if state is not None and signal.ts == state.ts:
        if _told(signal) != (state.position, state.model_id, state.valid_from, state.valid_until):
            raise ValueError(
                f"two different signals of {signal.symbol} at {signal.ts.isoformat()}, of {state.model_id} and "
                f"{signal.model_id}: it is not known which one counts"
            )
        return state
    if state is not None and (signal.ts < state.ts or signal.valid_from < state.valid_from):
        raise ValueError(
            f"signal of {signal.ts.isoformat()} comes after that of {state.ts.isoformat()}: hysteresis needs them in order"
        )
    before, stayed = Regime.NEUTRAL, settings.min_stay
    if state is not None and (signal.valid_from - state.valid_until).total_seconds() <= settings.forget_after_s:
        before, stayed = state.regime, state.stay
    after = _wanted(before, signal.target_position / settings.full_position, settings)
    if after is not before and stayed < settings.min_stay:
        after = before
    return RegimeState(
        symbol=signal.symbol,
        regime=after,
        stay=stayed + 1 if after is before else 1,
        position=signal.target_position,
        model_id=signal.model_id,
        ts=signal.ts,
        valid_from=signal.valid_from,
        valid_until=signal.valid_until,
    )


def regimes_at(times: Iterable[datetime], signals: Iterable[Signal], settings: RegimeSettings) -> list[RegimeContext]:
    """The context of one symbol at each moment, from the signals usable by then.

    Args:
        times: not decreasing, such as the minutes of a backtest.
        signals: of one symbol, any order.
    Raises:
        ValueError: several symbols, decreasing times, two signals of one bar that differ.
    """
    waiting = sorted(signals, key=lambda signal: signal.ts, reverse=True)
    if len({signal.symbol for signal in waiting}) > 1:
        raise ValueError("signals of several symbols: the regime of one would follow another")
    if any(one.ts == two.ts and one != two for one, two in pairwise(waiting)):
        raise ValueError("two different signals of one bar: it is not known which one counts")
    contexts: list[RegimeContext] = []
    state: RegimeState | None = None
    last: datetime | None = None
    for time in times:
        now = utc_time(time, "time")
        if last is not None and now < last:
            raise ValueError(f"{now.isoformat()} comes after {last.isoformat()}: give times in order")
        last = now
        while waiting and waiting[-1].valid_from <= now:
            state = next_regime(state, waiting.pop(), settings)
        contexts.append(UNKNOWN if state is None else state.at(now))
    return contexts


def restrained(
    weights: Mapping[str, float], contexts: Mapping[str, RegimeContext], settings: RegimeSettings
) -> dict[str, float]:
    """Weights as the regimes permit them; a symbol without a context counts as stale.

    Raises:
        ValueError: a weight that is not finite.
    """
    return {
        symbol: contexts.get(symbol, UNKNOWN).permission(weight, settings).restrained(weight)
        for symbol, weight in weights.items()
    }


def _told(signal: Signal) -> tuple[float, str, datetime, datetime]:
    """What tells two signals of one bar apart."""
    return signal.target_position, signal.model_id, signal.valid_from, signal.valid_until


def _wanted(before: Regime, strength: float, settings: RegimeSettings) -> Regime:
    """The regime by thresholds alone."""
    if strength >= settings.enter:
        return Regime.BULL
    if strength <= -settings.enter:
        return Regime.BEAR
    stays = (before is Regime.BULL and strength >= settings.exit) or (
        before is Regime.BEAR and strength <= -settings.exit
    )
    return before if stays else Regime.NEUTRAL
