"""Which release was made current, when, by whom and why: an append-only log beside the one `current` link.

    models/deployments.jsonl     two lines a deployment: the intent, and what became of it (`deployment_log`)
    models/deployments.lock      held while one is made
    models/versions/current      the link; it alone says what is live

A deployment is written as intent, the link is swapped, and it is written as done. Whoever is killed in between leaves an
intent without an outcome; the link says what became of it, and the next deployment writes that down. The sequence orders
deployments, not the clock. Not here: the file (`deployment_log`), what a release holds (`releases`).
"""

import fcntl
import getpass
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tft_pipeline.storage.artifacts import CURRENT, MANIFEST
from tft_pipeline.storage.atomic import replace_link
from tft_pipeline.storage.deployment_log import (
    ABANDONED,
    DONE,
    INTENT,
    LOG_FILE,
    Deployment,
    append_entry,
    end_torn_line,
    logs_set_aside,
    read_log,
)
from tft_pipeline.storage.environment import utc_now

LOCK_FILE, VERSIONS = "deployments.lock", "versions"
CARD_FILE, WEIGHTS_FILE = "model_card.json", "weights.safetensors"
RELEASE, DEPLOY, ROLLBACK, FOUND = "release", "deploy", "rollback", "found"
"""Actions: a run's own deployment, a person's, a way back; `found` is a link that moved without this log, or stood there before
it began."""
LOCK_SECONDS = 10.0
"""How long another deployment is waited for; one takes far less."""


class DeploymentLockedError(RuntimeError):
    """Another process is deploying, and did not end in time."""


def linked_release(models: Path) -> str | None:
    """Name that the `current` link holds, whether or not that version exists; None without a link."""
    link = models / VERSIONS / CURRENT
    return os.readlink(link) if link.is_symlink() else None


def deployments(models: Path) -> list[Deployment]:
    """Every entry in its order, read together with the link: an open intent is settled by it, and a link that the log does not
    explain is an entry of its own. While another process deploys its intent stays open. Nothing is written.

    Raises:
        IntegrityError: a line that is no entry.
    """
    while True:
        before = _log_and_link(models)
        found = _settled(models, read_log(models), under_way=_under_way(models))
        if _log_and_link(models) == before:
            return found


def deploy(
    models: Path,
    target: str,
    *,
    action: str,
    reason: str,
    verdict: str | None,
    weights_sha256: str,
    card_sha256: str,
    note: str = "",
    gates: str | None = None,
    manifest_sha256: str | None = None,
) -> Deployment:
    """Swap the link to a version that was verified, between two lines of the log. Call it under `deployment_lock`.

    Raises:
        OSError: the log or the link cannot be written; the link is as it was, or the log is settled by the next deployment.
        IntegrityError: the log holds a line that is no entry.
    """
    end_torn_line(models)
    stored = read_log(models)
    known = _settled(models, stored, under_way=False)
    for entry in known:
        if entry not in stored:
            append_entry(models, entry)
    intent = Deployment(
        sequence=known[-1].sequence + 1 if known else 1,
        at=utc_now().isoformat(),
        action=action,
        source=linked_release(models),
        target=target,
        who=user_name(),
        reason=reason,
        verdict=verdict,
        weights_sha256=weights_sha256,
        card_sha256=card_sha256,
        note=note,
        gates=gates,
        manifest_sha256=manifest_sha256,
    )
    append_entry(models, intent)
    replace_link(models / VERSIONS / CURRENT, target)
    done = replace(intent, state=DONE)
    append_entry(models, done)
    return done


@contextmanager
def deployment_lock(models: Path) -> Iterator[None]:
    """One deployer at a time; the system drops the lock when its process ends, however it ends.

    Raises:
        DeploymentLockedError: held by another for longer than `LOCK_SECONDS`.
    """
    models.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_SECONDS
    with (models / LOCK_FILE).open("a+") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise DeploymentLockedError(
                        f"{models / LOCK_FILE} was held for {LOCK_SECONDS:g} s: another process is deploying here; nothing was "
                        "changed; wait for it and try again"
                    ) from None
                time.sleep(0.02)
        yield


def live_at(entries: Sequence[Deployment], moment: datetime) -> str | None:
    """The release that was live at a moment: target of the last done entry, by sequence, that was decided by then."""
    past = [entry for entry in entries if entry.state == DONE and entry.moment <= moment]
    return past[-1].target if past else None


def once_live(entries: Sequence[Deployment]) -> set[str]:
    """Every release that was live at some time."""
    return {entry.target for entry in entries if entry.state == DONE and entry.target is not None}


def live_since(entries: Sequence[Deployment]) -> Deployment | None:
    """The entry that made the live release live; None where nothing ever was."""
    done = [entry for entry in entries if entry.state == DONE]
    return done[-1] if done else None


