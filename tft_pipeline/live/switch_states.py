"""The three states of the kill switch, from mild to strict, and what each lets through. Not here: the latch on disk."""

import math
from collections.abc import Mapping

ACTIVE, REDUCING, HALTED = "ACTIVE", "REDUCING", "HALTED"
STATES = (ACTIVE, REDUCING, HALTED)
"""From mild to strict."""


def stricter(*states: str) -> str:
    """The strictest of some states; ACTIVE of none."""
    return max(states, key=STATES.index, default=ACTIVE)


def towards_zero(weights: Mapping[str, float], held: Mapping[str, float]) -> dict[str, float]:
    """Each weight between 0 and what is held: never larger, never of the other sign.

        w >= 0 side: min(max(w, 0), held);  w < 0 side alike

    Raises:
        ValueError: a number that is not finite.
    """
    _finite(weights)
    _finite(held)
    allowed = {}
    for symbol in sorted({*weights, *held}):
        wanted, now = weights.get(symbol, 0.0), held.get(symbol, 0.0)
        allowed[symbol] = min(max(wanted, 0.0), now) if now >= 0.0 else max(min(wanted, 0.0), now)
    return allowed


def allowed_in(state: str, weights: Mapping[str, float], held: Mapping[str, float]) -> dict[str, float]:
    """What a state lets through: ACTIVE all, REDUCING what is nearer to zero than held, anything else nothing.

    Raises:
        ValueError: a number that is not finite, unless everything is flat anyway.
    """
    if state == ACTIVE:
        _finite(weights)
        return dict(weights)
    if state == REDUCING:
        return towards_zero(weights, held)
    return dict.fromkeys(sorted({*weights, *held}), 0.0)


def _finite(weights: Mapping[str, float]) -> None:
    for symbol, weight in weights.items():
        if not math.isfinite(weight):
            raise ValueError(f"weight {weight} of {symbol} is not finite: nothing may be held on it")
