import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tft_pipeline.domain.deploy_gate import origin_of
from tft_pipeline.storage.artifacts import IntegrityError, read_version
from tft_pipeline.storage.deploying import candidate_ids, deploy_release, newest_candidate
from tft_pipeline.storage.deployment_log import LOG_FILE, entry_line
from tft_pipeline.storage.deployments import (
    DEPLOY,
    RELEASE,
    VERSIONS,
    DeploymentLockedError,
    deployment_lock,
    deployments,
    linked_release,
)
from tft_pipeline.storage.gate_files import DeployRefusedError, GateRefusedError
from tft_pipeline.storage.releases import GATE_FILE, RollbackRefusedError, deploy_problems, release_ids, write_version
from tft_pipeline.storage.rollback import roll_back
from tft_pipeline.storage.standing import standing
from tft_pipeline_tests.released import CARDS, bundle, candidate, files_of, gate_file, released, write_candidate


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """r1 is live."""
    released(tmp_path / "models", "r1", "one")
    return tmp_path / "models"


def deploy(models: Path, release_id: str, reason: str = "better", override: str | None = None):
    return deploy_release(models, release_id, reason=reason, override=override, cards=CARDS)


def unchanged(models: Path, log: bytes) -> None:
    assert linked_release(models) == "r1"
    assert (models / LOG_FILE).read_bytes() == log


def test_a_person_deploys_a_candidate_that_passed_and_the_log_knows_all_of_it(models):
    version = candidate(models, "r2", "two")
    made = deploy(models, "r2")
    done = made.deployment
    assert done is not None
    assert linked_release(models) == "r2"
    assert (done.action, done.source, done.target, done.reason, done.gates) == (DEPLOY, "r1", "r2", "better", "passed")
    assert done.weights_sha256 == version.files["weights.safetensors"]
    assert done.card_sha256 == version.files["model_card.json"]
    manifest = json.loads((version.folder / "manifest.json").read_text())
    assert done.manifest_sha256 == manifest["manifest_sha256"]
    assert deployments(models)[-1] == done
    assert deploy_problems(models) == []


def test_a_run_deploys_under_another_action(models):
    candidate(models, "r2", "two")
    made = deploy_release(models, "r2", reason="newest fold", automatic=True)
    assert made.deployment is not None
    assert (made.deployment.action, made.deployment.gates) == (RELEASE, "passed")
    again = deploy_release(models, "r2", reason="newest fold", automatic=True)
    assert again.deployment == made.deployment, "what is live already is not deployed again"
    assert len(deployments(models)) == 2


def test_failed_gates_are_the_reasons_and_nothing_changes(models):
    candidate(models, "r2", "two", failed=["sharpe_lower_bound", "bundle_verified"])
    log = (models / LOG_FILE).read_bytes()
    for automatic in (False, True):
        with pytest.raises(GateRefusedError) as caught:
            deploy_release(models, "r2", reason="", automatic=automatic)
        assert caught.value.reasons == [
            "bundle_verified: bundle_verified was measured",
            "sharpe_lower_bound: sharpe_lower_bound was measured",
        ]
    unchanged(models, log)


@pytest.mark.parametrize("override", [None, "it is needed"])
def test_without_a_gate_file_nothing_goes_live_not_even_by_an_override(models, tmp_path, override):
    write_candidate(models, release_id="r2", bundle=bundle(tmp_path / "fold", "two"), card={}, gated=False)
    log = (models / LOG_FILE).read_bytes()
    with pytest.raises(GateRefusedError, match=r"no gate\.json: its gates were never judged"):
        deploy(models, "r2", override=override)
    unchanged(models, log)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps(gate_file("r1", "00" * 32)), "about release_id r1, this version is r2"),
        (json.dumps(gate_file("r2", "00" * 32)), "about weights_sha256 0000"),
        ("{", "is not JSON"),
        ("[]", "is no object"),
    ],
)
def test_gates_of_another_model_or_release_are_no_gates_of_this_one(models, content, words):
    def fill(folder: Path) -> None:
        files_of("r2", "two")(folder)
        (folder / GATE_FILE).write_text(content)

    write_version(models, release_id="r2", fill=fill)
    for override in (None, "it is needed"):
        with pytest.raises(GateRefusedError, match=words):
            deploy(models, "r2", override=override)
    assert linked_release(models) == "r1"


def test_an_override_makes_a_new_version_live_and_changes_nothing_that_was_there(models):
    version = candidate(models, "r2", "two", failed=["sharpe_lower_bound"])
    made = deploy(models, "r2", reason="", override="the exchange closes tonight")
    assert made.deployment is not None
    assert linked_release(models) == "r2-override" == made.version.version
    assert read_version(version.folder) == version
    assert made.deployment.gates == "override: the exchange closes tonight"
    assert made.deployment.reason == "the exchange closes tonight"
    gates = json.loads(made.version.path(GATE_FILE).read_text())
    card = json.loads(made.version.path("model_card.json").read_text())
    assert gates["release_id"] == card["release_id"] == "r2-override"
    assert gates["override"]["failed"] == ["sharpe_lower_bound"]
    assert gates["override"]["who"] == made.deployment.who
    assert card["override"] == gates["override"]
    assert made.version.path("model_card.md").read_text() == "# deployed by override\n"
    assert version.path("model_card.md").read_text() == "# candidate\n"
    written = {GATE_FILE, "model_card.json", "model_card.md"}
    for name in set(version.files) - written:
        assert made.version.files[name] == version.files[name]
    assert set(made.version.files) == set(version.files)
    assert deploy_problems(models) == []


