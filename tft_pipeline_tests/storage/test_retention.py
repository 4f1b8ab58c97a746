import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tft_pipeline.storage import retention as module
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.deploying import deploy_release
from tft_pipeline.storage.deployment_log import LOG_FILE
from tft_pipeline.storage.deployments import DeploymentLockedError, deployment_lock, deployments, linked_release
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.releases import release_ids, write_version
from tft_pipeline.storage.retention import ASIDE, REMOVED_LOG, prune
from tft_pipeline.storage.rollback import find_release, roll_back
from tft_pipeline_tests.released import CARDS, aged, candidate, files_of, released


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """r1 was live, r2 is; r3 to r6 wait."""
    models = tmp_path / "models"
    for name in ("r1", "r2"):
        released(models, name, name)
    for name in ("r3", "r4", "r5", "r6"):
        candidate(models, name, name, failed=["sharpe_lower_bound"])
    aged(models)
    return models


def versions(models: Path) -> list[str]:
    return sorted(path.name for path in (models / "versions").iterdir())


def test_the_newest_candidates_stay_and_older_ones_go_with_a_line_each(models):
    gone = json.loads((models / "versions" / "r3" / "manifest.json").read_text())["files"]
    done = prune(models, keep=2)
    assert done.removed == ("r3", "r4")
    assert release_ids(models) == ["r1", "r2", "r5", "r6"]
    assert done.kept == {
        "r1": "the log of deployments names it",
        "r2": "live",
        "r5": "one of the newest 2 candidates",
        "r6": "one of the newest 2 candidates",
    }
    rows = [json.loads(line) for line in (models / REMOVED_LOG).read_text().splitlines()]
    assert [row["folder"].removeprefix(ASIDE)[:2] for row in rows] == ["r3", "r4"]
    assert rows[0]["files"] == {name: entry["sha256"] for name, entry in gone.items()}
    assert versions(models) == ["current", "r1", "r2", "r5", "r6"]
    assert prune(models, keep=2).removed == ()


def test_with_none_to_keep_every_version_of_the_log_stays(models):
    roll_back(models, "r1", reason="")
    done = prune(models, keep=0)
    assert done.removed == ("r3", "r4", "r5", "r6")
    assert release_ids(models) == ["r1", "r2"]
    assert linked_release(models) == "r1"
    assert roll_back(models, "r2", reason="").target == "r2", "the way back is there"


def test_a_dry_run_says_the_same_and_changes_nothing(models):
    before = sorted(path.name for path in models.rglob("*"))
    dry = prune(models, keep=1, dry_run=True)
    assert sorted(path.name for path in models.rglob("*")) == before
    wet = prune(models, keep=1)
    assert (dry.removed, dry.kept) == (wet.removed, wet.kept)


def test_what_is_held_was_overridden_or_is_referred_to_stays(models):
    write_version(models, release_id="r7", fill=files_of("r7", "seven", failed=["sharpe_lower_bound"]))
    deploy_release(models, "r7", reason="", override="needed", cards=CARDS)
    roll_back(models, "r1", reason="")

    def again(folder: Path) -> None:
        files_of("r0", "seven")(folder)

    write_version(models, release_id="r0", fill=again)
    aged(models)
    done = prune(models, keep=0, referenced=["r4"])
    assert done.removed == ("r3", "r5", "r6")
    assert done.kept == {
        "r0": "held: its weights were rolled back from",
        "r1": "live",
        "r2": "the log of deployments names it",
        "r4": "the record of a run names it",
        "r7": "an override was made of it",
        "r7-override": "the log of deployments names it",
    }


def test_a_candidate_that_cannot_be_verified_is_left_to_a_person(models):
    path = models / "versions" / "r3" / "weights.safetensors"
    path.chmod(0o644)
    path.write_text("other")
    done = prune(models, keep=0)
    assert "it cannot be verified" in done.kept["r3"]
    assert done.removed == ("r4", "r5", "r6")


