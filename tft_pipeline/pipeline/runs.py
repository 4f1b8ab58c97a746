"""One run inside this process, recorded in the instance like any other, and what became of it.

Not here: which runs make a whole pipeline (`pipeline.driver`).
"""

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from tft_pipeline.pipeline.run_process import nested_tags, process_tags
from tft_pipeline.storage.atomic import replace_link
from tft_pipeline.storage.layout import PROJECT_ROOT, Layout

MAX_RETRIES = "dagster/max_retries"
DOUBTS = "doubts"
"""Metadata of a check that warns: a list of sentences that a run tells."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What became of a run.

    Attributes:
        asset: the asset that failed, else the last one asked for.
        reason: empty when the run succeeded.
        doubts: sentences of checks that warned.
    """

    run_id: str
    ok: bool
    asset: str
    partition: str | None
    reason: str
    seconds: float
    doubts: tuple[str, ...] = ()


def materialise(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    assets: Sequence[dg.AssetKey],
    *,
    partition: str | None = None,
    parent_run_id: str | None = None,
    run_config: dict[str, Any] | None = None,
) -> RunOutcome:
    """Run some assets in one run of this process; a failure is an outcome, not an exception."""
    began = time.monotonic()
    run_id = str(uuid.uuid4())
    tags = {MAX_RETRIES: "0", **process_tags(run_id)}  # the caller goes on, not the daemon
    if parent_run_id is not None:
        tags |= nested_tags(run_id, parent_run_id)
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=list(assets),
        partition_key=partition,
        run_config=QUIET | (run_config or {}),
        raise_on_error=False,
        tags=tags,
        run_id=run_id,
    )
    asset, reason = assets[-1].to_user_string(), ""
    if not result.success:
        asset, reason = failure_of(result, asset)
    return RunOutcome(
        run_id=result.run_id,
        ok=result.success,
        asset=asset,
        partition=partition,
        reason=reason,
        seconds=time.monotonic() - began,
        doubts=_doubts(result),
    )


def _doubts(result: dg.ExecuteInProcessResult) -> tuple[str, ...]:
    """Sentences of the checks that did not pass and brought some."""
    told: list[str] = []
    for one in result.get_asset_check_evaluations():
        value = one.metadata.get(DOUBTS)
        if not one.passed and isinstance(value, dg.JsonMetadataValue) and isinstance(value.data, list):
            told += [str(sentence) for sentence in value.data]
    return tuple(told)


def failure_of(result: dg.ExecuteInProcessResult, default: str) -> tuple[str, str]:
    """The first asset that failed and why, in the words of the innermost error or of the check that stopped it;
    a check that only warns stops nothing."""
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed and evaluation.severity is not dg.AssetCheckSeverity.WARN:
            reason = f"check {evaluation.check_name}: {evaluation.description}"
            return evaluation.asset_key.to_user_string(), reason
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data is not None and data.user_failure_data.description:
                reason = data.user_failure_data.description
            else:
                error = data.error
                while error is not None and error.cause is not None:
                    error = error.cause
                reason = "unknown error" if error is None else error.message.strip()
            return (event.step_key or default).replace("__", "/"), reason
        if event.event_type == dg.DagsterEventType.RUN_FAILURE and event.job_failure_data.error is not None:
            return default, event.job_failure_data.error.message.strip()
    return default, "the run failed without saying why; look at it in the UI"


def open_instance(layout: Layout) -> dg.DagsterInstance:
    """The instance whose databases lie in `layout`, set up on first use.

    `dagster.yaml` of the checkout is linked into the home, so that every process reads the same settings.
    """
    prepare_dagster_home(layout)
    return dg.DagsterInstance.get()


def prepare_dagster_home(layout: Layout) -> Path:
    """Create `DAGSTER_HOME` with the project's `dagster.yaml`, and set the variable for this process."""
    home = layout.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    settings, link = PROJECT_ROOT / "dagster.yaml", home / "dagster.yaml"
    if settings.is_file() and not link.exists():
        replace_link(link, str(settings))
    os.environ["DAGSTER_HOME"] = str(home)
    return home
