"""Removing old versions of assets and of retired folds, here and in the store, and what killed writers left behind.

A version stays when it is valid here or in the store, one of the newest of its artifact, less than a day old, or when a record
that stays speaks of it: names it, or the SHA-256 of one of its files. Records are the JSON files of releases and candidates, of
drift nights, and of every version that stays. Folds of the plan are left alone, all of them, and so is what no version is:
training state, studies, journals, logs. Link and pointer are asked again right before a removal. A line in `removed.jsonl` says
what goes before a byte of it goes. In the store the manifest goes first, and comes back where the pointer moved to it;
here the folder is renamed first: nobody reads half a version. Who is killed in between leaves objects without a manifest or a
hidden folder, which count as left over. Not here: candidates (`retention`, `tft prune`), the lock that the caller holds, which
folds are retired.
"""

import json
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tft_pipeline.storage.artifacts import IDENTIFIER, MANIFEST, linked_version, place_in_store
from tft_pipeline.storage.atomic import STAGE_PREFIX, append_line, fsync_folder, sweep_stages
from tft_pipeline.storage.deployments import VERSIONS, user_name
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.layout import default_layout

if TYPE_CHECKING:
    from tft_pipeline.storage.stored_versions import StoredPlace

REMOVED_LOG = "removed.jsonl"
ASIDE, DAMAGED = ".removed-", ".damaged-"
LEAST_AGE = timedelta(days=1)
"""Younger versions are never removed: the run that made one may not have recorded it yet."""
VALID_BY_NOW = "valid by now: it was written again meanwhile"
HASHED = re.compile(r"[0-9a-f]{16}")
"""Name of a version that its content gave."""
MODELS = "models"


