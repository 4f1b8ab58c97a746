"""What a version's gate file must say before it is made live, and how an override is written into it. Standard library only.

A gate file is judged once, by the run. What is live may change before it is deployed, so the comparison with the live model
is held against what is live then (`judged_against_live`).

Not here: which gates there are (`gate_names`) and how they are judged (`release_gates`), the card (`card_completion`), files
and the log.
"""

import operator
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from tft_pipeline.domain.gate_names import CHALLENGER, GATES

SCHEMA_VERSION = 1
PASSED = "passed"
PASS, FAIL, NOT_APPLICABLE = "pass", "fail", "not_applicable"
HARMLESS = frozenset({PASS, NOT_APPLICABLE})
OVERRIDDEN = "override"
"""Key of an override in a gate file, and of its mark in a gate's row."""
CHAMPION, CHAMPION_WEIGHTS = "champion", "champion_weights_sha256"
"""Keys of the version that the model was compared with; None where nothing was live, or it was not asked."""
RULES: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "==": operator.eq,
    "in": lambda value, among: value in among,
}
"""How a value that passes stands to its threshold (`gate_row.Rule`)."""
_OVERRIDE = re.compile(rf"^(?P<of>.+?)-{OVERRIDDEN}(-\d+)?$")


def origin_of(release_id: str) -> str:
    """The version that an override is of; the version itself where it is none."""
    found = _OVERRIDE.fullmatch(release_id)
    return release_id if found is None else found["of"]


def gate_problems(document: object, *, release_id: str, weights_sha256: str) -> list[str]:
    """Why a gate file does not speak of this version; empty where it does, whatever it says.

    Args:
        document: content of gate.json.
    """
    if not isinstance(document, Mapping):
        return ["gate.json is no object: the gates were not judged; run the release again"]
    found = []
    stated = (("schema_version", SCHEMA_VERSION), ("release_id", release_id), ("weights_sha256", weights_sha256))
    for name, expected in stated:
        if document.get(name) != expected:
            found.append(f"gate.json is about {name} {document.get(name)}, this version is {expected}: judge this one")
    rows = document.get("gates")
    if not isinstance(rows, list) or not rows or not all(_is_row(row) for row in rows):
        return [*found, "gate.json lists no gates that can be read: the gates were not judged; run the release again"]
    names = [row["name"] for row in rows]
    if sorted(names) != sorted(GATES):
        absent, strange = sorted(set(GATES) - set(names)), sorted({one for one in names if one not in GATES})
        twice = sorted({one for one in names if names.count(one) > 1})
        found.append(
            f"gate.json does not list each gate once: absent {absent}, unknown {strange}, twice {twice}; run the release again"
        )
    elif CHAMPION in document and document[CHAMPION] != _challenger(document).get("figures", {}).get(CHAMPION):
        found.append(f"gate.json names {document[CHAMPION]} as champion, its row another: it is not what a run writes")
    untrue = [row["name"] for row in rows if row["verdict"] == PASS and not _holds(row)]
    if untrue:
        found.append(
            f"gate.json says pass of {', '.join(untrue)}, whose value does not hold by its rule: it is not what a run writes"
        )
    if document.get(PASSED) is not (not failed_gates(document)):
        found.append(
            f"gate.json says passed {document.get(PASSED)}, its rows say otherwise: it is not what a run writes"
        )
    if not _is_override(document.get(OVERRIDDEN)):
        found.append("the override in gate.json has no reason, or no list of what it overrides")
    return found


def card_problems(card: object, document: Mapping[str, Any], files: Mapping[str, str]) -> list[str]:
    """Why a card is not the one of a version with these gates and files; empty where it is.

    Args:
        document: content of gate.json.
        files: SHA-256 of every file of the version, by name.
    """
    if not isinstance(card, Mapping):
        return ["model_card.json is no object: run the release again"]
    found = [
        f"{key} of model_card.json is not what gate.json says: one of them is another model's; run the release again"
        for key, expected in (("gates", document["gates"]), ("gates_passed", document[PASSED]))
        if card.get(key) != expected
    ]
    listed = card.get("files")
    if not isinstance(listed, Mapping) or not listed:
        return [*found, "model_card.json lists no files: it is of no release; run the release again"]
    other = sorted(name for name, stated in listed.items() if files.get(name) != stated)
    if other:
        found.append(f"model_card.json is about other files of the names {', '.join(other)}; run the release again")
    return found


