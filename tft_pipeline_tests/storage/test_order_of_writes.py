"""The order in which things are written with a store: whoever is stopped in between leaves what the next one goes on from."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tft_pipeline.storage import artifacts, published
from tft_pipeline.storage.artifacts import Artifact, linked_version, read_artifact, write_artifact
from tft_pipeline.storage.cleaning import clean
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.deployments import deployment_lock, deployments, linked_release
from tft_pipeline.storage.object_store import ObjectStore, open_store
from tft_pipeline.storage.published import stored_models
from tft_pipeline.storage.releases import make_fixed_names
from tft_pipeline.storage.stored_versions import stored_place
from tft_pipeline_tests.object_stores import use_store, writer
from tft_pipeline_tests.released import candidate

FEATURES = "experiments/small/features"
MODELS = "experiments/small/models"
DAY = 86400.0


class StoppedError(Exception):
    """The process ends here."""


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_store(monkeypatch, "file", tmp_path)


def machine(name: str, place: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> Path:
    patch.setenv("TFT_HOME", str(tmp_path / name))
    return tmp_path / name / place


def written(root: Path, text: str) -> Artifact:
    return write_artifact(root, writer({"a.bin": text.encode(), "b.bin": text.encode()}))


def aged(folder: Path, days: float) -> None:
    """Every file below was written so long ago."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (time.time() - days * DAY,) * 2)


def cleaned(root: Path, dry_run: bool = False) -> set[str]:
    return {one.name for one in clean(root.parent, keep=1, planned={}, dry_run=dry_run, leftovers=False).removed}


@pytest.mark.fault("store_writers")
def test_a_stale_machine_that_cleans_leaves_what_another_one_made_valid(tmp_path, monkeypatch):
    here = machine("a", FEATURES, tmp_path, monkeypatch)
    first, second = written(here, "one"), written(here, "two")
    other = machine("b", FEATURES, tmp_path, monkeypatch)
    written(other, "one")
    machine("a", FEATURES, tmp_path, monkeypatch)
    for version, days in ((first.version, 20.0), (second.version, 10.0)):
        for folder in (here / version, tmp_path / "store" / FEATURES / version):
            aged(folder, days)
    assert linked_version(here) == second.version, "this machine has not asked since"
    assert cleaned(here, dry_run=True) == set()
    assert cleaned(here) == set()
    assert read_artifact(here) == first


@pytest.mark.fault("store_torn")
@pytest.mark.parametrize("stopped_after", [1, 2])
def test_a_version_that_is_half_removed_from_the_store_is_none(tmp_path, monkeypatch, stopped_after):
    root = machine("a", FEATURES, tmp_path, monkeypatch)
    made = [written(root, text) for text in ("one", "two")]
    for k, one in enumerate(made):
        for folder in (one.folder, tmp_path / "store" / FEATURES / one.version):
            aged(folder, 20.0 - k)
    removed: list[str] = []
    original = ObjectStore.remove

    def remove(self: ObjectStore, key: str) -> None:
        if len(removed) == stopped_after:
            raise StoppedError
        removed.append(key)
        original(self, key)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "remove", remove)
        with pytest.raises(StoppedError):
            cleaned(root)
    assert len(removed) == stopped_after
    place, store = stored_place(root), open_store()
    assert place is not None
    assert store is not None
    assert place.versions() == {made[1].version}
    assert any(made[0].version in key for key in store.names(FEATURES)), "something of it is left over"


@pytest.mark.fault("store_torn")
@pytest.mark.parametrize("step", ["replace_link", "replace_file"])
def test_who_is_stopped_while_taking_a_deployment_takes_it_the_next_time(tmp_path, monkeypatch, step):
    one = machine("a", MODELS, tmp_path, monkeypatch)
    candidate(one, "r1", "one")
    candidate(one, "r2", "two")
    deploy_release(one, "r1", reason="first")
    two = machine("b", MODELS, tmp_path, monkeypatch)
    pull(two)
    machine("a", MODELS, tmp_path, monkeypatch)
    deploy_release(one, "r2", reason="second")
    machine("b", MODELS, tmp_path, monkeypatch)

    def stop(*_: Any) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(published, step, stop)
        with pytest.raises(StoppedError):
            pull(two)
    candidate(two, "r3", "three")
    made = deploy_release(two, "r3", reason="third").deployment  # takes what is new first
    assert made is not None
    assert (made.source, made.target) == ("r2", "r3")
    assert linked_release(two) == "r3"
    assert [entry.target for entry in deployments(two)] == ["r1", "r2", "r3"]


def pull(models: Path) -> None:
    with deployment_lock(models):
        stored = stored_models(models)
        assert stored is not None
        assert stored.pull() is not None
        make_fixed_names(models)


@pytest.mark.fault("store_torn")
def test_what_is_fetched_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    made = written(machine("a", FEATURES, tmp_path, monkeypatch), "one")
    root = machine("b", FEATURES, tmp_path, monkeypatch)
    durable: set[int] = set()
    named: list[str] = []
    fsync, rename = os.fsync, os.rename

    def fsynced(descriptor: int) -> None:
        durable.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def renamed(old: Path, new: Path) -> None:
        if Path(new) == root / made.version:
            assert {path.stat().st_ino for path in (Path(old), *Path(old).rglob("*"))} <= durable
            named.append(Path(new).name)
            durable.discard(root.stat().st_ino)
        rename(old, new)

    monkeypatch.setattr(os, "fsync", fsynced)
    monkeypatch.setattr(artifacts.os, "rename", renamed)
    assert read_artifact(root).files == made.files
    assert named == [made.version]
    assert root.stat().st_ino in durable, "and so has the name"
