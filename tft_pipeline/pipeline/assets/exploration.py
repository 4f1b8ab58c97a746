"""Phases 2 and 3: short fits on all features to read their selection weights, then the choice of features."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from tft_pipeline.domain.planning import SliceChangedError, fold_specs, research_folds, with_shadow_features
from tft_pipeline.domain.reports import (
    ExplorationFold,
    FeatureCatalogue,
    FoldPlanReport,
    FoldSpec,
    PrefilteredFeatures,
    SelectedFeatures,
)
from tft_pipeline.domain.selection import select_features
from tft_pipeline.domain.verdict import annual_sharpe_or_none
from tft_pipeline.pipeline.automation import on_all_folds, on_content_change
from tft_pipeline.pipeline.graph import EXPLORATION, ExperimentGraph
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.panels import fold_panel, panel_of
from tft_pipeline.pipeline.partitions import group_of, planned_folds, publish_specs, spec_asset
from tft_pipeline.pipeline.plots import bar_picture, fold_picture
from tft_pipeline.pipeline.tracking import FoldJournal
from tft_pipeline.storage.snapshots import Snapshot

SHOWN_SYMBOLS = 8
"""Symbols that a message names."""


def exploration_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """`exploration_plan`, `exploration_spec`, `exploration_fold`, `selected_features`."""
    experiment = graph.experiment
    group = group_of(graph, EXPLORATION)
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
        group_name=group,
        code_version=graph.code_version(
            "3", "exploration", "periods", "target", "network", "training", "position", "data"
        ),
        automation_condition=on_content_change(graph.key("snapshot")),
    )
    def exploration_plan(
        context: dg.AssetExecutionContext,
        snapshot: Snapshot,
        features: pl.LazyFrame,
        targets: pl.DataFrame,
        catalogue: FeatureCatalogue,
        prefiltered: PrefilteredFeatures,
    ) -> dg.Output[FoldPlanReport]:
        """Folds of phase 2, all inside the research period; one row a fold."""
        _refuse_unknown_fees(
            experiment.position.symbol_cost_bps, snapshot.manifest["symbols"], experiment.position.cost_bps
        )
        panel = panel_of(features, targets, catalogue, prefiltered.kept)
        try:
            specs = fold_specs(
                panel,
                research_folds(panel, experiment, experiment.exploration.folds),
                experiment,
                network=experiment.network.model_copy(update={"family": "tft"}),  # the others have no weights to read
                training=experiment.training,
                position=experiment.position,
                epochs=experiment.exploration.epochs,
                n_seeds=experiment.exploration.seeds,
                shadow_features=experiment.exploration.shadow_features,
                min_history=catalogue.max_lookback,
                production=False,
            )
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
        group_name=group,
        code_version="2",
        automation_condition=on_content_change(),
        kinds={"pytorch"},
    )
    def exploration_fold(context: dg.AssetExecutionContext, spec: FoldSpec) -> dg.Output[ExplorationFold]:
        """Mean variable selection weight of each feature on the fold's validation windows; one row a feature."""
        began = time.monotonic()
        try:
            record = _weigh(graph, spec, context)
        except (ValueError, FloatingPointError, SliceChangedError) as error:
            raise dg.Failure(f"exploration fold {spec.key}: {error}", allow_retries=False) from error
        record = record.model_copy(update={"seconds": time.monotonic() - began})
        top = dict(sorted(record.weights.items(), key=lambda item: -item[1])[:20])
        limit = max(record.shadow_weights.values())
        return content_output(
            record,
            {
                "spec_sha256": record.spec_sha256,
                "weights": bar_picture(
                    top,
                    title=f"VSN weights, fold {spec.key} (line: largest shadow feature)",
                    label="weight",
                    line=limit,
                ),
                "validation_losses": list(record.validation_losses),
                "test_sharpes_annual": [
                    value if value is not None else "undefined" for value in record.test_sharpes_annual
                ],
                "seconds": record.seconds,
            },
        )

    @dg.asset(
        key=graph.key("selected_features"),
        ins={
            "plan": dg.AssetIn(graph.key("exploration_plan")),
            "folds": dg.AssetIn(
                graph.key("exploration_fold"),
                partition_mapping=dg.AllPartitionMapping(),
                metadata={"all_folds": True},
            ),
        },
        io_manager_key="reports",
        group_name=group,
        code_version=graph.code_version("2", "pruning"),
        automation_condition=on_all_folds(),
    )
    def selected_features(plan: FoldPlanReport, folds: dict[str, ExplorationFold]) -> dg.Output[SelectedFeatures]:
        """Phase 3: features that beat their shadows often enough; one row a feature, ranked by weight."""
        record = _select(graph, list(planned_folds(plan, folds).values()))
        record = record.model_copy(update={"research_last": plan.specs[-1].dates["test"]["last"]})
        shown = {str(row["feature"]): float(row["weight"]) for row in record.rows[:25]}
        return content_output(
            record,
            {
                "n_selected": len(record.features),
                "nogueira": record.nogueira and record.nogueira["phi"],
                "kendall_w": record.kendall_w,
                "features": table([dict(row) for row in record.rows]),
                "groups": table([dict(row) for row in record.groups]),
                "weights": bar_picture(shown, title="mean VSN weight over folds (first 25)", label="weight"),
            },
        )

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