def judged_against(document: Mapping[str, Any]) -> dict[str, str | None] | None:
    """Release id and weights that the model was compared with, None where nothing was live; None where it was not asked."""
    row = _challenger(document)
    figures = row.get("figures") or {}
    if row["verdict"] == NOT_APPLICABLE and CHAMPION not in figures:
        return None
    return {CHAMPION: figures.get(CHAMPION), CHAMPION_WEIGHTS: document.get(CHAMPION_WEIGHTS)}


def judged_against_live(document: Mapping[str, Any], *, live: str | None, live_weights: str | None) -> dict[str, Any]:
    """The gate file as it reads now: `challenger` fails where the model was compared with another version than the live one.

    It holds where nothing is live, where `gates.challenger` was off, and where the live version is the one it was compared
    with, an override of that, or one of the same weights (or of the model's own).

    Args:
        document: without `gate_problems`.
        live, live_weights: release id, and hash of its weights where it is known.
    """
    asked = judged_against(document)
    row = _challenger(document)
    if live is None or asked is None or row["verdict"] not in HARMLESS:
        return dict(document)
    champion = asked[CHAMPION]
    if champion is not None and origin_of(champion) == origin_of(live):
        return dict(document)
    if live_weights is not None and live_weights in (asked[CHAMPION_WEIGHTS], document["weights_sha256"]):
        return dict(document)
    why = (
        f"judged against {champion or 'nothing, for nothing was live'}, {live} is live: run the release again "
        f"(tft materialize EXPERIMENT release); it said then: {row['verdict']}, {row.get('why')}"
    )
    rows = [{**one, "verdict": FAIL, "why": why} if one is row else one for one in document["gates"]]
    return {**deepcopy(dict(document)), "gates": deepcopy(rows), PASSED: False}


def failed_gates(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows that keep a version from being live."""
    return [dict(row) for row in document["gates"] if row["verdict"] not in HARMLESS]


def gate_sentence(row: Mapping[str, Any]) -> str:
    """A failed gate for people: its name, and why with the numbers."""
    return f"{row['name']}: {row.get('why')}"


def admitted(document: Mapping[str, Any]) -> str | None:
    """What the log says of the gates: `passed`, or why they were overridden; None where they say no.

    An override covers the gates that it names, and no other that fails later.
    """
    failed = {row["name"] for row in failed_gates(document)}
    if not failed:
        return PASSED
    override = document.get(OVERRIDDEN)
    return None if not override or failed - set(override["failed"]) else f"{OVERRIDDEN}: {override['reason']}"


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


def _challenger(document: Mapping[str, Any]) -> Mapping[str, Any]:
    row: Mapping[str, Any] = next(row for row in document["gates"] if row["name"] == CHALLENGER)
    return row


def _is_row(row: object) -> bool:
    return (
        isinstance(row, Mapping)
        and isinstance(row.get("name"), str)
        and isinstance(row.get("verdict"), str)
        and isinstance(row.get("figures", {}), Mapping)
    )


def _holds(row: Mapping[str, Any]) -> bool:
    """Whether the value stands to the threshold as the rule says; one that is not there does not."""
    value, rule = row.get("value"), RULES.get(str(row.get("rule", "==")))
    try:
        return value is not None and rule is not None and bool(rule(value, row.get("threshold")))
    except TypeError:  # a number against words, or no threshold
        return False


def _is_override(override: object) -> bool:
    if override is None:
        return True
    if not isinstance(override, Mapping) or not isinstance(override.get("reason"), str):
        return False
    failed = override.get("failed")
    return isinstance(failed, list) and all(isinstance(name, str) for name in failed)
