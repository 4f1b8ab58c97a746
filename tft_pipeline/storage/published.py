"""Releases in the object store: every version, the log of deployments, and one pointer to both.

    models/versions/<release>/     put when it is written, a candidate until a pointer names it
    models/log/<sha256>.jsonl      the whole log as it was after one deployment
    models/current.json            {version, manifest_sha256, log_sha256, at}: what is live, with the log that says why

A deployment is made on this machine first and published then: the log, and the pointer by one conditional put. The log only
grows, so a machine whose log is a beginning of the store's takes the store's before it deploys, and one whose log goes on
where the store's ends publishes the rest. Two that go on differently were two deployments at once: the second is refused.
Not here: deploying (`deploying`), the lock (`deployments`); callers hold it.
"""

import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.artifacts import CURRENT, IDENTIFIER, MANIFEST, Artifact, IntegrityError, linked_version
from tft_pipeline.storage.atomic import canonical_json, replace_file, replace_link
from tft_pipeline.storage.deployment_log import (
    LOG_FILE,
    Deployment,
    intact_beginning,
    parse_log,
    set_log_aside,
    whole_lines,
)
from tft_pipeline.storage.deployments import settled_by
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.object_store import MovedError, ObjectStore, StoreError
from tft_pipeline.storage.stored_versions import POINTER, StoredPlace, manifest_sha256, stored_place

VERSIONS = "versions"
READ_ONLY = 0o555
"""Of a version's folder; its files are 0444."""


class PublishError(OSError):
    """A release did not reach the store, or the store could not be asked before a deployment."""

    @property
    def may_pass(self) -> bool:
        """Whether the store was away or busy, so that the same may work next time; not where something is damaged or another
        machine deployed."""
        return isinstance(self.__cause__, StoreError) and self.__cause__.may_pass


@dataclass(frozen=True, slots=True)
class Published:
    """What the store says is live.

    Attributes:
        content: bytes of the pointer, to replace no other one than this.
        log: bytes of the log of deployments.
        note: what became of a damaged log here; empty where none was.
    """

    version: str
    manifest_sha256: str
    log: bytes
    content: bytes
    note: str = ""

    def entries(self) -> list[Deployment]:
        """Every deployment, by the store's log.

        Raises:
            IntegrityError: a line of it is none.
        """
        return settled_by(
            parse_log(self.log, "the store's log", "; restore the object from a machine's log"), self.version
        )


