"""Making a version live: verified, its gates held against it, overrides recorded, then the one link swapped.

A run deploys what passed its gates (`automatic`), a person what passed or, with a reason, what did not: then a new version
carries the override in its gate file and card, and nothing that was written before changes. Not here: writing a version
(`releases`), judging gates, asking the model for an answer (who calls this does), the way back (`rollback`). Standard library
only.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tft_pipeline.domain.deploy_gate import (
    OVERRIDDEN,
    admitted,
    failed_gates,
    gate_problems,
    gate_sentence,
    overridden_gates,
)
from tft_pipeline.storage.artifacts import Artifact
from tft_pipeline.storage.atomic import canonical_json
from tft_pipeline.storage.deployment_log import Deployment
from tft_pipeline.storage.deployments import (
    DEPLOY,
    RELEASE,
    deployment_lock,
    deployments,
    linked_release,
    live_since,
    live_weights,
    once_live,
    rolled_back_weights,
    user_name,
)
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.releases import (
    CARD_FILE,
    GATE_FILE,
    WEIGHTS_FILE,
    Release,
    copy_verified,
    held_words,
    make_current,
    release_ids,
    released_version,
    settle_version,
)

_OVERRIDE = re.compile(rf"^(?P<of>.+?)-{OVERRIDDEN}(-\d+)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class CardWriter:
    """How the card of an overridden version is written; its schema and renderings lie to the right of storage.

    Attributes:
        override: from the card that was and the new gate file to the new card.
        renderings: file that is made from the card, to the function that makes it.
    """

    override: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
    renderings: Mapping[str, Callable[[dict[str, Any]], str]]


class DeployRefusedError(ValueError):
    """What was asked for cannot be deployed: no such version, none that waits, or it is live already."""


class GateRefusedError(ValueError):
    """The gates keep a version from being live.

    Attributes:
        reasons: one sentence each.
    """

    def __init__(self, release_id: str, reasons: list[str]) -> None:
        super().__init__(f"{release_id}: {'; '.join(reasons)}")
        self.reasons = reasons


def deploy_release(
    models: Path,
    release_id: str,
    *,
    reason: str,
    automatic: bool = False,
    override: str | None = None,
    cards: CardWriter | None = None,
) -> Release:
    """Make a version live. Every file is verified under the lock; nothing changes when anything says no.

    Args:
        reason: for the log.
        automatic: a run deploys, not a person: weights that somebody rolled back from are held, as the answer's `note` says.
        override: why it is live although gates failed; a person's. The version that goes live is then `<id>-override`.
        cards: writes the card of an overridden version; needed with an override.
    Returns:
        The version that is live, its entry of the log (None: held) and what the reader should know.
    Raises:
        ValueError: an override without `cards`.
        GateRefusedError: no gate.json, one about another version, or gates failed and there is no override.
        DeployRefusedError: it is live already, or an override of gates that passed.
        IntegrityError: a file is missing, unlisted or changed, or the log is damaged.
        RollbackRefusedError: no version of this name.
        DeploymentLockedError: another process is deploying.
        OSError: the disk is full or broken. The link leads to the old version, or wholly to the new one.
    """
    if override is not None and cards is None:
        raise ValueError("an override writes a new card: say how, with `cards`")
    with deployment_lock(models):
        version = released_version(models, release_id)
        entries = deployments(models)
        if linked_release(models) == release_id:
            if automatic:
                return Release(version=version, deployment=live_since(entries))
            raise DeployRefusedError(f"{release_id} is live already: there is nothing to deploy")
        document = check_gates(version, overridden=override is not None)
        weights, left = version.files[WEIGHTS_FILE], rolled_back_weights(entries)
        if automatic and weights in left:
            return Release(version=version, deployment=None, note=held_words(left[weights], release_id))
        if override is not None and cards is not None:
            version = _overridden(models, version, document, override, cards)
            document = _gate_document(version)
        newest = max(left.values(), key=lambda entry: entry.sequence, default=None)
        ends = newest is not None and weights != live_weights(entries)
        ended = f"ends the rollback of {newest.at} ({newest.reason})" if newest and ends else ""
        why = "; ".join(filter(None, (reason or override, ended)))
        done = make_current(models, version, RELEASE if automatic else DEPLOY, why, gates=admitted(document))
        return Release(version=version, deployment=done, note=ended)


def check_gates(version: Artifact, *, overridden: bool = False) -> dict[str, Any]:
    """The gate file of a verified version, which lets it go live.

    Args:
        overridden: failed gates are overridden; a missing or foreign file never is.
    Raises:
        GateRefusedError: it does not.
        DeployRefusedError: an override, and nothing that needs one.
    """
    if GATE_FILE not in version.files:
        raise GateRefusedError(
            version.version, [f"no {GATE_FILE}: its gates were never judged; run the release again, which judges them"]
        )
    try:
        document = _gate_document(version)
    except ValueError as error:
        raise GateRefusedError(version.version, [f"{GATE_FILE} is not JSON ({error})"]) from error
    problems = gate_problems(document, release_id=version.version, weights_sha256=version.files[WEIGHTS_FILE])
    if problems:
        raise GateRefusedError(version.version, problems)
    said = admitted(document)
    if overridden and said is not None:
        raise DeployRefusedError(f"{version.version}: {said}; there is nothing to override: deploy it without")
    if not overridden and said is None:
        raise GateRefusedError(version.version, [gate_sentence(row) for row in failed_gates(document)])
    return document


def gates_of(version: Artifact) -> str | None:
    """What the log says of a verified version's gates; None where they do not let it go live, or are not there to be read."""
    if GATE_FILE not in version.files:
        return None
    try:
        document = _gate_document(version)
    except ValueError:
        return None
    wrong = gate_problems(document, release_id=version.version, weights_sha256=version.files[WEIGHTS_FILE])
    return None if wrong else admitted(document)


