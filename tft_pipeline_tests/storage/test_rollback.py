import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tft_pipeline.storage.artifacts import IntegrityError, write_artifact
from tft_pipeline.storage.deployment_log import LOG_FILE
from tft_pipeline.storage.deployments import (
    FOUND,
    ROLLBACK,
    VERSIONS,
    DeploymentLockedError,
    deployment_lock,
    deployments,
    linked_release,
)
from tft_pipeline.storage.releases import (
    CARD_FILE,
    DECISION_FILE,
    FACTS_FILE,
    TARGETS_FILE,
    Release,
    RollbackRefusedError,
    current_release,
    deploy_problems,
    release_ids,
)
from tft_pipeline.storage.rollback import find_release, roll_back
from tft_pipeline_tests.released import at, bundle, released, write_release


@pytest.fixture(scope="module")
def three_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three releases, live from the 10th, the 12th and the 14th of a month on; tests that change them copy them."""
    models = tmp_path_factory.mktemp("three") / "models"
    for k, verdict in enumerate(("GO", "NO-GO", "NO-GO"), start=1):
        released(models, f"r{k}", f"weights {k}", verdict)
    at(models, [f"2025-10-{day}T12:00:00+00:00" for day in (10, 12, 14)])
    return models


@pytest.fixture
def three(three_once: Path, tmp_path: Path) -> Path:
    """A private copy of the three releases."""
    return shutil.copytree(three_once, tmp_path / "models", symlinks=True)


NOW = datetime(2025, 10, 20, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("2025-10-10", "r1"),
        ("2025-10-11", "r1"),
        ("2025-10-12", "r2"),
        ("2025-10-13", "r2"),
        ("2025-10-14", "r3"),
        ("2025-10-20", "r3"),
        ("r1", "r1"),
        ("previous", "r2"),
    ],
)
def test_a_release_is_found_by_the_date_it_was_live_by_its_id_or_as_the_one_before(three_once, wanted, expected):
    assert find_release(three_once, wanted, now=NOW) == expected


def test_a_date_names_what_was_live_at_its_end_rollbacks_counted(three):
    roll_back(three, "r1", reason="worse")
    at(three, [f"2025-10-{day}T12:00:00+00:00" for day in (10, 12, 14)] + ["2025-10-16T23:59:59+00:00"])
    assert find_release(three, "2025-10-15", now=NOW) == "r3"
    assert find_release(three, "2025-10-16", now=NOW) == "r1"


def test_a_release_of_midnight_is_of_the_day_that_begins(three):
    at(three, ["2025-10-10T12:00:00+00:00", "2025-10-12T00:00:00+00:00", "2025-10-14T12:00:00+00:00"])
    assert find_release(three, "2025-10-11", now=NOW) == "r1"
    assert find_release(three, "2025-10-12", now=NOW) == "r2"


@pytest.mark.fault("clock_jump")
def test_the_sequence_orders_deployments_when_the_clock_went_back(three):
    at(three, ["2025-10-10T12:00:00+00:00", "2025-10-19T12:00:00+00:00", "2025-10-14T12:00:00+00:00"])
    assert find_release(three, "2025-10-19", now=NOW) == "r3"
    assert find_release(three, "2025-10-13", now=NOW) == "r1"


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ("2025-10-09", "nothing was live at the end of 2025-10-09 .* made live 2025-10-10T12.* r1, r2, r3"),
        ("2025-10-21", "has not begun"),
        ("2025-02-30", "'2025-02-30' names no release"),
        ("r", "'r' names no release; name a whole date .* r1, r2, r3"),
        ("", "'' names no release"),
        ("best", "'best' names no release; .* r1, r2, r3"),
        ("../r1", "names no release"),
    ],
)
def test_what_names_no_single_release_is_refused_with_what_there_is(three_once, wanted, match):
    with pytest.raises(RollbackRefusedError, match=match):
        find_release(three_once, wanted, now=NOW)


def test_the_beginning_of_an_id_is_enough_where_only_one_has_it(three):
    released(three, "2025-10-15T08-00-00Z-aaaa", "weights 4")
    assert find_release(three, "2025-10-15T", now=NOW) == "2025-10-15T08-00-00Z-aaaa"
    released(three, "2025-10-15T08-00-00Z", "weights 5")
    assert find_release(three, "2025-10-15T08-00-00Z", now=NOW) == "2025-10-15T08-00-00Z", "a whole id is not ambiguous"
    with pytest.raises(RollbackRefusedError, match="2 releases begin with '2025-10-15T'"):
        find_release(three, "2025-10-15T", now=NOW)


@pytest.mark.parametrize(
    "wanted", ["2", "2025", "2025-", "2025-1", "2025-10", "2025-10-", "2025-10-1", "2025-W42-3", "2025-W42", "20251015"]
)
def test_a_piece_of_a_date_or_a_week_is_no_date_and_names_nothing(three, wanted):
    released(three, "2025-10-15T08-00-00Z-aaaa", "weights 4")
    with pytest.raises(RollbackRefusedError, match=f"{wanted!r} names no release; name a whole date"):
        find_release(three, wanted, now=NOW)


def test_the_one_before_leads_back_each_time_and_never_forth(three):
    for expected in ("r2", "r1"):
        found = find_release(three, "previous", now=NOW)
        assert found == expected
        roll_back(three, found, reason="")
    with pytest.raises(RollbackRefusedError, match="nothing was live before r1"):
        find_release(three, "previous", now=NOW)


def test_a_release_made_while_another_was_rolled_back_to_goes_back_to_that_one(three):
    roll_back(three, "r1", reason="")
    released(three, "r4", "weights 4")
    assert find_release(three, "previous", now=NOW) == "r1"


def test_without_releases_there_is_nothing_to_go_back_to(tmp_path):
    with pytest.raises(RollbackRefusedError, match="nothing was released"):
        find_release(tmp_path / "models", "previous", now=NOW)


def test_a_rollback_swaps_every_fixed_name_and_writes_who_why_and_hashes(three):
    done = roll_back(three, "r1", reason="loses money")
    assert linked_release(three) == "r1"
    assert (three / "best_tft.safetensors").read_text() == "weights weights 1"
    assert json.loads((three / "best_tft_model_card.json").read_text())["verdict"] == "GO"
    assert (done.sequence, done.action, done.source, done.target) == (4, "rollback", "r3", "r1")
    assert (done.reason, done.verdict, done.state) == ("loses money", "GO", "done")
    live, _ = current_release(three)
    assert (done.weights_sha256, done.card_sha256) == (live.files["weights.safetensors"], live.files[CARD_FILE])
    assert done.who
    assert deployments(three)[-1] == done
    assert deploy_problems(three) == []


def test_without_the_link_the_one_before_is_the_one_that_was_live_last(three):
    (three / VERSIONS / "current").unlink()
    assert find_release(three, "previous", now=NOW) == "r3"
    released(three, "r4", "weights 4")
    assert find_release(three, "previous", now=NOW) == "r3", "the release after it replaced the last one that was live"


@pytest.mark.parametrize("k", [1, 2, 3])
def test_releasing_the_live_weights_again_does_not_end_a_rollback(three, k):
    """The nightly run may come with any weights: those that were left stay held, and other ones end it."""
    roll_back(three, "r2", reason="drawdown")
    roll_back(three, "r1", reason="")

    def again(release_id: str, weights: str) -> Release:
        made = bundle(three.parent / "fold", weights)
        return write_release(three, release_id=release_id, bundle=made, card={"verdict": "GO", "id": release_id})

    same = again("same", "weights 1")
    assert same.deployment is not None
    assert same.note == "", "nothing was ended"
    assert (again("later", f"weights {k}").deployment is None) is (k != 1)
    assert again("other", "weights 4").note.startswith("ends the rollback of")
    assert again("free", f"weights {k}").deployment is not None


def test_weights_that_somebody_went_forth_to_again_are_not_held(three):
    roll_back(three, "r2", reason="")
    roll_back(three, "r3", reason="it was right")
    for k, held in ((3, False), (2, True)):
        made = bundle(three.parent / "fold", f"weights {k}")
        again = write_release(three, release_id=f"again-{k}", bundle=made, card={"verdict": "GO"})
        assert (again.deployment is None) is held, k


def test_a_link_that_is_removed_by_hand_does_not_end_a_rollback(three):
    roll_back(three, "r2", reason="drawdown")
    (three / VERSIONS / "current").unlink()
    for k, held in ((2, False), (3, True)):
        made = bundle(three.parent / "fold", f"weights {k}")
        again = write_release(three, release_id=f"again-{k}", bundle=made, card={"verdict": "GO"})
        assert (again.deployment is None) is held, k


def damage(models: Path) -> bytes:
    log = models / LOG_FILE
    content = log.read_bytes()
    bad = content.replace(b"weights_sha256", b"weights_shb256", 1)
    log.write_bytes(bad)
    return bad


def test_a_damaged_log_does_not_block_the_way_to_a_whole_id(three):
    bad = damage(three)
    for wanted in ("previous", "2025-10-10", "r"):
        with pytest.raises(IntegrityError, match="line 1"):
            find_release(three, wanted, now=NOW)
    assert find_release(three, "r1", now=NOW) == "r1"
    done = roll_back(three, "r1", reason="loses money", wanted="r1")
    assert linked_release(three) == "r1"
    (aside,) = three.glob(f"{LOG_FILE}.damaged-*")
    assert aside.read_bytes() == bad
    assert "line 1" in done.note
    assert aside.name in done.note
    found, rolled = deployments(three)
    assert (found.action, found.target, found.sequence) == (FOUND, "r3", 1)
    assert aside.name in found.reason
    assert (rolled.action, rolled.source, rolled.target) == (ROLLBACK, "r3", "r1")
    made = bundle(three.parent / "fold", "weights 3")
    again = write_release(three, release_id="again", bundle=made, card={"verdict": "GO"})
    assert again.deployment is None, "the manifest still says what was live"


def test_a_damaged_log_stays_where_the_release_is_damaged_too(three):
    bad = damage(three)
    path = three / VERSIONS / "r1" / "network.json"
    path.chmod(0o644)
    path.write_text("[]")
    with pytest.raises(IntegrityError, match=r"network\.json"):
        roll_back(three, "r1", reason="", wanted="r1")
    assert (three / LOG_FILE).read_bytes() == bad
    assert linked_release(three) == "r3"


def test_what_was_asked_for_is_found_again_under_the_lock(three):
    target = find_release(three, "previous", now=NOW)
    released(three, "r4", "weights 4")
    log = (three / LOG_FILE).read_bytes()
    with pytest.raises(RollbackRefusedError, match="previous meant r2 and means r3 now"):
        roll_back(three, target, reason="", wanted="previous")
    assert linked_release(three) == "r4"
    assert (three / LOG_FILE).read_bytes() == log


def test_the_timed_form_is_a_listed_file_of_the_release(three):
    made = bundle(three.parent / "fold", "weights 4")
    given = {DECISION_FILE: b"network", FACTS_FILE: b"{}"}
    version = write_release(three, release_id="r4", bundle=made, card={}, files=given).version
    assert {name: version.path(name).read_bytes() for name in given} == given
    path = version.folder / DECISION_FILE
    path.chmod(0o644)
    path.write_bytes(b"Network")
    with pytest.raises(IntegrityError, match=r"decision\.onnx"):
        current_release(three)


def test_a_release_that_is_live_is_not_rolled_back_to(three):
    before = (three / LOG_FILE).read_bytes()
    with pytest.raises(RollbackRefusedError, match="r3 is live already"):
        roll_back(three, "r3", reason="")
    assert (three / LOG_FILE).read_bytes() == before


@pytest.mark.fault("flipped_byte")
@pytest.mark.parametrize("name", ["weights.safetensors", "network.json", CARD_FILE, TARGETS_FILE, "manifest.json"])
def test_a_rollback_to_a_damaged_release_names_the_file_and_changes_nothing(three, name):
    path = three / VERSIONS / "r1" / name
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    log = (three / LOG_FILE).read_bytes()
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
        roll_back(three, "r1", reason="")
    assert linked_release(three) == "r3"
    assert (three / LOG_FILE).read_bytes() == log


def test_a_release_whose_folder_is_gone_is_refused(three):
    shutil.rmtree(three / VERSIONS / "r1")
    assert find_release(three, "2025-10-10", now=NOW) == "r1"
    with pytest.raises(RollbackRefusedError, match="r1 is not there any more; there are r2, r3"):
        roll_back(three, "r1", reason="")


def test_a_folder_that_is_a_version_but_no_release_is_refused(three):
    def fill(folder: Path) -> None:
        (folder / "a").write_text("a")

    write_artifact(three / "other", fill, version="r0").folder.rename(three / VERSIONS / "r0")
    with pytest.raises(IntegrityError, match=r"no model_card\.json, weights\.safetensors in it"):
        roll_back(three, "r0", reason="")


def test_weights_that_somebody_went_back_from_are_written_and_held(three):
    roll_back(three, "r2", reason="drawdown")
    held = write_release(
        three, release_id="r4", bundle=bundle(three.parent / "fold", "weights 3"), card={"verdict": "NO-GO", "new": 1}
    )
    assert linked_release(three) == "r2"
    assert held.deployment is None
    assert "its weights are those of r3" in held.note
    assert "drawdown" in held.note
    assert release_ids(three) == ["r1", "r2", "r3", "r4"]
    assert len(deployments(three)) == 4, "what was not deployed is not in the log of deployments"
    assert roll_back(three, "r4", reason="it was right after all").target == "r4"


def test_weights_of_every_rollback_since_the_last_release_are_held(three):
    roll_back(three, "r2", reason="")
    roll_back(three, "r1", reason="")
    for k in (2, 3):
        again = bundle(three.parent / "fold", f"weights {k}")
        held = write_release(three, release_id=f"again-{k}", bundle=again, card={"verdict": "NO-GO", "k": k})
        assert held.deployment is None, k
    assert linked_release(three) == "r1"


def test_other_weights_end_a_rollback_and_the_log_says_so(three):
    roll_back(three, "r1", reason="drawdown")
    new = write_release(
        three, release_id="r4", bundle=bundle(three.parent / "fold", "weights 4"), card={"verdict": "GO"}
    )
    assert linked_release(three) == "r4"
    assert new.deployment == deployments(three)[-1]
    assert "ends the rollback of" in new.deployment.reason
    assert "drawdown" in new.note
    old = write_release(
        three, release_id="r5", bundle=bundle(three.parent / "fold", "weights 3"), card={"verdict": "GO"}
    )
    assert old.deployment is not None, "a release since ends what the rollback held back"


def test_the_same_weights_with_another_card_are_released(three):
    roll_back(three, "r2", reason="")
    same = write_release(
        three, release_id="r4", bundle=bundle(three.parent / "fold", "weights 2"), card={"verdict": "GO"}
    )
    assert same.deployment is not None
    assert linked_release(three) == "r4"


def test_two_deployers_do_not_meet(three, monkeypatch):
    log = (three / LOG_FILE).read_bytes()
    monkeypatch.setattr("tft_pipeline.storage.deployments.LOCK_SECONDS", 0.05)
    with deployment_lock(three):
        with pytest.raises(DeploymentLockedError, match="another process is deploying"):
            roll_back(three, "r1", reason="")
        with pytest.raises(DeploymentLockedError):
            released(three, "r4", "weights 4")
    assert linked_release(three) == "r3"
    assert release_ids(three) == ["r1", "r2", "r3"]
    assert (three / LOG_FILE).read_bytes() == log
    assert roll_back(three, "r1", reason="").target == "r1", "the lock is free again"


def test_what_keeps_readers_from_the_live_version_is_named(three):
    (three / "best_tft.safetensors").unlink()
    assert any("best_tft.safetensors is missing" in problem for problem in deploy_problems(three))
    (three / "best_tft.safetensors").symlink_to(f"{VERSIONS}/r1/weights.safetensors")
    assert any("not into the live version" in problem for problem in deploy_problems(three))
    (three / VERSIONS / "r3" / "extra").write_text("x")
    assert any("unlisted files ['extra']" in problem for problem in deploy_problems(three))
