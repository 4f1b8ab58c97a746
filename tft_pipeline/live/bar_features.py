"""One calendar bar as a model reads it: the features of each symbol that is observed there. Not here: computing them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from tft_pipeline.domain.signature import Signature
from tft_pipeline.live.refusals import (
    DuplicateBarError,
    MissingFeatureError,
    NaiveTimeError,
    NotFiniteError,
    StaleBarError,
    UnknownFeatureError,
    UnknownSymbolError,
    WrongFrequencyError,
    WrongShapeError,
)

LEAST_SHARE = 0.5
"""Sessions are as far apart as trading makes them, half days included; closer than this share of a bar is another interval."""
MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class BarFeatures:
    """Features at the close of one calendar bar.

    A symbol that is not in `values` is not observed at this bar: it did not trade, or has too little history. A bar without
    any symbol is a bar on which nobody decides.

    Attributes:
        timestamp: of the bar, UTC after construction.
        values: by symbol (V,), NaN where a value is missing. Features are stored as Float32, so that is what is kept.
        features: names of the V values; None says that they are those of the model, in its order.
    Raises:
        NaiveTimeError: a timestamp without a time zone.
        WrongShapeError: values that are not one row of numbers.
    """

    timestamp: datetime
    values: Mapping[str, np.ndarray]
    features: tuple[str, ...] | None = field(default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", aware(self.timestamp))
        object.__setattr__(self, "values", {str(name): _row(name, row) for name, row in self.values.items()})
        if self.features is not None:
            object.__setattr__(self, "features", tuple(self.features))


@dataclass(frozen=True, eq=False)
class TakenBar:
    """A bar that was accepted: which places of `Signature.symbols` are observed (n,), and their values (n, V) float32."""

    place: np.ndarray
    values: np.ndarray


def accepted(bar: BarFeatures, signature: Signature, last: datetime | None) -> TakenBar:
    """Check a bar against what the model was trained on, and put it in the model's order.

    Args:
        last: timestamp of the bar before it; None before the first one.
    Raises:
        RefusedBarError: of the kind that says what is wrong with it; nothing was changed.
    """
    refuse_untimely(bar.timestamp, signature, last)
    names = tuple(bar.values)
    unknown = [name for name in names if name not in signature.symbols]
    if unknown:
        context = [name for name in unknown if name in signature.untraded]
        why = f" ({', '.join(context)} is context, which is never traded)" if context else ""
        raise UnknownSymbolError(
            f"bar {_at(bar)} brings {_some(unknown)}{why}; the model trades {len(signature.symbols)} symbols "
            f"({_some(signature.symbols)}): nothing was tested on others; leave them out, or train with them"
        )
    order = _order(bar, signature)
    V = len(signature.features)
    given = V if bar.features is None else len(bar.features)
    for name, row in bar.values.items():
        if row.shape != (given,):
            raise WrongShapeError(
                f"{name} at {_at(bar)} has {row.shape[0]} values, the model reads {given}: each would be taken for another "
                "feature; bring one value a feature, NaN where it is missing"
            )
    place = np.array([signature.symbols.index(name) for name in names], dtype=np.intp)
    values = np.stack([bar.values[name][order] for name in names]) if names else np.empty((0, V), dtype=np.float32)
    refuse_infinite(values, signature, names, _at(bar))
    by_place = np.argsort(place)
    return TakenBar(place=place[by_place], values=values[by_place])


def refuse_untimely(timestamp: datetime, signature: Signature, last: datetime | None) -> None:
    """Stop at a bar that does not follow the last one.

    Raises:
        DuplicateBarError, StaleBarError: it is the last one again, or older.
        WrongFrequencyError: no bar of this interval stands so far behind the last one. Several intervals are legal: the bars
            between them came for no symbol, and the backtest goes on over such a gap too.
    """
    if last is None:
        return
    if timestamp == last:
        raise DuplicateBarError(
            f"bar {timestamp.isoformat()} was taken already: a second one would count twice; bring the next bar"
        )
    if timestamp < last:
        raise StaleBarError(
            f"bar {timestamp.isoformat()} is older than the last one, {last.isoformat()}: its decision is past; bring bars in "
            "the order of time, or start again from a state before it"
        )
    step, passed = timedelta(seconds=signature.calendar["step_s"]), timestamp - last
    if signature.calendar["kind"] == "regular":
        # days are counted on the calendar's clock, which is an hour longer or shorter where clocks change
        if (
            _on_clock(timestamp, signature) - _on_clock(last, signature) if signature.interval == "1d" else passed
        ) % step:
            raise WrongFrequencyError(
                f"bar {timestamp.isoformat()} stands {passed} behind the last one, which is no multiple of {step} "
                f"({signature.interval}): the window would hold bars of another length; bring bars of {signature.interval}"
            )
    elif passed < LEAST_SHARE * step:
        raise WrongFrequencyError(
            f"bar {timestamp.isoformat()} stands {passed} behind the last one, less than {LEAST_SHARE:g} of {step} "
            f"({signature.interval}): the window would hold bars of another length; bring bars of {signature.interval}"
        )


def _on_clock(timestamp: datetime, signature: Signature) -> datetime:
    """What a clock of the calendar's zone showed."""
    return timestamp.astimezone(ZoneInfo(signature.calendar.get("zone", "UTC"))).replace(tzinfo=None)


