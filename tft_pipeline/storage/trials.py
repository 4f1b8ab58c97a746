"""The ledger of research trials: which were started on which bars, by any experiment of this home.

A copy of an experiment under another name, or a deleted study, would otherwise forget its trials, and the best trial would be
deflated by what is left. A trial is written down when it starts, known by its study, number and parameters, and again when it
has returns, known by these: the same trial run again is not a new one. The line that holds the second name settles the first,
so that it counts once. Which studies compete is said in `scopes`. With `TFT_STORE` the ledger is one of all machines
(`ledger_lines`). Not here: the trials themselves (Optuna).
"""

import fcntl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tft_pipeline.storage.ledger_lines import Kind, add_line, push_lines, read_lines
from tft_pipeline.storage.scopes import Scope

Trials = Mapping[str, float | None]
"""Trial -> Sharpe ratio per bar of what it was scored on; None where it was scored on nothing. The key is a hash of its
returns, or of its study, number and parameters where it has none."""


def record_trials(ledger: Path, entry: dict[str, Any]) -> None:
    """Write down the trials a study has started; nothing when they are known.

    Args:
        ledger: JSON lines file, appended to only.
        entry: experiment, study, trials (`Trials`), symbols, interval, first and last (ISO dates of the bars they were scored
            on), at; where it has them, settled: names of trials at their start -> the name by their returns, empty for a trial
            that does not count because another one replaces it.
    Raises:
        ValueError: the entry lacks a value or holds a wrong one; the ledger holds a line that is not an entry.
        StoreError, IntegrityError: the store does not answer, or a line was lost or changed; the entry is not written.
    """
    _checked(entry)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        same = [one for one in _read(ledger) if _same_study(one, entry)]
        known = {key for one in same for key in one["trials"]}
        settled = {key for one in same for key in one.get("settled", {})}
        if not (entry["trials"].keys() <= known and entry.get("settled", {}).keys() <= settled):
            add_line(ledger, entry)


def competing_trials(ledger: Path, scope: Scope) -> dict[str, dict[str, float | None]]:
    """Distinct trials that were scored on bars of a scope, by experiment; one that several ran counts for the first.

    A trial on bars of another length counts, and has no Sharpe ratio here: an hour's ratio is not a day's.

    Raises:
        ValueError: the ledger holds a line that is not an entry.
        StoreError, IntegrityError: as `record_trials`.
    """
    entries = _read(ledger)
    seen = {key for entry in entries for key in entry.get("settled", {})}
    found: dict[str, dict[str, float | None]] = {}
    for entry in entries:
        if not Scope.of(entry, "an entry").competes_with(scope):
            continue
        comparable = entry["interval"] == scope.interval
        new = {key: ratio if comparable else None for key, ratio in entry["trials"].items() if key not in seen}
        seen |= new.keys()
        if new:
            found.setdefault(entry["experiment"], {}).update(new)
    return found


def settled_names(ledger: Path, starts: Iterable[str]) -> set[str]:
    """What trials that are known by their start are called since they have returns.

    Raises:
        ValueError: the ledger holds a line that is not an entry.
        StoreError, IntegrityError: as `record_trials`.
    """
    names: dict[str, str] = {}
    for entry in _read(ledger):
        names |= entry.get("settled", {})
    return {names[key] for key in starts if names.get(key)}


def push_trials(ledger: Path) -> int:
    """Put into the store the entries that it lacks (`push_lines`); how many were put."""
    return push_lines(ledger, _TRIALS)


def _same_study(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    names = ("experiment", "study", "symbols", "interval", "first", "last")
    return all(one[name] == other[name] for name in names)


def _checked(entry: Any) -> dict[str, Any]:
    Scope.of(entry, "an entry")
    for name, kind in (("experiment", str), ("study", str), ("trials", dict)):
        if not isinstance(entry.get(name), kind):
            raise ValueError(f"{name} of an entry is {entry.get(name)!r}, not of type {kind.__name__}")
    for key, ratio in entry["trials"].items():
        if not (ratio is None or (isinstance(ratio, float) and abs(ratio) < float("inf"))):
            raise ValueError(f"trial {key} of an entry has the Sharpe ratio {ratio!r}: a finite number or null")
    settled = entry.get("settled", {})
    if not (isinstance(settled, dict) and all(isinstance(name, str) for name in settled.values())):
        raise ValueError(f"settled of an entry is {settled!r}, not names of trials by their names before")
    return dict(entry)


_TRIALS = Kind(_checked, "an entry of the ledger of trials", "trials")


def _read(ledger: Path) -> list[dict[str, Any]]:
    return read_lines(ledger, _TRIALS)
