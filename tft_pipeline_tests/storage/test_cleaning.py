"""Old versions go where nothing speaks of them, here and in the store; everything else stays."""

import json
import os
import time
from pathlib import Path

import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.cleaning import clean as clean_experiment
from tft_pipeline.pipeline.progress import Stage
from tft_pipeline.storage import cleaning
from tft_pipeline.storage.artifacts import Artifact, ArtifactMissingError, read_artifact, write_artifact
from tft_pipeline.storage.cleaning import Cleaned, clean
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.experiments import OWNER_FILE
from tft_pipeline.storage.object_store import ObjectStore, open_store
from tft_pipeline.storage.stored_versions import Pointer, manifest_sha256, stored_place
from tft_pipeline_tests.object_stores import use_store, writer
from tft_pipeline_tests.released import candidate


@pytest.fixture(params=["none", "file"])
def experiment(request, tmp_path, monkeypatch) -> Path:
    use_store(monkeypatch, request.param, tmp_path)
    return tmp_path / "home" / "experiments" / "small"


def version(experiment: Path, artifact: str, text: str, days: float = 9, **documents: object) -> Artifact:
    """A version, written some days ago."""
    files = {"data.bin": text.encode()} | {
        f"{name}.json": json.dumps(body).encode() for name, body in documents.items()
    }
    made = write_artifact(experiment / artifact, writer(files))
    age(experiment, days)
    return made


def age(experiment: Path, days: float) -> None:
    """Whatever was written just now was written so long ago, a little after what was there before."""
    home = experiment.parents[1]
    for path in (*home.rglob("*"), *(home.parent / "store").rglob("*")):
        if path.is_file() and not path.is_symlink() and time.time() - path.stat().st_mtime < 3600:
            when = time.time() - days * 86400
            os.utime(path, (when, when))


def cleaned(
    experiment: Path, keep: int = 1, dry_run: bool = False, leftovers: bool = False, **planned: list[str]
) -> Cleaned:
    plans = {"production_fold": ["f1"]} | planned
    return clean(experiment, keep=keep, planned=plans, dry_run=dry_run, leftovers=leftovers)


def names(found: Cleaned) -> set[tuple[str, str]]:
    return {(one.artifact, one.name) for one in found.removed}


def stored(experiment: Path, artifact: str) -> set[str]:
    place = stored_place(experiment / artifact)
    return set() if place is None else place.versions()


def test_old_versions_go_and_what_is_valid_and_the_newest_stay(experiment):
    made = [version(experiment, "features", f"v{k}", 20 - k) for k in range(5)]
    first = cleaned(experiment, keep=2, dry_run=True)
    assert names(first) == {("features", one.version) for one in made[:3]}
    assert all(one.folder.is_dir() for one in made)
    done = cleaned(experiment, keep=2)
    assert names(done) == names(first)
    assert [one.folder.is_dir() for one in made] == [False, False, False, True, True]
    assert read_artifact(experiment / "features") == made[4]
    if open_store() is not None:
        assert stored(experiment, "features") == {made[3].version, made[4].version}
    copies = 1 if open_store() is None else 2
    assert done.n_bytes == sum(one.n_bytes for one in done.removed) * copies
    rows = [json.loads(line) for line in (experiment / "removed.jsonl").read_text().splitlines()]
    assert [row["version"] for row in rows] == [one.version for one in made[:3]]
    assert [row["files"] for row in rows] == [one.files for one in made[:3]]
    assert names(cleaned(experiment, keep=2)) == set()


def test_a_valid_version_stays_however_old_it_is(experiment):
    first = version(experiment, "features", "one", 20)
    second = version(experiment, "features", "two", 19)
    write_artifact(experiment / "features", writer({"data.bin": b"one"}))
    # the newest is the one that was put last: here the second one, in a store the first again
    assert names(cleaned(experiment)) <= {("features", second.version)}
    assert read_artifact(experiment / "features") == first


def test_a_version_younger_than_a_day_stays(experiment):
    for k in range(3):
        version(experiment, "features", f"v{k}", 0.9 - k / 100)
    assert names(cleaned(experiment)) == set()


