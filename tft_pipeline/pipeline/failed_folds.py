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
from tft_pipeline.pipeline.reaping import how_it_ended
from tft_pipeline.pipeline.staleness import Staleness
from tft_pipeline.storage.artifacts import ArtifactMissingError, IntegrityError
from tft_pipeline.storage.locks import WriterLockedError, run_lock

UNSUCCESSFUL = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def rerun_failed_folds(driver: Driver) -> None:
    """Run the folds that `failed_folds` names, then what follows from them where it is out of date.

    Raises:
        as `Driver.run` and `failed_folds`.
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
        WriterLockedError: a fold is being computed.
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
    """What became of the latest run of a fold, in a sentence, if it ended without computing the fold; else None.

    Raises:
        WriterLockedError: the latest run has not ended; whatever an older one did, its fold may come out well.
    """
    key = graph.key(asset)
    records = instance.get_run_records(dg.RunsFilter(tags={PARTITION_TAG: fold}))  # newest first
    latest = next((one for one in records if key in (one.dagster_run.asset_selection or ())), None)
    if latest is None:
        return None
    run = latest.dagster_run
    if not run.is_finished:
        gone = how_it_ended(run, instance)
        if gone is None:
            raise WriterLockedError(
                f"{asset} [{fold}] is under way in run {run.run_id[:8]}, and only its result tells what is out of date: "
                "nothing was computed; launch this again when that run has ended, or end it first"
            )
        ended = f"was killed: {gone}"
    elif run.status in UNSUCCESSFUL:
        ended = "failed" if run.status is dg.DagsterRunStatus.FAILURE else "was cancelled"
    else:
        return None
    asked = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[fold])
    made = instance.fetch_materializations(asked, limit=1).records
    began = latest.start_time or latest.create_timestamp.timestamp()
    if made and (made[0].run_id == run.run_id or made[0].timestamp > began):
        return None  # what failed in that run came after the fold, or another run computed it meanwhile
    return f"its latest run, {run.run_id[:8]}, {ended}"
