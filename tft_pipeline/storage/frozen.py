"""Frozen snapshots: bars that a person froze once and names again by their id, in `TFT_HOME/snapshots/<id>/`.

    <id>/bars.parquet     the bars, stamped with their closes, UTC
    <id>/snapshot.json    what they are (`domain.manifest`)
    <id>/manifest.json    the SHA-256 of both, verified whenever they are read (`artifacts`)

With `TFT_STORE` set they lie in the store too, and one that another machine froze is fetched when it is named.
Here: finding one by its id and writing one. Not here: where bars come from, and the snapshots that a graph takes.
"""

import re
from pathlib import Path
from typing import Any

import polars as pl

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.manifest import snapshot_manifest
from tft_pipeline.storage.artifacts import IntegrityError, place_in_store, read_version
from tft_pipeline.storage.environment import environment_record, utc_now
from tft_pipeline.storage.layout import Layout
from tft_pipeline.storage.snapshots import MANIFEST_FILE, Snapshot, read_snapshot, write_snapshot

SNAPSHOT_ID = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}Z-[0-9a-f]{12}")
_PLAIN = re.compile(r"[\w-]+")
MOST_LISTED = 10


def write_frozen(layout: Layout, bars: pl.DataFrame, *, interval: str, source: dict[str, Any]) -> tuple[Path, Snapshot]:
    """Freeze bars; equal bars of equal interval are found again under the id they have.

    Args:
        bars: normalised bars.
        interval: length of a bar.
        source: where they came from, without machine paths. It is no part of the content: equal bars keep the record of
            the first time.
    Returns:
        The snapshot's folder, and the snapshot as it lies there.
    """
    manifest = snapshot_manifest(
        bars, created_at=utc_now(), interval=interval, source=source, environment=environment_record()
    )
    artifact = write_snapshot(layout.frozen, Snapshot(bars=bars, manifest=manifest))
    return artifact.folder, read_snapshot(artifact)


def frozen_snapshot(named: str, layout: Layout) -> tuple[Path, Snapshot]:
    """A frozen snapshot, every byte verified before it is parsed.

    Args:
        named: its id, the beginning of one id, or the path of a folder that holds one.
        layout: of the home whose snapshots are known.
    Returns:
        The folder, resolved, and the snapshot in it.
    Raises:
        ConfigurationError: no such snapshot, several that begin so, or one that is damaged.
        StoreError: the store does not answer.
    """
    folder = _folder(named, layout)
    try:
        place = place_in_store(layout.frozen)
        if place is not None and folder.parent == layout.frozen.resolve():
            place.fetched(folder.name)
        snapshot = read_snapshot(read_version(folder))
    except (IntegrityError, KeyError, pl.exceptions.PolarsError) as error:
        raise ConfigurationError(
            f"snapshot {named!r} is damaged: {error}; its results could not be repeated, so freeze the bars again"
        ) from error
    if folder.parent == layout.frozen.resolve() and folder.name != snapshot.snapshot_id:
        raise ConfigurationError(
            f"{folder} holds snapshot {snapshot.snapshot_id}: the folder was renamed, and its name would say another time "
            "and other content; rename it back"
        )
    return folder, snapshot


def known_snapshots(layout: Layout) -> list[str]:
    """The ids of all frozen snapshots, here and in the store, the newest last; nothing is verified.

    Raises:
        StoreError: the store does not answer.
    """
    folder, place = layout.frozen, place_in_store(layout.frozen)
    found = {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()
    if place is not None:
        found |= place.versions()
    return sorted(name for name in found if SNAPSHOT_ID.fullmatch(name))


def _folder(named: str, layout: Layout) -> Path:
    """Where a named snapshot lies. An id is never joined to a path unless it is a plain word: `..` names no snapshot."""
    if _PLAIN.fullmatch(named):
        matching = [name for name in known_snapshots(layout) if name.startswith(named)]
        if len(matching) == 1 or named in matching:
            return (layout.frozen / (named if named in matching else matching[0])).resolve()
        if matching:
            raise ConfigurationError(
                f"snapshot {named!r} begins {len(matching)} ids: {_listed(matching)}; give more of the id"
            )
    try:
        folder = Path(named).expanduser()
        if named and (folder / MANIFEST_FILE).is_file():
            return folder.resolve()
    except (
        OSError,
        RuntimeError,
    ) as error:  # a name that no file can have, a folder that is closed to us, no such user
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"snapshot {named[:80]!r} cannot be looked for: {reason}; give an id or a folder"
        ) from error
    known = known_snapshots(layout)
    raise ConfigurationError(
        f"snapshot {named!r} is neither an id below {layout.frozen} nor a folder with {MANIFEST_FILE}; "
        + (f"known are {_listed(known)}" if known else "none was frozen yet: run `tft snapshot`, see its --help")
    )


def _listed(names: list[str]) -> str:
    """The newest names, and how many older ones there are."""
    older = len(names) - MOST_LISTED
    return ", ".join(names[-MOST_LISTED:]) + (f" and {older} older" if older > 0 else "")