@pytest.mark.parametrize("speaks", ["release", "night", "valid asset", "chain"])
def test_what_a_record_that_stays_speaks_of_stays(experiment, speaks):
    old = version(experiment, "snapshot", "bars", 30)
    gone = version(experiment, "snapshot", "other bars", 29)
    version(experiment, "snapshot", "newest bars", 28)
    if speaks == "release":
        made = candidate(experiment / "models", "2025-01-01-a", "one")
        card = made.folder / "model_card.json"
        made.folder.chmod(0o755)
        card.chmod(0o644)
        card.write_text(json.dumps({"train": {"snapshot": old.files["data.bin"]}}))
    elif speaks == "night":
        version(experiment, "drift_night/2025-01-01", "night", 20, report={"snapshot_id": old.version})
    elif speaks == "valid asset":
        version(experiment, "production_plan", "plan", 20, report={"snapshot_id": old.version})
    else:
        middle = version(experiment, "features", "a", 27, report={"from": old.version})
        version(experiment, "features", "b", 26)
        version(experiment, "production_plan", "plan", 20, report={"features": middle.version})
    assert names(cleaned(experiment)) == {("snapshot", gone.version)}
    assert old.folder.is_dir()


def test_only_retired_folds_lose_old_versions_and_never_their_valid_one(experiment):
    made = {
        key: [version(experiment, f"production_fold/{key}", f"{key}{k}", 20 - k) for k in range(3)]
        for key in ("f1", "f2")
    }
    state = experiment / "training" / "production-f2.safetensors"
    state.parent.mkdir()
    state.write_bytes(b"state")
    assert names(cleaned(experiment)) == {("production_fold/f2", one.version) for one in made["f2"][:2]}
    assert all(one.folder.is_dir() for one in made["f1"])
    assert made["f2"][2].folder.is_dir()
    assert state.exists()
    assert names(cleaned(experiment, production_fold=["f1", "f2"])) == set()


def test_what_was_set_aside_is_listed_and_goes_only_when_asked(experiment):
    made = version(experiment, "features", "v", 9)
    made.folder.rename(experiment / "features" / ".damaged-v-1")
    (experiment / "features" / ".removed-w-1").mkdir()
    stage = experiment / "features" / ".stage-1"
    stage.mkdir()
    os.utime(stage, (time.time() - 999, time.time() - 999))
    found = cleaned(experiment)
    assert len(found.leftovers) == 3
    assert (experiment / "features" / ".damaged-v-1").is_dir()
    cleaned(experiment, leftovers=True, dry_run=True)
    assert (experiment / "features" / ".damaged-v-1").is_dir()
    assert cleaned(experiment, leftovers=True).n_bytes > 0
    assert [path.name for path in (experiment / "features").glob(".*")] in ([], [".lock"])


def test_a_version_in_the_store_alone_is_judged_and_removed_there(tmp_path, monkeypatch):
    use_store(monkeypatch, "file", tmp_path)
    there = tmp_path / "home" / "experiments" / "small"
    made = [version(there, "features", f"v{k}", 20 - k) for k in range(3)]
    monkeypatch.setenv("TFT_HOME", str(tmp_path / "other"))
    here = tmp_path / "other" / "experiments" / "small"
    read_artifact(here / "features")
    version(here, "production_plan", "plan", 5, report={"features": made[0].version})
    assert names(cleaned(here)) == {("features", made[1].version)}
    assert stored(here, "features") == {made[0].version, made[2].version}
    assert made[1].folder.is_dir()  # the other machine cleans its own copy


def test_uploads_that_were_killed_are_left_over_in_the_store_wherever_they_lie(tmp_path, monkeypatch):
    use_store(monkeypatch, "file", tmp_path)
    experiment = tmp_path / "home" / "experiments" / "small"
    version(experiment, "features", "v", 9)
    version(experiment, "production_fold/f1", "f", 9)
    candidate(experiment / "models", "r1", "one")
    deploy_release(experiment / "models", "r1", reason="first")
    store = open_store()
    assert store is not None
    whole = set(store.names("experiments"))
    torn = {
        "experiments/small/features/torn",
        "experiments/small/never_finished/0123456789abcdef",
        "experiments/small/production_fold/f1/0123456789abcdef",
        "experiments/small/production_fold/f9/0123456789abcdef",
        "experiments/small/models/versions/r2",
        "snapshots/2020-01-01T00-00-00Z-0123456789ab",
    }
    for folder in torn:
        store.put(f"{folder}/deep/data.bin", b"1")
    assert cleaned(experiment).leftovers == ()  # they may be under way
    age(experiment, 2)
    found = cleaned(experiment, leftovers=True).leftovers
    assert {words.split(":")[0] for words, _ in found} == torn
    assert set(store.names("experiments")) == whole
    assert store.names("snapshots") == {}


