"""Phase 5: the walk forward over the production period, one partition a fold."""

import time
from datetime import datetime
from typing import Any

import dagster as dg
import polars as pl

from tft_pipeline.domain.planning import SliceChangedError, fold_specs, production_folds
from tft_pipeline.domain.reports import (
    FeatureCatalogue,
    FoldPlanReport,
    FoldSpec,
    SelectedFeatures,
    TunedHyperparameters,
)
from tft_pipeline.pipeline.assets.exploration import plan_metadata
from tft_pipeline.pipeline.automation import on_content_change
from tft_pipeline.pipeline.fold_plots import production_picture
from tft_pipeline.pipeline.graph import PRODUCTION, ExperimentGraph
from tft_pipeline.pipeline.guarded import guarded
from tft_pipeline.pipeline.outputs import content_output, table
from tft_pipeline.pipeline.panels import fold_panel, panel_of
from tft_pipeline.pipeline.partitions import publish_specs, spec_asset
from tft_pipeline.pipeline.sentiment import fold_sentiment, specs_with_sentiment
from tft_pipeline.pipeline.tracking import FoldJournal
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.fold_bundles import FoldBundle, weights_sha256
from tft_pipeline.storage.snapshots import Snapshot


def production_assets(graph: ExperimentGraph) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """`production_plan`, `production_spec`, `production_fold`."""
    experiment = graph.experiment
    # what a plan takes from the snapshot besides its id: the values to blend
    outdates_nothing = [graph.key("snapshot")] if experiment.ensemble.sentiment_column is None else []

    @dg.asset(
        key=graph.key("production_plan"),
        ins={
            "snapshot": dg.AssetIn(graph.key("snapshot")),
            "features": dg.AssetIn(graph.key("features")),
            "targets": dg.AssetIn(graph.key("targets")),
            "catalogue": dg.AssetIn(graph.key("feature_catalogue")),
            "selected": dg.AssetIn(graph.key("selected_features")),
            "tuned": dg.AssetIn(graph.key("tuned_hyperparameters")),
        },
        io_manager_key="reports",
        code_version=graph.code_version(
            "3",
            "production",
            "periods",
            "target",
            "data.bars_per_year",
            "data.interval",
            "ensemble.lightgbm_rounds",
            "ensemble.lightgbm_leaves",
            "ensemble.sentiment_column",
            "evaluation.momentum_lookback",
        ),
        automation_condition=on_content_change(*outdates_nothing),
    )
    @guarded(graph, "production_plan")
    def production_plan(
        context: dg.AssetExecutionContext,
        snapshot: Snapshot,
        features: pl.LazyFrame,
        targets: pl.DataFrame,
        catalogue: FeatureCatalogue,
        selected: SelectedFeatures,
        tuned: TunedHyperparameters,
    ) -> dg.Output[FoldPlanReport]:
        """Phase 5: folds whose tests tile the production period, with the chosen features and settings; registers them as
        partitions and publishes what each is made of. Look at the picture of the folds; one row a fold."""
        panel = panel_of(features, targets, catalogue, selected.features)
        try:
            folds = production_folds(panel, experiment)
            scored_stop = folds[-1].test.stop
            specs = fold_specs(
                panel,
                folds,
                experiment,
                network=tuned.network,
                training=tuned.training,
                position=tuned.position,
                epochs=experiment.production.epochs,
                n_seeds=1,
                shadow_features=0,
                min_history=catalogue.max_lookback,
                production=True,
            )
        except ValueError as error:
            raise dg.Failure(f"production plan: {error}", allow_retries=False) from error
        plan = FoldPlanReport(
            phase=PRODUCTION,
            snapshot_id=snapshot.snapshot_id,
            purge=experiment.periods.purge,
            specs=specs_with_sentiment(graph, specs, snapshot.bars),
            research_last=max(
                (last for last in (selected.research_last, tuned.research_last) if last is not None),
                key=datetime.fromisoformat,
                default=None,
            ),
            n_unscored_bars=max(0, panel.n_bars - experiment.target.horizon - scored_stop),
        )
        publish_specs(context, graph, plan)
        return content_output(
            plan,
            {
                **plan_metadata(plan),
                "newest_bars_not_scored": plan.n_unscored_bars,
                "chosen_on_bars_up_to": plan.research_last or "unknown",
            },
        )

    @dg.asset(
        key=graph.key("production_fold"),
        ins={"spec": dg.AssetIn(graph.key("production_spec"))},
        partitions_def=graph.folds(PRODUCTION),
        io_manager_key="fold_bundles",
        code_version="5",
        automation_condition=on_content_change(),
    )
    @guarded(graph, "production_fold", slots=1)
    def production_fold(context: dg.AssetExecutionContext, spec: FoldSpec) -> dg.Output[FoldBundle]:
        """One fold of the walk forward: network and LightGBM fitted, stopped on validation, asked on the test bars, with
        baselines beside them. Look at the losses by epoch; one row a test bar and symbol."""
        try:
            bundle, vsn_weights = _fit(graph, spec, context)
        except (ValueError, FloatingPointError, SliceChangedError, IntegrityError) as error:
            raise dg.Failure(f"production fold {spec.key}: {error}", allow_retries=False) from error
        best = bundle.fitted.history[bundle.fitted.best_epoch]
        return content_output(
            bundle,
            {
                "picture": production_picture(
                    bundle.fitted.history,
                    bundle.fitted.best_epoch,
                    vsn_weights,
                    bundle.predictions["raw_position"].to_numpy(),
                    spec,
                ),
                "best_epoch": bundle.fitted.best_epoch,
                "validation_loss": float(best["validation_loss"]),
                "n_parameters": bundle.fitted.n_parameters,
                "n_train_labels": bundle.fitted.n_train_labels,
                "imputed_values": dg.MetadataValue.json(bundle.fitted.missing),
                "features_flat_in_train": ", ".join(bundle.fitted.scaler.flat) or "none",
                "seconds": bundle.seconds,
                "checkpoint_status": bundle.checkpoint_status,
                **({"checkpoint_reason": bundle.checkpoint_reason} if bundle.checkpoint_reason else {}),
                "parts": table([{"part": part, **spec.dates[part]} for part in ("train", "validation", "test")]),
                "spec_sha256": bundle.spec_sha256,
            },
        )

    return [production_plan, spec_asset(graph, PRODUCTION), production_fold]


