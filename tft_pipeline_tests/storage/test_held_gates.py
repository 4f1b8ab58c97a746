"""What was judged against one model is not taken for another: the live one, a replaced folder, a link that a hand moved."""

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tft_pipeline.storage import deploying
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.deploying import candidate_ids, deploy_release, newest_candidate, release_candidate
from tft_pipeline.storage.deployment_log import LOG_FILE, entry_line
from tft_pipeline.storage.deployments import DeploymentLockedError, deployment_lock, deployments, linked_release
from tft_pipeline.storage.gate_files import DeployRefusedError, GateRefusedError
from tft_pipeline.storage.releases import (
    GATE_FILE,
    RollbackRefusedError,
    live_problems,
    misled_names,
    missing_names,
    release_ids,
    release_stamp,
    write_version,
)
from tft_pipeline.storage.rollback import roll_back
from tft_pipeline.storage.standing import standing
from tft_pipeline_tests.released import CARDS, bundle, candidate, files_of, released, write_candidate


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """r1 is live, and was judged when nothing was."""
    candidate(tmp_path / "models", "r1", "one", champion=None)
    deploy_release(tmp_path / "models", "r1", reason="", automatic=True)
    return tmp_path / "models"


def deploy(models: Path, release_id: str, override: str | None = None) -> str:
    """Id of what is live after it."""
    made = deploy_release(models, release_id, reason="better", override=override, cards=CARDS)
    assert made.deployment is not None
    return str(made.deployment.target)


def move_link(models: Path, release_id: str) -> None:
    os.symlink(release_id, models / "versions" / "new")
    os.replace(models / "versions" / "new", models / "versions" / "current")


def remove(models: Path, release_id: str) -> None:
    (models / "versions" / release_id).chmod(0o755)
    shutil.rmtree(models / "versions" / release_id)


def test_a_candidate_that_was_judged_when_nothing_was_live_is_not_deployed_over_a_live_one(models):
    candidate(models, "r2", "two", champion=None)
    for automatic in (False, True):
        with pytest.raises(
            GateRefusedError, match=r"judged against nothing, for nothing was live, r1 is live: run the"
        ):
            deploy_release(models, "r2", reason="", automatic=automatic)
    with pytest.raises(RollbackRefusedError, match="r1 is live: run the release again"):
        roll_back(models, "r2", reason="")
    assert linked_release(models) == "r1"


def test_what_was_judged_against_another_model_than_the_live_one_is_refused_until_that_one_is_live_again(models):
    candidate(models, "r2", "two", champion="r1")
    candidate(models, "r3", "three", champion="r1")
    assert deploy(models, "r3") == "r3"
    with pytest.raises(GateRefusedError, match="challenger: judged against r1, r3 is live"):
        deploy(models, "r2")
    roll_back(models, "r1", reason="")
    assert deploy(models, "r2") == "r2"


def test_an_override_of_the_live_version_and_equal_weights_are_the_same_model(models):
    candidate(models, "r2", "two", ["drift"], champion="r1")
    candidate(models, "r3", "three", champion="r2")
    assert deploy(models, "r2", override="needed") == "r2-override"
    assert deploy(models, "r3") == "r3"
    weights = candidate(models, "r4", "three", champion="r1").files["weights.safetensors"]
    assert deploy(models, "r4") == "r4", "its own weights are live"
    candidate(models, "r5", "five", champion="r3", champion_weights=weights)
    assert deploy(models, "r5") == "r5", "r4, which is live, has the weights of r3"


def test_a_person_overrides_an_outdated_comparison_as_any_failed_gate(models):
    version = candidate(models, "r2", "two", champion=None)
    made = deploy_release(models, "r2", reason="", override="looked at it", cards=CARDS)
    assert made.deployment is not None
    assert made.deployment.gates == "override: looked at it"
    gates = json.loads(made.version.path(GATE_FILE).read_text())
    card = json.loads(made.version.path("model_card.json").read_text())
    assert gates["override"]["failed"] == ["challenger"]
    assert gates["passed"] is card["gates_passed"] is False
    assert card["gates"] == gates["gates"]
    assert json.loads(version.path(GATE_FILE).read_text())["passed"] is True, "what was there stays"


def test_an_override_does_not_cover_what_fails_later(models):
    candidate(models, "r2", "two", ["drift"], champion="r1")
    candidate(models, "r3", "three", champion="r2")
    assert deploy(models, "r2", override="needed") == "r2-override"
    deploy(models, "r3")
    with pytest.raises(GateRefusedError, match=r"drift.*challenger: judged against r1, r3 is live"):
        deploy(models, "r2-override")
    assert deploy(models, "r2-override", override="still") == "r2-override-2"
    assert roll_back(models, "r2-override", reason="").gates == "override: needed", "it was live once"