def _weigh(graph: ExperimentGraph, spec: FoldSpec, context: dg.AssetExecutionContext) -> ExplorationFold:
    from tft_pipeline.model.fit import fit_fold
    from tft_pipeline.model.inference import predict
    from tft_pipeline.model.scoring import net_returns

    panel = fold_panel(graph, spec)
    journal = FoldJournal(graph.layout, graph.name, EXPLORATION, spec, run_id=context.run.run_id)
    by_seed: list[dict[str, float]] = []
    best_epochs, losses, sharpes = [], [], []
    missing: dict[str, int] = {}
    for k, seed in enumerate(spec.seeds):
        shadowed = with_shadow_features(panel, spec.shadow_features, spec.fold, seed=seed)
        fitted = fit_fold(
            shadowed,
            spec.fold,
            network=spec.network,
            training=spec.training,
            position=spec.position,
            target_volatility=spec.target_volatility,
            horizon=spec.horizon,
            bars_per_year=spec.bars_per_year,
            epochs=spec.epochs,
            seed=seed,
            on_epoch=_of_seed(journal, k),
            checkpoint=graph.layout.training_state(graph.name, EXPLORATION, f"{spec.key}-{k}"),
        )
        weights = predict(fitted, shadowed, spec.fold.validation).vsn_weights
        by_seed.append({_shadow_slot(name): float(w) for name, w in zip(shadowed.features, weights, strict=True)})
        best = fitted.history[fitted.best_epoch]
        best_epochs.append(fitted.best_epoch)
        losses.append(float(best["validation_loss"]))
        sharpes.append(annual_sharpe_or_none(net_returns(fitted, shadowed, spec.fold.test), spec.bars_per_year))
        missing = {name: count for name, count in fitted.missing.items() if not name.startswith("shadow_")}
        context.log.info(f"seed {seed}: best epoch {fitted.best_epoch}, validation loss {losses[-1]:.4f}")
    unmirrored = journal.finish({f"best_epoch_{k}": epoch for k, epoch in enumerate(best_epochs)}, {})
    if unmirrored is not None:
        context.log.warning(f"MLflow did not take this fold ({unmirrored}); {journal.path} keeps it for the next one")
    mean = {name: float(np.mean([row[name] for row in by_seed])) for name in by_seed[0]}
    return ExplorationFold(
        key=spec.key,
        spec_sha256=spec.content_sha256(),
        weights={name: weight for name, weight in mean.items() if not name.startswith("shadow_")},
        shadow_weights={name: weight for name, weight in mean.items() if name.startswith("shadow_")},
        weights_by_seed=tuple(by_seed),
        best_epochs=tuple(best_epochs),
        validation_losses=tuple(losses),
        test_sharpes_annual=tuple(sharpes),
        missing=missing,
        seconds=0.0,
    )


def _of_seed(journal: FoldJournal, k: int) -> Callable[[dict[str, Any]], None]:
    """The journal's epoch line with the k-th seed in the names of its metrics."""
    return lambda row: journal.epoch({name if name == "epoch" else f"{name}_{k}": value for name, value in row.items()})


def _shadow_slot(name: str) -> str:
    """`shadow_3_ret_5` -> `shadow_3`: seeds permute other features, so a shadow is known by its slot."""
    return "_".join(name.split("_")[:2]) if name.startswith("shadow_") else name


def _select(graph: ExperimentGraph, folds: Sequence[ExplorationFold]) -> SelectedFeatures:
    pruning = graph.experiment.pruning
    names = tuple(folds[0].weights)
    slots = tuple(folds[0].shadow_weights)
    chosen = select_features(
        np.array([[fold.weights[name] for name in names] for fold in folds]),
        np.array([[fold.shadow_weights[name] for name in slots] for fold in folds]),
        names,
        threshold=pruning.threshold,
        shadow_quantile=pruning.shadow_quantile,
        min_stability=pruning.min_stability,
        max_features=pruning.max_features,
        min_features=pruning.min_features,
    )
    return SelectedFeatures(
        features=chosen.kept,
        rows=tuple(asdict(row) for row in chosen.rows),
        groups=tuple(asdict(row) for row in chosen.groups),
        thresholds={fold.key: float(limit) for fold, limit in zip(folds, chosen.thresholds, strict=True)},
        nogueira=None if chosen.nogueira is None else asdict(chosen.nogueira),
        kendall_w=chosen.kendall_w,
    )
