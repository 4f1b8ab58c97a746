"""Which experiment files belong together: those that the UI loads. Not here: loading them (`definitions`)."""

import os
from pathlib import Path

from tft_pipeline.storage.layout import PROJECT_ROOT

VARIABLE = "TFT_EXPERIMENTS"


def experiment_paths() -> list[Path]:
    """Files named in `TFT_EXPERIMENTS` (separated like PATH), else all of `experiments/`."""
    named = os.environ.get(VARIABLE)
    if named:
        return [Path(part) for part in named.split(os.pathsep)]
    return sorted((PROJECT_ROOT / "experiments").glob("*.yaml"))
