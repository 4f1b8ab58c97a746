"""Removing candidates that nothing refers to, so that versions do not fill the disk.

A version stays when it is live, when any entry of the log names it (a rollback to a date must stay possible), when its weights
are held after a rollback, when an override was made of it, when the caller refers to it, when it is one of the newest
candidates or less than a day old (the run that made it may not have recorded it yet), or when it cannot be verified (a person
should look at it). What goes is renamed aside first, under the lock of
deployments, so that no reader sees half of it; a line in `removed.jsonl` says what it was; then it is deleted. Who is killed in
between leaves a hidden folder, which the next removal ends. With a store a version goes there first; one that lies in the
store alone stays, for the machine that wrote it removes it. Not here: old versions of assets (`cleaning`), which candidates
wait (`deploying`).
"""

import json
import shutil
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tft_pipeline.domain.deploy_gate import origin_of
from tft_pipeline.storage.artifacts import MANIFEST, IntegrityError
from tft_pipeline.storage.atomic import append_line, fsync_folder
from tft_pipeline.storage.deploying import candidate_ids
from tft_pipeline.storage.deployment_log import logs_set_aside
from tft_pipeline.storage.deployments import (
    VERSIONS,
    WEIGHTS_FILE,
    deployment_lock,
    deployments,
    linked_release,
    rolled_back_weights,
    user_name,
)
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.releases import release_ids, released_version
from tft_pipeline.storage.standing import standing, store_of

REMOVED_LOG = "removed.jsonl"
ASIDE = ".removed-"
LEAST_AGE = timedelta(days=1)
"""Younger versions are never removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What became of every version.

    Attributes:
        removed: ids, oldest first; those that would be where nothing was to be removed.
        kept: id to why it stays.
        finished: hidden folders of an earlier, killed removal that were deleted now.
    """

    removed: tuple[str, ...]
    kept: dict[str, str]
    finished: tuple[str, ...] = ()


def prune(models: Path, *, keep: int, referenced: Collection[str] = (), dry_run: bool = False) -> Retention:
    """Remove the versions that nothing refers to.

    Args:
        keep: newest candidates that stay.
        referenced: ids that the caller's own records name.
        dry_run: only say what would go.
    Raises:
        ValueError: `keep` < 0.
        IntegrityError: the log is damaged: what was live when is not known, so nothing is removed.
        DeploymentLockedError: another process is deploying.
        OSError: a folder cannot be removed; it is gone for readers, and the next removal ends it. Or the store cannot be asked.
    """
    if keep < 0:
        raise ValueError(f"keep {keep} < 0: it is a number of candidates; 0 keeps none")
    with deployment_lock(models):
        reasons = _why_kept(models, keep, referenced)
        removed = tuple(name for name, why in reasons.items() if why is None)
        kept = {name: why for name, why in reasons.items() if why is not None}
        if dry_run:
            return Retention(removed=removed, kept=kept)
        finished = _delete_aside(models)
        for name in removed:
            store = store_of(models)
            if store is not None:  # first: what is gone here is not looked for again
                store.remove_version(name)
            folder = models / VERSIONS / name
            folder.rename(folder.with_name(f"{ASIDE}{name}-{uuid.uuid4().hex[:8]}"))
            fsync_folder(folder.parent)
            _delete_aside(models)
        return Retention(removed=removed, kept=kept, finished=finished)


def _why_kept(models: Path, keep: int, referenced: Collection[str]) -> dict[str, str | None]:
    """Every version, oldest first, and why it stays; None: nothing keeps it."""
    there, known = standing(models), release_ids(models)  # another machine may have made live what waits here
    here, entries = deployments(models), there.entries()
    live = {linked_release(models), there.live}
    named = {name for one in (*here, *entries) for name in (one.source, one.target)}
    aside = [(models / name).read_bytes() for name in logs_set_aside(models)]
    left = rolled_back_weights(entries)
    origins = {origin_of(name) for name in known if origin_of(name) != name}
    newest = candidate_ids(models, entries)[-keep:] if keep else []
    reasons: dict[str, str | None] = {}
    for name in known:
        why = None
        if name in live:
            why = "live"
        elif name in named:
            why = "the log of deployments names it"
        elif any(name.encode() in log for log in aside):
            why = "a damaged log that was set aside names it"
        elif name in origins:
            why = "an override was made of it"
        elif name in referenced:
            why = "the record of a run names it"
        elif name in newest:
            why = f"one of the newest {keep} candidates"
        elif _age(models / VERSIONS / name) < LEAST_AGE:
            why = "less than a day old"
        else:
            try:
                if released_version(models, name).files[WEIGHTS_FILE] in left:
                    why = "held: its weights were rolled back from"
            except IntegrityError as error:
                why = f"it cannot be verified, look at it: {error}"
        reasons[name] = why
    return reasons


def _age(folder: Path) -> timedelta:
    """Since the version was written; below zero where the clock went back. One without a manifest is as old as can be."""
    try:
        written = (folder / MANIFEST).stat().st_mtime
    except FileNotFoundError:
        return timedelta.max
    return utc_now() - datetime.fromtimestamp(written, UTC)


def _delete_aside(models: Path) -> tuple[str, ...]:
    """Delete what was renamed aside; a line of each is written before a byte of it goes."""
    folders = sorted((models / VERSIONS).glob(f"{ASIDE}*"))
    for folder in folders:
        if folder.name not in _lines(models):
            hashes = _hashes(folder)
            row = {"folder": folder.name, "at": utc_now().isoformat(), "who": user_name(), "files": hashes}
            append_line(models / REMOVED_LOG, row)
        folder.chmod(0o755)
        shutil.rmtree(folder)
        fsync_folder(folder.parent)
    return tuple(folder.name for folder in folders)


def _lines(models: Path) -> str:
    log = models / REMOVED_LOG
    return log.read_text() if log.is_file() else ""


def _hashes(folder: Path) -> dict[str, Any]:
    """SHA-256 of each file by its manifest; empty where a killed removal had deleted that already."""
    try:
        return {name: entry["sha256"] for name, entry in json.loads((folder / MANIFEST).read_text())["files"].items()}
    except FileNotFoundError:
        return {}
