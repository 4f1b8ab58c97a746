"""Folds as dynamic partitions: plans register keys and publish a content-addressed spec for each of them.

A retired key is deleted only when no run of it is in flight, for Dagster fails a run whose key vanishes; files stay.
"""

from collections.abc import Mapping
from typing import Protocol, TypeVar

import dagster as dg

from tft_pipeline.domain.reports import FoldPlanReport
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.outputs import table

IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
DATA_VERSION_TAG = "dagster/data_version"


def spec_asset(graph: ExperimentGraph, phase: str) -> dg.AssetSpec:
    """The external asset that stands for the specs of a phase's folds."""
    return dg.AssetSpec(
        graph.key(f"{phase}_spec"),
        partitions_def=graph.folds(phase),
        deps=[graph.key(f"{phase}_plan")],
        description=f"What one {phase} fold is made of: bars, features, settings, seed. Published by {phase}_plan, never "
        "computed here; a fold runs again when its spec changes. One row a fold.",
    ).with_io_manager_key("fold_specs")


def publish_specs(context: dg.AssetExecutionContext, graph: ExperimentGraph, plan: FoldPlanReport) -> None:
    """Register the plan's folds and announce each spec whose content is new."""
    instance, partitions = context.instance, graph.folds(plan.phase)
    assert partitions.name is not None
    before = set(instance.get_dynamic_partitions(partitions.name))
    wanted = [spec.key for spec in plan.specs]
    instance.add_dynamic_partitions(partitions.name, [key for key in wanted if key not in before])
    for key in sorted(before - set(wanted)):
        in_flight = instance.get_runs(filters=dg.RunsFilter(tags={"dagster/partition": key}, statuses=IN_FLIGHT))
        running = [run for run in in_flight if any(one.path[0] == graph.name for one in run.asset_selection or ())]
        if running:
            context.log.warning(
                f"fold {key} is retired but run {running[0].run_id} is in flight; the next plan removes it"
            )
        else:
            instance.delete_dynamic_partition(partitions.name, key)
    spec_key = graph.key(f"{plan.phase}_spec")
    for spec in plan.specs:
        version = spec.content_sha256()[:16]
        if published_version(instance, spec_key, spec.key) != version:
            context.log_event(
                dg.AssetMaterialization(
                    asset_key=spec_key,
                    partition=spec.key,
                    metadata={
                        "snapshot_id": plan.snapshot_id,
                        "parts": table([{"part": part, **dates} for part, dates in spec.dates.items()]),
                    },
                    tags={DATA_VERSION_TAG: version},
                )
            )


def published_version(instance: dg.DagsterInstance, key: dg.AssetKey, partition: str | None) -> str | None:
    """Data version of the latest materialisation of an asset or partition; None when there is none."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=None if partition is None else [partition]), limit=1
    ).records
    if not records or records[0].asset_materialization is None:
        return None
    return (records[0].asset_materialization.tags or {}).get(DATA_VERSION_TAG)


class _OfSpec(Protocol):
    @property
    def spec_sha256(self) -> str: ...


Result = TypeVar("Result", bound=_OfSpec)


def planned_folds(plan: FoldPlanReport, folds: Mapping[str, Result]) -> dict[str, Result]:
    """The folds of a plan, oldest first, each made from exactly its spec.

    Raises:
        dagster.Failure: folds without a result, or results of an older spec; both named.
    """
    missing = [spec.key for spec in plan.specs if spec.key not in folds]
    stale = [
        spec.key for spec in plan.specs if spec.key in folds and folds[spec.key].spec_sha256 != spec.content_sha256()
    ]
    if missing or stale:
        raise dg.Failure(
            f"{plan.phase} folds are not those of the plan: missing {missing}, made from an older spec {stale}; "
            "materialise these partitions again",
            metadata={"missing": missing, "stale": stale},
            allow_retries=False,
        )
    return {spec.key: folds[spec.key] for spec in plan.specs}
