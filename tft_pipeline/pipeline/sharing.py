"""What `tft pull` and `tft push` do: the live release of the store on this machine, and this machine's results in the store.

Not here: what is put and taken, and in which order (`storage.published`, `storage.stored_versions`).
"""

from pathlib import Path
from typing import Any

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.named import graph_named
from tft_pipeline.pipeline.progress import Watch, counting
from tft_pipeline.storage.artifacts import CURRENT, MANIFEST, IntegrityError, read_artifact
from tft_pipeline.storage.deployments import (
    DeploymentLockedError,
    deployment_lock,
    deployments,
    linked_release,
    live_since,
)
from tft_pipeline.storage.frozen import known_snapshots
from tft_pipeline.storage.layout import Layout, default_layout
from tft_pipeline.storage.looks import push_looks
from tft_pipeline.storage.object_store import StoreError
from tft_pipeline.storage.published import PublishError, StoredModels, models_key
from tft_pipeline.storage.releases import make_fixed_names, release_ids, released_version
from tft_pipeline.storage.stored_versions import stored_place
from tft_pipeline.storage.trials import push_trials

TROUBLE = (StoreError, PublishError, IntegrityError, DeploymentLockedError, FileExistsError, OSError)


def pull(named: str, *, into: Path | None = None, release: str | None = None) -> dict[str, Any]:
    """Bring the live release of the store to this machine: verified, then the one link swapped, which live code follows.

    Args:
        named: experiment file, or any name that the store knows; nothing of it need have run here.
        into: folder that becomes the `models` folder, instead of the experiment's below `TFT_HOME`.
        release: bring this version too, as a candidate or to go back to; what is live stays.
    Returns:
        experiment, live (or fetched), was, files, bytes, path, deployed_at, who, why, note (what became of
        a damaged log here; absent where none was), store, failed.
    Raises:
        ConfigurationError: no store, no such name or release.
    """
    layout = default_layout()
    name = _name(named, layout)
    stored = _models(name, layout, into)
    before = linked_release(stored.models)
    about = {"experiment": name, "store": stored.store.where(stored.key)}
    try:
        if release is not None:
            return about | _fetched(stored, release)
        if stored.published() is None:
            said = (
                f"{about['store']}: no release of {name} was published: deploy one, or `tft push` from where it is live"
            )
            return about | {"live": before or "nothing", "failed": [said]}
        with deployment_lock(stored.models):
            there = stored.pull()
            assert there is not None  # nobody takes a pointer away
            make_fixed_names(stored.models)
            version, entry = released_version(stored.models, there.version), live_since(deployments(stored.models))
    except TROUBLE as error:
        return about | {
            "live": before or "nothing",
            "failed": [f"{error}; {before or 'nothing'} is live here as before"],
        }
    return {
        **about,
        "live": there.version,
        "was": before or "nothing",
        "files": len(version.files),
        "bytes": version.n_bytes,
        "path": str(version.folder),
        **({"note": there.note} if there.note else {}),
        **({} if entry is None else {"deployed_at": entry.at, "who": entry.who, "why": entry.reason}),
        "failed": [],
    }


def push(named: str, watch: Watch | None = None) -> dict[str, Any]:
    """Put into the store what it lacks of an experiment: current versions it has no pointer to, releases, what is live.

    And looks and trials, of all experiments: their ledgers are one. Nothing that the store has is replaced. It is the way to
    begin with a store or with another one, and what follows a deployment that did not reach it.

    Args:
        watch: told how many versions were looked at and, where the store lacks them, put.
    Returns:
        experiment, put (looks, trials, artifacts and releases), live, store, failed.
    Raises:
        ConfigurationError: no store, or nothing was run here under this name.
    """
    layout = default_layout()
    name = _name(named, layout)
    stored = _models(name, layout, None)
    folder = layout.experiment(name)
    if not folder.is_dir():
        raise ConfigurationError(
            f"nothing was run here under the name {name!r}: there is nothing to put into the store"
        )
    done: list[str] = []
    said: dict[str, Any] = {"experiment": name, "put": done, "store": stored.store.where(f"experiments/{name}")}
    try:
        for push_ledger, what in ((push_looks, layout.looks_ledger), (push_trials, layout.trials_ledger)):
            if n := push_ledger(what):
                done.append(f"lines of {what.stem}: {n}")
        links = sorted(link.parent for link in folder.rglob(CURRENT) if link.is_symlink())
        roots = [root for root in links if not root.is_relative_to(stored.models)]
        frozen = stored_place(layout.frozen)
        here = [one for one in known_snapshots(layout) if frozen is not None and (layout.frozen / one).is_dir()]
        n_versions = len(roots) + len(here) + len(release_ids(stored.models))
        one_more = counting(watch, "putting into the store", n_versions, "versions")
        for root in roots:
            place = stored_place(root)
            if place is not None and place.pointer() is None:
                place.publish(read_artifact(root, in_store=False))
                done.append(str(root.relative_to(folder)))
            one_more()
        for snapshot in here:
            if frozen is not None and frozen.store.get(f"{frozen.key}/{snapshot}/{MANIFEST}") is None:
                frozen.put_version(frozen.fetched(snapshot))
                done.append(f"snapshot {snapshot}")
            one_more()
        with deployment_lock(stored.models):
            for release_id in release_ids(stored.models):
                if stored.store.get(f"{stored.versions.key}/{release_id}/{MANIFEST}") is None:
                    stored.put_version(released_version(stored.models, release_id))
                    done.append(f"release {release_id}")
                one_more()
            live = linked_release(stored.models)
            if live is not None and stored.publish(released_version(stored.models, live)):
                done.append(f"what is live: {live}")
    except TROUBLE as error:
        return said | {"failed": [f"{error}; what is listed was put, the rest was not; push again"]}
    return said | {"put": done or "nothing: the store has all of it", "live": live or "nothing", "failed": []}


def _fetched(stored: StoredModels, release: str) -> dict[str, Any]:
    known = sorted(stored.versions.versions())
    fitting = [one for one in known if one == release] or [
        one for one in known if len(release) > len("YYYY-MM-DD") and one.startswith(release)
    ]
    if len(fitting) != 1:
        raise ConfigurationError(
            f"{release!r} names {len(fitting) or 'no'} releases of {stored.store.where(stored.key)}; name an id, or a "
            f"beginning of one that is longer than a date; there are {', '.join(known) or 'none'}"
        )
    with deployment_lock(stored.models):
        version = stored.fetch_version(fitting[0])
    return {
        "fetched": version.version,
        "files": len(version.files),
        "bytes": version.n_bytes,
        "path": str(version.folder),
        "live": linked_release(stored.models) or "nothing",
        "failed": [],
    }


def _models(name: str, layout: Layout, into: Path | None) -> StoredModels:
    place = stored_place(layout.models(name))
    if place is None:
        raise ConfigurationError(
            "TFT_STORE is not set: there is no store; name one, such as TFT_STORE=s3://bucket/prefix (docs/storage.md)"
        )
    models = layout.models(name) if into is None else into.expanduser().resolve()
    if models.exists() and not models.is_dir():
        raise ConfigurationError(f"--into {models} is no folder: releases are folders with links beside them")
    return StoredModels(store=place.store, models=models, key=models_key(layout.home, layout.models(name)))


def _name(named: str, layout: Layout) -> str:
    """A plain name as it is: nothing of it need have run here; else the name in the file."""
    if not named.endswith((".yaml", ".yml")) and named.replace("_", "").isalnum() and named.isascii():
        return named
    return graph_named(named, layout).name
