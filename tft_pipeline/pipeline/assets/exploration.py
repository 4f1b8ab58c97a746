"""Phases 2 and 3: short fits on all features to read their selection weights, then the choice of features."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.planning import SliceChangedError, fold_specs, research_folds
from tft_pipeline.domain.pruning import pruned
from tft_pipeline.domain.reports import (
    ExplorationFold,
    FeatureCatalogue,
    FoldPlanReport,
    FoldSpec,
    PrefilteredFeatures,
    SelectedFeatures,
)
from tft_pipeline.pipeline.automation import on_all_folds, on_content_change
from tft_pipeline.pipeline.graph import EXPLORATION, ExperimentGraph
from tft_pipeline.pipeline.guarded import guarded
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.panels import fold_panel, panel_of
from tft_pipeline.pipeline.partitions import planned_folds, publish_specs, spec_asset
from tft_pipeline.pipeline.plots import fold_picture
from tft_pipeline.pipeline.selection_metadata import fold_metadata, selection_metadata
from tft_pipeline.pipeline.tracking import FoldJournal
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.snapshots import Snapshot

if TYPE_CHECKING:
    from tft_pipeline.model.exploration import Explored

SHOWN_SYMBOLS = 8
"""Symbols that a message names."""


def exploration_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """`exploration_plan`, `exploration_spec`, `exploration_fold`, `selected_features`."""
    experiment = graph.experiment
    partitions = graph.folds(EXPLORATION)
    spec = spec_asset(graph, EXPLORATION)

    @dg.asset(
        key=graph.key("exploration_plan"),
        ins={
            "snapshot": dg.AssetIn(graph.key("snapshot")),
            "features": dg.AssetIn(graph.key("features")),
            "targets": dg.AssetIn(graph.key("targets")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
            "prefiltered": dg.AssetIn(graph.key("prefiltered_features")),
        },
        io_manager_key="reports",
        code_version=graph.code_version(
            "3", "exploration", "periods", "target", "network", "training", "position", "data"
        ),
        automation_condition=on_content_change(graph.key("snapshot")),
    )
    @guarded(graph, "exploration_plan")
    def exploration_plan(
        context: dg.AssetExecutionContext,
        snapshot: Snapshot,
        features: pl.LazyFrame,
        targets: pl.DataFrame,
        catalogue: FeatureCatalogue,
        prefiltered: PrefilteredFeatures,
    ) -> dg.Output[FoldPlanReport]:
        """Folds of phase 2, all inside the research period; registers them as partitions and publishes what each is made of.
        Look at the picture of the folds; one row a fold."""
        _refuse_unknown_fees(
            experiment.position.symbol_cost_bps, snapshot.manifest["symbols"], experiment.position.cost_bps
        )
        _refuse_too_few_features(len(prefiltered.kept), experiment.pruning.min_features)
        panel = panel_of(features, targets, catalogue, prefiltered.kept)
        try:
            specs = exploration_specs(panel, experiment, min_history=catalogue.max_lookback)
        except ValueError as error:
            raise dg.Failure(f"exploration plan: {error}", allow_retries=False) from error
        plan = FoldPlanReport(
            phase=EXPLORATION, snapshot_id=snapshot.snapshot_id, purge=experiment.periods.purge, specs=specs
        )
        publish_specs(context, graph, plan)
        return content_output(plan, plan_metadata(plan))

    @dg.asset(
        key=graph.key("exploration_fold"),
        ins={"spec": dg.AssetIn(graph.key("exploration_spec"))},
        partitions_def=partitions,
        io_manager_key="reports",
        code_version=graph.code_version("4", "exploration.permutations"),
        automation_condition=on_content_change(),
    )
    @guarded(graph, "exploration_fold", slots=1)
    def exploration_fold(context: dg.AssetExecutionContext, spec: FoldSpec) -> dg.Output[ExplorationFold]:
        """Phase 2: networks fitted on one fold with several seeds, and how much each feature and its shadow weighed on the
        validation windows. One row a feature."""
        try:
            explored, histories = _explore(graph, spec, context)
        except (ValueError, FloatingPointError, SliceChangedError, IntegrityError) as error:
            raise dg.Failure(f"exploration fold {spec.key}: {error}", allow_retries=False) from error
        record = explored.record
        return content_output(record, fold_metadata(record, histories, spec, explored.importance_seconds))

    @dg.asset(
        key=graph.key("selected_features"),
        ins={
            "plan": dg.AssetIn(graph.key("exploration_plan")),
            "prefiltered": dg.AssetIn(graph.key("prefiltered_features")),
            "folds": dg.AssetIn(
                graph.key("exploration_fold"),
                partition_mapping=dg.AllPartitionMapping(),
                metadata={"all_folds": True},
            ),
        },
        io_manager_key="reports",
        code_version=graph.code_version("3", "pruning"),
        automation_condition=on_all_folds(),
    )
    @guarded(graph, "selected_features")
    def selected_features(
        plan: FoldPlanReport, prefiltered: PrefilteredFeatures, folds: dict[str, ExplorationFold]
    ) -> dg.Output[SelectedFeatures]:
        """Phase 3: the features that beat their shadows in enough exploration folds; all later phases see only these. Look at
        weight and stability; one row a feature, ranked by weight."""
        planned = list(planned_folds(plan, folds).values())
        began = time.perf_counter()
        try:
            record = pruned(planned, prefiltered, experiment.pruning)
        except ValueError as error:
            raise dg.Failure(f"selected features: {error}", allow_retries=False) from error
        seconds = time.perf_counter() - began
        record = record.model_copy(update={"research_last": plan.specs[-1].dates["test"]["last"]})
        return content_output(record, selection_metadata(record, planned, experiment.pruning, seconds))

    return [exploration_plan, spec, exploration_fold, selected_features]


def _refuse_unknown_fees(fees: Mapping[str, float], symbols: Sequence[str], cost_bps: float) -> None:
    """A misspelt symbol would be charged the fee of all others, unnoticed in every phase."""
    unknown = sorted(set(fees) - set(symbols))
    if not unknown:
        return
    known = ", ".join(symbols[:SHOWN_SYMBOLS])
    more = f" and {len(symbols) - SHOWN_SYMBOLS} more" if len(symbols) > SHOWN_SYMBOLS else ""
    raise dg.Failure(
        f"exploration plan: position.symbol_cost_bps names {', '.join(map(repr, unknown))}, not in the snapshot (it has "
        f"{known}{more}): the symbol that is meant would be charged position.cost_bps, {cost_bps:g} bps; correct the name or "
        "remove the line",
        allow_retries=False,
    )


def _refuse_too_few_features(n_kept: int, least: int) -> None:
    """Phase 3 would refuse it after all folds have been fitted."""
    if n_kept < least:
        raise dg.Failure(
            f"exploration plan: phase 1 leaves {n_kept} features, fewer than pruning.min_features {least}: phase 3 could not "
            f"keep as many; lower pruning.min_features to {n_kept} or less, or bring more features",
            allow_retries=False,
        )


def exploration_specs(panel: Panel, experiment: Experiment, *, min_history: int) -> tuple[FoldSpec, ...]:
    """Specs of phase 2's folds over the features that phase 1 kept.

    Raises:
        ValueError: see `research_folds`.
    """
    section = experiment.exploration
    return fold_specs(
        panel,
        research_folds(panel, experiment, section.folds),
        experiment,
        network=experiment.network.model_copy(update={"family": "tft"}),  # the others have no weights to read
        training=experiment.training,
        position=experiment.position,
        epochs=section.epochs,
        n_seeds=section.seeds,
        shadow_features=section.shadow_features,
        min_history=min_history,
        production=False,
    )


def plan_metadata(plan: FoldPlanReport) -> dict[str, object]:
    """Fold table and picture of a plan."""
    rows = [
        {"fold": spec.key}
        | {
            f"{part}_{name}": spec.dates[part][name]
            for part in ("train", "validation", "test")
            for name in ("first", "last", "n_bars")
        }
        for spec in plan.specs
    ]
    return {
        "snapshot_id": plan.snapshot_id,
        "n_folds": len(plan.specs),
        "n_features": len(plan.specs[0].features),
        "folds": table(rows),
        "picture": fold_picture(
            [spec.dates for spec in plan.specs],
            [spec.key for spec in plan.specs],
            title=f"{plan.phase} folds, purge {plan.purge} bars",
        ),
    }


def _explore(
    graph: ExperimentGraph, spec: FoldSpec, context: dg.AssetExecutionContext
) -> tuple["Explored", list[list[dict[str, Any]]]]:
    """The explored fold, and the history of each seed."""
    from tft_pipeline.model.exploration import explore_fold

    panel = fold_panel(graph, spec)
    journal = FoldJournal(graph.layout, graph.name, EXPLORATION, spec, run_id=context.run.run_id)
    histories: list[list[dict[str, Any]]] = [[] for _ in spec.seeds]

    def epoch(k: int, row: dict[str, Any]) -> None:
        histories[k].append(row)
        journal.epoch(_of_seed(row, k))

    explored = explore_fold(
        panel,
        spec,
        permutations=graph.experiment.exploration.permutations,
        on_epoch=epoch,
        checkpoint=lambda k: graph.layout.training_state(graph.name, EXPLORATION, f"{spec.key}-{k}"),
        on_seed=context.log.info,
    )
    best = {f"best_epoch_{k}": float(epoch) for k, epoch in enumerate(explored.record.best_epochs)}
    unmirrored = journal.finish(best, {})
    if unmirrored is not None:
        context.log.warning(f"MLflow did not take this fold ({unmirrored}); {journal.path} keeps it for the next one")
    return explored, histories


def _of_seed(row: dict[str, Any], k: int) -> dict[str, Any]:
    """An epoch's line with the k-th seed in the names of its metrics."""
    return {name if name == "epoch" else f"{name}_{k}": value for name, value in row.items()}
