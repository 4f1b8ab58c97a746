"""Snapshots on disk: `bars.parquet` and `snapshot.json` in one folder named by the snapshot id, written once.

The id is made of the time it was taken and of its content. Taking the same content again finds the same snapshot.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tft_pipeline.domain.content import frame_sha256
from tft_pipeline.storage.artifacts import (
    Artifact,
    IntegrityError,
    make_valid,
    place_in_store,
    read_version,
    set_aside,
    write_artifact,
)
from tft_pipeline.storage.atomic import canonical_json

BARS_FILE = "bars.parquet"
MANIFEST_FILE = "snapshot.json"


@dataclass(frozen=True)
class Snapshot:
    """Bars as of one moment, and the manifest that describes them."""

    bars: pl.DataFrame
    manifest: dict[str, Any]

    @property
    def snapshot_id(self) -> str:
        """Name of the snapshot."""
        return str(self.manifest["snapshot_id"])

    def content_sha256(self) -> str:
        """Identity of the bars and their interval."""
        return str(self.manifest["identity_sha256"])


def find_snapshot(root: Path, identity_sha256: str) -> Artifact | None:
    """An intact snapshot of equal bars and interval, if one was taken before; a damaged one is set aside.

    With a store the one that is valid there is looked at too: another machine may have taken it.
    """
    place = place_in_store(root)
    if place is not None:
        pointer = place.pointer()
        if pointer is not None and pointer.version.endswith(f"-{identity_sha256[:12]}"):
            try:
                return place.fetched(pointer.version, pointer.manifest_sha256)
            except IntegrityError:  # damaged in the store: the bars are at hand, a sound version takes its place
                pass
    for existing in sorted(root.glob(f"*-{identity_sha256[:12]}")) if root.is_dir() else []:
        if not existing.is_dir() or existing.name.startswith("."):
            continue
        try:
            return read_version(existing)
        except IntegrityError:
            set_aside(existing)
    return None


def write_snapshot(root: Path, snapshot: Snapshot) -> Artifact:
    """Store a snapshot and make it current; an intact equal one is found again instead of written twice."""
    existing = find_snapshot(root, snapshot.manifest["identity_sha256"])
    if existing is not None:
        make_valid(root, existing, place_in_store(root))
        return existing

    def fill(folder: Path) -> None:
        snapshot.bars.write_parquet(folder / BARS_FILE)
        (folder / MANIFEST_FILE).write_text(canonical_json(snapshot.manifest))

    return write_artifact(root, fill, version=snapshot.snapshot_id)


def read_snapshot(artifact: Artifact) -> Snapshot:
    """Read a verified snapshot.

    Raises:
        IntegrityError: the bars are not the content the manifest speaks of.
    """
    bars = pl.read_parquet(artifact.path(BARS_FILE))
    manifest = json.loads(artifact.path(MANIFEST_FILE).read_text())
    if frame_sha256(bars) != manifest["content_sha256"]:
        raise IntegrityError(f"{artifact.folder}: content {frame_sha256(bars)}, manifest {manifest['content_sha256']}")
    return Snapshot(bars=bars, manifest=manifest)