def test_a_second_override_of_a_version_has_a_name_of_its_own_and_an_overridden_one_needs_none(models):
    candidate(models, "r2", "two", failed=["sharpe_lower_bound"])
    deploy(models, "r2", override="once")
    roll_back(models, "r1", reason="")
    assert deploy(models, "r2", override="twice").version.version == "r2-override-2"
    assert [origin_of(name) for name in release_ids(models)] == ["r1", "r2", "r2", "r2"]
    with pytest.raises(DeployRefusedError, match="override: once; there is nothing to override"):
        deploy(models, "r2-override", override="again")
    again = deploy(models, "r2-override", reason="the first one after all")
    assert again.deployment is not None
    assert again.deployment.gates == "override: once"


def test_an_override_of_gates_that_passed_is_refused(models):
    candidate(models, "r2", "two")
    with pytest.raises(DeployRefusedError, match="passed; there is nothing to override"):
        deploy(models, "r2", override="to be safe")
    assert release_ids(models) == ["r1", "r2"]


def test_an_override_needs_to_know_how_its_card_is_written(models):
    candidate(models, "r2", "two", failed=["sharpe_lower_bound"])
    with pytest.raises(ValueError, match="writes a new card"):
        deploy_release(models, "r2", reason="", override="needed")


def test_a_card_that_cannot_be_written_makes_nothing_live(models):
    candidate(models, "r2", "two", failed=["sharpe_lower_bound"])

    def refuse(card: dict, gates: dict) -> dict:
        raise ValueError("its schema refuses it")

    log = (models / LOG_FILE).read_bytes()
    with pytest.raises(ValueError, match="its schema refuses it"):
        deploy_release(models, "r2", reason="", override="x", cards=type(CARDS)(override=refuse, renderings={}))
    unchanged(models, log)
    assert release_ids(models) == ["r1", "r2"]


@pytest.mark.parametrize("name", ["weights.safetensors", "model_card.json", GATE_FILE, "manifest.json"])
def test_a_damaged_candidate_is_named_by_its_file_and_nothing_changes(models, name):
    path = candidate(models, "r2", "two").folder / name
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    log = (models / LOG_FILE).read_bytes()
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
        deploy(models, "r2")
    unchanged(models, log)


def test_what_is_not_there_or_live_already_is_refused(models):
    with pytest.raises(RollbackRefusedError, match="r9 is not there"):
        deploy(models, "r9")
    with pytest.raises(DeployRefusedError, match="r1 is live already"):
        deploy(models, "r1")


def test_a_run_is_held_from_weights_that_somebody_went_back_from_and_a_person_is_not(models):
    candidate(models, "r2", "two")
    deploy(models, "r2")
    roll_back(models, "r1", reason="drawdown")

    def fill(folder: Path) -> None:
        files_of("r3", "two")(folder)
        (folder / "more").write_text("another night")

    write_version(models, release_id="r3", fill=fill)
    held = deploy_release(models, "r3", reason="nightly", automatic=True)
    assert held.deployment is None
    assert "its weights are those of r2" in held.note
    assert "drawdown" in held.note
    assert held.note.endswith("deploy r3")
    assert linked_release(models) == "r1"
    with pytest.raises(DeployRefusedError, match="r3 waits, but its weights were rolled back from: name it"):
        newest_candidate(standing(models))
    assert deploy(models, "r3").deployment is not None
    assert linked_release(models) == "r3"


def test_a_persons_deployment_of_other_weights_ends_a_rollback_and_says_so(models):
    candidate(models, "r2", "two")
    deploy(models, "r2")
    roll_back(models, "r1", reason="drawdown")
    candidate(models, "r3", "three")
    made = deploy(models, "r3", reason="mended")
    assert made.deployment is not None
    assert made.deployment.reason.startswith("mended; ends the rollback of")
    candidate(models, "r4", "two")
    assert deploy_release(models, "r4", reason="", automatic=True).deployment is not None


def test_the_newest_candidate_is_newer_than_what_is_live_and_never_was(models):
    with pytest.raises(DeployRefusedError, match="no candidate is newer than r1"):
        newest_candidate(standing(models))
    candidate(models, "r0", "older")
    with pytest.raises(
        DeployRefusedError, match="no candidate is newer than r1, which is live; name one; there are r0, r1"
    ):
        newest_candidate(standing(models))
    candidate(models, "r2", "two", failed=["sharpe_lower_bound"])
    candidate(models, "r3", "three")
    assert newest_candidate(standing(models)) == "r3"
    deploy(models, "r3")
    roll_back(models, "r1", reason="")
    assert newest_candidate(standing(models)) == "r2", "r3 was live"
    deploy(models, "r2", override="needed")
    roll_back(models, "r1", reason="")
    assert candidate_ids(models, deployments(models)) == ["r0"], "r2 was live as its override"
    with pytest.raises(DeployRefusedError):
        newest_candidate(standing(models))