@dataclass(slots=True)
class Version:
    """One version of an artifact.

    Attributes:
        artifact: its place below the experiment's folder; `asset` or `asset/partition`.
        files: SHA-256 by name; empty where its manifest cannot be read.
        written: when; None where nobody knows. here, stored: where it lies.
        n_bytes: of one copy.
        why: why it stays; None: nothing keeps it.
    """

    artifact: str
    name: str
    files: dict[str, str] = field(default_factory=dict)
    n_bytes: int = 0
    written: datetime | None = None
    here: bool = False
    stored: bool = False
    why: str | None = None

    @property
    def words(self) -> str:
        """For people."""
        places = " and ".join(name for name, there in (("here", self.here), ("in the store", self.stored)) if there)
        return f"{self.artifact} {self.name}: {self.n_bytes:,} bytes, {places}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What became of everything.

    Attributes:
        removed, kept: versions. leftovers: words and whether it was removed.
        n_bytes: that were freed, of every copy.
    """

    removed: tuple[Version, ...]
    kept: tuple[Version, ...]
    leftovers: tuple[tuple[str, bool], ...]
    n_bytes: int


def clean(
    experiment: Path,
    *,
    keep: int,
    planned: Mapping[str, Collection[str]],
    dry_run: bool,
    leftovers: bool,
    removing: Callable[[int], Callable[[], None]] = lambda n: lambda: None,
) -> Cleaned:
    """Remove old versions that nothing speaks of.

    Args:
        experiment: its folder; the caller holds its run lock.
        keep: newest versions of each artifact that stay, whatever is valid.
        planned: asset over folds -> keys that its plan holds or that something trains: these folds are left alone.
        dry_run: only say what would go.
        leftovers: remove damaged versions that were set aside, stages and removals of killed processes, unfinished uploads.
        removing: told how many versions go; its answer is called after each of them.
    Raises:
        ValueError: `keep` < 1.
        StoreError: the store does not answer; what was removed by then is in `removed.jsonl`.
        IntegrityError: the store's pointer of an artifact is damaged; nothing was removed.
        OSError: a folder cannot be removed; it is hidden, and left over.
    """
    if keep < 1:
        raise ValueError(f"keep {keep} < 1: it is a number of newest versions; what is valid stays anyway")
    place = place_in_store(experiment)
    listed = {} if place is None else _listed(place)
    versions = _versions(experiment, place, listed, planned)
    _judge(experiment, place, listed, versions, keep)
    gone = [one for one in versions if one.why is None]
    found = _leftovers(experiment, place, listed)
    n_bytes = sum(one.n_bytes * (one.here + one.stored) for one in gone)
    if not dry_run:
        one_more = removing(len(gone))
        for one in gone:
            one.why = _remove(experiment, place, listed, one)
            one_more()
        gone = [one for one in gone if one.why is None]
        n_bytes = sum(one.n_bytes * (one.here + one.stored) for one in gone)
        if leftovers:
            n_bytes += _remove_leftovers(experiment, place, found)
    words = tuple((what, leftovers and not dry_run) for what, _, _ in found)
    return Cleaned(
        removed=tuple(gone), kept=tuple(one for one in versions if one.why), leftovers=words, n_bytes=n_bytes
    )


def _listed(place: "StoredPlace") -> dict[str, Any]:
    """Objects of the experiment by their place below it."""
    return {key.removeprefix(f"{place.key}/"): about for key, about in place.store.names(place.key).items()}


def _versions(
    experiment: Path, place: "StoredPlace | None", listed: Mapping[str, Any], planned: Mapping[str, Collection[str]]
) -> list[Version]:
    """Every version of every asset without partitions and of every retired fold, oldest first."""
    from_store = {key.rsplit("/", 1)[0] for key in listed if key.endswith("/current.json")}
    from_here = {str(link.parent.relative_to(experiment)) for link in experiment.glob("*/current") if link.is_symlink()}
    folds = set()
    for asset, keys in planned.items():
        there = {path.name for path in (experiment / asset).glob("*") if path.is_dir()}
        there |= {parts[1] for parts in (key.split("/") for key in listed) if parts[0] == asset and len(parts) > 2}
        folds |= {f"{asset}/{key}" for key in there - set(keys) if IDENTIFIER.fullmatch(key)}
    found = []
    for artifact in sorted({one for one in from_store | from_here if "/" not in one and one != MODELS} | folds):
        own: dict[str, Version] = {}
        root = experiment / artifact
        for path in sorted(root.glob(f"*/{MANIFEST}")):
            if not path.parent.is_symlink() and IDENTIFIER.fullmatch(path.parent.name):
                one = own.setdefault(path.parent.name, Version(artifact, path.parent.name))
                one.here, one.written = True, datetime.fromtimestamp(path.stat().st_mtime, UTC)
                _read_manifest(one, path.read_bytes())
        for key, about in listed.items():
            parts = key.removeprefix(f"{artifact}/").split("/")
            if key.startswith(f"{artifact}/") and len(parts) == 2 and parts[1] == MANIFEST:
                one = own.setdefault(parts[0], Version(artifact, parts[0]))
                one.stored = True
                moments = [moment for moment in (one.written, _moment(about)) if moment is not None]
                one.written = max(moments, default=None)
                if not one.here and place is not None:
                    _read_manifest(one, place.store.get(f"{place.key}/{key}") or b"")
        found += sorted(own.values(), key=lambda one: (one.written is None, one.written, one.name))
    return found


def _read_manifest(one: Version, content: bytes) -> None:
    try:
        entries = json.loads(content)["files"]
        one.files = {name: str(entry["sha256"]) for name, entry in entries.items()}
        one.n_bytes = sum(int(entry["bytes"]) for entry in entries.values()) + len(content)
    except (ValueError, KeyError, TypeError, AttributeError):
        one.why = "its manifest cannot be read, look at it"


def _judge(
    experiment: Path, place: "StoredPlace | None", listed: Mapping[str, Any], versions: list[Version], keep: int
) -> None:
    """Say of every version why it stays."""
    by_artifact: dict[str, list[Version]] = {}
    for one in versions:
        by_artifact.setdefault(one.artifact, []).append(one)
    for artifact, own in by_artifact.items():
        valid = {linked_version(experiment / artifact)}
        if place is not None and (pointer := _place_of(place, artifact).pointer()) is not None:
            valid.add(pointer.version)
        for one in own:
            if one.name in valid:
                one.why = "valid"
            elif one in own[-keep:]:
                one.why = one.why or f"one of the newest {keep}"
            elif one.written is None or utc_now() - one.written < LEAST_AGE:
                one.why = one.why or "less than a day old"
    open_still = {f"{one.artifact}/{one.name}" for one in versions if one.why is None}
    said = list(_records(experiment, place, listed, open_still))
    while said:  # what stays may speak of what would go, which then stays and speaks
        kept = [one for one in versions if one.why is None and any(_speaks_of(text, one) for text in said)]
        for one in kept:
            one.why = "a record that stays speaks of it"
        said = [text for one in kept for text in _texts(experiment, place, listed, f"{one.artifact}/{one.name}")]
        if not kept:
            break


def _records(
    experiment: Path, place: "StoredPlace | None", listed: Mapping[str, Any], open_still: Collection[str]
) -> Iterable[bytes]:
    """Bytes of every JSON file that stays for certain: all but those of versions which nothing keeps yet."""
    folders = {
        str(path.parent.relative_to(experiment)) for path in experiment.rglob(MANIFEST) if _plain(experiment, path)
    }
    folders |= {key.rsplit("/", 1)[0] for key in listed if key.endswith(f"/{MANIFEST}")}
    for folder in sorted(folders - set(open_still)):
        yield from _texts(experiment, place, listed, folder)
    for path in (*sorted(experiment.glob("drift/*.json")), *sorted(experiment.glob("ensemble/*.json"))):
        yield path.read_bytes()


def _plain(experiment: Path, path: Path) -> bool:
    """Whether a path leads through no link and no hidden folder."""
    parents = [
        experiment.joinpath(*path.relative_to(experiment).parts[:k])
        for k in range(1, len(path.relative_to(experiment).parts))
    ]
    return not any(one.is_symlink() or one.name.startswith(".") for one in parents)


def _texts(experiment: Path, place: "StoredPlace | None", listed: Mapping[str, Any], folder: str) -> list[bytes]:
    """A version's JSON files; of a release its manifest too, whose files are copies of a fold's."""
    release = folder.startswith(f"{MODELS}/{VERSIONS}/")
    here = experiment / folder
    if (here / MANIFEST).is_file():
        paths = [path for path in sorted(here.rglob("*.json")) if release or path.name != MANIFEST]
        return [path.read_bytes() for path in paths if path.is_file()]
    keys = [key for key in listed if key.startswith(f"{folder}/") and key.endswith(".json")]
    keys = [key for key in keys if release or not key.endswith(f"/{MANIFEST}")]
    return [] if place is None else [place.store.get(f"{place.key}/{key}") or b"" for key in sorted(keys)]


def _speaks_of(text: bytes, one: Version) -> bool:
    return one.name.encode() in text or any(digest.encode() in text for digest in one.files.values())


def _remove(experiment: Path, place: "StoredPlace | None", listed: Mapping[str, Any], one: Version) -> str | None:
    """Remove a version; why it stays after all, None where it is gone."""
    if _valid(experiment, place, one):
        return VALID_BY_NOW
    where = [name for name, there in (("here", one.here), ("store", one.stored)) if there]
    row = {"artifact": one.artifact, "version": one.name, "files": one.files, "bytes": one.n_bytes, "where": where}
    append_line(experiment / REMOVED_LOG, row | {"at": utc_now().isoformat(), "who": user_name()})
    if one.stored and place is not None:
        prefix = f"{place.key}/{one.artifact}/{one.name}/"
        manifest = place.store.get(f"{prefix}{MANIFEST}")
        place.store.remove(f"{prefix}{MANIFEST}")  # first: without its manifest it is no version any more
        if manifest is not None and _valid(experiment, place, one):
            # written again since; the other files are there still
            place.store.put(f"{prefix}{MANIFEST}", manifest)
            kept = {"artifact": one.artifact, "version": one.name, "kept": VALID_BY_NOW}
            append_line(experiment / REMOVED_LOG, kept | {"at": utc_now().isoformat(), "who": user_name()})
            return VALID_BY_NOW
        for key in sorted(key for key in listed if f"{place.key}/{key}".startswith(prefix)):
            place.store.remove(f"{place.key}/{key}")
    if one.here:
        folder = experiment / one.artifact / one.name
        aside = folder.with_name(f"{ASIDE}{one.name}-{uuid.uuid4().hex[:8]}")
        folder.rename(aside)
        fsync_folder(aside.parent)
        _delete(aside)
    return None


def _valid(experiment: Path, place: "StoredPlace | None", one: Version) -> bool:
    """Whether the link here or the store's pointer names a version now."""
    if linked_version(experiment / one.artifact) == one.name:
        return True
    pointer = None if place is None else _place_of(place, one.artifact).pointer()
    return pointer is not None and pointer.version == one.name


