"""Folds that want another attempt, and that attempt.

Not here: the driving (`pipeline.driver`), whether a fold is current (`pipeline.staleness`).
"""

from dataclasses import replace

import dagster as dg
from pydantic import ValidationError

from tft_pipeline.domain.experiment import ConfigurationError
from tft_pipeline.pipeline.deciding_records import records_are_read, stored_plan
from tft_pipeline.pipeline.driver import FOLDS, PARTITION_TAG, Driver
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.staleness import Staleness
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError
from tft_pipeline.storage.locks import run_lock

UNSUCCESSFUL = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def rerun_failed_folds(driver: Driver) -> None:
    """Run the folds that `failed_folds` names, then what follows from them where it is out of date.

    Raises:
        as `Driver.run`; ConfigurationError: a stored plan cannot be read.
    """
    graph = driver.graph
    with run_lock(graph.layout.run_lock(graph.name)) as held:
        failed = failed_folds(Staleness(graph, driver.definitions, driver.instance))
        if not failed:
            driver.report("no fold failed, is missing or is of an older spec: there is nothing to run again")
            return
        first = next(asset for asset in FOLDS if any(name == asset for name, _ in failed))
        replace(driver, resume=True, begin=first, again=failed, held=held).run()


def failed_folds(staleness: Staleness) -> dict[tuple[str, str], str]:
    """Folds of the stored plans to run again, by asset and fold, each with the reason as a sentence.

    A phase that was never planned has none. A fold that is current is named too where its latest run failed: the UI shows it
    red.

    Raises:
        ConfigurationError: a stored plan cannot be read.
    """
    graph, found = staleness.graph, dict[tuple[str, str], str]()
    for asset, phase in FOLDS.items():
        try:
            plan = stored_plan(graph, f"{phase}_plan")
        except ArtifactMissingError:
            continue
        except (IntegrityError, ValidationError) as error:
            raise ConfigurationError(
                f"{phase}_plan cannot be read, so nobody can say which folds there are: {error}; a run of everything with "
                "resume makes it again"
            ) from error
        for spec in plan.specs:
            with records_are_read():
                why = failed_attempt(graph, staleness.instance, asset, spec.key) or staleness.why(asset, spec.key)
            if why is not None:
                found[asset, spec.key] = why
    return found


def failed_attempt(graph: ExperimentGraph, instance: dg.DagsterInstance, asset: str, fold: str) -> str | None:
    """What became of the latest run of a fold, in a sentence, if it ended without computing the fold; else None."""
    key = graph.key(asset)
    runs = instance.get_runs(dg.RunsFilter(tags={PARTITION_TAG: fold}))  # newest first
    latest = next((run for run in runs if key in (run.asset_selection or ()) and run.is_finished), None)
    if latest is None or latest.status not in UNSUCCESSFUL:
        return None
    made = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=key, asset_partitions=[fold]), limit=1)
    if made.records and made.records[0].run_id == latest.run_id:
        return None  # what failed in that run came after the fold
    ended = "failed" if latest.status is dg.DagsterRunStatus.FAILURE else "was cancelled"
    return f"its latest run, {latest.run_id[:8]}, {ended}"
