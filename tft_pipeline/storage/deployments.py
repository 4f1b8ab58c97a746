"""Which release was made current, when, by whom and why: an append-only log beside the one `current` link.

    models/deployments.jsonl     two lines a deployment: the intent, and what became of it
    models/deployments.lock      held while one is made
    models/versions/current      the link; it alone says what is live

A deployment is written as intent, the link is swapped, and it is written as done. Whoever is killed in between leaves an
intent without an outcome; the link says what became of it, and the next deployment writes that down. The sequence orders
deployments, not the clock. Not here: what a release holds (`releases`), whether it may be deployed.
"""

import errno
import fcntl
import getpass
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tft_pipeline.storage.artifacts import CURRENT, IntegrityError
from tft_pipeline.storage.atomic import fsync_folder, replace_link
from tft_pipeline.storage.environment import utc_now

LOG_FILE, LOCK_FILE, VERSIONS = "deployments.jsonl", "deployments.lock", "versions"
RELEASE, ROLLBACK, FOUND = "release", "rollback", "found"
"""Actions; `found` is a link that moved without this log, or stood there before it began."""
INTENT, DONE, ABANDONED = "intent", "done", "abandoned"
LOCK_SECONDS = 10.0
"""How long another deployment is waited for; one takes far less."""
_KEYS = {"source": "from", "target": "to"}


