"""Releases that several machines share through a store: one log, one pointer, and what each of them says is live."""

import json
import os
import stat
from pathlib import Path

import pytest

from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.deploying import deploy_release, newest_candidate, release_candidate
from tft_pipeline.storage.deployment_log import LOG_FILE
from tft_pipeline.storage.deployments import deployment_lock, deployments, linked_release
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.gate_files import DeployRefusedError, GateRefusedError
from tft_pipeline.storage.object_store import ObjectStore, open_store
from tft_pipeline.storage.published import PublishError, StoredModels, stored_models
from tft_pipeline.storage.releases import (
    RollbackRefusedError,
    current_release,
    deploy_problems,
    fetch_version,
    live_in_store,
    make_fixed_names,
    release_ids,
    release_stamp,
)
from tft_pipeline.storage.retention import prune
from tft_pipeline.storage.rollback import find_release, roll_back
from tft_pipeline.storage.standing import standing
from tft_pipeline.storage.stored_versions import DamagedCopyWarning
from tft_pipeline_tests.object_stores import STORES, requests_fail, use_store
from tft_pipeline_tests.released import aged, candidate, files_of

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


def published_live() -> str:
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
    assert published_live() == "r2"
    one = machine("a", tmp_path, monkeypatch)
    assert linked_release(one) == "r1"  # live code here goes on until somebody pulls
    assert roll_back(one, "r1", reason="no").sequence == 3
    assert published_live() == "r1"
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
        assert published_live() == "r1"
        if linked_release(models) == before:
            assert "r1 is live here" in said
        else:
            assert "r2 is live on this machine" in said
            assert "`tft push` tells it" in said
            roll_back_alone(models, monkeypatch)
    assert set(outcomes) == {"r1", "r2"}
    assert published_live() == "r2"
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
    assert published_live() == "r3"
    with pytest.raises(PublishError, match="go on differently"):
        prune(one, keep=9)
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


def test_a_damaged_log_that_may_hold_what_the_store_was_never_told_is_not_thrown_away(kind, tmp_path, monkeypatch):
    models = machine("a", tmp_path, monkeypatch)
    candidate(models, "r1", "one")
    candidate(models, "r2", "two")
    deploy_release(models, "r1", reason="first")
    with monkeypatch.context() as alone:
        alone.delenv("TFT_STORE")
        deploy_release(models, "r2", reason="while the store was down")
    damaged = (models / LOG_FILE).read_bytes().replace(b"while the store", b"While the store")
    (models / LOG_FILE).write_bytes(damaged)
    for act in (lambda: pull(models), lambda: roll_back(models, "r1", reason="no"), lambda: prune(models, keep=9)):
        with pytest.raises(PublishError, match=r"line 3.*never told of.*nothing was changed"):
            act()
    assert (models / LOG_FILE).read_bytes() == damaged
    assert linked_release(models) == "r2"


def test_who_deploys_over_a_damaged_log_is_told_where_it_is_now(kind, tmp_path, monkeypatch):
    models = machine("a", tmp_path, monkeypatch)
    candidate(models, "r1", "one")
    candidate(models, "r2", "two")
    deploy_release(models, "r1", reason="first")
    (models / LOG_FILE).write_bytes((models / LOG_FILE).read_bytes().replace(b"first", b"fIrst"))
    note = deploy_release(models, "r2", reason="second").note
    (aside,) = models.glob(f"{LOG_FILE}.damaged-*")
    assert f"it is {aside.name} now, and the store's log was taken" in note
    assert [entry.reason for entry in deployments(models)] == ["first", "second"]


@pytest.fixture
def behind(kind, tmp_path, monkeypatch) -> Path:
    """Machine b, which has r2 live; since then machine a made r3 live."""
    one = machine("a", tmp_path, monkeypatch)
    for release_id in ("r1", "r2"):
        candidate(one, release_id, release_id)
        deploy_release(one, release_id, reason="earlier")
    two = machine("b", tmp_path, monkeypatch)
    pull(two)
    one = machine("a", tmp_path, monkeypatch)
    candidate(one, "r3", "r3")
    deploy_release(one, "r3", reason="later")
    return machine("b", tmp_path, monkeypatch)