def _fit(
    graph: ExperimentGraph, spec: FoldSpec, context: dg.AssetExecutionContext
) -> tuple[FoldBundle, dict[str, float]]:
    """The trained fold, and its mean selection weights over the test bars, NaN for a family that selects nothing."""
    from tft_pipeline.model import baselines
    from tft_pipeline.model.boosting import fit_boosting
    from tft_pipeline.model.fit import fit_fold
    from tft_pipeline.model.fold_predictions import fold_predictions

    began = time.monotonic()
    panel, fold = fold_panel(graph, spec), spec.fold
    journal = FoldJournal(graph.layout, graph.name, PRODUCTION, spec, run_id=context.run.run_id)
    unwritten: list[str] = []

    def epoch(row: dict[str, Any]) -> None:
        try:
            journal.epoch(row)
        except OSError as error:  # the disk that cannot keep the training state cannot keep the journal either
            unwritten.append(f"the journal of epoch {row['epoch']} could not be written: {error.strerror}")

    fitted = fit_fold(
        panel,
        fold,
        network=spec.network,
        training=spec.training,
        position=spec.position,
        target_volatility=spec.target_volatility,
        horizon=spec.horizon,
        bars_per_year=spec.bars_per_year,
        epochs=spec.epochs,
        seed=spec.seeds[0],
        on_epoch=epoch,
        checkpoint=graph.layout.training_state(graph.name, PRODUCTION, spec.key),
        on_unwritten=unwritten.append,
    )
    assert spec.boosting is not None
    assert spec.momentum_lookback is not None
    rounds, leaves = spec.boosting
    boosting = fit_boosting(panel, fold, rounds=rounds, leaves=leaves, seed=spec.seeds[0], warn=context.log.warning)
    predictions, vsn_weights = fold_predictions(
        panel,
        fold,
        key=spec.key,
        fitted=fitted,
        boosting=boosting,
        ridge=baselines.fit_ridge(panel, fold, fitted.scaler),
        momentum_lookback=spec.momentum_lookback,
    )
    if spec.sentiment is not None:
        told = fold_sentiment(graph, spec)
        predictions = predictions.join(told, on=["timestamp", "symbol"], how="left", maintain_order="left")
    train = panel.between(*fold.train)
    labels = train.label[train.scored]
    bundle = FoldBundle(
        key=spec.key,
        spec_sha256=spec.content_sha256(),
        fitted=fitted,
        class_balance={"pos": int((labels > 0).sum()), "neg": int((labels <= 0).sum())},
        boosting=boosting,
        predictions=predictions,
        seconds=time.monotonic() - began,
        checkpoint_status="failed" if unwritten else "ok",
        checkpoint_reason=_in_words(unwritten),
    )
    if unwritten:
        context.log.warning(f"{bundle.checkpoint_reason}; this fold holds its model back from being live")
    unmirrored = journal.finish(
        {"best_epoch": fitted.best_epoch, "n_parameters": fitted.n_parameters, "seconds": bundle.seconds},
        {
            "weights_sha256": weights_sha256(fitted),
            "checkpoint_status": bundle.checkpoint_status,
            **({"checkpoint_reason": bundle.checkpoint_reason} if bundle.checkpoint_reason else {}),
        },
    )
    if unmirrored is not None:
        context.log.warning(f"MLflow did not take this fold ({unmirrored}); {journal.path} keeps it for the next one")
    return bundle, dict(zip(fitted.scaler.names, vsn_weights.tolist(), strict=True))


def _in_words(unwritten: list[str]) -> str:
    """The first of some sentences, and how many more there were."""
    if len(unwritten) < 2:
        return "".join(unwritten)
    return f"{unwritten[0]} (and {len(unwritten) - 1} more such failure(s), the last: {unwritten[-1]})"