def replaced_by(entries: Sequence[Deployment], release: str | None) -> str | None:
    """The release that was live before this one first became it: asked again and again it leads back, never forth.

    Args:
        release: None where nothing is live: then it is the one that was live last.
    """
    done = [entry for entry in entries if entry.state == DONE]
    first = next((k for k, entry in enumerate(done) if release is not None and entry.target == release), len(done))
    earlier = [entry.target for entry in done[:first] if entry.target is not None]
    return earlier[-1] if earlier else None


def live_weights(entries: Sequence[Deployment]) -> str | None:
    """Hash of the weights that were made live last, whatever became of the link since."""
    return next((one.weights_sha256 for one in reversed(entries) if one.state == DONE and one.weights_sha256), None)


def rolled_back_weights(entries: Sequence[Deployment]) -> dict[str, Deployment]:
    """Weights that somebody went back from and that are not live again, to the rollback that did so.

    A release of other weights than the live ones ends that. One of the live weights, such as a nightly run's, does not, nor
    does a link that moved without the log.
    """
    held: dict[str, Deployment] = {}
    live: str | None = None
    for entry in entries:
        if entry.state != DONE:
            continue
        if entry.action == ROLLBACK and live is not None:
            held[live] = entry
        elif entry.action in (RELEASE, DEPLOY) and entry.weights_sha256 != live:
            held = {}
        live = entry.weights_sha256 or live
        if live is not None:
            held.pop(live, None)
    return held


def _log_and_link(models: Path) -> tuple[int, str | None]:
    log = models / LOG_FILE
    return log.stat().st_size if log.is_file() else -1, linked_release(models)


def _under_way(models: Path) -> bool:
    """Whether somebody holds the lock; shared and for a moment only, so that looking stops no deployment."""
    lock = models / LOCK_FILE
    if not lock.is_file():
        return False
    with lock.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _settled(models: Path, entries: list[Deployment], *, under_way: bool) -> list[Deployment]:
    """Entries as the link proves them.

    Args:
        under_way: a deployment is being made: an intent whose link was not swapped yet is no abandoned one.
    """
    live = linked_release(models)
    found = settled_by(entries, live, under_way=under_way)
    if found and found[-1].state == INTENT:
        return found
    newest = live_since(found)
    known = None if newest is None else newest.target
    if live != known:
        found.append(_unexplained(models, found, known, live))
    return found


def settled_by(entries: Sequence[Deployment], live: str | None, *, under_way: bool = False) -> list[Deployment]:
    """Entries with the outcome of the last one's intent, as what is live proves it.

    Args:
        under_way: as `_settled`.
    """
    found = list(entries)
    if found and found[-1].state == INTENT:
        last = found[-1]
        happened = live == last.target and live != last.source
        if under_way and not happened:
            return found
        words = "the link leads to its target" if happened else "the link does not lead to its target"
        said = f"ended before it was written down: {words}"
        state = DONE if happened else ABANDONED
        found[-1] = replace(last, state=state, note="; ".join(filter(None, (last.note, said))))
    return found


def _unexplained(models: Path, entries: list[Deployment], known: str | None, live: str | None) -> Deployment:
    link = models / VERSIONS / CURRENT
    changed = datetime.fromtimestamp(link.lstat().st_mtime, UTC).replace(microsecond=0) if live else utc_now()
    same = next((entry for entry in reversed(entries) if entry.target == live), None)
    aside = logs_set_aside(models)
    before = f"the log before this one was damaged and is {aside[-1]}" if aside else "it was live before this log began"
    written = {} if live is None else manifest_hashes(models, live)
    return Deployment(
        sequence=entries[-1].sequence + 1 if entries else 1,
        at=changed.isoformat(),
        action=FOUND,
        source=known,
        target=live,
        who="unknown",
        reason="the link was changed without this log" if entries else before,
        verdict=None if same is None else same.verdict,
        weights_sha256=written.get(WEIGHTS_FILE) if same is None else same.weights_sha256,
        card_sha256=written.get(CARD_FILE) if same is None else same.card_sha256,
        state=DONE,
        note="the time is that of the link",
        gates=None if same is None else same.gates,
        manifest_sha256=written.get(MANIFEST) if same is None else same.manifest_sha256,
    )


def manifest_hashes(models: Path, release_id: str) -> dict[str, str]:
    """What a version's manifest says weights, card and itself are, by file; empty where it cannot be read. Nothing is verified,
    for a damaged live version is still what it was."""
    try:
        manifest = json.loads((models / VERSIONS / release_id / MANIFEST).read_bytes())
        files = {name: str(manifest["files"][name]["sha256"]) for name in (WEIGHTS_FILE, CARD_FILE)}
        return files | {MANIFEST: str(manifest["manifest_sha256"])}
    except (OSError, ValueError, KeyError, TypeError):  # the version is gone or not readable: nobody knows its hashes
        return {}


def user_name() -> str:
    """Who the system says is working, for the log."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a number without a name in the system's list of users
        name = f"uid {os.getuid()}"
    return re.sub(r"[^\w.@ -]", "?", name)[:64]