def test_who_prunes_is_refused_or_leaves_a_candidate_changes_nothing_that_is_live_here(behind):
    log = (behind / LOG_FILE).read_bytes()
    candidate(behind, "r4", "r4", ["drift"])
    assert prune(behind, keep=9).removed == ()
    with pytest.raises(
        RollbackRefusedError, match=r"r3 is live in the store, and r2 here.*the one before it is r2: name"
    ):
        find_release(behind, "previous", now=utc_now())
    with pytest.raises(RollbackRefusedError, match="r3 is live already in the store"):
        roll_back(behind, "r3", reason="no")
    with pytest.raises(GateRefusedError):
        deploy_release(behind, "r4", reason="no")
    held = release_candidate(behind, release_id="r5", fill=files_of("r5", "r5", champion="r2"))
    assert "judged against r2, r3 is live" in held.note
    assert (linked_release(behind), (behind / LOG_FILE).read_bytes()) == ("r2", log)


def test_a_fresh_machine_compares_with_what_is_live_in_the_store_without_taking_it(kind, tmp_path, monkeypatch):
    one = machine("a", tmp_path, monkeypatch)
    made = candidate(one, "2999-01-01T00-00-00Z-a", "one")
    deploy_release(one, made.version, reason="first")
    fresh = machine("b", tmp_path, monkeypatch)
    assert live_in_store(fresh) == made.version
    assert release_stamp(fresh, utc_now()) == "2999-01-01T00-00-01Z"
    assert fetch_version(fresh, made.version).files == made.files
    wrong = release_candidate(fresh, release_id="r2", fill=files_of("r2", "two", champion=None))
    assert f"judged against nothing, for nothing was live, {made.version} is live" in wrong.note
    assert linked_release(fresh) is None
    right = release_candidate(fresh, release_id="r3", fill=files_of("r3", "three", champion=made.version))
    assert right.deployment is not None
    assert right.deployment.source == made.version
    monkeypatch.delenv("TFT_STORE")
    assert live_in_store(fresh) is None


@pytest.mark.fault("flipped_byte")
def test_a_damaged_copy_of_a_release_is_set_aside_and_fetched_again_and_of_two_damaged_ones_none_is_taken(
    kind, tmp_path, monkeypatch
):
    models = machine("a", tmp_path, monkeypatch)
    made = candidate(models, "r1", "one")
    deploy_release(models, "r1", reason="first")

    def damage() -> None:
        path = made.path("weights.safetensors")
        path.chmod(0o644)
        path.write_text("weights 0ne")

    damage()
    with pytest.warns(DamagedCopyWarning, match="was set aside"):
        assert fetch_version(models, "r1").files == made.files
    assert made.path("weights.safetensors").read_text() == "weights one"
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o555
    assert len(list(made.folder.parent.glob(".damaged-r1-*"))) == 1
    assert deploy_problems(models) == []
    damage()
    store = open_store()
    assert store is not None
    store.put(f"{KEY}/versions/r1/weights.safetensors", b"weights 1ne")
    with pytest.raises(IntegrityError, match=r"versions/r1/weights\.safetensors: SHA-256 is"):
        fetch_version(models, "r1")
    store.remove(f"{KEY}/versions/r1/manifest.json")
    with pytest.raises(IntegrityError, match=r"weights\.safetensors: SHA-256 is"):
        fetch_version(models, "r1")
    assert made.folder.is_dir()


def test_who_names_no_candidate_is_told_of_deployments_that_this_machine_did_not_know(behind):
    candidate(behind, "r4", "r4")
    with pytest.raises(
        DeployRefusedError, match=r"r3 is live in the store, and r2 here.*r4 is the newest candidate still"
    ):
        newest_candidate(standing(behind))
    with pytest.raises(DeployRefusedError, match="r3 is live in the store"):
        deploy_release(behind, "r4", reason="no", newest=True)
    assert linked_release(behind) == "r2"
    done = deploy_release(behind, "r4", reason="named").deployment
    assert done is not None
    assert (done.source, linked_release(behind), published_live()) == ("r3", "r4", "r4")


