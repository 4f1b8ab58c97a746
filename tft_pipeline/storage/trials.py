"""The ledger of research trials: how many were started on some bars, by any experiment of this home.

A copy of an experiment under another name would otherwise forget the trials of the first one, and its best trial would be
deflated by its own number only. Which studies compete is said in `scopes`. Not here: the trials themselves (Optuna).
"""

import fcntl
import json
from pathlib import Path
from typing import Any

from tft_pipeline.storage.atomic import append_line
from tft_pipeline.storage.scopes import Scope


def record_trials(ledger: Path, entry: dict[str, Any]) -> None:
    """Write down how many trials a study has started; nothing when the last line of that study says the same.

    Args:
        ledger: JSON lines file, appended to only.
        entry: experiment, study, started (trials of all studies of the experiment so far), symbols, interval, first and last
            (ISO dates of the research bars), at.
    Raises:
        ValueError: the entry lacks a value or holds a wrong one; the ledger holds a line that is not an entry.
    """
    _checked(entry)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        last = _by_study(ledger).get(entry["study"])
        if last is None or {**last, "at": None} != {**entry, "at": None}:
            append_line(ledger, entry)


def trials_of_others(ledger: Path, *, experiment: str, study: str) -> tuple[dict[str, Any], ...]:
    """One entry for every other experiment that competes with a study: the one with the most trials.

    An experiment's later studies count its earlier ones too, so that one entry holds them all.

    Raises:
        KeyError: the study is not in the ledger.
        ValueError: the ledger holds a line that is not an entry.
    """
    entries = _by_study(ledger)
    if study not in entries:
        raise KeyError(
            f"study {study} is not in {ledger}: materialise tuned_hyperparameters again, which writes it down"
        )
    own = Scope.of(entries[study], "an entry")
    most: dict[str, dict[str, Any]] = {}
    for entry in entries.values():
        other = entry["experiment"]
        if other == experiment or not Scope.of(entry, "an entry").competes_with(own):
            continue
        if other not in most or entry["started"] > most[other]["started"]:
            most[other] = entry
    return tuple(most.values())


def _checked(entry: Any) -> dict[str, Any]:
    Scope.of(entry, "an entry")
    for name, kind in (("experiment", str), ("study", str), ("started", int)):
        if not isinstance(entry.get(name), kind):
            raise ValueError(f"{name} of an entry is {entry.get(name)!r}, not of type {kind.__name__}")
    return dict(entry)


def _by_study(ledger: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    if not ledger.exists():
        return found
    for number, line in enumerate(ledger.read_text().splitlines(), start=1):
        try:
            entry = _checked(json.loads(line))
        except ValueError as error:
            raise ValueError(
                f"{ledger}:{number} is not an entry of the ledger of trials ({error}): trials would be lost from the count; "
                "restore the ledger from a copy"
            ) from error
        found[entry["study"]] = entry
    return found
