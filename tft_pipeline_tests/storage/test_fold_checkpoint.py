"""Whether a fold's training state could be kept: stored with the fold, content only where it could not."""

import json
from pathlib import Path

import pytest

from tft_pipeline.domain.content import frame_sha256, json_sha256
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.storage.artifacts import MANIFEST, write_artifact
from tft_pipeline.storage.fold_bundles import _network_json, read_fold_bundle, weights_sha256, write_fold_bundle
from tft_pipeline_tests.oracles.model_panels import random_panel, small_fit
from tft_pipeline_tests.storage.test_fold_bundles import bundle


@pytest.fixture(scope="module")
def fitted() -> FittedFold:
    return small_fit(random_panel(), epochs=1)


def test_status_and_reason_are_read_back_and_stand_in_the_file_as_words(fitted: FittedFold, tmp_path: Path) -> None:
    written = bundle(fitted, checkpoint_status="failed", checkpoint_reason="no space left")
    artifact = write_artifact(tmp_path, lambda folder: write_fold_bundle(written, folder))
    found = read_fold_bundle(artifact)
    assert (found.checkpoint_status, found.checkpoint_reason) == ("failed", "no space left")
    about = json.loads(artifact.path("fold.json").read_text())
    assert (about["checkpoint_status"], about["checkpoint_reason"]) == ("failed", "no space left")


def test_a_bundle_from_before_it_was_recorded_is_one_whose_states_were_all_written(
    fitted: FittedFold, tmp_path: Path
) -> None:
    artifact = write_artifact(tmp_path / "new", lambda folder: write_fold_bundle(bundle(fitted), folder))

    def older(folder: Path) -> None:
        for path in artifact.folder.iterdir():
            if path.name != MANIFEST:
                (folder / path.name).write_bytes(path.read_bytes())
        about = json.loads((folder / "fold.json").read_text())
        del about["checkpoint_status"], about["checkpoint_reason"]
        (folder / "fold.json").write_text(json.dumps(about))

    found = read_fold_bundle(write_artifact(tmp_path / "old", older))
    assert (found.checkpoint_status, found.checkpoint_reason) == ("ok", "")
    assert found.content_sha256() == bundle(fitted).content_sha256()


def test_only_a_failed_status_is_content_so_that_a_release_follows_it_and_nothing_else_moves(
    fitted: FittedFold,
) -> None:
    kept = bundle(fitted)
    before = [kept.key, kept.spec_sha256, weights_sha256(fitted), _network_json(fitted), kept.boosting]
    assert kept.content_sha256() == json_sha256([*before, frame_sha256(kept.predictions)])
    failed = bundle(fitted, checkpoint_status="failed", checkpoint_reason="no space left")
    assert failed.content_sha256() != kept.content_sha256()
    other = bundle(fitted, checkpoint_status="failed", checkpoint_reason="input/output error")
    assert failed.content_sha256() == other.content_sha256()
