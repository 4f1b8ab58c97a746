"""What Dagster loads: the graphs of every file in `experiments/`, or of those that `TFT_EXPERIMENTS` names."""

import os
from pathlib import Path

from tft_pipeline.pipeline.factory import build_definitions
from tft_pipeline.storage.experiments import read_experiments
from tft_pipeline.storage.layout import PROJECT_ROOT, default_layout

VARIABLE = "TFT_EXPERIMENTS"


def experiment_paths() -> list[Path]:
    """Files named in `TFT_EXPERIMENTS` (separated like PATH), else all of `experiments/`."""
    named = os.environ.get(VARIABLE)
    if named:
        return [Path(part) for part in named.split(os.pathsep)]
    return sorted((PROJECT_ROOT / "experiments").glob("*.yaml"))


defs = build_definitions(read_experiments(experiment_paths()), default_layout())
