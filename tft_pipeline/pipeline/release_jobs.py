"""What is deployed, for people who use the UI: the functions of `tft deploy`, `rollback`, `status` and `prune`, as jobs.

Each run says what it did in its log and on the page of the asset `release`. Not here: what the functions do.
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.deploying import make_live, remove_candidates
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.release_history import describe_moment
from tft_pipeline.pipeline.release_status import describe_status
from tft_pipeline.pipeline.releasing import MODEL, go_back
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.deployments import linked_release
from tft_pipeline.storage.object_store import StoreError
from tft_pipeline.storage.published import PublishError
from tft_pipeline.storage.standing import standing

Backend = Callable[[dict[str, Any]], dict[str, Any]]
"""From a job's configuration to an answer as commands give it."""


def release_jobs(graph: ExperimentGraph) -> list[dg.JobDefinition]:
    """The jobs `<name>_deploy`, `<name>_roll_back`, `<name>_status` and `<name>_prune`."""
    name, layout = graph.name, graph.layout
    return [
        _job(
            graph,
            "deploy",
            "make_live",
            "Makes a candidate live. Use it when a candidate was held back, or gates.deploy is manual. Its gates are asked, "
            "its files verified and the model asked once; then the one link to the live release is swapped and the log gets "
            "a line.",
            {
                "release": dg.Field(str, default_value="", description="release id; empty: the newest candidate"),
                "reason": dg.Field(
                    str, default_value="", description="why, for the log; needed unless override says it"
                ),
                "override": dg.Field(
                    str, default_value="", description="deploy although gates failed, and why; empty: do not"
                ),
            },
            lambda asked: make_live(
                name, layout, asked["release"] or None, reason=asked["reason"], override=asked["override"] or None
            ),
        ),
        rollback_job(graph),
        _job(
            graph,
            "status",
            "look",
            "Says what is live, since when and how it was judged, or what was live at a time. Changes nothing.",
            {"at": dg.Field(str, default_value="", description="date (its end, UTC) or ISO time; empty: now")},
            lambda asked: (
                describe_moment(name, asked["at"], layout=layout)
                if asked["at"]
                else describe_status(name, unknown_is_news=True, layout=layout)
            ),
        ),
        _job(
            graph,
            "prune",
            "remove",
            "Removes candidates beyond the newest that nothing refers to. Use it when the disk fills up, with dry_run "
            "first. It never removes what is or was live, or is held after a roll back.",
            {
                "keep": dg.Field(
                    int,
                    default_value=graph.experiment.gates.keep_candidates,
                    description="newest candidates that stay",
                ),
                "dry_run": dg.Field(bool, default_value=False, description="only say what would go"),
            },
            lambda asked: remove_candidates(name, layout, keep=asked["keep"], dry_run=asked["dry_run"]),
        ),
    ]


def rollback_job(graph: ExperimentGraph) -> dg.JobDefinition:
    """The job `<name>_roll_back`."""
    return _job(
        graph,
        "roll_back",
        "go_back",
        "Makes an earlier release live again. Use it when the live model misbehaves. Its files are verified and the model "
        "is asked once; then the link is swapped, the log gets a line, and the weights gone back from are held until "
        "somebody deploys them.",
        {
            "to": dg.Field(
                str,
                default_value="previous",
                description="previous, a release id, or a date YYYY-MM-DD (the release live at its end, UTC)",
            ),
            "reason": dg.Field(str, default_value="", description="why, for the log"),
        },
        lambda asked: go_back(graph.name, graph.layout, asked["to"], model=MODEL, reason=asked["reason"]),
    )


def _job(
    graph: ExperimentGraph, what: str, op: str, description: str, fields: dict[str, dg.Field], backend: Backend
) -> dg.JobDefinition:
    """A job of one op, which fails with the words that the command would print."""

    @dg.op(name=graph.job(op), description=description, config_schema=fields)
    def work(context: dg.OpExecutionContext) -> None:
        asked = dict(context.op_config)
        try:
            said = backend(asked)
        except ConfigurationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        if said.get("failed"):
            raise dg.Failure("; ".join(said["failed"]), allow_retries=False)
        gate = said.get("gate")
        if gate is not None and not gate["passed"]:
            raise dg.Failure(f"the gates say no: {'; '.join(gate['reasons'])}", allow_retries=False)
        shown = {name: _shown(value) for name, value in said.items() if name not in ("failed", "details")}
        for name, value in shown.items():
            context.log.info(f"{name}: {value}")
        context.log_event(
            dg.AssetObservation(
                asset_key=graph.key("release"),
                description=description,
                metadata={
                    "live": _live(graph),
                    **shown,
                    **{f"asked {name}": value for name, value in asked.items()},
                },
            )
        )

    @dg.job(name=graph.job(what), executor_def=dg.in_process_executor, description=description)
    def job() -> None:
        work()

    return job


def _live(graph: ExperimentGraph) -> str:
    """The release that counts as live: the store's where it knows more than this machine.

    What was asked for is done by now, so a store that does not answer is told and fails nothing.
    """
    models = graph.layout.models(graph.name)
    try:
        now = standing(models)
    except (IntegrityError, PublishError, StoreError):
        return f"{linked_release(models) or 'nothing'} here; the store could not be asked: `tft doctor` says why"
    return f"{now.live or 'nothing'}{now.elsewhere()}"


def _shown(value: object) -> str | int | float:
    """A row of an answer as the UI shows it."""
    if isinstance(value, list | tuple):
        return "; ".join(str(item) for item in value)
    return value if isinstance(value, str | int | float) else str(value)
