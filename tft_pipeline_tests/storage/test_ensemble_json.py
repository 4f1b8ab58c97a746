"""The file in the guide's form."""

import json
import os

import pytest

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import EnsembleWeights
from tft_pipeline.storage.ensemble_json import ensemble_json, write_ensemble_json


def record(weight: float = 0.6) -> EnsembleWeights:
    return EnsembleWeights(
        weights={"lgbm": weight, "tft": 1.0 - weight, "sentiment": 0.0},
        metrics={"accuracy": 0.68, "f1": 0.67, "auc_roc": 0.73},
        available={"lgbm": True, "tft": True, "sentiment": False},
        folds=(),
        calibration={},
    )


def test_the_file_begins_with_the_guides_two_sections_and_reads_back():
    text = ensemble_json(record())
    found = json.loads(text)
    assert list(found)[:2] == ["weights", "metrics"]
    assert list(found["weights"]) == ["lgbm", "tft", "sentiment"]
    assert list(found["metrics"]) == ["accuracy", "f1", "auc_roc"]
    assert EnsembleWeights.model_validate_json(text) == record()


def test_writing_makes_folders_replaces_in_one_step_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "new" / "deeper" / "blend.json"
    write_ensemble_json(record(0.6), path)
    write_ensemble_json(record(0.7), path)
    assert json.loads(path.read_text())["weights"]["lgbm"] == 0.7
    assert [each.name for each in path.parent.iterdir()] == ["blend.json"]


def test_what_else_lies_in_the_folder_stays_whatever_its_name_and_age(tmp_path):
    other = tmp_path / ".stage-mine"
    other.mkdir()
    (other / "f").write_text("kept")
    os.utime(other, (0, 0))
    write_ensemble_json(record(), tmp_path / "ensemble.json")
    assert (other / "f").read_text() == "kept"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"it is a folder.*name a file in another place"):
        write_ensemble_json(record(), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_ensemble_json(record(), tmp_path / "file" / "ensemble.json")
