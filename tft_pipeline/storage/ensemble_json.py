"""`ensemble.json`: the weights of a blend in the guide's form, `weights` and `metrics` first, complete or absent.

Not here: what the fields mean (`domain.findings.EnsembleWeights`).
"""

import json
import os
from pathlib import Path

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import EnsembleWeights
from tft_pipeline.storage.atomic import fsync_folder, stage_beside


def ensemble_json(record: EnsembleWeights) -> str:
    """The record as indented JSON, in the order of its fields.

    Raises:
        ValueError: a number that is not finite; it must be null with a reason.
    """
    return json.dumps(record.model_dump(mode="json"), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_ensemble_json(record: EnsembleWeights, path: Path) -> None:
    """Replace the file in one step; folders above it are made.

    Raises:
        ConfigurationError: the path is a folder, or cannot be written.
    """
    text = ensemble_json(record)
    if path.is_dir():
        raise ConfigurationError(f"{path}: is a folder; name the file to write, such as {path / 'ensemble.json'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with stage_beside(path.parent) as stage:
            staged = stage / "ensemble.json"
            with staged.open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            staged.replace(path)
            fsync_folder(path.parent)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror or error}; name another place") from error