def test_a_run_makes_a_candidate_with_a_note_where_another_model_went_live_meanwhile(models):
    candidate(models, "r3", "three", champion="r1")
    deploy(models, "r3")
    made = release_candidate(models, release_id="r4", fill=files_of("r4", "four", champion="r1"))
    assert made.deployment is None
    assert made.note.startswith("a candidate: challenger: judged against r1, r3 is live: run the release again")
    assert linked_release(models) == "r3"
    assert release_ids(models) == ["r1", "r3", "r4"]
    live = release_candidate(models, release_id="r5", fill=files_of("r5", "five", champion="r3"))
    assert live.deployment is not None
    waits = release_candidate(models, release_id="r6", fill=files_of("r6", "six", champion="r5"), why_not="manual")
    assert (waits.deployment, waits.note) == (None, "manual")


def test_a_run_writes_and_deploys_in_one_hold_of_the_lock(models, monkeypatch):
    monkeypatch.setattr("tft_pipeline.storage.deployments.LOCK_SECONDS", 0.05)
    settle = deploying.settle_version

    def meanwhile(*arguments: object, **named: object) -> object:
        done = settle(*arguments, **named)  # type: ignore[arg-type]
        with pytest.raises(DeploymentLockedError), deployment_lock(models):
            pass
        return done

    monkeypatch.setattr(deploying, "settle_version", meanwhile)
    assert release_candidate(models, release_id="r2", fill=files_of("r2", "two")).deployment is not None
    with deployment_lock(models), pytest.raises(DeploymentLockedError, match="nothing was changed"):
        release_candidate(models, release_id="r3", fill=files_of("r3", "three"))
    assert release_ids(models) == ["r1", "r2"], "what was not deployed for the lock was not written"


def test_a_folder_that_was_replaced_since_it_was_live_is_no_way_back(models):
    candidate(models, "r2", "two")
    deploy(models, "r2")
    roll_back(models, "r1", reason="")
    remove(models, "r2")
    candidate(models, "r2", "something else", ["drift"])
    log = (models / LOG_FILE).read_bytes()
    with pytest.raises(RollbackRefusedError, match=r"r2 is not what was live .* replaced since: manifest\.json is "):
        roll_back(models, "r2", reason="")
    assert (models / LOG_FILE).read_bytes() == log
    remove(models, "r2")
    candidate(models, "r2", "two")
    assert roll_back(models, "r2", reason="").gates == "passed", "the same bytes again"


def test_an_older_line_knows_weights_and_card_and_holds_a_version_to_them(models):
    candidate(models, "r2", "two")
    deploy(models, "r2")
    log = models / LOG_FILE
    text, previous = "", ""
    for line in log.read_text().splitlines():
        row = {
            key: value for key, value in json.loads(line).items() if key not in ("gates", "manifest_sha256", "sha256")
        }
        whole = entry_line(row, previous)
        text, previous = text + whole, json.loads(whole)["sha256"]
    log.write_text(text)
    assert roll_back(models, "r1", reason="").target == "r1"
    remove(models, "r2")
    candidate(models, "r2", "something else")
    with pytest.raises(RollbackRefusedError, match=r"weights\.safetensors is .*, it was .*; model_card\.json is"):
        roll_back(models, "r2", reason="")


def test_a_link_that_a_hand_moved_does_not_make_a_candidate_a_way_back(models):
    candidate(models, "r2", "two", ["drift"])
    move_link(models, "r2")
    roll_back(models, "r1", reason="")
    with pytest.raises(RollbackRefusedError, match=r"r2 was never live .*drift was measured"):
        roll_back(models, "r2", reason="")
    assert linked_release(models) == "r1"


def test_a_version_from_before_gates_whose_link_stood_there_before_the_log_is_a_way_back(models, tmp_path):
    write_candidate(models, release_id="old", bundle=bundle(tmp_path / "fold", "old"), card={}, gated=False)
    move_link(models, "old")
    roll_back(models, "r1", reason="")
    assert roll_back(models, "old", reason="").gates is None


