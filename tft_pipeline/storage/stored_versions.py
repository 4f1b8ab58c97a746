"""Versions of artifacts in the object store, and the copies of them below `TFT_HOME`.

    <artifact>/<version>/{files..., manifest.json}      put once, the manifest last
    <artifact>/current.json                             {version, manifest_sha256, at}: the valid version, replaced by one put

An artifact's place in the store is its path below `TFT_HOME`. The store says what is valid; the folder of the artifact is a
working copy and a cache, of which every byte is verified at every reading. A local copy that is damaged is set aside, fetched
again, and said so. Not here: puts and gets (`object_store`), what a local version is (`artifacts`), releases (`published`).
"""

import json
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.storage.artifacts import (
    CURRENT,
    IDENTIFIER,
    MANIFEST,
    Artifact,
    ArtifactMissingError,
    IntegrityError,
    linked_version,
    parse_manifest,
    read_version,
    set_aside,
    settle,
    sha256_file,
)
from tft_pipeline.storage.atomic import canonical_json, fsync_tree, replace_link, stage_beside
from tft_pipeline.storage.layout import default_layout
from tft_pipeline.storage.object_store import ObjectStore, open_store

POINTER = "current.json"


class DamagedCopyWarning(UserWarning):
    """A local copy was damaged and has been fetched again from the store: look at the disk."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """What is valid, as the store says."""

    version: str
    manifest_sha256: str

    def content(self) -> bytes:
        """As it is put: with the time, which nothing follows from."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        body = {"version": self.version, "manifest_sha256": self.manifest_sha256, "at": now}
        return canonical_json(body).encode()


