"""What a release adds to a card: its gates, files, signature and the comparison with the live model; and what an override adds.

Pure: a card in, a card out; the one given stays as it is. Not here: the card of a run (`model_card`), judging gates, files.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from tft_pipeline.domain.card_nulls import with_null_reasons
from tft_pipeline.domain.gate_names import CHALLENGER, PERFORMANCE
from tft_pipeline.domain.release_gates import verdict_of

CANDIDATE, OVERRIDDEN = "candidate", "deployed by override"
STATES = (CANDIDATE, OVERRIDDEN)
SIGNATURE = (
    "inputs",
    "outputs",
    "quantile_levels",
    "lookback",
    "max_lookback",
    "horizon",
    "interval",
    "timezone",
    "calendar",
    "loss_mode",
    "form",
    "forms",
    "left_out",
    "weights_sha256",
)
"""Keys of `Signature.to_dict` that the card repeats; the scaler and the rest stand in signature.json."""
COMPARED = (
    ("snapshot", ("train", "snapshot_id")),
    ("range", ("train", "range")),
    ("features", ("architecture", "features")),
    ("network", ("train", "hp", "network")),
    ("training", ("train", "hp", "training")),
    ("position", ("train", "hp", "position")),
    ("target", ("train", "target")),
    ("code commit", ("train", "code", "commit")),
    ("verdict", ("verdict",)),
    ("net Sharpe ratio a year", ("metrics", "sharpe", "value")),
    ("accuracy", ("metrics", "accuracy")),
)
"""What the change log compares with the live model's card, by name."""


def complete_card(
    card: Mapping[str, Any],
    *,
    gates: Mapping[str, Any],
    files: Mapping[str, str],
    release_id: str,
    signature: Mapping[str, Any],
    previous: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The card of a version: status candidate, with everything that is known when it is written.

    Args:
        card: of the asset `model_card`.
        gates: content of gate.json (`release_gates.gate_document`).
        files: SHA-256 by name of the version's other files; the card and its renderings cannot list themselves.
        signature: `Signature.to_dict()`.
        previous: card of the live version, whose differences the change log lists; None where nothing is live, empty where
            it cannot be read.
    Raises:
        ValueError: gates of another release, or a signature of other weights or without a key; a card whose verdict is not the
            one that the performance gates give.
    """
    if gates["release_id"] != release_id:
        raise ValueError(f"the gates are of release {gates['release_id']}, the card of {release_id}: judge this one")
    lacking = [key for key in SIGNATURE if key not in signature]
    if lacking:
        raise ValueError(f"the signature has no {', '.join(lacking)}: the card would not say how the model is called")
    own = card["train"]["folds"][-1]["sha256"]
    for what, weights in (("signature", signature["weights_sha256"]), ("gates", gates["weights_sha256"])):
        if weights != own:
            raise ValueError(f"the {what} are of weights {weights[:12]}, the card of {own[:12]}: make the card again")
    judged = verdict_of(gates["gates"])
    if judged != card["verdict"]:
        passed = {row["name"] for row in gates["gates"] if row["verdict"] != "fail"}
        against = [name for name in PERFORMANCE if name not in passed]
        raise ValueError(
            f"the card says {card['verdict']} ({'; '.join(card['reasons']) or 'nothing against it'}), the performance gates "
            f"{judged} ({', '.join(against) or 'all pass'}): they are made from different records; materialise model_card and "
            "release again"
        )
    done = deepcopy(dict(card))
    rows = deepcopy(list(gates["gates"]))
    done |= {"status": CANDIDATE, "release_id": release_id, "gates": rows, "gates_passed": gates["passed"]}
    done |= {"override": None, "files": dict(sorted(files.items()))}
    done["architecture"]["signature"] = {key: deepcopy(signature[key]) for key in SIGNATURE}
    delta = _champion_delta(rows)
    if delta is not None:
        done["metrics"]["champion_delta"] = {**done["metrics"]["champion_delta"], **delta}
    entry = {"at": gates["created_at"], "event": "release", "release_id": release_id, **_differences(card, previous)}
    done["change_log"] = [*card["change_log"], entry]
    return with_null_reasons(done)


def override_card(card: Mapping[str, Any], gates: Mapping[str, Any]) -> dict[str, Any]:
    """The card of a version that was made live although gates failed.

    Args:
        card: of the version whose gates failed.
        gates: gate.json of the new version: its release_id, and override {reason, who, at, failed}.
    Raises:
        ValueError: the gate file carries no override, or the card is of no release.
    """
    override = gates.get("override")
    if not override:
        raise ValueError(f"gate.json of {gates.get('release_id')} carries no override: the card stays as it is")
    if card.get("release_id") is None:
        raise ValueError("the card is of no release: there is nothing to override; complete it first")
    done = deepcopy(dict(card))
    marks = set(override["failed"])
    rows = [
        {**row, "override": override["reason"] if row["name"] in marks else row["override"]} for row in card["gates"]
    ]
    done |= {"status": OVERRIDDEN, "release_id": gates["release_id"], "gates": rows, "override": deepcopy(override)}
    to = f"overridden: {override['reason']}"
    entry = {
        "at": override["at"],
        "event": "override",
        "release_id": gates["release_id"],
        "since": card["release_id"],
        "since_reason": "",
        "changes": [{"what": f"gate {name}", "from": "fail", "to": to} for name in override["failed"]],
    }
    done["change_log"] = [*card["change_log"], entry]
    return with_null_reasons(done)


def _champion_delta(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The comparison with the live model as a figure, out of its gate's row; None without such a row."""
    row = next((one for one in rows if one["name"] == CHALLENGER), None)
    if row is None:
        return None
    found = row["figures"]
    low, high = found.get("low_annual"), found.get("high_annual")
    value = found.get("difference_annual")
    return {
        "value": value,
        "n": found.get("n_bars"),
        "ci": None if low is None or high is None else [low, high],
        "p_value": found.get("p_value"),
        "against": found.get("champion"),
        "reason": row["why"],
    }


def _differences(card: Mapping[str, Any], previous: Mapping[str, Any] | None) -> dict[str, Any]:
    if previous is None:
        return {"since": None, "since_reason": "nothing was live before", "changes": []}
    if not previous:
        return {"since": None, "since_reason": "the live version's card cannot be trusted or read", "changes": []}
    changes: list[dict[str, Any]] = []
    for name, path in COMPARED:
        before, now = _value(previous, path), _value(card, path)
        if before == now:
            continue
        if name == "features" and isinstance(before, list) and isinstance(now, list):
            gone = [one for one in before if one not in now]
            new = [one for one in now if one not in before]
            changes.append({"what": name, "from": gone, "to": new})
        elif isinstance(before, Mapping) and isinstance(now, Mapping):
            keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            changes += [{"what": f"{name}.{key}", "from": before.get(key), "to": now.get(key)} for key in keys]
        else:
            changes.append({"what": name, "from": before, "to": now})
    since = previous.get("release_id")
    reason = "" if since is not None else "the live version's card does not say which release it is of"
    return {"since": since, "since_reason": reason, "changes": changes}


def _value(card: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The value at a path; None where a card of another version has no such key."""
    value: Any = card
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