def refuse_infinite(values: np.ndarray, signature: Signature, names: Sequence[str], at: str) -> None:
    """Stop at what the pipeline never trained on: values (n, V) of n symbols."""
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        row, column = infinite[0]
        raise NotFiniteError(
            f"{signature.features[column]} of {names[row]} at {at} is infinite ({len(infinite)} such values): the network "
            "never saw one and every later window would hold it; correct the feature, or pass NaN where it is undefined"
        )


def aware(time: datetime) -> datetime:
    """The same moment in UTC.

    Raises:
        NaiveTimeError: it has no time zone.
    """
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise NaiveTimeError(f"time {time!s} has no time zone: bars would be placed hours off; give it in UTC")
    return time.astimezone(UTC)


def _order(bar: BarFeatures, signature: Signature) -> np.ndarray:
    """Where each of the model's features stands among the bar's."""
    if bar.features is None or bar.features == signature.features:
        return np.arange(len(signature.features))
    missing = [name for name in signature.features if name not in bar.features]
    if missing:
        raise MissingFeatureError(
            f"bar {_at(bar)} lacks {len(missing)} of {len(signature.features)} features ({_some(missing)}): the model would "
            "read another value for them; compute all that its signature names, NaN where one is undefined"
        )
    unknown = [name for name in bar.features if name not in signature.features]
    if unknown or len(set(bar.features)) != len(bar.features):
        twice = sorted({name for name in bar.features if bar.features.count(name) > 1})
        raise UnknownFeatureError(
            f"bar {_at(bar)} brings features the model has no input for ({_some(unknown or twice)}): it was made for another "
            "model; compute the features of this one's signature, each once"
        )
    return np.array([bar.features.index(name) for name in signature.features])


def _row(symbol: str, row: np.ndarray) -> np.ndarray:
    """(V,) float32, read only; a number that Float32 cannot hold becomes infinite and is refused as such."""
    try:
        found = np.asarray(row, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WrongShapeError(
            f"values of {symbol} are no numbers ({error}); bring one number a feature, NaN if missing"
        ) from error
    if found.ndim != 1:
        raise WrongShapeError(
            f"values of {symbol} have shape {found.shape}, not (features,): each would be taken for another; bring one row of "
            "numbers, NaN where one is missing"
        )
    with np.errstate(over="ignore"):
        kept = found.astype(np.float32)
    kept.setflags(write=False)
    return kept


def _at(bar: BarFeatures) -> str:
    return bar.timestamp.isoformat()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
