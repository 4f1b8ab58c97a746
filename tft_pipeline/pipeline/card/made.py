"""Where and by what a card was made, and the facts of the folds it speaks of. Not here: the card (`domain.model_card`)."""

import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from tft_pipeline.domain.bar_bootstrap import dense_bars
from tft_pipeline.domain.card_train import MadeWith
from tft_pipeline.domain.direction_intervals import direction_intervals
from tft_pipeline.pipeline.assets.blend import fold_probabilities
from tft_pipeline.pipeline.champion import live_version
from tft_pipeline.pipeline.drift_facts import NIGHT, night_job_name
from tft_pipeline.pipeline.graph import PRODUCTION, RETRAIN, ExperimentGraph
from tft_pipeline.pipeline.tracking import URI_VARIABLE
from tft_pipeline.pipeline.usage import resource_tables
from tft_pipeline.storage.artifacts import IntegrityError
from tft_pipeline.storage.deployments import CARD_FILE
from tft_pipeline.storage.environment import environment_record
from tft_pipeline.storage.fold_bundles import FoldBundle, weights_sha256

NETWORK = "tft"
"""Source of the blend that the released network is."""
OUTPUTS = {"raw_position": "position", "mean": "mean", "scale": "scale", "probability": "probability"}
"""Columns of a fold's predictions that come from its network, and what the card calls them."""
QUANTILE = "quantile_"


def made_with(
    graph: ExperimentGraph, context: dg.AssetExecutionContext, folds: list[str], explored: list[str], code_version: str
) -> MadeWith:
    """Environment, Dagster run, MLflow and what the phases took.

    Args:
        folds, explored: keys of the current production and exploration folds.
    """
    return MadeWith(
        environment=environment_record(),
        dagster={
            "version": version("dagster"),
            "run_id": context.run.run_id,
            "asset": context.asset_key.to_user_string(),
            "code_version": code_version,
        },
        mlflow=mlflow_record(graph, folds),
        resources=resource_tables(graph, {"production_fold": folds, "exploration_fold": explored}),
    )


def mlflow_record(graph: ExperimentGraph, folds: list[str]) -> dict[str, Any]:
    """Where the folds are tracked: a server's address may hold a password, so only whether there is one is told."""
    folder = graph.layout.tracking(graph.name)

    def count(ending: str) -> int:
        return sum(any(folder.glob(f"{PRODUCTION}-{key}-*{ending}")) for key in folds)

    return {
        "version": version("mlflow"),
        "experiment": graph.name,
        "server": "local database" if os.environ.get(URI_VARIABLE) is None else f"named by {URI_VARIABLE}",
        "folds_mirrored": count(".mirrored"),
        "folds_waiting": count(".jsonl"),
    }


def drift_schedule(graph: ExperimentGraph) -> dict[str, str]:
    """When drift is judged once the model is live, and what is asked for after bad nights."""
    from tft_pipeline.pipeline.schedules import NIGHTLY, SWITCH

    return {
        "name": f"{graph.name}_nightly_drift",
        "cron": NIGHTLY,
        "timezone": "UTC",
        "asset": f"{graph.name}/{NIGHT}",
        "job": night_job_name(graph),
        "retrain_job": graph.job(RETRAIN),
        "switch": f"{SWITCH}=on",
    }


def fold_facts(fold: FoldBundle) -> dict[str, Any]:
    """What the card says of one production fold."""
    fitted = fold.fitted
    best = fitted.history[fitted.best_epoch]
    return {
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.history),
        "validation_loss": float(best["validation_loss"]),
        "validation_accuracy": best.get("validation_accuracy"),
        "n_train_labels": fitted.n_train_labels,
        "n_validation_labels": fitted.n_validation_labels,
        "train_rows": sum(fold.class_balance.values()),
        "n_parameters": fitted.n_parameters,
        "imputed_values": sum(fitted.missing.values()),
        "clip": fitted.scaler.clip,
        "flat": fitted.scaler.flat,
        "outputs": outputs(fold),
        "loss_mode": fitted.training.loss_mode,
        "weights_sha256": weights_sha256(fitted),
        "seconds": fold.seconds,
        "seed": fitted.seed,
        "class_balance": fold.class_balance,
        "checkpoint_status": fold.checkpoint_status,
        "checkpoint_reason": fold.checkpoint_reason,
    }


def outputs(fold: FoldBundle) -> list[str]:
    """What the network says of a bar: those of its predictions that hold a value."""
    rows = fold.predictions
    held = [name for name in rows.columns if rows[name].dtype.is_float() and rows[name].is_finite().any()]
    return [OUTPUTS.get(name, name) for name in held if name in OUTPUTS or name.startswith(QUANTILE)]


def scored_intervals(folds: Mapping[str, FoldBundle], *, horizon: int, seed: int) -> dict[str, Any] | None:
    """`direction_intervals` of the network over all out-of-sample rows; None where it gives no probability."""
    parts = [fold_probabilities(fold) for fold in folds.values()]
    columns = [probabilities[NETWORK] for probabilities, _, _ in parts]
    present = [column for column in columns if column is not None]
    if len(present) < len(parts):
        return None
    labelled = [fold.predictions.filter(pl.col("label").is_finite())["timestamp"] for fold in folds.values()]
    bar = dense_bars(np.concatenate([stamps.to_physical().to_numpy() for stamps in labelled]))
    labels = np.concatenate([y for _, y, _ in parts])
    return direction_intervals(labels, np.concatenate(present), bar, horizon=horizon, seed=seed)


def live_card(models: Path) -> dict[str, Any] | None:
    """Card of the live version, here or in the store; None where nothing is live, empty where it cannot be trusted:
    a damaged version must not keep the next one from being written.
    """
    try:
        version = live_version(models)
        return None if version is None else json.loads(version.path(CARD_FILE).read_text())
    except (IntegrityError, ValueError, OSError):
        return {}
