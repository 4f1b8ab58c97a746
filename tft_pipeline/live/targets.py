"""What stands in the target book, and its record. Standard library only. Not here: the file, who writes and who reads it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tft_pipeline.live.moment import Moment
from tft_pipeline.live.sealed_json import DamagedRecordError
from tft_pipeline.live.switch_states import allowed_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What should be held.

    Attributes:
        sequence: rises through all writers; by one, or over all that a lost book may have used.
        epoch: number of the writing process; 0 where nobody's.
        ts, valid_until: UTC, by the wall clock, when it was written and when it runs out.
        bar: timestamp of the bar it was decided on, as the data has it; None where none was.
        weights: fraction of capital by symbol; a symbol not named has 0.
        held: what a reader was told before this book, towards zero from which REDUCING goes.
        state: of the kill switch when it was written.
        why: why it is flat, where it is so for a reason; "" otherwise.
    """

    sequence: int
    epoch: int
    ts: datetime
    valid_until: datetime
    bar: str | None
    model_id: str | None
    weights: dict[str, float]
    held: dict[str, float]
    state: str
    why: str = ""

    @property
    def flat(self) -> bool:
        """Whether nothing is held."""
        return not any(self.weights.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody wants to publish."""

    bar: str | None
    model_id: str | None
    weights: Mapping[str, float]
    validity_s: float

    def record(self, now: Moment, state: str, sequence: int, *, held: Mapping[str, float]) -> dict[str, Any]:
        """The book's content, cut to what the state allows towards what a reader is told now."""
        allowed = allowed_in(state, self.weights, held)
        return {
            "sequence": sequence,
            "ts": now.wall.isoformat(),
            "valid_until": (now.wall + timedelta(seconds=self.validity_s)).isoformat(),
            "boot_s": now.boot_s,
            "boot_id": now.boot_id,
            "validity_s": self.validity_s,
            "bar": self.bar,
            "model_id": self.model_id,
            "weights": {symbol: float(weight) for symbol, weight in allowed.items()},
            "held": {symbol: float(weight) for symbol, weight in held.items()},
            "state": state,
            "why": "",
        }


def targets_of(record: Mapping[str, Any]) -> Targets:
    """What a record says.

    Raises:
        ValueError, KeyError, TypeError: it is none of a book.
    """
    weights, held = dict(record["weights"]), dict(record["held"])
    if not all(isinstance(one, float) and math.isfinite(one) for one in (*weights.values(), *held.values())):
        raise DamagedRecordError("weights that are no finite numbers")
    return Targets(
        sequence=int(record["sequence"]),
        epoch=int(record["epoch"]),
        ts=datetime.fromisoformat(record["ts"]).astimezone(UTC),
        valid_until=datetime.fromisoformat(record["valid_until"]).astimezone(UTC),
        bar=record["bar"],
        model_id=record["model_id"],
        weights=weights,
        held=held,
        state=str(record["state"]),
        why=str(record["why"]),
    )


def flat_targets(book: Targets | None, now: Moment, state: str, why: str) -> Targets:
    """Nothing held, whatever a book says, and why."""
    if book is None:
        return Targets(
            sequence=0,
            epoch=0,
            ts=now.wall,
            valid_until=now.wall,
            bar=None,
            model_id=None,
            weights={},
            held={},
            state=state,
            why=why,
        )
    return replace(book, weights=dict.fromkeys({*book.weights, *book.held}, 0.0), state=state, why=why)
