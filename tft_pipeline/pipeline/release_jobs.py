"""The rollback for people who use the UI: the same function as `tft rollback`, as a job with a configuration."""

import dagster as dg

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.releasing import MODEL, go_back


def rollback_job(graph: ExperimentGraph) -> dg.JobDefinition:
    """The job `<name>_rollback`; its run says what it did on the `release` asset's page too."""

    @dg.op(
        name=f"{graph.name}_roll_back",
        description="Makes an earlier release current again: verified, loaded and asked once before the link is swapped.",
        config_schema={
            "to": dg.Field(str, description="date (the release live at its end, UTC), release id, or previous"),
            "reason": dg.Field(str, default_value="", description="why, for the log"),
            "model": dg.Field(str, default_value=MODEL, description="kind of model; there is one"),
        },
    )
    def roll_back(context: dg.OpExecutionContext) -> None:
        config = context.op_config
        try:
            models = graph.layout.models(graph.name)
            done = go_back(graph.name, models, config["to"], model=config["model"], reason=config["reason"])
        except ConfigurationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        if done["failed"]:
            raise dg.Failure("; ".join(done["failed"]), allow_retries=False)
        context.log.info(f"rolled back from {done['from']} to {done['to']}, verdict {done['verdict']}")
        shown = {name: done[name] for name in ("from", "to", "verdict", "sequence", "smoke_prediction")}
        context.log_event(
            dg.AssetObservation(
                asset_key=graph.key("release"),
                description=f"rolled back to {done['to']}",
                metadata={**shown, "reason": config["reason"], "path": dg.MetadataValue.path(done["path"])},
            )
        )

    @dg.job(
        name=f"{graph.name}_rollback",
        executor_def=dg.in_process_executor,
        description=f"Go back to an earlier release of {graph.name}; state which one, and why.",
    )
    def rollback() -> None:
        roll_back()

    return rollback