Leftover = tuple[str, Path | None, list[str]]
"""Words, the folder here, keys of the objects in the store."""


def _leftovers(experiment: Path, place: "StoredPlace | None", listed: Mapping[str, Any]) -> list[Leftover]:
    found: list[Leftover] = []
    for prefix, what in (
        (DAMAGED, "set aside as damaged"),
        (ASIDE, "a removal that was killed"),
        (STAGE_PREFIX, "a stage"),
    ):
        for path in sorted(experiment.rglob(f"{prefix}*")):
            if _plain(experiment, path) and path.is_dir() and not path.is_symlink():
                found.append((f"{path.relative_to(experiment)}: {_size(path):,} bytes, {what}", path, []))
    return found + ([] if place is None else _torn(place, listed))


def _torn(place: "StoredPlace", listed: Mapping[str, Any]) -> list[Leftover]:
    """Objects of the experiment and of frozen snapshots that belong to no version: nothing of one for a day has a manifest."""
    frozen = place_in_store(default_layout().frozen)
    assert frozen is not None
    objects = {f"{place.key}/{key}": about for key, about in listed.items()} | frozen.store.names(frozen.key)
    whole = {key.rsplit("/", 1)[0] for key in objects if key.endswith(f"/{MANIFEST}")}
    artifacts = {key.rsplit("/", 1)[0] for key in objects if key.endswith("/current.json")}
    artifacts |= {frozen.key, f"{place.key}/{MODELS}/{VERSIONS}"}
    torn: dict[str, list[str]] = {}
    for key in objects:
        folders = [str(one) for one in PurePosixPath(key).parents if str(one).startswith((f"{place.key}/", frozen.key))]
        if whole.isdisjoint(folders) and not key.startswith(f"{place.key}/{MODELS}/log/"):
            version = [
                one for one in folders if one.rpartition("/")[0] in artifacts or HASHED.fullmatch(Path(one).name)
            ]
            if version:
                torn.setdefault(version[0], []).append(key)
    found: list[Leftover] = []
    for folder, keys in sorted(torn.items()):
        moments = [_moment(objects[key]) for key in keys]
        if all(moment is not None and utc_now() - moment > LEAST_AGE for moment in moments):
            found.append((f"{folder}: {len(keys)} objects in the store without a manifest", None, keys))
    return found


