"""Versioned artifacts: one folder a version, its manifest with every file's hash, `current` naming the valid version.

    <artifact>/<version>/{files..., manifest.json}      written once, never changed
    <artifact>/current -> <version>                     swapped in one step

With `TFT_STORE` set the store says which version is valid, and these folders are the working copy of it (`stored_versions`,
docs/storage.md). Here: writing, finding and verifying. Not here: what the files mean.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tft_pipeline.storage.atomic import canonical_json, fsync_folder, fsync_tree, replace_link, stage_beside

if TYPE_CHECKING:
    from tft_pipeline.storage.stored_versions import StoredPlace

MANIFEST = "manifest.json"
CURRENT = "current"
IDENTIFIER = re.compile(r"^[A-Za-z0-9][\w.-]{0,127}$")


class IntegrityError(RuntimeError):
    """A stored file is missing, unlisted or not the bytes that were written; nothing of it was parsed."""


class ArtifactMissingError(FileNotFoundError):
    """No version of an artifact has been written yet."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One verified version.

    Attributes:
        folder: its resolved folder.
        version: name of the folder.
        files: SHA-256 of each file's bytes by relative name.
        n_bytes: size of all files.
    """

    folder: Path
    version: str
    files: dict[str, str]
    n_bytes: int

    def path(self, name: str) -> Path:
        """Path of a listed file.

        Raises:
            IntegrityError: the manifest does not list it.
        """
        if name not in self.files:
            raise IntegrityError(f"{self.folder}: {name} is not listed in {MANIFEST}")
        return self.folder / name


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_artifact(
    root: Path, write: Callable[[Path], None], *, version: str | None = None, in_store: bool = True
) -> Artifact:
    """Write a version and make it current.

    Args:
        root: the artifact's folder.
        write: fills an empty folder with files.
        version: its name; by default made of the files' hashes, so that equal bytes are one version.
        in_store: False for what is built in passing, in a stage or a temporary folder: it never goes to the store.
    Raises:
        FileExistsError: a version of this name holds other bytes.
        ValueError: a version name that is not plain, or a writer that fills `manifest.json` itself.
        IntegrityError: what was written does not read back; the version before it stays current.
        StoreError: the store did not take it; what was valid there and here still is, and writing it again is safe.
        ConfigurationError: `TFT_STORE` cannot be used, or has no place for this folder.
    """
    if version is not None and (not IDENTIFIER.fullmatch(version) or version == CURRENT):
        raise ValueError(f"version {version!r} is not a plain name ({IDENTIFIER.pattern}, not {CURRENT!r})")
    place = place_in_store(root) if in_store else None
    with stage_beside(root) as stage:
        write(stage)
        if os.path.lexists(stage / MANIFEST):
            raise ValueError(
                f"{root}: the writer made a file {MANIFEST}, which is the manifest's name; name it otherwise"
            )
        files = _hash_folder(stage)
        name = version or _version_name(files)
        body = {"schema_version": 1, "files": files}
        (stage / MANIFEST).write_text(canonical_json({**body, "manifest_sha256": _manifest_hash(body)}))
        fsync_tree(stage)
        settle(stage, root / name, {path: entry["sha256"] for path, entry in files.items()})
    artifact = read_version(root / name)
    make_valid(root, artifact, place)
    return artifact


def make_valid(root: Path, artifact: Artifact, place: "StoredPlace | None") -> None:
    """Let a verified version be the one that is read: for every machine first, where there is a store, then on this one."""
    if place is not None:
        place.publish(artifact)
    replace_link(root / CURRENT, artifact.version)


def settle(stage: Path, target: Path, files: dict[str, str]) -> None:
    """Rename the finished stage to its version; an intact equal version stays, a damaged one is set aside."""
    if target.exists():
        try:
            existing = read_version(target)
        except IntegrityError:
            set_aside(target)
        else:
            if existing.files != files:
                raise FileExistsError(f"{target} exists with other content; versions are never overwritten")
            return
    os.rename(stage, target)
    fsync_folder(target.parent)


def set_aside(folder: Path) -> None:
    """Rename a damaged version out of the way; it stays for inspection and is never read as a version again."""
    os.rename(folder, folder.with_name(f".damaged-{folder.name}-{uuid.uuid4().hex[:8]}"))
    fsync_folder(folder.parent)


def read_artifact(root: Path, *, in_store: bool = True) -> Artifact:
    """The current version, verified. With a store it is the one that the store names, fetched where it is not here yet.

    Args:
        in_store: as `write_artifact`.
    Raises:
        ArtifactMissingError: nothing was written yet.
        IntegrityError: a file is missing, unlisted or changed.
        StoreError: the store does not answer; what lies here is not taken in its place.
        ConfigurationError: as `write_artifact`.
    """
    place = place_in_store(root) if in_store else None
    if place is not None:
        return place.read()
    name = linked_version(root)
    if name is None:
        raise ArtifactMissingError(f"{root}: no version was written yet; materialise this asset first")
    if not IDENTIFIER.fullmatch(name):
        raise IntegrityError(f"{root / CURRENT} points at {name!r}, which is not a version of this artifact")
    return read_version(root / name)


def linked_version(root: Path) -> str | None:
    """What the `current` link on this machine names; None without a link."""
    link = root / CURRENT
    return os.readlink(link) if link.is_symlink() else None


def place_in_store(root: Path) -> "StoredPlace | None":
    """Where an artifact lies in the store; None without one, and then nothing of it is imported.

    Raises:
        ConfigurationError: `TFT_STORE` cannot be used, or has no place for this folder.
    """
    if not os.environ.get("TFT_STORE"):
        return None
    from tft_pipeline.storage.stored_versions import stored_place

    return stored_place(root)


def read_version(folder: Path) -> Artifact:
    """One version, every byte verified against its manifest before anyone parses it.

    Raises:
        IntegrityError: see `read_artifact`.
    """
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise IntegrityError(f"{path} is missing: the version is incomplete; write it again")
    listed: dict[str, Any] = parse_manifest(path)["files"]
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()} - {MANIFEST}
    if found != set(listed):
        raise IntegrityError(
            f"{folder}: missing files {sorted(set(listed) - found)}, unlisted files {sorted(found - set(listed))}"
        )
    for name, entry in listed.items():
        if (folder / name).is_symlink():
            raise IntegrityError(f"{folder / name} is a link; artifacts hold plain files")
        actual = sha256_file(folder / name)
        if actual != entry["sha256"]:
            raise IntegrityError(
                f"{folder / name}: SHA-256 is {actual}, the manifest says {entry['sha256']}: the file changed after it was "
                "written; restore it, or materialise its asset again"
            )
    return Artifact(
        folder=folder,
        version=folder.name,
        files={name: entry["sha256"] for name, entry in listed.items()},
        n_bytes=sum(entry["bytes"] for entry in listed.values()),
    )


def parse_manifest(path: Path, said: str | None = None) -> dict[str, Any]:
    """A manifest that speaks of itself as it is: schema_version, files (name -> bytes, sha256), manifest_sha256.

    Args:
        said: what messages call it; by default its path.
    Raises:
        IntegrityError: it is none, or was changed.
    """
    where = said or str(path)
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
        stated = body.pop("manifest_sha256")
        listed = dict(body["files"])
        expected = _manifest_hash(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"{where} is not a manifest ({error}); restore it or write the artifact again") from error
    if stated != expected:
        raise IntegrityError(f"{where}: manifest_sha256 {stated} does not match its own content {expected}")
    return body | {"files": listed, "manifest_sha256": stated}


def _hash_folder(folder: Path) -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): {"bytes": p.stat().st_size, "sha256": sha256_file(p)} for p in paths}


def _version_name(files: dict[str, dict[str, Any]]) -> str:
    text = "".join(f"{name}\0{entry['sha256']}\n" for name, entry in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _manifest_hash(body: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()
