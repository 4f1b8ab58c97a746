"""What every asset factory is given: one experiment file, its names in Dagster and its folders.

Not here: assets, jobs, resources.
"""

from dataclasses import dataclass

import dagster as dg

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.storage.experiments import ExperimentFile
from tft_pipeline.storage.layout import Layout

EXPLORATION = "exploration"
PRODUCTION = "production"
RUN_EVERYTHING, RERUN_FAILED_FOLDS, RETRAIN = "run_everything", "rerun_failed_folds", "retrain"
WHOLE_RUNS = (RUN_EVERYTHING, RERUN_FAILED_FOLDS, RETRAIN)
"""Tasks whose jobs have the experiment to themselves while they run."""


@dataclass(frozen=True, slots=True)
class ExperimentGraph:
    """One experiment in Dagster: its name prefixes asset keys, partition names, jobs and folders."""

    file: ExperimentFile
    layout: Layout

    @property
    def experiment(self) -> Experiment:
        """The validated configuration."""
        return self.file.experiment

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.experiment.name

    def key(self, asset: str) -> dg.AssetKey:
        """Asset key: experiment / asset."""
        return dg.AssetKey([self.name, asset])

    def job(self, task: str) -> str:
        """Name of the job for a task, such as "deploy": experiment_task."""
        return f"{self.name}_{task}"

    def folds(self, phase: str) -> dg.DynamicPartitionsDefinition:
        """The dynamic partitions of a phase's folds."""
        return dg.DynamicPartitionsDefinition(name=f"{self.name}_{phase}_folds")

    def code_version(self, revision: str, *sections: str) -> str:
        """Revision of an asset's code plus the fingerprint of the sections it reads."""
        return f"{revision}-{self.experiment.section_fingerprint(*sections)}"
