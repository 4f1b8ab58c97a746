"""Released models: immutable versions, one atomic `current` link, fixed names that resolve through it.

    models/versions/<id>/        a whole bundle and its manifest; read only, written once: a candidate until it is made current
    models/versions/current      the one link that a deployment swaps
    models/best_tft.pt, models/best_tft.safetensors -> versions/current/weights.safetensors
    models/best_tft_model_card.json                 -> versions/current/model_card.json

`best_tft.pt` is a name only: it holds the bytes of a safetensors file, no pickle. A reader resolves `current` once and reads
everything from there. Here: writing a version, what is there, and the switch. Not here: what must hold before it (`deploying`),
the way back (`rollback`), the log (`deployments`), removal (`retention`), what people type. Standard library only, so that a
process that deploys starts at once.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tft_pipeline.storage.artifacts import (
    CURRENT,
    MANIFEST,
    Artifact,
    ArtifactMissingError,
    IntegrityError,
    read_artifact,
    read_version,
    set_aside,
    sha256_file,
    write_artifact,
)
from tft_pipeline.storage.atomic import fsync_folder, replace_link, stage_beside, sweep_stages
from tft_pipeline.storage.deployment_log import Deployment
from tft_pipeline.storage.deployments import (
    CARD_FILE,
    VERSIONS,
    WEIGHTS_FILE,
    deploy,
    deployment_lock,
)
from tft_pipeline.storage.standing import Standing, standing, store_of

TARGETS_FILE = "performance_targets.json"
DECISION_FILE, FACTS_FILE = "decision.onnx", "decision.json"
"""The form that the latency gate judged, where it is an exported one, and what it needs besides."""
GATE_FILE = "gate.json"
STAMP = "%Y-%m-%dT%H-%M-%SZ"
"""Of the time, UTC, that an id begins with."""
READ_ONLY = 0o555
"""Of a version's folder; its files are 0444."""
FIXED_NAMES = {
    "best_tft.pt": WEIGHTS_FILE,
    "best_tft.safetensors": WEIGHTS_FILE,
    "best_tft_model_card.json": CARD_FILE,
}


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


def write_version(models: Path, *, release_id: str, fill: Callable[[Path], None]) -> Artifact:
    """Write a version beside the others, a candidate: nothing that is live changes.

    It is filled in a stage, listed in a manifest, made durable and read only, and moved to its place in one step, under the
    lock of deployments. Killed at any point it leaves no version or the whole one.

    Args:
        fill: fills an empty folder with files; `copy_verified` copies a bundle there.
    Returns:
        The version, verified. An intact one of this name and the same bytes stays as it is; a damaged one is set aside.
    Raises:
        FileExistsError: this id was written with other content.
        ValueError: the id is no plain name.
        DeploymentLockedError: another process is deploying; the version is not written.
        OSError: the disk is full or broken, or the store did not take it; the version is not there, and what was is.
    """
    with deployment_lock(models):
        return settle_version(models, release_id=release_id, fill=fill)


def settle_version(models: Path, *, release_id: str, fill: Callable[[Path], None]) -> Artifact:
    """`write_version` for a caller that holds the lock."""
    with stage_beside(models) as stage:
        staged = write_artifact(stage, fill, version=release_id, in_store=False)
        store = store_of(models)
        if store is not None:  # before it is there: what another machine cannot take is no candidate
            store.put_version(staged)
        for path in staged.folder.iterdir():
            path.chmod(0o444)
        return _settle(staged, models / VERSIONS / release_id)


def copy_verified(source: Artifact, folder: Path, names: Sequence[str] | None = None) -> None:
    """Copy files of a verified version, and hold each copy against the hash that was verified.

    Args:
        names: which; all of them unless told otherwise.
    Raises:
        IntegrityError: a file changed since.
    """
    for name in source.files if names is None else names:
        shutil.copyfile(source.path(name), folder / name)
        if (copied := sha256_file(folder / name)) != source.files[name]:
            raise IntegrityError(
                f"{source.path(name)}: SHA-256 is {copied}, it was verified as {source.files[name]}; write it again"
            )


def release_ids(models: Path) -> list[str]:
    """Every version in the order of their ids, which begin with the time they were made."""
    folder = models / VERSIONS
    if not folder.is_dir():
        return []
    return sorted(one.name for one in folder.iterdir() if one.is_dir() and not one.is_symlink() and one.name[0] != ".")


def release_stamp(models: Path, now: datetime) -> str:
    """The time that a new id begins with, so that ids follow each other as they were made, whatever the clock did.

    It is `now`, or one second after the newest id's where the clock is not past that; the store's live one counts.

    Raises:
        PublishError, IntegrityError: as `live_in_store`.
    """
    known = {*release_ids(models), live_in_store(models) or ""}
    begun = [moment for name in known if (moment := _begun(name)) is not None]
    return max([now.astimezone(UTC), *(moment + timedelta(seconds=1) for moment in begun)]).strftime(STAMP)


