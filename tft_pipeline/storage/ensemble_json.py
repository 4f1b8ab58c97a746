"""`ensemble.json`: the weights of a blend in the guide's form, `weights` and `metrics` first, complete or absent.

Not here: what the fields mean (`domain.findings.EnsembleWeights`).
"""

import json
from pathlib import Path

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.domain.findings import EnsembleWeights
from tft_pipeline.storage.atomic import replace_file


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
    try:
        replace_file(path, lambda staged: staged.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be written: {error.strerror or error}; name a file in another place, such as ensemble.json"
        ) from error