def test_a_rollback_on_one_machine_holds_its_weights_on_every_other(behind, tmp_path, monkeypatch):
    candidate(behind, "r4", "r3")
    machine("a", tmp_path, monkeypatch)
    roll_back(tmp_path / "a" / KEY, "r2", reason="it loses money")
    machine("b", tmp_path, monkeypatch)
    with pytest.raises(DeployRefusedError, match="r4 waits, but its weights were rolled back from"):
        newest_candidate(standing(behind))
    assert "rolled back from" in deploy_release(behind, "r4", reason="night", automatic=True).note
    assert linked_release(behind) == "r2"


def test_what_was_the_newest_candidate_is_chosen_again_under_the_lock(tmp_path, monkeypatch):
    use_store(monkeypatch, "none", tmp_path)
    models = tmp_path / "home" / KEY
    candidate(models, "r1", "one")
    candidate(models, "r2", "two")
    with pytest.raises(DeployRefusedError, match="r1 was the newest candidate and r2 is by now"):
        deploy_release(models, "r1", reason="no", newest=True)


def test_a_machine_that_only_pulled_goes_back_to_what_another_one_had_live(kind, tmp_path, monkeypatch):
    one = machine("a", tmp_path, monkeypatch)
    for release_id in ("2025-01-01-a", "2025-01-02-a"):
        candidate(one, release_id, release_id)
        deploy_release(one, release_id, reason="earlier")
    two = machine("b", tmp_path, monkeypatch)
    pull(two)
    for wanted in ("previous", "2025-01-01-", "2025-01-01-a"):
        assert find_release(two, wanted, now=utc_now()) == "2025-01-01-a"
    assert roll_back(two, "2025-01-01-a", reason="it loses money", wanted="previous").source == "2025-01-02-a"
    assert current_release(two)[0].version == published_live() == "2025-01-01-a"
    with pytest.raises(RollbackRefusedError, match="is not there any more"):
        roll_back(two, "2024-01-01-a", reason="no")


@pytest.mark.parametrize("lost", ["after", "and another since", "nobody answers"])
def test_a_lost_answer_is_asked_for_and_only_what_is_not_known_is_said_to_be_so(kind, tmp_path, monkeypatch, lost):
    models = machine("a", tmp_path, monkeypatch)
    for release_id in ("r1", "r2"):
        candidate(models, release_id, release_id)
    deploy_release(models, "r1", reason="first")
    original, asked = ObjectStore.put if kind == "file" else ObjectStore._asked, ObjectStore._asked

    def put(self: ObjectStore, *args):
        made = original(self, *args)
        key = args[0] if kind == "file" else args[1]
        if key.endswith("models/current.json") and (kind == "file" or args[0] == "write"):
            monkeypatch.setattr(ObjectStore, "put" if kind == "file" else "_asked", original)
            if lost == "and another since":
                self.put(key, b"{}")
            if lost == "nobody answers":
                monkeypatch.setattr(ObjectStore, "get", gone)
            raise self._error("write", key, TimeoutError("no answer"))
        return made

    def gone(self: ObjectStore, key: str) -> bytes | None:
        raise self._error("read", key, TimeoutError("no answer"))

    monkeypatch.setattr(ObjectStore, "put" if kind == "file" else "_asked", put)
    if lost == "after":
        assert deploy_release(models, "r2", reason="second").deployment is not None
        assert published_live() == "r2"
    else:
        with pytest.raises(
            PublishError, match="whether the store was told is not known: its answer was lost"
        ) as caught:
            deploy_release(models, "r2", reason="second")
        assert caught.value.may_pass
    assert ObjectStore._asked is asked
    assert linked_release(models) == "r2"


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
    assert linked_release(one) == "r1"
