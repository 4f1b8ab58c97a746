"""Which bars a ledger's line speaks of, and whether two lines speak of the same ones. Not here: the ledgers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Self

KEYS = ("symbols", "interval", "first", "last")


@dataclass(frozen=True, slots=True)
class Scope:
    """Bars of some symbols between two dates.

    Two scopes compete when they share a symbol and their dates overlap, whatever the length of their bars: leaving a symbol
    out, moving an end or looking by the hour does not make an older line vanish. A renamed symbol does.
    """

    symbols: frozenset[str]
    interval: str
    first: date
    last: date

    @classmethod
    def of(cls, row: Any, what: str) -> Self:
        """Of a decoded line.

        Args:
            what: the line in words, for messages: "a look".
        Raises:
            ValueError: a key is missing or its value is of the wrong kind; the message says which.
        """
        if not isinstance(row, Mapping):
            raise ValueError(f"{what} is an object with {', '.join(KEYS)}, not {str(row)[:40]!r}")
        missing = [name for name in KEYS if name not in row]
        if missing:
            raise ValueError(f"{what} lacks {', '.join(missing)}: what it competes with cannot be known")
        symbols, interval = row["symbols"], row["interval"]
        if not isinstance(symbols, list) or not symbols or not all(isinstance(name, str) for name in symbols):
            raise ValueError(f"symbols of {what} are a list of one or more names, not {symbols!r}")
        if not isinstance(interval, str) or not interval:
            raise ValueError(f"interval of {what} is a text such as '1d', not {interval!r}")
        first, last = (_date(name, row[name], what) for name in ("first", "last"))
        if first > last:
            raise ValueError(f"first {first} of {what} is after its last {last}: it would compete with nothing")
        return cls(frozenset(symbols), interval, first, last)

    def competes_with(self, other: "Scope") -> bool:
        """Whether both speak of some of the same bars."""
        return not self.symbols.isdisjoint(other.symbols) and self.first <= other.last and other.first <= self.last


def _date(name: str, value: Any, what: str) -> date:
    try:
        return datetime.fromisoformat(value).date()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} of {what} is an ISO date, not {value!r}") from error