def broken_override(models: Path, monkeypatch: pytest.MonkeyPatch, reason: str = "needed") -> None:
    """r2, whose gates failed, overridden, and the disk full before it was live."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(deploying, "make_current", full)
        with pytest.raises(OSError, match="No space"):
            deploy(models, "r2", override=reason)


def test_an_override_that_failed_half_way_is_nobodys_candidate_and_is_live_by_its_id_only(models, monkeypatch):
    candidate(models, "r2", "two", ["drift"], champion="r1")
    broken_override(models, monkeypatch)
    assert release_ids(models) == ["r1", "r2", "r2-override"]
    assert candidate_ids(models, deployments(models)) == ["r2"]
    assert newest_candidate(standing(models)) == "r2"
    assert deploy(models, "r2-override") == "r2-override"


def test_an_override_is_tried_again_with_what_the_first_try_left(models, monkeypatch):
    candidate(models, "r2", "two", ["drift"], champion="r1")
    broken_override(models, monkeypatch)
    left = (models / "versions" / "r2-override" / GATE_FILE).read_bytes()
    assert deploy(models, "r2", override="needed") == "r2-override"
    assert (models / "versions" / "r2-override" / GATE_FILE).read_bytes() == left
    roll_back(models, "r1", reason="")
    assert deploy(models, "r2", override="needed") == "r2-override-2", "one that was live is not taken again"


@pytest.mark.parametrize("other", ["reason", "user", "damaged", "live"])
def test_an_override_of_another_kind_makes_the_next_number(models, monkeypatch, other):
    candidate(models, "r2", "two", ["drift"], champion="r1")
    broken_override(models, monkeypatch)
    if other == "user":
        monkeypatch.setattr(deploying, "user_name", lambda: "somebody else")
    elif other == "damaged":
        path = models / "versions" / "r2-override" / "weights.safetensors"
        path.chmod(0o644)
        path.write_text("torn")
    elif other == "live":
        candidate(models, "r3", "three", champion="r1")
        deploy(models, "r3")
    assert deploy(models, "r2", override="something else" if other == "reason" else "needed") == "r2-override-2"


def test_a_card_about_other_gates_or_files_keeps_a_version_from_being_live(models):
    def fill(folder: Path) -> None:
        files_of("r2", "two")(folder)
        card = json.loads((folder / "model_card.json").read_text())
        (folder / "model_card.json").write_text(json.dumps(card | {"gates_passed": False}))

    write_version(models, release_id="r2", fill=fill)
    for override in (None, "needed"):
        with pytest.raises(GateRefusedError, match=r"gates_passed of model_card\.json is not what gate\.json says"):
            deploy(models, "r2", override=override)


@pytest.mark.fault("clock_jump")
def test_ids_follow_each_other_whatever_the_clock_does(models):
    def made(now: datetime) -> str:
        name = f"{release_stamp(models, now)}-0a1b2c3d"
        candidate(models, name, name)
        return name

    day = datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)
    first, same, back = made(day), made(day), made(datetime(2025, 1, 1, tzinfo=UTC))
    assert [name[:20] for name in (first, same, back)] == [
        "2025-12-31T23-59-59Z",
        "2026-01-01T00-00-00Z",
        "2026-01-01T00-00-01Z",
    ]
    deploy(models, same)
    assert newest_candidate(standing(models)) == back, "made after what is live, when the clock had gone back"
    assert made(datetime(2027, 2, 3, tzinfo=UTC)).startswith("2027-02-03T00-00-00Z")


def test_a_fixed_name_that_is_missing_is_no_damage_and_one_that_misleads_is(models):
    (models / "best_tft.pt").unlink()
    assert live_problems(models) == misled_names(models) == []
    assert len(missing_names(models)) == 1
    candidate(models, "r2", "two")
    (models / "best_tft.pt").symlink_to("versions/r2/weights.safetensors")
    assert missing_names(models) == []
    assert "not into the live version" in misled_names(models)[0]
    (models / "best_tft.pt").unlink()
    (models / "best_tft.pt").write_text("a file")
    assert len(misled_names(models)) == 1


def test_with_a_damaged_log_the_way_back_asks_the_gates_as_they_were_judged(models):
    candidate(models, "r2", "two", champion="r1")
    candidate(models, "r3", "three", champion="r1")
    deploy(models, "r2")
    log = models / LOG_FILE
    log.write_bytes(log.read_bytes().replace(b"verdict", b"Verdict", 1))
    with pytest.raises(IntegrityError):
        deploy(models, "r3")
    assert roll_back(models, "r1", reason="", wanted="r1").gates == "passed"


def test_what_is_live_is_not_deployed_again_and_none_waits_is_said(tmp_path):
    released(tmp_path / "models", "r1", "one")
    with pytest.raises(DeployRefusedError, match="no candidate is newer than r1"):
        newest_candidate(standing(tmp_path / "models"))
