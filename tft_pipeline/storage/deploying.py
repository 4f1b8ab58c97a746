"""Making a version live: verified, its gates held against it and what is live, overrides recorded, then the one link swapped.

A run writes a version and deploys it where its gates let it (`release_candidate`), a person what passed or, with a reason,
what did not: then a new version carries the override in its gate file and card, and nothing that was written before changes.
Not here: the files of a version (`releases`), what gates say (`gate_files`) and judging them, asking the model for an answer
(who calls this does), the way back (`rollback`). Standard library only.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tft_pipeline.domain.deploy_gate import OVERRIDDEN, PASSED, admitted, origin_of, overridden_gates
from tft_pipeline.storage.artifacts import Artifact, IntegrityError
from tft_pipeline.storage.atomic import canonical_json
from tft_pipeline.storage.deployment_log import Deployment
from tft_pipeline.storage.deployments import (
    CARD_FILE,
    DEPLOY,
    RELEASE,
    WEIGHTS_FILE,
    deployment_lock,
    live_since,
    live_weights,
    once_live,
    rolled_back_weights,
    user_name,
)
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.gate_files import DeployRefusedError, GateRefusedError, check_gates, own_gates
from tft_pipeline.storage.releases import (
    GATE_FILE,
    Release,
    copy_verified,
    fetch_version,
    held_words,
    make_current,
    release_ids,
    released_version,
    settle_version,
    take_news,
)
from tft_pipeline.storage.standing import Standing, standing


@dataclass(frozen=True, slots=True, kw_only=True)
class CardWriter:
    """How the card of an overridden version is written; its schema and renderings lie to the right of storage.

    Attributes:
        override: from the card that was and the new gate file to the new card.
        renderings: file that is made from the card, to the function that makes it.
    """

    override: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
    renderings: Mapping[str, Callable[[dict[str, Any]], str]]


AUTOMATIC = "release of the newest fold"
"""Why a run deploys, for the log."""


def deploy_release(
    models: Path,
    release_id: str,
    *,
    reason: str,
    automatic: bool = False,
    override: str | None = None,
    cards: CardWriter | None = None,
    newest: bool = False,
) -> Release:
    """Make a version live. Every file is verified under the lock; nothing changes when anything says no.

    Args:
        reason: for the log.
        automatic: a run deploys, not a person: weights that somebody rolled back from are held, as the answer's `note` says.
        override: why it is live although gates failed; a person's. The version that goes live is then `<id>-override`.
        cards: writes the card of an overridden version; needed with an override.
        newest: nobody named it: it is chosen again under the lock (`newest_candidate`), and must be chosen still.
    Returns:
        The version that is live, its entry of the log (None: held) and what the reader should know.
    Raises:
        ValueError: an override without `cards`.
        GateRefusedError: no gate.json, one about another version, or gates failed and there is no override. The comparison
            with the live model fails where another one is live by now.
        DeployRefusedError: it is live already, an override of gates that passed, or with `newest` not chosen any more.
        IntegrityError: a file is missing, unlisted or changed, or the log is damaged.
        RollbackRefusedError: no version of this name.
        DeploymentLockedError: another process is deploying.
        OSError: the disk is full or broken, or the store was not told. The link leads to the old version, or wholly to the
            new one.
    """
    if override is not None and cards is None:
        raise ValueError("an override writes a new card: say how, with `cards`")
    with deployment_lock(models):
        now = standing(models)
        if newest and (again := newest_candidate(now)) != release_id:
            raise DeployRefusedError(
                f"{release_id} was the newest candidate and {again} is by now; nothing was changed; name the one you mean"
            )
        return _deployed(now, release_id, reason=reason, automatic=automatic, override=override, cards=cards)


def release_candidate(models: Path, *, release_id: str, fill: Callable[[Path], None], why_not: str = "") -> Release:
    """A run's version, written and made live in one hold of the lock, so that nobody removes it or deploys another in between.

    Args:
        fill: as `releases.write_version`.
        why_not: why it stays a candidate whatever its gate file says; empty where nothing says so.
    Returns:
        As `deploy_release`; a version that its gates do not let go live is a candidate, as the `note` says.
    Raises:
        FileExistsError, ValueError, DeploymentLockedError: as `releases.write_version`; nothing was written.
        IntegrityError, OSError: as `deploy_release`; the version may be there.
    """
    with deployment_lock(models):
        version = settle_version(models, release_id=release_id, fill=fill)
        if why_not:
            return Release(version=version, deployment=None, note=why_not)
        try:
            return _deployed(standing(models), release_id, reason=AUTOMATIC, automatic=True)
        except GateRefusedError as error:
            return Release(version=version, deployment=None, note=f"a candidate: {'; '.join(error.reasons)}")


def _deployed(
    now: Standing,
    release_id: str,
    *,
    reason: str,
    automatic: bool,
    override: str | None = None,
    cards: CardWriter | None = None,
) -> Release:
    """`deploy_release` for who holds the lock."""
    version = fetch_version(now.models, release_id)
    entries = now.entries()
    if now.live == release_id:
        if automatic:
            return Release(version=version, deployment=live_since(entries), note=take_news(now))
        raise DeployRefusedError(f"{release_id} is live already{now.elsewhere()}: there is nothing to deploy")
    weights, left = version.files[WEIGHTS_FILE], rolled_back_weights(entries)
    if automatic and weights in left:
        return Release(version=version, deployment=None, note=held_words(left[weights], release_id))
    document = check_gates(now, version, overridden=override is not None)
    if override is not None and cards is not None:
        version = _overridden(now.models, version, document, override, cards, once_live(entries))
        document = own_gates(version)
    newest = max(left.values(), key=lambda entry: entry.sequence, default=None)
    ends = newest is not None and weights != live_weights(entries)
    ended = f"ends the rollback of {newest.at} ({newest.reason})" if newest and ends else ""
    why = "; ".join(filter(None, (reason or override, ended)))
    done = make_current(now, version, RELEASE if automatic else DEPLOY, why, gates=admitted(document))
    return Release(version=version, deployment=done, note="; ".join(filter(None, (ended, done.note))))


def candidate_ids(models: Path, entries: list[Deployment]) -> list[str]:
    """Versions that were never live, nor as an override, oldest first. An override is none: it was meant for that one moment,
    and where it did not come to be live a person who still means it names it."""
    live = once_live(entries)
    seen = live | {origin_of(name) for name in live}
    return [name for name in release_ids(models) if name not in seen and origin_of(name) == name]


def newest_candidate(now: Standing) -> str:
    """The candidate that a person means who names none: newer than what is live, and not held after a rollback.

    Raises:
        DeployRefusedError: none waits; the message says what there is. Or one does, and another machine deployed since this
            one looked: who named none did not know of that.
        IntegrityError: the log is damaged.
    """
    models, entries, live = now.models, now.entries(), now.live
    waiting = newer_candidates(candidate_ids(models, entries), live)
    left = rolled_back_weights(entries)
    for name in reversed(waiting):
        if released_version(models, name).files[WEIGHTS_FILE] not in left:
            if now.news is None:
                return name
            raise DeployRefusedError(
                f"another machine deployed meanwhile: {live} is live{now.elsewhere()}; nothing was changed; {name} is the "
                "newest candidate still: name it to deploy it all the same"
            )
    listed = f"there are {', '.join(release_ids(models)) or 'no versions'}"
    if waiting:
        raise DeployRefusedError(
            f"{waiting[-1]} waits, but its weights were rolled back from: name it to deploy it all the same; {listed}"
        )
    raise DeployRefusedError(
        f"no candidate is newer than {live or 'nothing'}, which is live{now.elsewhere()}; name one; {listed}"
    )


def newer_candidates(waiting: Sequence[str], live: str | None) -> list[str]:
    """Those that were made after the live one; ids follow each other as they were made (`releases.release_stamp`)."""
    return [name for name in waiting if live is None or name > origin_of(live)]


def _overridden(
    models: Path, version: Artifact, document: dict[str, Any], reason: str, cards: CardWriter, once: Collection[str]
) -> Artifact:
    """A version of the same files, whose gate file and card carry the override; the caller holds the lock.

    One that is there already, for the same reason, and never came to be live is what an earlier try left: it is taken.

    Args:
        document: the gates as they read now.
        once: versions that were live at some time.
    """
    known, stem, who = set(release_ids(models)), f"{origin_of(version.version)}-{OVERRIDDEN}", user_name()
    written = {GATE_FILE, CARD_FILE, *cards.renderings}
    name, number = stem, 2
    while name in known:
        if name not in once and _is_left_over(models, name, version, document, reason, who, written):
            return released_version(models, name)
        name, number = f"{stem}-{number}", number + 1
    gates = overridden_gates(document, release_id=name, reason=reason, who=who, at=utc_now().isoformat())
    judged = {"gates": document["gates"], "gates_passed": document[PASSED]}
    card = cards.override(json.loads(version.path(CARD_FILE).read_text()) | judged, gates)

    def fill(folder: Path) -> None:
        copy_verified(version, folder, [one for one in version.files if one not in written])
        (folder / GATE_FILE).write_text(canonical_json(gates))
        (folder / CARD_FILE).write_text(canonical_json(card))
        for one in sorted(set(cards.renderings) & set(version.files)):
            (folder / one).write_text(cards.renderings[one](card))

    return settle_version(models, release_id=name, fill=fill)


def _is_left_over(
    models: Path,
    name: str,
    version: Artifact,
    document: dict[str, Any],
    reason: str,
    who: str,
    written: Collection[str],
) -> bool:
    """Whether a version is, byte for byte, this override of this version."""
    try:
        there = released_version(models, name)
        found = own_gates(there)
    except (IntegrityError, GateRefusedError):
        return False
    at = (found[OVERRIDDEN] or {}).get("at", "")
    same = {one: there.files.get(one) for one in version.files if one not in written}
    return found == overridden_gates(document, release_id=name, reason=reason, who=who, at=at) and same == {
        one: version.files[one] for one in same
    }
