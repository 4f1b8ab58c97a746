"""Released models: immutable versions, one atomic `current` link, fixed names that resolve through it.

    models/versions/<id>/        weights, network, trees, card, targets, the timed form, manifest; read only, written once
    models/versions/current      the one link that a deployment swaps
    models/best_tft.safetensors  -> versions/current/weights.safetensors
    models/best_tft_model_card.json -> versions/current/model_card.json

A reader resolves `current` once and reads everything from there. Here: writing a version and making it current, the way
back, what is there. Not here: the log of deployments (`deployments`), gates, what people type.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from tft_pipeline.storage.artifacts import (
    CURRENT,
    Artifact,
    ArtifactMissingError,
    IntegrityError,
    read_artifact,
    read_version,
    set_aside,
    sha256_file,
    write_artifact,
)
from tft_pipeline.storage.atomic import canonical_json, fsync_folder, replace_link, stage_beside
from tft_pipeline.storage.deployment_log import Deployment, read_log, set_log_aside
from tft_pipeline.storage.deployments import (
    CARD_FILE,
    RELEASE,
    ROLLBACK,
    VERSIONS,
    WEIGHTS_FILE,
    deploy,
    deployment_lock,
    deployments,
    linked_release,
    live_at,
    live_since,
    live_weights,
    replaced_by,
    rolled_back_weights,
)
from tft_pipeline.storage.environment import utc_now

TARGETS_FILE = "performance_targets.json"
DECISION_FILE, FACTS_FILE = "decision.onnx", "decision.json"
"""The form that the latency gate judged, where it is an exported one, and what it needs besides."""
FIXED_NAMES = {"best_tft.safetensors": WEIGHTS_FILE, "best_tft_model_card.json": CARD_FILE}
PREVIOUS = "previous"
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class RollbackRefusedError(ValueError):
    """What was asked for cannot be rolled back to: nothing was live then, no such release, or it is live already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A version that was written, and whether it is live.

    Attributes:
        deployment: entry of the log that made it current; None where it was held.
        note: why it was held, or which rollback it ends; empty otherwise.
    """

    version: Artifact
    deployment: Deployment | None
    note: str = ""


def write_release(
    models: Path,
    *,
    release_id: str,
    bundle: Artifact,
    card: dict[str, Any],
    targets: Sequence[dict[str, Any]] = (),
    decision: Mapping[str, bytes] | None = None,
    reason: str = "release of the newest fold",
) -> Release:
    """Copy a verified fold bundle, its card and its performance targets into a new version and make it current.

    Weights that somebody rolled back from are written but held: only a person makes them current again, by rolling "back" to
    this id. Other weights than the live ones end a rollback, and the log says so.

    Args:
        decision: `DECISION_FILE` and `FACTS_FILE` of an exported form that was held against the weights.
    Raises:
        FileExistsError: this id was released with other content.
        IntegrityError: a file of the bundle changed after it was verified; nothing is released.
        DeploymentLockedError: another process is deploying; the version is not written.
    """

    def fill(folder: Path) -> None:
        for name in bundle.files:
            shutil.copyfile(bundle.path(name), folder / name)
            if (copied := sha256_file(folder / name)) != bundle.files[name]:
                raise IntegrityError(
                    f"{bundle.path(name)}: SHA-256 is {copied}, it was verified as {bundle.files[name]}; fit the fold again"
                )
        (folder / CARD_FILE).write_text(canonical_json(card))
        (folder / TARGETS_FILE).write_text(canonical_json(list(targets)))
        for name, content in (decision or {}).items():
            (folder / name).write_bytes(content)

    with deployment_lock(models):
        entries = deployments(models)
        with stage_beside(models) as stage:
            staged = write_artifact(stage, fill, version=release_id)
            for path in staged.folder.iterdir():
                path.chmod(0o444)
            version = _settle(staged, models / VERSIONS / release_id)
        for fixed, name in FIXED_NAMES.items():
            target, link = f"{VERSIONS}/{CURRENT}/{name}", models / fixed
            if not link.is_symlink() or os.readlink(link) != target:
                replace_link(link, target)
        if linked_release(models) == release_id:
            return Release(version=version, deployment=live_since(entries))
        weights, left = version.files[WEIGHTS_FILE], rolled_back_weights(entries)
        if weights in left:
            return Release(version=version, deployment=None, note=_held(left[weights], release_id))
        newest = max(left.values(), key=lambda entry: entry.sequence, default=None)
        ends = newest is not None and weights != live_weights(entries)
        ended = f"ends the rollback of {newest.at} ({newest.reason})" if newest and ends else ""
        done = _deploy(models, version, RELEASE, "; ".join(filter(None, (reason, ended))))
        return Release(version=version, deployment=done, note=ended)


def roll_back(models: Path, release_id: str, *, reason: str, wanted: str | None = None) -> Deployment:
    """Make an earlier version current again; every file is verified first, and nothing changes when anything fails.

    A damaged log is set aside where the release was asked for by its whole id; the note of the entry says so.

    Args:
        release_id: full name of a version, as `find_release` gave it.
        wanted: what it was asked for with, found again under the lock; by default the id.
    Raises:
        RollbackRefusedError: it is live already, there is no such version, or `wanted` means another one by now.
        IntegrityError: a file of it is damaged, or the log is and it was not asked for by its id.
        DeploymentLockedError: another process is deploying.
    """
    with deployment_lock(models):
        now = utc_now()
        again = release_id if wanted is None else find_release(models, wanted, now=now)
        if again != release_id:
            raise RollbackRefusedError(
                f"{wanted} meant {release_id} and means {again} now: another process deployed meanwhile; nothing was changed; "
                "look at `tft status` and ask again"
            )
        if linked_release(models) == release_id:
            raise RollbackRefusedError(f"{release_id} is live already: there is nothing to roll back")
        version = released_version(models, release_id)
        note = ""
        try:
            read_log(models)
        except IntegrityError as error:
            note = f"{error}; it is {set_log_aside(models, now).name} now, and what it held back is not held any more"
        return _deploy(models, version, ROLLBACK, reason, note)


def find_release(models: Path, wanted: str, *, now: datetime) -> str:
    """Full id of the release that a person means.

    Args:
        wanted: an id; a date, YYYY-MM-DD: the release that was live at its end (UTC), by the log; `previous`: the one that was
            live before the live one first became it; else a beginning that is longer than a date and that only one id has.
    Raises:
        RollbackRefusedError: nothing fits, or several do; the message lists what there is.
        IntegrityError: the log is damaged; a whole id does without it.
    """
    known = release_ids(models)
    if not known:
        raise RollbackRefusedError(f"nothing was released below {models}: there is nothing to go back to")
    if wanted in known:
        return wanted
    entries, listed = deployments(models), f"there are {', '.join(known)}"
    if wanted == PREVIOUS:
        live = linked_release(models)
        found = replaced_by(entries, live)
        if found is None:
            raise RollbackRefusedError(f"nothing was live before {live or 'now'}; {listed}")
        return found
    if (asked := _day(wanted)) is not None:
        if asked > now.date():
            raise RollbackRefusedError(
                f"{wanted} has not begun: which release will be live then is not known; {listed}"
            )
        found = live_at(entries, datetime.combine(asked, time(), UTC) + timedelta(days=1) - timedelta.resolution)
        if found is None:
            first = next((entry.at for entry in entries if entry.target), "never")
            raise RollbackRefusedError(
                f"nothing was live at the end of {wanted} (UTC), the first release was made live {first}; {listed}"
            )
        return found
    # a piece of a date would find one day's release by chance, and never the one that was live then
    fitting = [name for name in known if len(wanted) > len("YYYY-MM-DD") and name.startswith(wanted)]
    if len(fitting) != 1:
        how = f"{len(fitting)} releases begin with {wanted!r}" if fitting else f"{wanted!r} names no release"
        raise RollbackRefusedError(
            f"{how}; name a whole date YYYY-MM-DD, {PREVIOUS!r}, an id, or a beginning of one that is longer than a date; "
            f"{listed}"
        )
    return fitting[0]


def _day(text: str) -> date | None:
    """A whole date; None for anything else, such as a week's day or the 30th of February."""
    try:
        return date.fromisoformat(text) if DAY.fullmatch(text) else None
    except ValueError:
        return None