def origin_of(release_id: str) -> str:
    """The version that an override is of; the version itself where it is none."""
    found = _OVERRIDE.fullmatch(release_id)
    return release_id if found is None else found["of"]


def candidate_ids(models: Path, entries: list[Deployment]) -> list[str]:
    """Versions that were never live, nor as an override, oldest first."""
    live = once_live(entries)
    seen = live | {origin_of(name) for name in live}
    return [name for name in release_ids(models) if name not in seen]


def newest_candidate(models: Path) -> str:
    """The candidate that a person means who names none: newer than what is live, and not held after a rollback.

    Raises:
        DeployRefusedError: none waits; the message says what there is.
        IntegrityError: the log is damaged.
    """
    entries, live = deployments(models), linked_release(models)
    waiting = [name for name in candidate_ids(models, entries) if live is None or name > live]
    left = rolled_back_weights(entries)
    for name in reversed(waiting):
        if released_version(models, name).files[WEIGHTS_FILE] not in left:
            return name
    listed = f"there are {', '.join(release_ids(models)) or 'no versions'}"
    if waiting:
        raise DeployRefusedError(
            f"{waiting[-1]} waits, but its weights were rolled back from: name it to deploy it all the same; {listed}"
        )
    raise DeployRefusedError(f"no candidate is newer than {live or 'nothing'}, which is live; name one; {listed}")


def _overridden(models: Path, version: Artifact, document: dict[str, Any], reason: str, cards: CardWriter) -> Artifact:
    """A new version of the same files, whose gate file and card carry the override; the caller holds the lock."""
    known, stem = set(release_ids(models)), f"{version.version}-{OVERRIDDEN}"
    name, number = stem, 2
    while name in known:
        name, number = f"{stem}-{number}", number + 1
    gates = overridden_gates(document, release_id=name, reason=reason, who=user_name(), at=utc_now().isoformat())
    card = cards.override(json.loads(version.path(CARD_FILE).read_text()), gates)

    def fill(folder: Path) -> None:
        written = {GATE_FILE, CARD_FILE, *cards.renderings}
        copy_verified(version, folder, [one for one in version.files if one not in written])
        (folder / GATE_FILE).write_text(canonical_json(gates))
        (folder / CARD_FILE).write_text(canonical_json(card))
        for one in sorted(set(cards.renderings) & set(version.files)):
            (folder / one).write_text(cards.renderings[one](card))

    return settle_version(models, release_id=name, fill=fill)


def _gate_document(version: Artifact) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(version.path(GATE_FILE).read_text())
    return document
