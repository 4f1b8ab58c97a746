"""The jobs that compute: run everything, re-run failed folds, retrain. For people who use the UI, and for the drift sensor.

Each drives nested runs, a stage or fold each. Not here: how (`pipeline.driver`), which folds failed (`pipeline.failed_folds`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dagster as dg

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.driver import Driver, PipelineFailedError, steps_of
from tft_pipeline.pipeline.failed_folds import rerun_failed_folds
from tft_pipeline.pipeline.graph import RERUN_FAILED_FOLDS, RETRAIN, RUN_EVERYTHING, ExperimentGraph
from tft_pipeline.pipeline.interrupts import StoppedError
from tft_pipeline.pipeline.runs import MAX_RETRIES
from tft_pipeline.storage.locks import RunLockedError, WriterLockedError

Drive = Callable[[Driver, dict[str, Any]], None]
"""Sets a driver to work as a job's configuration says."""


def run_jobs(graph: ExperimentGraph) -> list[dg.JobDefinition]:
    """The jobs `<name>_run_everything`, `<name>_rerun_failed_folds` and `<name>_retrain`."""
    steps = steps_of(graph)
    return [
        _job(
            graph,
            RUN_EVERYTHING,
            "drive",
            "Computes the whole graph, from the bars to a release and the report, folds included. Use it the first time, and "
            "with resume to go on after a failure. It writes a new version of every asset it computes; a release goes live "
            "only if every gate passes.",
            {
                "resume": dg.Field(
                    bool, default_value=False, description="skip what is current; false computes everything again"
                ),
                "until": dg.Field(
                    dg.Enum(f"{graph.name}_step", [dg.EnumValue(name) for name in steps]),
                    default_value=steps[-1],
                    description="last asset to compute; the default is the whole graph",
                ),
            },
            lambda driver, asked: replace(
                driver,
                resume=asked["resume"],
                until=None if asked["until"] == steps[-1] else asked["until"],
            ).run(),
        ),
        _job(
            graph,
            RERUN_FAILED_FOLDS,
            "repair",
            "Computes the folds of exploration and production whose latest attempt failed, that have no result, or whose "
            "result is of an older spec, then what follows and is out of date. Use it when folds are red. It reads "
            "no new bars, and says in its log which folds and why; if no fold needs it, or one is under way, it says so and "
            "changes nothing.",
            {},
            lambda driver, _: rerun_failed_folds(driver),
        ),
        _job(
            graph,
            RETRAIN,
            "catch_up",
            "Freezes the source's current bars and computes all that is out of date, up to a candidate release and the report. "
            "Use it when new bars have come; the drift sensor asks for it after drift.retrain_nights bad nights. The release "
            "goes live only if every gate passes.",
            {},
            lambda driver, _: replace(driver, resume=True).run(),
        ),
    ]


def _job(
    graph: ExperimentGraph, task: str, op: str, description: str, fields: dict[str, dg.Field], drive: Drive
) -> dg.JobDefinition:
    """A job of one op that drives nested runs; what these do stands in its log."""

    @dg.op(name=graph.job(op), description=description, config_schema=fields)
    def work(context: dg.OpExecutionContext) -> None:
        from tft_pipeline.pipeline.factory import build_definitions

        driver = Driver(
            graph=graph,
            definitions=build_definitions([graph.file], graph.layout),
            instance=context.instance,
            report=context.log.info,
            parent_run_id=context.run_id,
        )
        try:
            drive(driver, dict(context.op_config))
        except (PipelineFailedError, RunLockedError, WriterLockedError, ConfigurationError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        except StoppedError as stopped:
            context.log.info(f"{stopped}; what was finished is kept: launch {graph.job(RUN_EVERYTHING)} with resume")
            raise dg.DagsterExecutionInterruptedError(str(stopped)) from stopped

    @dg.job(
        name=graph.job(task),
        executor_def=dg.in_process_executor,
        tags={MAX_RETRIES: "0"},  # another try would begin at the first stage: a person launches it again with resume
        description=description,
    )
    def job() -> None:
        work()

    return job