class DeploymentLockedError(RuntimeError):
    """Another process is deploying, and did not end in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One entry; in the file `source` is `from` and `target` is `to`.

    Attributes:
        sequence: 1, 2, ...; orders entries whatever the clock did.
        at: ISO 8601, UTC: when it was decided, just before the link was swapped.
        action: release, rollback or found.
        source, target: release that was live before and that is after; None is none.
        who: user of the system.
        verdict: of the target's card.
        weights_sha256, card_sha256: of the target's files.
        state: done, abandoned, or intent while nobody wrote what became of it.
        note: what the log's reader should know of this entry.
    """

    sequence: int
    at: str
    action: str
    source: str | None
    target: str | None
    who: str
    reason: str
    verdict: str | None
    weights_sha256: str | None
    card_sha256: str | None
    state: str = INTENT
    note: str = ""

    @property
    def moment(self) -> datetime:
        """`at` as a time."""
        return datetime.fromisoformat(self.at)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, keys as in the file."""
        return {_KEYS.get(name, name): value for name, value in asdict(self).items()}


def linked_release(models: Path) -> str | None:
    """Name that the `current` link holds, whether or not that version exists; None without a link."""
    link = models / VERSIONS / CURRENT
    return os.readlink(link) if link.is_symlink() else None


def deployments(models: Path) -> list[Deployment]:
    """Every entry in its order, read together with the link: an open intent is settled by it, and a link that the log does not
    explain is an entry of its own. Nothing is written.

    Raises:
        IntegrityError: a line that is no entry.
    """
    return _settled(models, _stored(models))


def deploy(
    models: Path,
    target: str,
    *,
    action: str,
    reason: str,
    verdict: str | None,
    weights_sha256: str,
    card_sha256: str,
) -> Deployment:
    """Swap the link to a version that was verified, between two lines of the log. Call it under `deployment_lock`.

    Raises:
        OSError: the log or the link cannot be written; the link is as it was, or the log is settled by the next deployment.
        IntegrityError: the log holds a line that is no entry.
    """
    log = models / LOG_FILE
    _end_torn_line(log)
    stored = _stored(models)
    known = _settled(models, stored)
    for entry in known:
        if entry not in stored:
            _append(log, entry)
    intent = Deployment(
        sequence=known[-1].sequence + 1 if known else 1,
        at=utc_now().isoformat(),
        action=action,
        source=linked_release(models),
        target=target,
        who=_user(),
        reason=reason,
        verdict=verdict,
        weights_sha256=weights_sha256,
        card_sha256=card_sha256,
    )
    _append(log, intent)
    replace_link(models / VERSIONS / CURRENT, target)
    done = replace(intent, state=DONE)
    _append(log, done)
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


def live_since(entries: Sequence[Deployment]) -> Deployment | None:
    """The entry that made the live release live; None where nothing ever was."""
    done = [entry for entry in entries if entry.state == DONE]
    return done[-1] if done else None


def replaced_by(entries: Sequence[Deployment], release: str) -> str | None:
    """The release that was live before this one first became it: asked again and again it leads back, never forth."""
    first = next((entry for entry in entries if entry.state == DONE and entry.target == release), None)
    return None if first is None else first.source


def rolled_back_weights(entries: Sequence[Deployment]) -> dict[str, Deployment]:
    """Weights that somebody went back from since the last release, to the rollback that did so; those now live left out."""
    done = [entry for entry in entries if entry.state == DONE]
    weights = {entry.target: entry.weights_sha256 for entry in done}
    found: dict[str, Deployment] = {}
    for entry in reversed(done):
        if entry.action != ROLLBACK:
            break
        left = weights.get(entry.source)
        if left is not None and left != done[-1].weights_sha256:
            found.setdefault(left, entry)
    return found


def _settled(models: Path, entries: list[Deployment]) -> list[Deployment]:
    """Entries as the link proves them."""
    live = linked_release(models)
    found = list(entries)
    if found and found[-1].state == INTENT:
        last = found[-1]
        happened = live == last.target and live != last.source
        words = "the link leads to its target" if happened else "the link does not lead to its target"
        found[-1] = replace(
            last, state=DONE if happened else ABANDONED, note=f"ended before it was written down: {words}"
        )
    newest = live_since(found)
    known = None if newest is None else newest.target
    if live != known:
        found.append(_unexplained(models, found, known, live))
    return found


def _unexplained(models: Path, entries: list[Deployment], known: str | None, live: str | None) -> Deployment:
    link = models / VERSIONS / CURRENT
    changed = datetime.fromtimestamp(link.lstat().st_mtime, UTC).replace(microsecond=0) if live else utc_now()
    same = next((entry for entry in reversed(entries) if entry.target == live), None)
    return Deployment(
        sequence=entries[-1].sequence + 1 if entries else 1,
        at=changed.isoformat(),
        action=FOUND,
        source=known,
        target=live,
        who="unknown",
        reason="the link was changed without this log" if entries else "it was live before this log began",
        verdict=None if same is None else same.verdict,
        weights_sha256=None if same is None else same.weights_sha256,
        card_sha256=None if same is None else same.card_sha256,
        state=DONE,
        note="the time is that of the link",
    )


def _stored(models: Path) -> list[Deployment]:
    """What the file says: one entry a sequence number, the outcome in place of its intent; a torn last line is none."""
    log = models / LOG_FILE
    if not log.is_file():
        return []
    found: dict[int, Deployment] = {}
    for number, line in enumerate(log.read_text().split("\n")[:-1], start=1):
        try:
            row = json.loads(line)
            entry = Deployment(**{name: row.pop(_KEYS.get(name, name)) for name in Deployment.__dataclass_fields__})
            moment, unknown = entry.moment, row
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(
                f"{log}, line {number}: not an entry of the log ({error}); restore the file"
            ) from error
        if unknown or moment.tzinfo is None or entry.sequence not in (len(found), len(found) + 1):
            raise IntegrityError(
                f"{log}, line {number}: entry {entry.sequence} after {len(found)} with unknown keys {sorted(unknown)}: lines "
                "are missing or foreign; restore the file"
            )
        found[entry.sequence] = entry
    return list(found.values())


def _append(log: Path, entry: Deployment) -> None:
    """One line, on the disk when this returns; a disk that takes a part of it gets none."""
    line = (json.dumps(entry.to_dict(), sort_keys=True, allow_nan=False) + "\n").encode()
    new = not log.exists()
    with log.open("ab", buffering=0) as stream:
        before = stream.tell()
        written = stream.write(line)
        if written != len(line):
            stream.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(log))
        os.fsync(stream.fileno())
    if new:
        fsync_folder(log.parent)


def _end_torn_line(log: Path) -> None:
    """Cut off what a writer that was killed, or a full disk, left of a line: it never was an entry."""
    if not log.is_file():
        return
    content = log.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        with log.open("r+b") as stream:
            stream.truncate(len(whole))
            os.fsync(stream.fileno())


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a number without a name in the system's list of users
        name = f"uid {os.getuid()}"
    return re.sub(r"[^\w.@ -]", "?", name)[:64]
