"""From experiment files to Dagster definitions: one graph a file, side by side. Not here: any asset's work."""

from collections.abc import Sequence
from functools import partial

import dagster as dg

from tft_pipeline.pipeline.asset_filing import filed
from tft_pipeline.pipeline.assets.audit import audit_assets
from tft_pipeline.pipeline.assets.drift import drift_assets
from tft_pipeline.pipeline.assets.evaluation import evaluation_assets
from tft_pipeline.pipeline.assets.exploration import exploration_assets
from tft_pipeline.pipeline.assets.features import feature_assets
from tft_pipeline.pipeline.assets.paths import path_assets
from tft_pipeline.pipeline.assets.production import production_assets
from tft_pipeline.pipeline.assets.purge import purge_assets
from tft_pipeline.pipeline.assets.release import release_assets
from tft_pipeline.pipeline.assets.report import report_assets
from tft_pipeline.pipeline.assets.snapshot import snapshot_assets
from tft_pipeline.pipeline.assets.tuning import tuning_assets
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import io_managers
from tft_pipeline.pipeline.reaping import reaper
from tft_pipeline.pipeline.release_jobs import release_jobs
from tft_pipeline.pipeline.run_jobs import run_jobs
from tft_pipeline.pipeline.run_process import in_this_process
from tft_pipeline.pipeline.schedules import jobs, schedules_and_sensors
from tft_pipeline.storage.experiments import ExperimentFile
from tft_pipeline.storage.layout import Layout

FACTORIES = (
    snapshot_assets,
    feature_assets,
    exploration_assets,
    tuning_assets,
    path_assets,
    production_assets,
    audit_assets,
    evaluation_assets,
    drift_assets,
    purge_assets,
    release_assets,
    report_assets,
)


def build_definitions(files: Sequence[ExperimentFile], layout: Layout) -> dg.Definitions:
    """Everything Dagster loads for some experiments."""
    parts = [_experiment_definitions(ExperimentGraph(file, layout)) for file in files]
    shared = dg.Definitions(resources=dict(io_managers(layout)), executor=in_this_process, sensors=[reaper()])
    return dg.Definitions.merge(shared, *parts)


def _experiment_definitions(graph: ExperimentGraph) -> dg.Definitions:
    made = [item for factory in FACTORIES for item in factory(graph)]
    checks = [item for item in made if isinstance(item, dg.AssetChecksDefinition)]
    assets = dg.map_asset_specs(
        partial(filed, graph), [item for item in made if not isinstance(item, dg.AssetChecksDefinition)]
    )
    own = [job.with_executor_def(in_this_process) for job in (*run_jobs(graph), *release_jobs(graph))]
    all_jobs = [*own, *jobs(graph)]
    schedules, sensors = schedules_and_sensors(graph, {job.name: job for job in all_jobs})
    return dg.Definitions(assets=assets, asset_checks=checks, jobs=all_jobs, schedules=schedules, sensors=sensors)
