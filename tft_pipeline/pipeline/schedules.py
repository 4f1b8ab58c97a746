"""What happens by itself: new bars are looked for, outdated assets recomputed, drift measured every night.

Everything is off until switched on: `TFT_AUTOMATION=on` for all of it, or single switches in the UI.
"""

import os

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.storage.artifacts import ArtifactMissingError, read_artifact

SWITCH = "TFT_AUTOMATION"
NIGHTLY = "0 3 * * *"
Job = dg.JobDefinition | UnresolvedAssetJobDefinition


def automation_is_on() -> bool:
    """Whether schedules and sensors start running.

    Raises:
        ValueError: the variable is neither on nor off.
    """
    value = os.environ.get(SWITCH, "off")
    if value not in ("on", "off"):
        raise ValueError(f"{SWITCH} is {value!r}: expected on or off")
    return value == "on"


def jobs(graph: ExperimentGraph) -> list[Job]:
    """Jobs that the schedules start and that people may start."""
    return [
        dg.define_asset_job(
            f"{graph.name}_drift",
            selection=dg.AssetSelection.assets(graph.key("drift_report")),
            description="Compare the recent bars with the newest fold's training bars.",
        ),
        dg.define_asset_job(
            f"{graph.name}_new_bars",
            selection=dg.AssetSelection.assets(
                *(graph.key(name) for name in ("snapshot", "feature_catalogue", "features", "targets", "drift_report"))
            ),
            description="Freeze the source's current bars, rebuild features and measure drift.",
        ),
        dg.define_asset_job(
            f"{graph.name}_purge_comparison",
            selection=dg.AssetSelection.assets(graph.key("purge_comparison")),
            description="Fit the production folds again without purge, and say what that would have shown. With overlap: true "
            "in the configuration also the whole experiment, chosen on the bars that are scored.",
        ),
    ]


def schedules_and_sensors(
    graph: ExperimentGraph, jobs_by_name: dict[str, Job]
) -> tuple[list[dg.ScheduleDefinition], list[dg.SensorDefinition]]:
    """The nightly drift schedule, the drift sensor and the automation sensor of one experiment."""
    on = automation_is_on()
    nightly = dg.ScheduleDefinition(
        name=f"{graph.name}_nightly_drift",
        job=jobs_by_name[f"{graph.name}_new_bars"],
        cron_schedule=NIGHTLY,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED,
        description="Every night at 03:00 UTC: freeze the bars and measure drift.",
    )

    @dg.asset_sensor(
        asset_key=graph.key("drift_report"),
        name=f"{graph.name}_retrain_on_drift",
        job=jobs_by_name[f"{graph.name}_full_run"],
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=60,
        description="When a drift report says retrain: run the whole graph, once a report, folds that are current kept.",
    )
    def retrain_on_drift(
        context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry
    ) -> dg.RunRequest | dg.SkipReason:
        from tft_pipeline.domain.findings import DriftRecord
        from tft_pipeline.pipeline.io_managers import REPORT_FILE

        try:
            artifact = read_artifact(graph.layout.artifact(graph.name, "drift_report"))
        except ArtifactMissingError as error:
            return dg.SkipReason(str(error))
        report = DriftRecord.model_validate_json(artifact.path(REPORT_FILE).read_text())
        if report.verdict != "retrain":
            return dg.SkipReason(f"drift verdict is {report.verdict}")
        config = {"ops": {f"{graph.name}_drive": {"config": {"resume": True}}}}
        return dg.RunRequest(run_key=artifact.version, run_config=config)

    automation = dg.AutomationConditionSensorDefinition(
        name=f"{graph.name}_automation",
        target=dg.AssetSelection.key_prefixes([graph.name]),
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=30,
        description="Recomputes what a change of content, code or configuration outdated, and nothing else.",
    )
    return [nightly], [retrain_on_drift, automation]
