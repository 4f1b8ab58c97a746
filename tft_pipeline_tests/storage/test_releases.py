import json
import os
import stat
from pathlib import Path

import pytest

from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError
from tft_pipeline.storage.deployments import (
    deployments,
)
from tft_pipeline.storage.releases import (
    CARD_FILE,
    TARGETS_FILE,
    current_release,
    write_release,
)
from tft_pipeline_tests.released import bundle


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_release(tmp_path / "models", release_id="r1", bundle=bundle(tmp_path / "fold"), card={"verdict": "NO-GO"})
    return tmp_path / "models"


def test_a_release_holds_the_bundle_and_the_card(models):
    released, card = current_release(models)
    assert released.version == "r1"
    assert set(released.files) == {"weights.safetensors", "network.json", CARD_FILE, TARGETS_FILE}
    assert released.path("weights.safetensors").read_text() == "weights one"
    assert card == {"verdict": "NO-GO"}


def test_the_fixed_names_resolve_through_the_one_current_link(models):
    assert os.readlink(models / "best_tft.safetensors") == "versions/current/weights.safetensors"
    assert (models / "best_tft.safetensors").read_text() == "weights one"
    assert json.loads((models / "best_tft_model_card.json").read_text()) == {"verdict": "NO-GO"}
    links = [path for path in models.rglob("*") if path.is_symlink()]
    through = [path for path in links if "current" in os.readlink(path)]
    assert len(links) == 3
    assert len(through) == 2


def test_a_second_release_swaps_every_name_at_once_and_keeps_the_first(models, tmp_path):
    inodes = {name: (models / name).lstat().st_ino for name in ("best_tft.safetensors", "best_tft_model_card.json")}
    write_release(models, release_id="r2", bundle=bundle(tmp_path / "fold", "two"), card={"verdict": "GO"})
    assert (models / "best_tft.safetensors").read_text() == "weights two"
    assert json.loads((models / "best_tft_model_card.json").read_text()) == {"verdict": "GO"}
    assert current_release(models)[0].version == "r2"
    assert {name: (models / name).lstat().st_ino for name in inodes} == inodes
    assert (models / "versions" / "r1" / "weights.safetensors").read_text() == "weights one"


def test_released_files_are_read_only(models):
    for path in (models / "versions" / "r1").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


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
