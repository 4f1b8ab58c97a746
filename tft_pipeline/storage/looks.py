"""The ledger of looks: every time a production period was scored, by any experiment on the same bars.

Looking again is also selection. Two looks compete when their bars have one length, they share a symbol and their dates
overlap: leaving a symbol out or moving an end does not make old looks vanish. Two competing looks are the same when they
share folds and found the same returns in every fold they share: an unchanged experiment that grew by new folds has not
chosen again.
"""

import fcntl
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Self

from tft_pipeline.storage.atomic import append_line

KEYS = ("symbols", "interval", "folds", "first", "last")


def record_look(ledger: Path, look: dict[str, Any]) -> int:
    """Write a look down and count the distinct ones it competes with, itself included.

    The ledger is read in the order it was written; a look joins the first known one it is the same as. One that is known
    already is written again only if it brings folds, symbols or dates that are not, and is never counted twice.

    Args:
        ledger: JSON lines file, appended to only.
        look: symbols (names), interval (length of a bar), folds (fold key -> SHA-256 of that fold's net returns), first
            and last (ISO dates of the returns), experiment, at (time).
    Raises:
        ValueError: the look lacks a value or holds a wrong one; the ledger holds a line that is not a look.
    """
    ledger.parent.mkdir(parents=True, exist_ok=True)
    new = _Look.of(look)
    with ledger.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        distinct: list[_Distinct] = []
        for known in _read(ledger):
            _merge(distinct, known)
        if _merge(distinct, new):
            append_line(ledger, look)
        return sum(any(new.competes_with(member) for member in group.members) for group in distinct)


@dataclass(frozen=True)
class _Look:
    symbols: frozenset[str]
    interval: str
    folds: dict[str, str]
    first: date
    last: date

    @classmethod
    def of(cls, row: Any) -> Self:
        """A line of the ledger; ValueError says what is wrong with it."""
        if not isinstance(row, Mapping):
            raise ValueError(f"a look is an object with {', '.join(KEYS)}, not {str(row)[:40]!r}")
        missing = [name for name in KEYS if name not in row]
        if missing:
            raise ValueError(f"the look lacks {', '.join(missing)}: what it competes with cannot be known")
        symbols, interval, folds = row["symbols"], row["interval"], row["folds"]
        if not isinstance(symbols, list) or not symbols or not all(isinstance(name, str) for name in symbols):
            raise ValueError(f"symbols of a look are a list of one or more names, not {symbols!r}")
        if not isinstance(interval, str) or not interval:
            raise ValueError(f"interval of a look is a text such as '1d', not {interval!r}")
        if not isinstance(folds, dict) or not folds or not all(isinstance(x, str) and x for x in folds.values()):
            raise ValueError(f"folds of a look map one or more fold keys to hashes of their returns, not {folds!r}")
        first, last = (_date(name, row[name]) for name in ("first", "last"))
        if first > last:
            raise ValueError(f"first {first} of a look is after its last {last}: it would compete with nothing")
        return cls(frozenset(symbols), interval, dict(folds), first, last)

    def competes_with(self, other: "_Look") -> bool:
        return (
            self.interval == other.interval
            and not self.symbols.isdisjoint(other.symbols)
            and self.first <= other.last
            and other.first <= self.last
        )


@dataclass
class _Distinct:
    """Looks that are one, and the hash of every fold any of them had."""

    members: list[_Look]
    folds: dict[str, str]

    def includes(self, look: _Look) -> bool:
        shared = self.folds.keys() & look.folds.keys()
        same = bool(shared) and all(self.folds[key] == look.folds[key] for key in shared)
        return same and any(look.competes_with(member) for member in self.members)

    def knows(self, look: _Look) -> bool:
        """Whether the look brings nothing that is not written down."""
        return (
            look.folds.keys() <= self.folds.keys()
            and look.symbols <= frozenset().union(*(member.symbols for member in self.members))
            and min(member.first for member in self.members) <= look.first
            and max(member.last for member in self.members) >= look.last
        )


def _merge(distinct: list[_Distinct], look: _Look) -> bool:
    """Put a look with the first distinct one it is the same as, or on its own; True if it brought something new."""
    for group in distinct:
        if group.includes(look):
            new = not group.knows(look)
            group.members.append(look)
            group.folds.update(look.folds)
            return new
    distinct.append(_Distinct([look], dict(look.folds)))
    return True


def _read(ledger: Path) -> list[_Look]:
    if not ledger.exists():
        return []
    looks = []
    for number, line in enumerate(ledger.read_text().splitlines(), start=1):
        try:
            looks.append(_Look.of(json.loads(line)))
        except ValueError as error:
            raise ValueError(
                f"{ledger}:{number} is not a look ({error}): looks would be lost from the count; restore the ledger from "
                "a copy"
            ) from error
    return looks


def _date(name: str, value: Any) -> date:
    try:
        return datetime.fromisoformat(value).date()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} of a look is an ISO date, not {value!r}") from error