@dataclass(frozen=True, slots=True)
class StoredModels:
    """Releases of one experiment in the store and on this machine.

    Attributes:
        models: their local folder. key: the same in the store.
    """

    store: ObjectStore
    models: Path
    key: str

    @property
    def versions(self) -> StoredPlace:
        """Every version."""
        return StoredPlace(store=self.store, root=self.models / VERSIONS, key=f"{self.key}/{VERSIONS}")

    def put_version(self, version: Artifact) -> None:
        """Put a verified version, so that other machines can take it; nothing that is live changes.

        Raises:
            PublishError: the store did not take all of it.
            FileExistsError: it holds other content under this name.
        """
        try:
            self.versions.put_version(version)
        except StoreError as error:
            raise PublishError(
                f"{version.version} was not stored: {error}; nothing that is live changed, here or in the store"
            ) from error

    def remove_version(self, version: str) -> None:
        """Remove a candidate, its manifest first, so that it is no version any more.

        Raises:
            PublishError: the store does not answer; the rest goes when it is removed again.
        """
        prefix = f"{self.versions.key}/{version}"
        try:
            self.store.remove(f"{prefix}/{MANIFEST}")
            for key in self.store.names(prefix):
                self.store.remove(key)
        except StoreError as error:
            raise PublishError(f"{version} was not removed: {error}") from error

    def published(self) -> Published | None:
        """What the store says is live; None where nothing was ever published.

        Raises:
            StoreError: the store does not answer.
            IntegrityError: the pointer or its log is damaged.
        """
        where, content = self.store.where(f"{self.key}/{POINTER}"), self.store.get(f"{self.key}/{POINTER}")
        if content is None:
            return None
        try:
            body = json.loads(content)
            version, manifest, stated = (str(body[name]) for name in ("version", "manifest_sha256", "log_sha256"))
            if not IDENTIFIER.fullmatch(version) or not stated.isalnum():
                raise ValueError(f"{version!r} or {stated!r} is no plain name")
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{where} is no pointer ({error!r}): what is live is not known; remove it, and `tft push` from the "
                "machine that deployed last puts a new one"
            ) from error
        log = self.store.get(self._log_key(stated))
        actual = None if log is None else sha256(log).hexdigest()
        if log is None or actual != stated:
            raise IntegrityError(
                f"{self.store.where(self._log_key(stated))}: SHA-256 is {actual or 'that of nothing, it is missing'}, the "
                f"pointer says {stated}: what was live when is not known; restore the object from a machine's {LOG_FILE}"
            )
        return Published(version=version, manifest_sha256=manifest, log=log, content=content)

    def later(self) -> Published | None:
        """What the store knows later than this machine; None: no news. Nothing is changed here.

        Raises:
            PublishError: the store cannot be asked, or this machine and another one deployed without each other.
            IntegrityError: the pointer or its log is damaged.
        """
        try:
            there = self.published()
        except StoreError as error:
            live = linked_version(self.models / VERSIONS)
            raise PublishError(f"{error}; nothing was deployed or taken, {live or 'nothing'} is live here") from error
        if there is None:
            return None
        mine, damage = self._own_log(there)
        if mine.startswith(there.log):
            return None
        if not there.log.startswith(mine):
            raise PublishError(
                f"{self.models / LOG_FILE} and {self.store.where(self.key)} go on differently: this machine and another "
                f"one deployed without each other; here {linked_version(self.models / VERSIONS)} is live, in the store "
                f"{there.version}; nothing was changed; to take the store's side, move {LOG_FILE} away and `tft pull`"
            )
        return replace(there, note=damage)

    def pull(self) -> Published | None:
        """Make live here what the store says is live, every byte verified again; None where nothing was ever published.

        Raises:
            PublishError: this machine deployed what the store was not told, or another than the store knows.
            StoreError: the store does not answer. IntegrityError: an object is damaged. Nothing changed here.
        """
        there = self.published()
        if there is None:
            return None
        mine, damage = self._own_log(there)
        if not there.log.startswith(mine):
            raise PublishError(
                f"{self.models / LOG_FILE} does not end where the log of {self.store.where(self.key)} does: "
                f"{linked_version(self.models / VERSIONS)} is live here and {there.version} there, by deployments that do not "
                f"know of each other; where the store lacks yours, `tft push`; to take its side, move {LOG_FILE} away first"
            )
        return replace(there, note=self.take(replace(there, note=damage)))

    def take(self, there: Published) -> str:
        """Make live here what is live in the store: fetched and verified, the link swapped in one step, then the log.

        Killed before the log was written, the store still has news, and the next one takes them again.

        Returns:
            What became of a damaged log here; empty where none was.
        Raises:
            StoreError: the store does not answer.
            IntegrityError: an object is damaged; nothing changed here.
        """
        self.fetch_version(there.version, there.manifest_sha256)
        if linked_version(self.models / VERSIONS) != there.version:
            replace_link(self.models / VERSIONS / CURRENT, there.version)
        log, note = self.models / LOG_FILE, ""
        if there.note:
            aside = set_log_aside(self.models, utc_now())
            note = f"{there.note}; it is {aside.name} now, and the store's log was taken in its place"
        if not log.is_file() or log.read_bytes() != there.log:
            replace_file(log, lambda path: path.write_bytes(there.log))
        return note

    def catch_up(self, there: Published) -> str:
        """`take` within a deployment.

        Raises:
            PublishError: the store does not answer. IntegrityError: an object is damaged. Nothing changed here.
        """
        try:
            return self.take(there)
        except StoreError as error:
            raise PublishError(f"{error}; nothing was deployed, what is live here is as before") from error

    def fetch_version(self, version: str, expected: str | None = None) -> Artifact:
        """One version, on this machine, verified and read only; nothing that is live changes.

        Raises:
            StoreError, IntegrityError: as `StoredPlace.fetched`.
        """
        artifact = self.versions.fetched(version, expected)
        for path in (*(artifact.folder / name for name in artifact.files), artifact.folder / MANIFEST):
            path.chmod(0o444)
        artifact.folder.chmod(READ_ONLY)
        return artifact

    def bring(self, version: str) -> bool:
        """`fetch_version` of one that is not here; whether the store has it.

        Raises:
            PublishError: the store does not answer. IntegrityError: an object is damaged.
        """
        try:
            if self.store.get(f"{self.versions.key}/{version}/{MANIFEST}") is None:
                return False
            self.fetch_version(version)
        except StoreError as error:
            raise PublishError(f"{version} was not fetched: {error}; nothing that is live changed") from error
        return True

    def publish(self, version: Artifact) -> bool:
        """Let the store say what is live here; whether it did not say so before.

        Args:
            version: that is live here, verified.
        Raises:
            PublishError: the store did not take it, or another machine deployed meanwhile; it is live here, and the store says
                what it said before. Or the answer was lost: what the store says is not known.
        """
        asked = False
        try:
            there = self.published()
            log = whole_lines((self.models / LOG_FILE).read_bytes())
            if there is not None and there.log != log and there.log.startswith(log):
                raise MovedError("the store knows later deployments than this machine: `tft pull` takes them")
            if there is not None and not log.startswith(there.log):
                raise MovedError(f"another machine made {there.version} live meanwhile")
            manifest = manifest_sha256(version.folder)
            if there is not None and (there.version, there.manifest_sha256, there.log) == (
                version.version,
                manifest,
                log,
            ):
                return False
            if self.store.get(f"{self.versions.key}/{version.version}/{MANIFEST}") is None:
                self.versions.put_version(version)  # one from before there was a store
            stated = sha256(log).hexdigest()
            self.store.put(self._log_key(stated), log)
            body = {
                "version": version.version,
                "manifest_sha256": manifest,
                "log_sha256": stated,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            asked = True
            self.store.replace(
                f"{self.key}/{POINTER}",
                canonical_json(body).encode(),
                expected=None if there is None else there.content,
            )
        except (StoreError, MovedError, IntegrityError, FileExistsError) as error:
            told = "but the store was not told: other machines go on with what it says is live"
            if asked and isinstance(error, StoreError) and error.put:
                told = "and whether the store was told is not known: its answer was lost"
            raise PublishError(
                f"{error}; {version.version} is live on this machine and its log says so, {told}; `tft push` tells it, "
                "`tft pull` shows where they disagree"
            ) from error
        return True

    def _own_log(self, there: Published) -> tuple[bytes, str]:
        """Whole lines of the log here and, where it is damaged, those that can be believed and why no more.

        Raises:
            PublishError: it is damaged where it goes on after the store's, or elsewhere than the store's goes: what the store
                was never told of may be in it.
        """
        log = self.models / LOG_FILE
        if not log.is_file():
            return b"", ""
        content = log.read_bytes()
        try:
            parse_log(content, str(log), "")
        except IntegrityError as error:
            intact = intact_beginning(content)
            if intact.startswith(there.log) or not there.log.startswith(intact):
                raise PublishError(
                    f"{error}. Its intact lines go on after the log of {self.store.where(self.key)}, or elsewhere, so it may "
                    f"hold deployments that the store was never told of: nothing was changed; restore it, or move {LOG_FILE} "
                    "away and `tft pull`, which takes the store's side"
                ) from error
            return intact, str(error)
        return whole_lines(content), ""

    def _log_key(self, stated: str) -> str:
        return f"{self.key}/log/{stated}.jsonl"


def stored_models(models: Path) -> StoredModels | None:
    """Where an experiment's releases lie in the store; None where `TFT_STORE` is not set, and nothing of it is asked.

    Raises:
        ConfigurationError: as `stored_place`.
    """
    if not os.environ.get("TFT_STORE"):
        return None
    place = stored_place(models)
    assert place is not None
    return StoredModels(store=place.store, models=models, key=place.key)


def models_key(home: Path, models: Path) -> str:
    """Key of an experiment's releases in the store, wherever they are taken to."""
    try:
        return str(PurePosixPath(models.relative_to(home)))
    except ValueError as error:
        raise ConfigurationError(f"{models} is not below TFT_HOME ({home})") from error
