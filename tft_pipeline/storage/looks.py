"""The ledger of looks: every time a production period was scored, by any experiment on the same bars.

Looking again is also selection. Which looks compete is said in `scopes`. Two competing looks are the same when they share
folds and found the same returns in every fold they share: an unchanged experiment that grew by new folds has not chosen
again. With `TFT_STORE` the ledger is one of all machines (`ledger_lines`).
"""

import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tft_pipeline.storage.ledger_lines import Kind, add_line, push_lines, read_lines
from tft_pipeline.storage.scopes import Scope


def record_look(ledger: Path, look: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Write a look down and give the distinct ones it competes with, itself included, in the order they were first made.

    The ledger is read in the order it was written; a look joins the first known one it is the same as. One that is known
    already is written again only if it brings folds, symbols or dates that are not, and is never counted twice.

    Args:
        ledger: JSON lines file, appended to only.
        look: symbols (names), interval (length of a bar), folds (fold key -> SHA-256 of that fold's net returns), first
            and last (ISO dates of the returns), experiment, at (time).
    Returns:
        One row a distinct look: experiment and at of its first line, first, last, n_folds. Their number is the number of
        looks at the period.
    Raises:
        ValueError: the look lacks a value or holds a wrong one; the ledger holds a line that is not a look.
        StoreError, IntegrityError: the store does not answer, or a line was lost or changed; the look is not
            written, so it must not be shown.
    """
    ledger.parent.mkdir(parents=True, exist_ok=True)
    new = _Look.of(look)
    with ledger.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        distinct = _distinct(ledger)
        if _merge(distinct, new):
            add_line(ledger, look)
    return _competing(distinct, new.scope)


def competing_looks(ledger: Path, scope: Scope) -> tuple[dict[str, Any], ...]:
    """The distinct looks at a scope that are written down, as `record_look` gives them; adds none.

    Raises:
        ValueError: the ledger holds a line that is not a look.
        StoreError, IntegrityError: the store does not answer, or a line was lost or changed.
    """
    return _competing(_distinct(ledger), scope)


def push_looks(ledger: Path) -> int:
    """Put into the store the looks that it lacks (`push_lines`); how many were put."""
    return push_lines(ledger, _LOOKS)


@dataclass(frozen=True)
class _Look:
    scope: Scope
    folds: dict[str, str]
    experiment: str
    at: str

    @classmethod
    def of(cls, row: Any) -> Self:
        """A line of the ledger; ValueError says what is wrong with it."""
        scope = Scope.of(row, "a look")
        if "folds" not in row:
            raise ValueError("a look lacks folds: whether it is a new one cannot be known")
        folds = row["folds"]
        if not isinstance(folds, dict) or not folds or not all(isinstance(x, str) and x for x in folds.values()):
            raise ValueError(f"folds of a look map one or more fold keys to hashes of their returns, not {folds!r}")
        return cls(scope, dict(folds), str(row.get("experiment", "")), str(row.get("at", "")))


@dataclass
class _Distinct:
    """Looks that are one, and the hash of every fold any of them had."""

    members: list[_Look]
    folds: dict[str, str]

    def includes(self, look: _Look) -> bool:
        shared = self.folds.keys() & look.folds.keys()
        same = bool(shared) and all(self.folds[key] == look.folds[key] for key in shared)
        return same and any(look.scope.competes_with(member.scope) for member in self.members)

    def knows(self, look: _Look) -> bool:
        """Whether the look brings nothing that is not written down."""
        scopes = [member.scope for member in self.members]
        return (
            look.folds.keys() <= self.folds.keys()
            and look.scope.symbols <= frozenset().union(*(scope.symbols for scope in scopes))
            and min(scope.first for scope in scopes) <= look.scope.first
            and max(scope.last for scope in scopes) >= look.scope.last
        )

    def row(self) -> dict[str, Any]:
        scopes = [member.scope for member in self.members]
        return {
            "experiment": self.members[0].experiment,
            "at": self.members[0].at,
            "first": min(scope.first for scope in scopes).isoformat(),
            "last": max(scope.last for scope in scopes).isoformat(),
            "n_folds": len(self.folds),
        }


def _distinct(ledger: Path) -> list[_Distinct]:
    found: list[_Distinct] = []
    for known in _read(ledger):
        _merge(found, known)
    return found


def _competing(distinct: list[_Distinct], scope: Scope) -> tuple[dict[str, Any], ...]:
    groups = (group for group in distinct if any(scope.competes_with(member.scope) for member in group.members))
    return tuple(group.row() for group in groups)


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


_LOOKS = Kind(_Look.of, "a look", "looks")


def _read(ledger: Path) -> list[_Look]:
    return read_lines(ledger, _LOOKS)