def test_before_anything_is_live_any_candidate_may_be(tmp_path):
    models = tmp_path / "models"
    with pytest.raises(DeployRefusedError, match="no candidate is newer than nothing"):
        newest_candidate(standing(models))
    candidate(models, "r1", "one")
    assert linked_release(models) is None
    assert newest_candidate(standing(models)) == "r1"
    made = deploy(models, "r1")
    assert made.deployment is not None
    assert made.deployment.source is None
    assert deploy_problems(models) == []


def test_a_candidate_that_never_was_live_is_no_way_back_unless_its_gates_let_it(models):
    candidate(models, "r2", "two", failed=["sharpe_lower_bound"])
    candidate(models, "r3", "three")
    with pytest.raises(RollbackRefusedError, match=r"r2 was never live .* it is a candidate, see `tft deploy r2`"):
        roll_back(models, "r2", reason="")
    assert roll_back(models, "r3", reason="").gates == "passed"
    deploy(models, "r2", override="needed")
    roll_back(models, "r1", reason="")
    assert roll_back(models, "r2-override", reason="").gates == "override: needed"


def test_what_was_live_without_gates_may_be_live_again(models, tmp_path):
    write_candidate(models, release_id="old", bundle=bundle(tmp_path / "fold", "old"), card={}, gated=False)
    with pytest.raises(RollbackRefusedError, match="never live"):
        roll_back(models, "old", reason="")
    link = models / VERSIONS / "current"
    link.unlink()
    link.symlink_to("old")
    candidate(models, "r2", "two")
    deploy(models, "r2")
    assert roll_back(models, "old", reason="").gates is None


def test_with_a_damaged_log_a_candidate_whose_gates_failed_is_still_no_way_back(models):
    candidate(models, "r2", "two", failed=["sharpe_lower_bound"])
    candidate(models, "r3", "three")
    log = models / LOG_FILE
    log.write_bytes(log.read_bytes().replace(b"verdict", b"Verdict", 1))
    with pytest.raises(IntegrityError, match="line 1"):
        deploy(models, "r3")
    with pytest.raises(RollbackRefusedError, match="it is a candidate"):
        roll_back(models, "r2", reason="", wanted="r2")
    assert linked_release(models) == "r1"
    assert "is not held any more" in roll_back(models, "r3", reason="", wanted="r3").note


def test_two_deployers_do_not_meet(models, monkeypatch):
    candidate(models, "r2", "two")
    monkeypatch.setattr("tft_pipeline.storage.deployments.LOCK_SECONDS", 0.05)
    with deployment_lock(models):
        with pytest.raises(DeploymentLockedError):
            deploy(models, "r2")
        with pytest.raises(DeploymentLockedError):
            candidate(models, "r3", "three")
    assert release_ids(models) == ["r1", "r2"]
    assert linked_release(models) == "r1"


def test_a_process_that_deploys_or_goes_back_needs_the_standard_library_only():
    code = "import tft_pipeline.storage.deploying, tft_pipeline.storage.rollback, tft_pipeline.storage.retention"
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-S", "-s", "-c", code]
    done = subprocess.run(command, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_old_log_is_read_and_goes_on(models):
    log = models / LOG_FILE
    text, previous = "", ""
    for line in log.read_text().splitlines():
        row = {
            name: value
            for name, value in json.loads(line).items()
            if name not in ("gates", "manifest_sha256", "sha256")
        }
        whole = entry_line(row, previous)
        text, previous = text + whole, json.loads(whole)["sha256"]
    log.write_text(text)
    (old,) = deployments(models)
    assert (old.gates, old.manifest_sha256) == (None, None)
    candidate(models, "r2", "two")
    deploy(models, "r2")
    assert log.read_text().startswith(text)
    assert [entry.gates for entry in deployments(models)] == [None, "passed"]


def test_a_fixed_name_that_is_gone_or_leads_elsewhere_is_made_again_by_the_next_deployment(models):
    (models / "best_tft.pt").unlink()
    (models / "best_tft.safetensors").unlink()
    os.symlink("versions/r1/weights.safetensors", models / "best_tft.safetensors")
    candidate(models, "r2", "two")
    deploy(models, "r2")
    assert deploy_problems(models) == []


def test_a_stage_that_a_killed_deployer_left_is_swept(models, monkeypatch):
    monkeypatch.setattr("tft_pipeline.storage.atomic.SWEEP_SECONDS", 0.0)
    shutil.copytree(models / VERSIONS / "r1", models / ".stage-dead")
    os.symlink("r1", models / VERSIONS / ".stage-current-dead")
    candidate(models, "r2", "two")
    deploy(models, "r2")
    assert list(models.rglob(".stage-*")) == []
