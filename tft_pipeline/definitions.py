"""What Dagster loads: the graphs of every file in `experiments/`, or of those that `TFT_EXPERIMENTS` names.

A file that cannot be loaded is shown as such beside the others. Where none can, loading fails.
"""

import dagster as dg

from tft_pipeline.pipeline.broken import broken_experiments, refuse_nothing
from tft_pipeline.pipeline.experiment_paths import VARIABLE as VARIABLE
from tft_pipeline.pipeline.experiment_paths import experiment_paths
from tft_pipeline.pipeline.factory import build_definitions
from tft_pipeline.storage.experiments import usable_experiments
from tft_pipeline.storage.layout import default_layout


def loaded() -> dg.Definitions:
    """Every graph, and what stands for the files that have none.

    Raises:
        ConfigurationError: no file can be loaded.
    """
    files, refused = usable_experiments(experiment_paths())
    refuse_nothing(len(files), refused)
    return dg.Definitions.merge(build_definitions(files, default_layout()), broken_experiments(refused))


defs = loaded()