def _begun(release_id: str) -> datetime | None:
    """The time that an id begins with; None where it begins with none."""
    try:
        return datetime.strptime(release_id[: len("YYYY-MM-DDTHH-MM-SSZ")], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def beginning_with(known: Sequence[str], wanted: str) -> list[str]:
    """Ids that begin so; none for a piece of a date, which would find one day's release by chance."""
    return [name for name in known if len(wanted) > len("YYYY-MM-DD") and name.startswith(wanted)]


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
    """The live version of this machine, verified, and its card.

    Raises:
        ArtifactMissingError: nothing was released.
        IntegrityError: a file was changed.
    """
    released = read_artifact(models / VERSIONS, in_store=False)
    return released, json.loads(released.path(CARD_FILE).read_text())


def deploy_problems(models: Path) -> list[str]:
    """What keeps readers from the live version, in words; empty: the link resolves, every file is what was written, and the
    fixed names lead there."""
    return live_problems(models) or [*misled_names(models), *missing_names(models)]


def live_problems(models: Path) -> list[str]:
    """Why the live version is not what was deployed; a fixed name is no part of it."""
    try:
        current_release(models)
    except (ArtifactMissingError, IntegrityError, ValueError) as error:
        return [str(error)]
    return []


def missing_names(models: Path) -> list[str]:
    """Fixed names that are not there, as after an upgrade that brought a new one: nobody is misled by them."""
    links = [models / fixed for fixed in FIXED_NAMES]
    return [f"{link} is missing; the next deployment makes it" for link in links if not os.path.lexists(link)]


def misled_names(models: Path) -> list[str]:
    """Fixed names whose readers get something else than the live version."""
    live = (models / VERSIONS / CURRENT).resolve()
    return [
        f"{link} leads to {link.resolve()}, not into the live version; the next deployment mends it"
        for link, name in ((models / fixed, name) for fixed, name in FIXED_NAMES.items())
        if os.path.lexists(link) and (not link.is_symlink() or link.resolve() != live / name)
    ]


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
            target.chmod(READ_ONLY)
            return existing
    os.rename(staged.folder, target)
    target.chmod(READ_ONLY)  # not before: a folder that moves to another parent must be writable
    fsync_folder(target.parent)
    return read_version(target)


def make_current(
    now: Standing, version: Artifact, action: str, reason: str, note: str = "", gates: str | None = None
) -> Deployment:
    """Make the fixed names, swap the link to a verified version, write it to the log and tell the store where there is one.

    Where the store has news they are taken just before: the log goes on where the store's ends.

    Args:
        now: how releases stand; the caller holds the lock since it looked.

    Raises:
        OSError: the disk is full or broken; or the store was not told of what is live here, which the message says.
    """
    models = now.models
    sweep_stages(models / VERSIONS)
    card = json.loads(version.path(CARD_FILE).read_text())
    manifest = json.loads((version.folder / MANIFEST).read_text())
    note = "; ".join(filter(None, (note, take_news(now))))
    make_fixed_names(models)
    done = deploy(
        models,
        version.version,
        action=action,
        reason=reason,
        verdict=card.get("verdict"),
        weights_sha256=version.files[WEIGHTS_FILE],
        card_sha256=version.files[CARD_FILE],
        note=note,
        gates=gates,
        manifest_sha256=manifest["manifest_sha256"],
    )
    store = store_of(models)
    if store is not None:
        store.publish(version)
    return done


def take_news(now: Standing) -> str:
    """Make live here what another machine made live since; what became of a damaged log here, empty where none was.

    Raises:
        PublishError: the store does not answer. IntegrityError: an object is damaged. Nothing changed here.
    """
    store = store_of(now.models)
    return "" if store is None or now.news is None else store.catch_up(now.news)


def make_fixed_names(models: Path) -> None:
    """Let the fixed names lead through the one link, where they do not."""
    for fixed, name in FIXED_NAMES.items():
        target, link = f"{VERSIONS}/{CURRENT}/{name}", models / fixed
        if not link.is_symlink() or os.readlink(link) != target:
            replace_link(link, target)


def live_in_store(models: Path) -> str | None:
    """The release that a deployment now would replace: the store's where it knows later deployments than this machine, else
    where the link here leads; None without a store, or where nothing is live. The link stays as it is.

    Raises:
        PublishError: the store cannot be asked, or this machine and another one deployed without each other.
        IntegrityError: what the store holds is damaged.
    """
    return None if store_of(models) is None else standing(models).live


def fetch_version(models: Path, release_id: str) -> Artifact:
    """One version, verified: the one that is here, else the store's, brought here in place of a damaged one too. Nothing that
    is live changes.

    Raises:
        RollbackRefusedError, IntegrityError: as `released_version`; IntegrityError also where the store's is damaged.
        PublishError: the store does not answer.
    """
    store = store_of(models)
    if store is not None and release_id not in release_ids(models):
        store.bring(release_id)
    try:
        return released_version(models, release_id)
    except IntegrityError:
        if store is None or not store.bring(release_id):
            raise
    return released_version(models, release_id)


def held_words(rollback: Deployment, release_id: str) -> str:
    """Why weights that somebody went back from are not live."""
    why = f": {rollback.reason}" if rollback.reason else ""
    left = rollback.source or "the release live before"
    return (
        f"not live: its weights are those of {left}, which {rollback.who} rolled back from at {rollback.at}{why}; "
        f"to make it live all the same, deploy {release_id}"
    )
