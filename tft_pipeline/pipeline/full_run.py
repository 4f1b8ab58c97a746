"""The job that runs everything, for people who use the UI. Not here: how it is run (`pipeline.driver`)."""

import json
import time

import dagster as dg

from tft_pipeline.pipeline.driver import Driver, PipelineFailedError
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.interrupts import StoppedError
from tft_pipeline.pipeline.runs import MAX_RETRIES
from tft_pipeline.storage.locks import RunLockedError


def full_run_job(graph: ExperimentGraph) -> dg.JobDefinition:
    """The job `<name>_full_run`: everything, one shot; its lines also go to the experiment's progress.jsonl."""

    @dg.op(
        name=f"{graph.name}_drive",
        description="Runs every stage and every fold as nested runs; needs no folds to be registered before.",
        config_schema={"resume": dg.Field(bool, default_value=False, description="run only what is outdated")},
    )
    def drive(context: dg.OpExecutionContext) -> None:
        from tft_pipeline.pipeline.factory import build_definitions

        lines = graph.layout.experiment(graph.name) / "progress.jsonl"
        lines.parent.mkdir(parents=True, exist_ok=True)

        def report(line: str) -> None:
            context.log.info(line)
            with lines.open("a") as stream:
                stream.write(json.dumps({"run": context.run_id, "at": time.time(), "line": line}) + "\n")

        driver = Driver(
            graph=graph,
            definitions=build_definitions([graph.file], graph.layout),
            instance=context.instance,
            report=report,
            resume=context.op_config["resume"],
            parent_run_id=context.run_id,
        )
        try:
            driver.run()
        except (PipelineFailedError, RunLockedError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        except StoppedError as stopped:
            report(f"{stopped}; what was finished is kept: launch this job again with resume")
            raise dg.DagsterExecutionInterruptedError(str(stopped)) from stopped

    @dg.job(
        name=f"{graph.name}_full_run",
        executor_def=dg.in_process_executor,
        tags={MAX_RETRIES: "0"},  # another try would begin at the first stage: a person launches it again with resume
        description=f"The whole graph of {graph.name}, from raw bars to a release, folds included.",
    )
    def full_run() -> None:
        drive()

    return full_run