def _remove_leftovers(experiment: Path, place: "StoredPlace | None", found: list[Leftover]) -> int:
    freed = 0
    for words, path, keys in found:
        append_line(experiment / REMOVED_LOG, {"leftover": words, "at": utc_now().isoformat(), "who": user_name()})
        if path is not None and path.exists():
            freed += _size(path)
            if path.name.startswith(STAGE_PREFIX):
                sweep_stages(path.parent)  # not one that a writer fills just now
            else:
                _delete(path)
        for key in keys:
            assert place is not None
            place.store.remove(key)
    return freed


def _delete(folder: Path) -> None:
    folder.chmod(0o755)  # a release's folder is read only
    shutil.rmtree(folder)
    fsync_folder(folder.parent)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _moment(about: Any) -> datetime | None:
    """When an object was put, by what the store says of it; None where it does not say."""
    said = next((about[name] for name in ("LastModified", "mtime", "created", "updated") if about.get(name)), None)
    if isinstance(said, int | float):
        return datetime.fromtimestamp(said, UTC)
    return said.astimezone(UTC) if isinstance(said, datetime) else None


def _place_of(place: "StoredPlace", artifact: str) -> "StoredPlace":
    from tft_pipeline.storage.stored_versions import StoredPlace

    return StoredPlace(store=place.store, root=place.root / artifact, key=f"{place.key}/{artifact}")
