"""What a version's gate file must say before it is made live, and how an override is written into it.

Not here: which gates there are and how they are judged (`release_gates`), the card (`card_completion`), files and the log.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

PASSED = "passed"
HARMLESS = frozenset({"pass", "not_applicable"})
OVERRIDDEN = "override"
"""Key of an override in a gate file, and of its mark in a gate's row."""


def gate_problems(document: object, *, release_id: str, weights_sha256: str) -> list[str]:
    """Why a gate file does not speak of this version; empty where it does, whatever it says.

    Args:
        document: content of gate.json.
    """
    if not isinstance(document, Mapping):
        return ["gate.json is no object: the gates were not judged; run the release again"]
    found = []
    for name, expected in (("release_id", release_id), ("weights_sha256", weights_sha256)):
        if document.get(name) != expected:
            found.append(f"gate.json is about {name} {document.get(name)}, this version is {expected}: judge this one")
    rows = document.get("gates")
    if not isinstance(rows, list) or not rows or not all(_is_row(row) for row in rows):
        return [*found, "gate.json lists no gates that can be read: the gates were not judged; run the release again"]
    if document.get(PASSED) is not (not failed_gates(document)):
        found.append(
            f"gate.json says passed {document.get(PASSED)}, its rows say otherwise: it is not what a run writes"
        )
    return found


def failed_gates(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows that keep a version from being live."""
    return [dict(row) for row in document["gates"] if row["verdict"] not in HARMLESS]


def gate_sentence(row: Mapping[str, Any]) -> str:
    """A failed gate for people: its name, and why with the numbers."""
    return f"{row['name']}: {row.get('why')}"


def admitted(document: Mapping[str, Any]) -> str | None:
    """What the log says of the gates: `passed`, or why they were overridden; None where they say no."""
    if not failed_gates(document):
        return PASSED
    override = document.get(OVERRIDDEN)
    return None if not override else f"{OVERRIDDEN}: {override['reason']}"


def overridden_gates(document: Mapping[str, Any], *, release_id: str, reason: str, who: str, at: str) -> dict[str, Any]:
    """The gate file of the version that is made live although gates failed: its judgement stays, the override is beside it.

    Args:
        release_id: of the new version.
    """
    failed = [row["name"] for row in failed_gates(document)]
    whole = {"reason": reason, "who": who, "at": at, "failed": failed}
    rows = _marked(document["gates"], failed, reason)
    return {**deepcopy(dict(document)), "release_id": release_id, "gates": rows, OVERRIDDEN: whole}


def _marked(rows: list[dict[str, Any]], failed: list[str], reason: str) -> list[dict[str, Any]]:
    return [{**deepcopy(row), **({OVERRIDDEN: reason} if row["name"] in failed else {})} for row in rows]


def _is_row(row: object) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("name"), str) and isinstance(row.get("verdict"), str)
