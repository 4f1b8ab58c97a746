"""The block `train` of a card, and the network's: what it learned from, how, and in which environment.

Not here: what came of it (`card_metrics`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tft_pipeline.domain.experiment import Experiment
from tft_pipeline.domain.reports import (
    FeatureCatalogue,
    FoldPlanReport,
    PrefilteredFeatures,
    SelectedFeatures,
    TunedHyperparameters,
)

NETWORKS = {
    "tft": "decoder-only Temporal Fusion Transformer",
    "lstm": "stacked LSTM",
    "pytorch_forecasting": "pytorch-forecasting's TemporalFusionTransformer",
}
"""What a network family is, in words."""


@dataclass(frozen=True, kw_only=True)
class MadeWith:
    """Where and by what a card was made, as records of storage and of Dagster say it.

    Attributes:
        environment: `storage.environment.environment_record`.
        dagster: version, run_id, asset, code_version.
        mlflow: version, experiment, server, folds_mirrored, folds_waiting.
        resources: timeline, system (one row a phase, one a resource; `domain.timeline`) and machine.
    """

    environment: Mapping[str, Any]
    dagster: Mapping[str, Any]
    mlflow: Mapping[str, Any]
    resources: Mapping[str, Any]


EXTENTS = {
    "range": "training and validation bars of the released model",
    "rows": "training bars of the released model that have a label, over its symbols",
    "class_balance": "the same as rows, by the sign of the label",
    "rows_per_symbol": "all bars of the snapshot, of training or not",
}
"""Which bars the keys of `train` speak of."""
CODE = ("code_commit", "code_modified", "constraints_sha256")


def train_block(
    *,
    experiment: Experiment,
    manifest: Mapping[str, Any],
    catalogue: FeatureCatalogue,
    prefiltered: PrefilteredFeatures,
    selected: SelectedFeatures,
    tuned: TunedHyperparameters,
    plan: FoldPlanReport,
    folds: Mapping[str, Mapping[str, Any]],
    scored: Mapping[str, Mapping[str, Any]],
    device: str,
    made: MadeWith,
) -> dict[str, Any]:
    """`train`.

    Args:
        folds: facts by key; see `model_card.build_card`.
        scored: rows of `OosPerformance.folds` by key.
    """
    spec = plan.specs[-1]
    newest = folds[spec.key]
    paths = experiment.research_paths
    return {
        "snapshot_id": manifest["snapshot_id"],
        "snapshot_content_sha256": manifest["content_sha256"],
        "snapshot_identity_sha256": manifest["identity_sha256"],
        "as_of": manifest["as_of"],
        "knowledge_time_max": manifest["knowledge_time_max"],
        "source": manifest["source"],
        "range": {"start": spec.dates["train"]["first"], "end": spec.dates["validation"]["last"]},
        "extents": dict(EXTENTS),
        "research_last": plan.research_last,
        "rows": newest["train_rows"],
        "class_balance": newest["class_balance"],
        "symbols": [name for name in manifest["symbols"] if name not in experiment.data.untraded],
        "untraded": list(experiment.data.untraded),
        "rows_per_symbol": manifest["quality"]["rows_per_symbol"],
        "interval": manifest["interval"],
        "target": {
            "name": "label",
            "horizon": experiment.target.horizon,
            "volatility_span": experiment.target.volatility_span,
            "target_volatility": experiment.target.target_volatility,
            "definition": "forward return over the horizon in units of ex-ante risk (EWM standard deviation)",
        },
        "purge": plan.purge,
        "embargo": None if paths is None else paths.embargo,
        "production_start": experiment.periods.production_start.isoformat(),
        "folds": [_fold(each.key, each.dates, folds[each.key], scored.get(each.key, {})) for each in plan.specs],
        "seeds": sorted({row["seed"] for row in folds.values()}),
        "deterministic": device == "cpu",
        "hp": {
            "network": tuned.network.model_dump(mode="json"),
            "training": tuned.training.model_dump(mode="json"),
            "position": tuned.position.model_dump(mode="json"),
        },
        "hp_source": {
            "study": tuned.study,
            "trial": tuned.best_trial,
            "n_trials": tuned.n_trials_started,
            "n_pruned": tuned.n_pruned,
            "metric": "mean net out-of-sample Sharpe a year over the tuning folds",
            "value": tuned.best_sharpe_annual,
        },
        "feature_selection": _selection(catalogue, prefiltered, selected),
        "preprocessing": {
            "prefilter": {
                "max_missing": experiment.prefilter.max_missing,
                "max_correlation": experiment.prefilter.max_correlation,
                "kept": len(prefiltered.kept),
                "dropped": len(prefiltered.dropped),
                "first": prefiltered.first,
                "last": prefiltered.last,
            },
            "scaler": {
                "method": "(x - mean) / std of the fold's observed training bars, cut at clip",
                "clip": newest["clip"],
                "flat": list(newest["flat"]),
            },
            "missing": {"method": "mean of the training bars", "values": newest["imputed_values"]},
        },
        "resources": dict(made.resources),
        "duration_s": sum(row["seconds"] for row in folds.values()) + tuned.seconds,
        "env": {key: value for key, value in made.environment.items() if key not in CODE},
        "code": {
            "commit": made.environment.get("code_commit"),
            "modified": made.environment.get("code_modified"),
            "constraints_sha256": made.environment.get("constraints_sha256"),
        },
        "dagster": dict(made.dagster),
        "mlflow": dict(made.mlflow),
    }


def architecture_block(plan: FoldPlanReport, newest: Mapping[str, Any]) -> dict[str, Any]:
    """`architecture`; its `signature` is null until the release adds it."""
    spec = plan.specs[-1]
    return {
        "class": NETWORKS[spec.network.family],
        "family": spec.network.family,
        "seq_len": spec.training.lookback,
        "hidden_size": spec.network.hidden,
        "total_params": newest["n_parameters"],
        "features": list(spec.features),
        "layers": spec.network.lstm_layers,
        "heads": None if spec.network.family == "lstm" else spec.network.heads,
        "static_symbol": spec.network.static_symbol,
        "n_context": spec.network.n_context,
        "dropout": spec.network.dropout,
        "loss": spec.training.loss_mode,
        "output": list(newest["outputs"]),
        "signature": None,
    }


def _fold(key: str, dates: Mapping[str, Any], fitted: Mapping[str, Any], scored: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": key,
        "train": dates["train"],
        "val": dates["validation"],
        "validation": dates["validation"],
        "test": dates["test"],
        "rows": fitted["train_rows"],
        "n_train_labels": fitted["n_train_labels"],
        "class_balance": fitted["class_balance"],
        "imputed_values": fitted["imputed_values"],
        "best_epoch": fitted["best_epoch"],
        "epochs": fitted["epochs"],
        "seed": fitted["seed"],
        "seconds": fitted["seconds"],
        "metrics": {
            "val": {
                "loss": fitted["validation_loss"],
                "accuracy": fitted["validation_accuracy"],
                "accuracy_reason": "" if fitted["validation_accuracy"] is not None else "the loss gives no probability",
                "sharpe_annual": scored.get("validation_sharpe_annual"),
                "se_annual": scored.get("validation_se_annual"),
                "null_best_annual": scored.get("null_best_annual"),
                "within_noise": scored.get("within_noise"),
                "n_bars": scored.get("n_validation_bars"),
            },
            "oos": {
                "sharpe_annual": scored.get("oos_sharpe_annual"),
                "n_bars": scored.get("n_oos_bars"),
            },
            "finding": scored.get("finding"),
        },
        "checkpoint_status": fitted["checkpoint_status"],
        "checkpoint_reason": fitted["checkpoint_reason"],
        "sha256": fitted["weights_sha256"],
    }


def _selection(
    catalogue: FeatureCatalogue, prefiltered: PrefilteredFeatures, selected: SelectedFeatures
) -> dict[str, Any]:
    kept = [dict(row) for row in selected.rows if row["kept"]]
    return {
        "initial": len(catalogue.names),
        "after_prefilter": len(prefiltered.kept),
        "selected": len(selected.features),
        "method": "VSN weights against shadow features over exploration folds",
        "vsn_weight": {str(row["feature"]): row.get("weight") for row in kept},
        "stability": {str(row["feature"]): row.get("stability") for row in kept},
        "features": kept,
        "groups": [dict(row) for row in selected.groups],
        "nogueira": selected.nogueira,
        "kendall_w": selected.kendall_w,
        "undefined": dict(selected.undefined),
    }