def release_ids(models: Path) -> list[str]:
    """Every version in the order of their ids, which begin with the time they were made."""
    folder = models / VERSIONS
    if not folder.is_dir():
        return []
    return sorted(one.name for one in folder.iterdir() if one.is_dir() and not one.is_symlink() and one.name[0] != ".")


def released_version(models: Path, release_id: str) -> Artifact:
    """One version, every file verified.

    Raises:
        RollbackRefusedError: there is none of this name.
        IntegrityError: a file is missing, unlisted or changed.
    """
    if release_id not in release_ids(models):
        raise RollbackRefusedError(
            f"{models / VERSIONS / release_id} is not there any more; there are {', '.join(release_ids(models)) or 'none'}"
        )
    version = read_version(models / VERSIONS / release_id)
    missing = sorted({WEIGHTS_FILE, CARD_FILE} - set(version.files))
    if missing:
        raise IntegrityError(
            f"{version.folder}: no {', '.join(missing)} in it: it is no release; remove it or restore it"
        )
    return version


def current_release(models: Path) -> tuple[Artifact, dict[str, Any]]:
    """The live version, verified, and its card.

    Raises:
        ArtifactMissingError: nothing was released.
        IntegrityError: a file was changed.
    """
    released = read_artifact(models / VERSIONS)
    return released, json.loads(released.path(CARD_FILE).read_text())


