"""Releases that several machines share through a store: one log, one pointer, and what each of them says is live."""

import json
import os
import stat
from pathlib import Path

import pytest

from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.deployment_log import LOG_FILE
from tft_pipeline.storage.deployments import deployment_lock, deployments, linked_release
from tft_pipeline.storage.object_store import open_store
from tft_pipeline.storage.published import PublishError, StoredModels, stored_models
from tft_pipeline.storage.releases import current_release, deploy_problems, follow_store, make_fixed_names, release_ids
from tft_pipeline.storage.retention import prune
from tft_pipeline.storage.rollback import roll_back
from tft_pipeline_tests.object_stores import STORES, requests_fail, use_store
from tft_pipeline_tests.released import aged, candidate

KEY = "experiments/small/models"


@pytest.fixture(params=STORES)
def kind(request, tmp_path, monkeypatch) -> str:
    use_store(monkeypatch, request.param, tmp_path)
    return request.param


@pytest.fixture
def on_s3(tmp_path, monkeypatch) -> None:
    use_store(monkeypatch, "s3", tmp_path)


def machine(name: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> Path:
    patch.setenv("TFT_HOME", str(tmp_path / name))
    return tmp_path / name / KEY


def of(models: Path) -> StoredModels:
    found = stored_models(models)
    assert found is not None
    return found


def pull(models: Path) -> None:
    with deployment_lock(models):
        assert of(models).pull() is not None
        make_fixed_names(models)


def live_in_store() -> str:
    store = open_store()
    assert store is not None
    return str(json.loads(store.get(f"{KEY}/current.json") or b"{}")["version"])


def test_a_candidate_is_in_the_store_and_not_live_there(kind, tmp_path, monkeypatch):
    models = machine("a", tmp_path, monkeypatch)
    candidate(models, "r1", "one")
    assert of(models).versions.versions() == {"r1"}
    assert of(models).published() is None


def test_a_deployment_is_live_on_every_machine_that_pulls_and_verified_to_the_log(kind, tmp_path, monkeypatch):
    models = machine("a", tmp_path, monkeypatch)
    candidate(models, "r1", "one")
    deploy_release(models, "r1", reason="first")
    other = machine("b", tmp_path, monkeypatch)
    pull(other)
    released, card = current_release(other)
    assert (released.version, card["verdict"]) == ("r1", "NO-GO")
    assert deploy_problems(other) == []
    assert deployments(other) == deployments(models)
    assert (other / LOG_FILE).read_bytes() == (models / LOG_FILE).read_bytes()
    assert stat.S_IMODE(released.folder.stat().st_mode) == 0o555
    assert os.readlink(other / "best_tft.pt") == "versions/current/weights.safetensors"
    pull(other)
    assert deployments(other) == deployments(models)


def test_who_deploys_takes_first_what_another_machine_deployed(kind, tmp_path, monkeypatch):
    one = machine("a", tmp_path, monkeypatch)
    candidate(one, "r1", "one")
    deploy_release(one, "r1", reason="first")
    two = machine("b", tmp_path, monkeypatch)
    candidate(two, "r2", "two")
    made = deploy_release(two, "r2", reason="second").deployment
    assert made is not None
    assert (made.sequence, made.source, made.target) == (2, "r1", "r2")
    assert live_in_store() == "r2"
    one = machine("a", tmp_path, monkeypatch)
    assert linked_release(one) == "r1"  # live code here goes on until somebody pulls
    assert roll_back(one, "r1", reason="no").sequence == 3
    assert live_in_store() == "r1"
    assert [entry.target for entry in deployments(one)] == ["r1", "r2", "r1"]


@pytest.mark.slow
@pytest.mark.fault("store_down")
def test_a_deployment_that_the_store_does_not_learn_of_says_what_is_live_where(on_s3, tmp_path, monkeypatch):
    models = machine("a", tmp_path, monkeypatch)
    for release_id in ("r1", "r2"):
        candidate(models, release_id, release_id)
    deploy_release(models, "r1", reason="first")
    outcomes = []
    for first in range(30):
        before = linked_release(models)
        try:
            with requests_fail(first=first):
                deploy_release(models, "r2", reason="second")
        except PublishError as error:
            said = str(error)
        else:
            break
        outcomes.append(linked_release(models))
        assert live_in_store() == "r1"
        if linked_release(models) == before:
            assert "r1 is live here" in said
        else:
            assert "r2 is live on this machine" in said
            assert "`tft push` tells it" in said
            roll_back_alone(models, monkeypatch)
    assert set(outcomes) == {"r1", "r2"}
    assert live_in_store() == "r2"
    other = machine("b", tmp_path, monkeypatch)
    pull(other)
    assert linked_release(other) == "r2"


def roll_back_alone(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back to r1 with a log that goes on where the store's ends."""
    with monkeypatch.context() as alone:
        alone.delenv("TFT_STORE")
        roll_back(models, "r1", reason="again")


@pytest.mark.fault("store_writers")
def test_of_two_machines_that_deploy_at_once_the_second_is_refused_and_says_what_is_live(kind, tmp_path, monkeypatch):
    one = machine("a", tmp_path, monkeypatch)
    for release_id in ("r1", "r2", "r3"):
        candidate(one, release_id, release_id)
    deploy_release(one, "r1", reason="first")
    two = machine("b", tmp_path, monkeypatch)
    pull(two)
    of(two).fetch_version("r3")
    original = StoredModels.publish

    def interrupted(self: StoredModels, version) -> bool:
        monkeypatch.setattr(StoredModels, "publish", original)
        with monkeypatch.context() as there:
            there.setenv("TFT_HOME", str(tmp_path / "b"))
            deploy_release(two, "r3", reason="in between")
        return self.publish(version)

    one = machine("a", tmp_path, monkeypatch)
    monkeypatch.setattr(StoredModels, "publish", interrupted)
    with pytest.raises(PublishError, match="r3 live meanwhile; r2 is live on this machine"):
        deploy_release(one, "r2", reason="second")
    assert live_in_store() == "r3"
    with pytest.raises(PublishError, match="go on differently"), deployment_lock(one):
        follow_store(one)
    assert linked_release(one) == "r2"
    (one / LOG_FILE).rename(one / "kept.jsonl")
    pull(one)
    assert linked_release(one) == "r3"
    assert deployments(one) == deployments(two)


@pytest.mark.fault("store_torn")
@pytest.mark.parametrize("what", ["pointer", "log", "version", "no log"])
def test_a_damaged_release_in_the_store_changes_nothing_on_a_machine_that_pulls(kind, tmp_path, monkeypatch, what):
    models = machine("a", tmp_path, monkeypatch)
    candidate(models, "r1", "one")
    candidate(models, "r2", "two")
    deploy_release(models, "r1", reason="first")
    other = machine("b", tmp_path, monkeypatch)
    pull(other)
    machine("a", tmp_path, monkeypatch)
    deploy_release(models, "r2", reason="second")
    store = open_store()
    assert store is not None
    body = json.loads(store.get(f"{KEY}/current.json") or b"")
    key = {
        "pointer": f"{KEY}/current.json",
        "log": f"{KEY}/log/{body['log_sha256']}.jsonl",
        "no log": f"{KEY}/log/{body['log_sha256']}.jsonl",
        "version": f"{KEY}/versions/r2/weights.safetensors",
    }[what]
    if what == "no log":
        store.remove(key)
    else:
        store.put(key, (store.get(key) or b"")[:-9])
    machine("b", tmp_path, monkeypatch)
    with pytest.raises(IntegrityError, match=key):
        pull(other)
    assert linked_release(other) == "r1"
    assert release_ids(other) == ["r1"]
    assert [entry.target for entry in deployments(other)] == ["r1"]


def test_a_damaged_log_here_is_set_aside_for_the_sound_one_of_the_store(kind, tmp_path, monkeypatch):
    models = machine("a", tmp_path, monkeypatch)
    candidate(models, "r1", "one")
    deploy_release(models, "r1", reason="first")
    sound = (models / LOG_FILE).read_bytes()
    (models / LOG_FILE).write_bytes(sound.replace(b"first", b"fIrst"))
    pull(models)
    assert (models / LOG_FILE).read_bytes() == sound
    assert len(list(models.glob(f"{LOG_FILE}.damaged-*"))) == 1


def test_a_candidate_that_is_pruned_goes_from_the_store_too_and_one_that_another_machine_deployed_stays(
    kind, tmp_path, monkeypatch
):
    one = machine("a", tmp_path, monkeypatch)
    for release_id in ("r1", "r2", "r3"):
        candidate(one, release_id, release_id)
    deploy_release(one, "r1", reason="first")
    two = machine("b", tmp_path, monkeypatch)
    pull(two)
    of(two).fetch_version("r2")
    deploy_release(two, "r2", reason="second")
    one = machine("a", tmp_path, monkeypatch)
    aged(one)
    assert prune(one, keep=0).removed == ("r3",)
    assert of(one).versions.versions() == {"r1", "r2"}
    assert release_ids(one) == ["r1", "r2"]
    assert linked_release(one) == "r2"