def test_a_version_of_today_is_not_removed_for_its_run_may_not_have_recorded_it_yet(models):
    candidate(models, "r7", "seven")
    written = (utc_now() - timedelta(hours=23)).timestamp()
    os.utime(models / "versions" / "r3" / "manifest.json", (written, written))
    ahead = (utc_now() + timedelta(days=9)).timestamp()
    os.utime(models / "versions" / "r4" / "manifest.json", (ahead, ahead))
    done = prune(models, keep=0)
    assert done.removed == ("r5", "r6")
    assert {name: done.kept[name] for name in ("r3", "r4", "r7")} == dict.fromkeys(
        ("r3", "r4", "r7"), "less than a day old"
    ), "r4 was written before the clock went back"


def test_an_override_that_never_came_to_be_live_is_removed_and_its_origin_after_it(models, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tft_pipeline.storage.deploying.make_current", full)
        with pytest.raises(OSError, match="No space"):
            deploy_release(models, "r6", reason="", override="needed", cards=CARDS)
    aged(models)
    assert prune(models, keep=1).kept["r6"] == "an override was made of it"
    assert prune(models, keep=0).removed == ("r6",)
    assert release_ids(models) == ["r1", "r2"]


def test_with_a_damaged_log_nothing_is_removed(models):
    log = models / LOG_FILE
    log.write_bytes(log.read_bytes().replace(b"verdict", b"Verdict", 1))
    with pytest.raises(IntegrityError, match="line 1"):
        prune(models, keep=0)
    assert len(release_ids(models)) == 6


def test_what_a_log_that_was_set_aside_names_stays(models):
    deploy_release(models, "r3", reason="", override="needed", cards=CARDS)
    log = models / LOG_FILE
    log.write_bytes(log.read_bytes().replace(b"verdict", b"Verdict", 1))
    roll_back(models, "r1", reason="", wanted="r1")
    done = prune(models, keep=0)
    assert done.kept["r2"] == "a damaged log that was set aside names it"
    assert done.removed == ("r4", "r5", "r6")


@pytest.mark.parametrize("step", ["append_line", "rmtree", "half"])
def test_whoever_dies_while_removing_leaves_whole_versions_and_the_next_ends_it(models, monkeypatch, step):
    class DiedError(BaseException):
        pass

    real = shutil.rmtree

    def die(*_: object) -> None:
        raise DiedError

    def half(folder: Path) -> None:
        (folder / "weights.safetensors").unlink()
        (folder / "manifest.json").unlink()
        raise DiedError

    with monkeypatch.context() as patch:
        if step == "append_line":
            patch.setattr(module, "append_line", die)
        else:
            patch.setattr(module.shutil, "rmtree", half if step == "half" else die)
        with pytest.raises(DiedError):
            prune(models, keep=2)
    assert shutil.rmtree is real
    assert release_ids(models) == ["r1", "r2", "r4", "r5", "r6"], "no reader sees half a version"
    assert len(deployments(models)) == 2
    done = prune(models, keep=2)
    assert done.removed == ("r4",)
    assert [name.removeprefix(ASIDE)[:2] for name in done.finished] == ["r3"]
    assert versions(models) == ["current", "r1", "r2", "r5", "r6"]
    rows = [json.loads(line) for line in (models / REMOVED_LOG).read_text().splitlines()]
    assert [row["folder"].removeprefix(ASIDE)[:2] for row in rows] == ["r3", "r4"], "each is told once"
    assert rows[0]["files"]


def test_nothing_is_removed_while_another_deploys(models, monkeypatch):
    monkeypatch.setattr("tft_pipeline.storage.deployments.LOCK_SECONDS", 0.05)
    with deployment_lock(models), pytest.raises(DeploymentLockedError):
        prune(models, keep=0)
    assert len(release_ids(models)) == 6


def test_fewer_than_none_are_no_number_of_candidates(models):
    with pytest.raises(ValueError, match="keep -1 < 0"):
        prune(models, keep=-1)


def test_a_rollback_to_any_date_of_the_log_is_possible_after_any_removal(models):
    wanted = {entry.target for entry in deployments(models)}
    prune(models, keep=0)
    for name in wanted:
        assert name is not None
        assert find_release(models, name, now=deployments(models)[-1].moment) == name


def test_without_releases_there_is_nothing_to_remove(tmp_path):
    assert prune(tmp_path / "models", keep=0).removed == ()