def deploy_problems(models: Path) -> list[str]:
    """What keeps readers of the fixed names from the live version, in words; empty: the link resolves, every file is what was
    written, and the fixed names lead there."""
    try:
        live, _ = current_release(models)
    except (ArtifactMissingError, IntegrityError, ValueError) as error:
        return [str(error)]
    problems = []
    for fixed, name in FIXED_NAMES.items():
        link = models / fixed
        if not link.is_symlink():
            problems.append(f"{link} is missing; release again")
        elif link.resolve() != live.path(name).resolve():
            problems.append(f"{link} leads to {link.resolve()}, not into the live version; release again")
    return problems


def _settle(staged: Artifact, target: Path) -> Artifact:
    """Rename a finished version to its place; an intact equal one stays, a damaged one is set aside."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        try:
            existing = read_version(target)
        except IntegrityError:
            set_aside(target)
        else:
            if existing.files != staged.files:
                raise FileExistsError(f"{target} exists with other content; versions are never overwritten")
            return existing
    os.rename(staged.folder, target)
    fsync_folder(target.parent)
    return read_version(target)


def _deploy(models: Path, version: Artifact, action: str, reason: str, note: str = "") -> Deployment:
    card = json.loads(version.path(CARD_FILE).read_text())
    return deploy(
        models,
        version.version,
        action=action,
        reason=reason,
        verdict=card.get("verdict"),
        weights_sha256=version.files[WEIGHTS_FILE],
        card_sha256=version.files[CARD_FILE],
        note=note,
    )


def _held(rollback: Deployment, release_id: str) -> str:
    why = f": {rollback.reason}" if rollback.reason else ""
    left = rollback.source or "the release live before"
    return (
        f"not live: its weights are those of {left}, which {rollback.who} rolled back from at {rollback.at}{why}; "
        f"to make it live all the same, roll back to {release_id}"
    )
