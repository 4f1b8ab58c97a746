import json
import os
import stat
from pathlib import Path

import pytest

from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError
from tft_pipeline.storage.deployments import deployments, linked_release
from tft_pipeline.storage.releases import (
    CARD_FILE,
    GATE_FILE,
    TARGETS_FILE,
    current_release,
    release_ids,
    write_version,
)
from tft_pipeline_tests.released import bundle, candidate, write_candidate, write_release


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_release(tmp_path / "models", release_id="r1", bundle=bundle(tmp_path / "fold"), card={"verdict": "NO-GO"})
    return tmp_path / "models"


def test_a_release_holds_the_bundle_and_the_card(models):
    released, card = current_release(models)
    assert released.version == "r1"
    assert set(released.files) == {"weights.safetensors", "network.json", CARD_FILE, TARGETS_FILE, GATE_FILE}
    assert released.path("weights.safetensors").read_text() == "weights one"
    assert card["verdict"] == "NO-GO"


def test_the_fixed_names_resolve_through_the_one_current_link(models):
    assert os.readlink(models / "best_tft.safetensors") == "versions/current/weights.safetensors"
    assert os.readlink(models / "best_tft.pt") == "versions/current/weights.safetensors"
    for name in ("best_tft.safetensors", "best_tft.pt"):
        assert (models / name).read_text() == "weights one"
    assert json.loads((models / "best_tft_model_card.json").read_text())["verdict"] == "NO-GO"
    links = [path for path in models.rglob("*") if path.is_symlink()]
    through = [path for path in links if "current" in os.readlink(path)]
    assert len(links) == 4
    assert len(through) == 3


def test_a_second_release_swaps_every_name_at_once_and_keeps_the_first(models, tmp_path):
    inodes = {name: (models / name).lstat().st_ino for name in ("best_tft.safetensors", "best_tft_model_card.json")}
    write_release(models, release_id="r2", bundle=bundle(tmp_path / "fold", "two"), card={"verdict": "GO"})
    assert (models / "best_tft.safetensors").read_text() == "weights two"
    assert json.loads((models / "best_tft_model_card.json").read_text())["verdict"] == "GO"
    assert current_release(models)[0].version == "r2"
    assert {name: (models / name).lstat().st_ino for name in inodes} == inodes
    assert (models / "versions" / "r1" / "weights.safetensors").read_text() == "weights one"


def test_a_version_is_read_only_its_folder_too(models):
    folder = models / "versions" / "r1"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o555
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_a_candidate_is_whole_and_not_live(models):
    version = candidate(models, "r2", "two")
    assert release_ids(models) == ["r1", "r2"]
    assert version.path("weights.safetensors").read_text() == "weights two"
    assert linked_release(models) == "r1"
    assert len(deployments(models)) == 1


@pytest.mark.fault("disk_full")
def test_a_version_that_fails_while_it_is_filled_leaves_nothing(models):
    def fill(folder: Path) -> None:
        (folder / "weights.safetensors").write_text("half")
        raise OSError(28, "No space left on device")

    before = sorted(models.rglob("*"))
    with pytest.raises(OSError, match="No space left"):
        write_version(models, release_id="r2", fill=fill)
    assert sorted(models.rglob("*")) == before


def test_the_same_version_again_is_the_one_that_is_there_and_a_damaged_one_is_set_aside(models, tmp_path):
    candidate(models, "r2", "two")
    again = candidate(models, "r2", "two")
    path = again.path("weights.safetensors")
    path.chmod(0o644)
    path.write_text("weights 2wo")
    mended = candidate(models, "r2", "two")
    assert mended.path("weights.safetensors").read_text() == "weights two"
    assert release_ids(models) == ["r1", "r2"]
    assert len(list((models / "versions").glob(".damaged-r2-*"))) == 1
    with pytest.raises(FileExistsError, match="r2 exists with other content"):
        write_candidate(models, release_id="r2", bundle=bundle(tmp_path / "fold", "three"), card={})


@pytest.mark.fault("flipped_byte")
@pytest.mark.parametrize("name", ["weights.safetensors", "network.json", CARD_FILE, "manifest.json"])
def test_a_flipped_byte_in_a_release_is_refused(models, name):
    path = models / "versions" / "r1" / name
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
        current_release(models)


def test_one_id_is_released_once(models, tmp_path):
    before = current_release(models)
    with pytest.raises(FileExistsError, match="r1 exists with other content"):
        write_release(models, release_id="r1", bundle=bundle(tmp_path / "fold", "two"), card={"verdict": "NO-GO"})
    with pytest.raises(FileExistsError):
        write_release(models, release_id="r1", bundle=bundle(tmp_path / "fold"), card={"verdict": "GO"})
    assert current_release(models) == before
    again = write_release(models, release_id="r1", bundle=bundle(tmp_path / "fold"), card={"verdict": "NO-GO"})
    assert again.version == before[0]
    assert len(deployments(models)) == 1, "what is live already is not deployed again"


def test_a_card_that_has_no_json_form_releases_nothing(models, tmp_path):
    before = current_release(models)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_release(models, release_id="r2", bundle=bundle(tmp_path / "fold", "two"), card={"psr": float("nan")})
    assert current_release(models) == before
    assert not (models / "versions" / "r2").exists()


def test_a_bundle_that_changed_after_it_was_verified_is_not_released(models, tmp_path):
    before = current_release(models)
    verified = bundle(tmp_path / "fold", "two")
    (verified.folder / "weights.safetensors").write_text("weights 2wo")
    with pytest.raises(IntegrityError, match=r"weights\.safetensors: SHA-256 is .*it was verified as"):
        write_release(models, release_id="r2", bundle=verified, card={})
    assert current_release(models) == before


def test_an_id_that_is_no_plain_name_is_refused(models, tmp_path):
    with pytest.raises(ValueError, match="not a plain name"):
        write_release(models, release_id="../r2", bundle=bundle(tmp_path / "fold"), card={})


def test_without_a_release_there_is_no_current_one(tmp_path):
    with pytest.raises(ArtifactMissingError):
        current_release(tmp_path / "models")
