"""What happens by itself: days with new bars are judged for drift, retrains asked for, outdated assets recomputed.

Everything is off until switched on: `TFT_AUTOMATION=on` for all of it, or single switches in the UI.
"""

import os
from collections.abc import Callable, Iterator

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.events import DagsterEvent
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode

from tft_pipeline.pipeline.drift_facts import NIGHT, night_job_name
from tft_pipeline.pipeline.drift_watch import Memory, Tick, day_requests, look, retrain_request
from tft_pipeline.pipeline.graph import RETRAIN, ExperimentGraph
from tft_pipeline.pipeline.run_process import InThisProcess
from tft_pipeline.storage.environment import utc_now
from tft_pipeline.storage.locks import run_lock

SWITCH = "TFT_AUTOMATION"
NIGHTLY = "0 3 * * *"
SENSOR_SECONDS = 60
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
            graph.job("measure_drift"),
            selection=dg.AssetSelection.assets(graph.key("drift_report")),
            description="Compares the newest bars of the features as they are with those the newest fold's model learned "
            "from. Use it to look at drift by hand; it writes drift_report, reads no new bars and trains nothing.",
        ),
        dg.define_asset_job(
            graph.job("new_bars"),
            selection=dg.AssetSelection.assets(
                *(graph.key(name) for name in ("snapshot", "feature_catalogue", "features", "targets", "drift_report"))
            ),
            description="Freezes the source's current bars, computes features and targets again and measures drift. Use it "
            "when new bars have come and you want to know whether the model still holds; folds and model stay as they are.",
        ),
        dg.define_asset_job(
            night_job_name(graph),
            selection=dg.AssetSelection.assets(
                *(graph.key(name) for name in ("snapshot", "feature_catalogue", "features", "targets", NIGHT))
            ),
            description="Freezes the source's current bars, computes features and targets again and judges drift as of the "
            "end of one day, the partition. Sensor and schedule launch it for each new day; launch it by hand to fill in a "
            "day. Folds and model stay as they are.",
            executor_def=beside_no_whole_run(graph),
        ),
        dg.define_asset_job(
            graph.job("purge_comparison"),
            selection=dg.AssetSelection.assets(graph.key("purge_comparison")),
            description="Fits the production folds again without purge and says what that would have shown. Use it to see "
            "what an honest set-up costs; it takes as long as the folds did, counts as a look at their bars, and changes no "
            "model. With overlap also the whole experiment, chosen on the bars that are scored.",
        ),
    ]


def beside_no_whole_run(graph: ExperimentGraph) -> dg.ExecutorDefinition:
    """Steps in this process that hold the experiment's lock together: a whole run would have its bars replaced under it.

    The run fails, and is tried again later, where a whole run is under way.
    """

    class Beside(InThisProcess):
        def execute(
            self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
        ) -> Iterator[DagsterEvent]:
            with run_lock(graph.layout.run_lock(graph.name), shared=True):
                yield from super().execute(plan_context, execution_plan)

    @dg.executor(name="beside_no_whole_run")
    def beside(_context: dg.InitExecutorContext) -> Beside:
        return Beside(retries=RetryMode.ENABLED)

    return beside


def schedules_and_sensors(
    graph: ExperimentGraph, jobs_by_name: dict[str, Job]
) -> tuple[list[dg.ScheduleDefinition], list[dg.SensorDefinition]]:
    """The nightly drift schedule, the drift sensor and the automation sensor of one experiment."""
    on = automation_is_on()
    night_job, retrain = jobs_by_name[night_job_name(graph)], jobs_by_name[graph.job(RETRAIN)]

    # a sensor's interval is no clock: the schedule makes sure that somebody looks when the day's bars must be there
    @dg.schedule(
        name=f"{graph.name}_nightly_drift",
        job=night_job,
        cron_schedule=NIGHTLY,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED,
        description="Every night at 03:00 UTC: asks for judge_night of each complete day that has no result, at most five "
        f"at once. Off until switched on here or by {SWITCH}=on; needs a trained model. Each tick says which days and why.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.SkipReason | list[dg.RunRequest]:
        tick = look(graph, context.instance, Memory(), now=utc_now())
        _explain(context.log.info, tick)
        return day_requests(graph, tick, by="schedule") or dg.SkipReason(" ".join(tick.sentences))

    @dg.sensor(
        name=f"{graph.name}_drift_sensor",
        jobs=[night_job, retrain],
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=SENSOR_SECONDS,
        description="Looks every minute whether the source has new bars; asks for judge_night of each complete day once, "
        "and for retrain after drift.retrain_nights days in a row that say so. Off until switched on here or by "
        f"{SWITCH}=on; needs a trained model. Each tick says why it asks, or why not.",
    )
    def drift_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        tick = look(graph, context.instance, Memory.read(context.cursor), now=utc_now())
        _explain(context.log.info, tick)
        requests = [*day_requests(graph, tick, by="sensor"), *retrain_request(graph, tick)]
        said = None if requests else " ".join(tick.sentences)
        return dg.SensorResult(run_requests=requests or None, skip_reason=said, cursor=tick.memory.cursor())

    automation = dg.AutomationConditionSensorDefinition(
        name=f"{graph.name}_automation",
        target=dg.AssetSelection.key_prefixes([graph.name]),
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=30,
        description="Looks every 30 seconds for assets that a change of content, code or configuration outdated, and "
        f"computes these again, nothing else. Off until switched on here or by {SWITCH}=on. It does not read the source: "
        "drift sensor, schedule and the job retrain do.",
    )
    return [nightly], [drift_sensor, automation]


def _explain(log: Callable[[str], None], tick: Tick) -> None:
    for sentence in tick.sentences:
        log(sentence)