@dataclass(frozen=True, slots=True)
class StoredPlace:
    """An artifact in the store and on this machine.

    Attributes:
        root: its local folder. key: the same in the store.
    """

    store: ObjectStore
    root: Path
    key: str

    def publish(self, artifact: Artifact) -> None:
        """Put a version and make it the valid one for every machine; the last of two writers wins.

        Raises:
            StoreError: the store did not take all of it; its pointer leads where it led before, or wholly to this version.
            FileExistsError: the store holds other content under this version's name.
        """
        self.put_version(artifact)
        self.store.put(f"{self.key}/{POINTER}", Pointer(artifact.version, manifest_sha256(artifact.folder)).content())

    def put_version(self, artifact: Artifact) -> None:
        """Put the files of a verified version, the manifest last; nothing points there yet.

        Raises:
            StoreError, FileExistsError: as `publish`.
        """
        manifest = artifact.folder / MANIFEST
        there = self.store.get(f"{self.key}/{artifact.version}/{MANIFEST}")
        if there is not None and there != manifest.read_bytes():
            where = self.store.where(f"{self.key}/{artifact.version}")
            raise FileExistsError(f"{where} exists with other content; versions are never overwritten")
        # all of it again where it is there already: an object that was damaged in the store is mended so
        for name in artifact.files:
            self.store.put_file(f"{self.key}/{artifact.version}/{name}", artifact.path(name))
        self.store.put_file(f"{self.key}/{artifact.version}/{MANIFEST}", manifest)

    def pointer(self) -> Pointer | None:
        """Which version is valid; None where none was stored.

        Raises:
            StoreError: the store does not answer.
            IntegrityError: the pointer is not one.
        """
        key = f"{self.key}/{POINTER}"
        content = self.store.get(key)
        if content is None:
            return None
        try:
            body = json.loads(content)
            found = Pointer(str(body["version"]), str(body["manifest_sha256"]))
            if not IDENTIFIER.fullmatch(found.version):
                raise ValueError(f"{found.version!r} is not a version")
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{self.store.where(key)} is no pointer ({error!r}): which version is valid is not known; write the "
                "artifact again"
            ) from error
        return found

    def versions(self) -> set[str]:
        """Names of whole versions in the store, as its listing says, which may lag."""
        keys = (key.removeprefix(f"{self.key}/").split("/") for key in self.store.names(self.key))
        return {parts[0] for parts in keys if len(parts) == 2 and parts[1] == MANIFEST}

    def read(self) -> Artifact:
        """The valid version, on this machine and verified; fetched where it is not there yet.

        Raises:
            ArtifactMissingError: the store has none.
            IntegrityError: an object is missing or not what was written; nothing of it was parsed.
            StoreError: the store does not answer; the local copy is not taken in its place.
        """
        while True:
            pointer = self.pointer()
            if pointer is None:
                raise ArtifactMissingError(self._nothing())
            artifact = self.fetched(pointer.version, pointer.manifest_sha256)
            if linked_version(self.root) == pointer.version:
                return artifact
            replace_link(self.root / CURRENT, pointer.version)
            # asked again: a writer on this machine may have swapped the link to a newer version just before

    def fetched(self, version: str, expected: str | None = None) -> Artifact:
        """One version, on this machine and verified; the link stays as it is.

        Args:
            expected: hash of its manifest; None where nothing says it.
        Raises:
            IntegrityError, StoreError: as `read`.
        """
        folder = self.root / version
        if folder.is_dir():
            try:
                return self._as_expected(read_version(folder), expected)
            except IntegrityError as error:
                damaged: IntegrityError | None = error
        else:
            damaged = None
        with stage_beside(self.root) as stage:
            copy = stage / version
            copy.mkdir()
            self._fetch(version, copy, expected)
            fsync_tree(copy)
            if damaged is not None:
                _out_of_the_way(folder)
                warnings.warn(
                    f"{damaged}; the damaged copy was set aside and {self.store.where(f'{self.key}/{version}')} was fetched "
                    "again, which is intact: look at this machine's disk",
                    DamagedCopyWarning,
                    stacklevel=3,
                )
            settle(copy, folder, read_version(copy).files)
        return self._as_expected(read_version(folder), expected)

    def _fetch(self, version: str, folder: Path, expected: str | None) -> None:
        """Fill a folder with the objects of a version, each verified before anything is made of it."""
        prefix = f"{self.key}/{version}"
        self._object(f"{prefix}/{MANIFEST}", folder / MANIFEST, None)
        body = parse_manifest(folder / MANIFEST, said=self.store.where(f"{prefix}/{MANIFEST}"))
        if expected is not None and body["manifest_sha256"] != expected:
            raise IntegrityError(
                f"{self.store.where(f'{prefix}/{MANIFEST}')}: manifest_sha256 is {body['manifest_sha256']}, the pointer says "
                f"{expected}; write the artifact again"
            )
        for name, entry in body["files"].items():
            if not _inside(name):
                raise IntegrityError(
                    f"{self.store.where(f'{prefix}/{MANIFEST}')} lists {name!r}, which leaves its folder; nothing was fetched"
                )
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            self._object(f"{prefix}/{name}", folder / name, entry["sha256"])

    def _object(self, key: str, path: Path, expected: str | None) -> None:
        if not self.store.fetch(key, path):
            raise IntegrityError(
                f"{self.store.where(key)} is missing: the version is incomplete and nothing of it was taken; restore the "
                "object, or write the artifact again"
            )
        if expected is not None and (actual := sha256_file(path)) != expected:
            raise IntegrityError(
                f"{self.store.where(key)}: SHA-256 is {actual}, the manifest says {expected}; nothing of it was parsed; "
                "restore the object, or write the artifact again"
            )

    def _as_expected(self, artifact: Artifact, expected: str | None) -> Artifact:
        if expected is not None and (stated := manifest_sha256(artifact.folder)) != expected:
            raise IntegrityError(f"{artifact.folder}: manifest_sha256 is {stated}, the store's pointer says {expected}")
        return artifact

    def _nothing(self) -> str:
        here = linked_version(self.root)
        if here is None:
            return f"{self.store.where(self.key)}: no version was stored yet; materialise this asset first"
        return (
            f"{self.store.where(self.key)}: the store has no version, and {self.root} holds {here}, which was written "
            "without it or was never taken: it is not used in its place; `tft push` puts it there, or materialise this asset "
            "again"
        )


def stored_place(root: Path) -> StoredPlace | None:
    """Where an artifact lies in the store; None where `TFT_STORE` is not set.

    Raises:
        ConfigurationError: the folder is not below `TFT_HOME`, so that the store has no place for it and what is written there
            would be lost to the other machines; or the store cannot be used, or lies inside the home.
    """
    store = open_store()
    if store is None:
        return None
    home = default_layout().home
    if store.holds(home):
        raise ConfigurationError(
            f"TFT_STORE {store.url!r} and TFT_HOME {home} lie within each other: one would be taken for a part of "
            "the other; keep them apart"
        )
    try:
        place = root.resolve().relative_to(home.resolve())
    except ValueError as error:
        raise ConfigurationError(
            f"{root} is not below TFT_HOME ({home}): the store {store.url} has no place for it, and other machines would never "
            "see it; set TFT_HOME to its home, or unset TFT_STORE"
        ) from error
    return StoredPlace(store=store, root=root, key=str(PurePosixPath(place)))


def manifest_sha256(folder: Path) -> str:
    """What a verified version's manifest says of itself."""
    body: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    return str(body["manifest_sha256"])


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        name == str(path)
        and not path.is_absolute()
        and ".." not in path.parts
        and "\\" not in name
        and "\0" not in name
    )


def _out_of_the_way(folder: Path) -> None:
    try:
        set_aside(folder)
    except FileNotFoundError:  # another reader on this machine found the same damage first
        return
