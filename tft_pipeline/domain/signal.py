"""What a model says about one symbol, and the span of time in which it counts. Not here: who says it, what is done with it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

SIGNAL_FIELDS = (
    "ts",
    "symbol",
    "target_position",
    "mu",
    "sigma",
    "probability",
    "model_id",
    "valid_from",
    "valid_until",
)
"""Names of a signal's values, in the order they are written."""
TIMES = ("ts", "valid_from", "valid_until")
POSITION_ROUNDING = 1e-6
"""How far a held position may stand outside [-1, 1] and still count as rounding; it is clipped, so it never adds risk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What the model holds in a symbol after one bar.

    It counts at a time t with valid_from <= t < valid_until, at no other: never before its bar was known, and not once the
    next one should have come.

    Attributes:
        ts: timestamp of the bar it was made from, UTC.
        symbol: name of the symbol, not empty.
        target_position: the position held after the bar, in [-1, 1]: signed share of the risk budget, clipped and smoothed,
            before volatility scaling.
        mu: expected label, in units of expected risk; None where the loss trains none.
        sigma: standard deviation of the label, in the same units, above 0; None where the loss trains none.
        probability: of a label above 0, in [0, 1]; None where there is none.
        model_id: release that made it, not empty.
        valid_from: first moment it may be used, UTC, not before `ts`.
        valid_until: first moment it counts no more, UTC, after `valid_from`.
    Raises:
        ValueError: a value outside these limits, a time without a time zone. Times of other zones become UTC.
    """

    ts: datetime
    symbol: str
    target_position: float
    mu: float | None
    sigma: float | None
    probability: float | None
    model_id: str
    valid_from: datetime
    valid_until: datetime

    def __post_init__(self) -> None:
        for name in TIMES:
            object.__setattr__(self, name, utc_time(getattr(self, name), name))
        for name in ("symbol", "model_id"):
            text = getattr(self, name)
            if not isinstance(text, str) or not text:
                raise ValueError(f"{name} {text!r} of a signal is not a name: nobody could tell what it is about")
        object.__setattr__(self, "target_position", _position(self.target_position, self.symbol))
        for name in ("mu", "sigma", "probability"):
            object.__setattr__(self, name, _number_or_none(getattr(self, name), name, self.symbol))
        if self.sigma is not None and not self.sigma > 0.0:
            raise ValueError(
                f"sigma {self.sigma} of {self.symbol} is not above 0: a signal without doubt is none; pass None"
            )
        if self.probability is not None and not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability {self.probability} of {self.symbol} is outside [0, 1]")
        if self.valid_from < self.ts:
            raise ValueError(
                f"valid_from {self.valid_from.isoformat()} of {self.symbol} is before its bar {self.ts.isoformat()}: "
                "the signal would be used before it was known"
            )
        if not self.valid_until > self.valid_from:
            raise ValueError(
                f"valid_until {self.valid_until.isoformat()} of {self.symbol} is not after valid_from "
                f"{self.valid_from.isoformat()}: the signal would never count"
            )

    def valid_at(self, now: datetime) -> bool:
        """valid_from <= now < valid_until.

        Raises:
            ValueError: a time without a time zone.
        """
        return self.valid_from <= utc_time(now, "now") < self.valid_until

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, in the order of `SIGNAL_FIELDS`; times in ISO 8601 with their zone."""
        return {name: _written(getattr(self, name)) for name in SIGNAL_FIELDS}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Signal":
        """The signal that `to_dict` wrote.

        Raises:
            ValueError: keys missing or unknown, a time that is none, and what the constructor refuses.
        """
        if set(record) != set(SIGNAL_FIELDS):
            missing = [name for name in SIGNAL_FIELDS if name not in record]
            unknown = sorted(set(record) - set(SIGNAL_FIELDS))
            raise ValueError(f"not a signal: missing {missing}, unknown {unknown}; write signals with to_dict")
        return cls(
            ts=_read_time(record["ts"], "ts"),
            symbol=record["symbol"],
            target_position=record["target_position"],
            mu=record["mu"],
            sigma=record["sigma"],
            probability=record["probability"],
            model_id=record["model_id"],
            valid_from=_read_time(record["valid_from"], "valid_from"),
            valid_until=_read_time(record["valid_until"], "valid_until"),
        )


def utc_time(time: datetime, name: str) -> datetime:
    """The same moment in UTC.

    Raises:
        ValueError: not a datetime, or one without a time zone.
    """
    if not isinstance(time, datetime):
        raise ValueError(f"{name} {time!r} is not a datetime")
    if time.tzinfo is None or time.utcoffset() is None:
        raise ValueError(f"{name} {time.isoformat()} has no time zone: hours would be lost or won; use UTC")
    return time if time.tzinfo is UTC else time.astimezone(UTC)


def validity(
    ts: datetime, *, step: timedelta, delay: timedelta = timedelta(0), bars: float = 1.0
) -> dict[str, datetime]:
    """valid_from = ts + delay, valid_until = valid_from + bars * step, as keywords of a `Signal`.

    Args:
        ts: timestamp of the bar, the moment its values are known.
        step: time from one bar to the next.
        delay: how long after its timestamp a bar is known; a day's bar stamped with its date alone is known a day later.
        bars: how long the signal counts; above 1 leaves time for a late bar.
    Raises:
        ValueError: a step, delay or count of bars that makes no span.
    """
    if step <= timedelta(0) or delay < timedelta(0) or not 0.0 < bars < math.inf:
        raise ValueError(
            f"step {step}, delay {delay}, bars {bars}: a signal needs a step and a length above 0, a delay not below"
        )
    start = utc_time(ts, "ts") + delay
    return {"valid_from": start, "valid_until": start + bars * step}


def _position(value: Any, symbol: str) -> float:
    number = _number_or_none(value, "target_position", symbol)
    if number is None or abs(number) > 1.0 + POSITION_ROUNDING:
        raise ValueError(
            f"target_position {value!r} of {symbol} is outside [-1, 1]: a position is a share of the risk budget; "
            "volatility scaling comes later"
        )
    return min(1.0, max(-1.0, number))


def _number_or_none(value: Any, name: str, symbol: str) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool | str) or not math.isfinite(number):
        raise ValueError(f"{name} {value!r} of {symbol} is not a finite number: nothing may trade on it")
    return number


def _written(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _read_time(text: Any, name: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(f"{name} {text!r} is not a time in ISO 8601, such as 2026-01-02T21:00:00+00:00") from None