@pytest.mark.fault("store_writers")
@pytest.mark.parametrize("when", ["before", "after the manifest went"])
def test_a_version_that_another_machine_makes_valid_again_meanwhile_stays(tmp_path, monkeypatch, when):
    use_store(monkeypatch, "file", tmp_path)
    experiment = tmp_path / "home" / "experiments" / "small"
    made = [version(experiment, "features", f"v{k}", 20 - k) for k in range(3)]
    there = stored_place(experiment / "features")
    assert there is not None
    again = Pointer(made[0].version, manifest_sha256(made[0].folder)).content()
    if when == "before":
        judged = cleaning._judge

        def late(*args) -> None:
            judged(*args)
            there.store.put(f"{there.key}/current.json", again)

        monkeypatch.setattr(cleaning, "_judge", late)
    else:
        remove = ObjectStore.remove

        def moved(self: ObjectStore, key: str) -> None:
            remove(self, key)
            if key.endswith(f"{made[0].version}/manifest.json"):
                self.put(f"{there.key}/current.json", again)

        monkeypatch.setattr(ObjectStore, "remove", moved)
    done = cleaned(experiment)
    assert names(done) == {("features", made[1].version)}
    assert {one.name: one.why for one in done.kept}[made[0].version] == cleaning.VALID_BY_NOW
    said = [json.loads(line) for line in (experiment / "removed.jsonl").read_text().splitlines()]
    lines = [(row["version"], "kept" in row) for row in said if row["version"] == made[0].version]
    assert lines == ([] if when == "before" else [(made[0].version, False), (made[0].version, True)])
    for home in ("home", "other"):
        monkeypatch.setenv("TFT_HOME", str(tmp_path / home))
        assert read_artifact(tmp_path / home / "experiments" / "small" / "features").version == made[0].version


def test_a_store_is_cleaned_under_a_lock_that_reaches_other_machines_or_when_somebody_says_there_are_none(
    tmp_path, monkeypatch
):
    use_store(monkeypatch, "file", tmp_path)
    monkeypatch.delenv("TFT_LOCKS", raising=False)
    claimed = tmp_path / "home" / "experiments" / "small"
    version(claimed, "features", "v", 9)
    (claimed / OWNER_FILE).write_text("small.yaml")
    with pytest.raises(ConfigurationError, match=r"TFT_LOCKS is not.*nothing was removed.*--alone"):
        clean_experiment("small")
    assert clean_experiment("small", dry_run=True)["failed"] == []
    assert clean_experiment("small", alone=True)["failed"] == []
    monkeypatch.delenv("TFT_STORE")
    assert clean_experiment("small")["failed"] == []


def test_what_is_removed_is_counted_and_a_look_at_it_is_not(tmp_path, monkeypatch):
    use_store(monkeypatch, "none", tmp_path)
    claimed = tmp_path / "home" / "experiments" / "small"
    for k in range(4):
        version(claimed, "features", f"v{k}", 20 - k)
    (claimed / OWNER_FILE).write_text("small.yaml")
    told: list[Stage] = []
    clean_experiment("small", keep=1, dry_run=True, watch=told.append)
    assert told == []
    assert len(clean_experiment("small", keep=1, watch=told.append)["removed"]) == 3
    assert [(stage.done, stage.of) for stage in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_plan_of_another_shape_removes_nothing_and_says_what_to_do(tmp_path, monkeypatch):
    use_store(monkeypatch, "none", tmp_path)
    claimed = tmp_path / "home" / "experiments" / "small"
    made = [version(claimed, "features", f"v{k}", 20 - k) for k in range(2)]
    (claimed / OWNER_FILE).write_text("small.yaml")
    version(claimed, "production_plan", "plan", 20, report={"folds": "of another shape"})
    for dry_run in (False, True):
        (said,) = clean_experiment("small", keep=1, dry_run=dry_run)["failed"]
        assert "production_plan" in said
        assert "nothing was removed" in said
        assert "`tft run --resume`" in said
    assert all(one.folder.is_dir() for one in made)
    assert not (claimed / "removed.jsonl").exists()


def test_nothing_is_removed_below_one_and_an_empty_experiment_is_no_error(experiment):
    with pytest.raises(ValueError, match="keep 0 < 1"):
        cleaned(experiment, keep=0)
    assert names(cleaned(experiment)) == set()
    with pytest.raises(ArtifactMissingError):
        read_artifact(experiment / "features")
