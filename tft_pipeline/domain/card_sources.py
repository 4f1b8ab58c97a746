"""Where each block of a card comes from: the declared mapping, and `lineage`, which adds what identifies the content.

A source is an asset by name; `experiment:KEY`, keys of the experiment file; `code`, a word or formula of this program, such as
a unit; `clock`, `environment`, `usage`, `tracking`, `dagster`: what storage and Dagster record of the run; `release`: what the
release adds when it is written, from the gates and the files. Not here: the values (`model_card`).
"""

from collections.abc import Mapping
from typing import Any

from tft_pipeline.domain.experiment import Experiment

DATA_VERSION_DIGITS = 16
"""Digits of the content hash that Dagster shows as data version."""
FOLDS = "production_fold"
SOURCES: dict[str, tuple[str, ...]] = {
    "version": ("code",),
    "model_name": ("experiment:name",),
    "created_at": ("clock",),
    "status": ("release",),
    "release_id": ("release",),
    "verdict": ("oos_performance", "latency_benchmark", "drift_report", "production_plan", "leakage_audit"),
    "reasons": ("oos_performance", "latency_benchmark", "drift_report", "production_plan", "leakage_audit"),
    "notes": ("oos_performance",),
    "contaminated": ("production_plan",),
    "limits": ("experiment:evaluation",),
    "owner": ("experiment:card",),
    "license": ("experiment:card",),
    "intended_use": ("experiment:card", "experiment:description"),
    "out_of_scope": ("experiment:card", "experiment:data", "snapshot", "production_plan", "oos_performance",
                     "latency_benchmark", "drift_report", "leakage_audit"),
    "limitations": ("snapshot", "production_plan", "oos_performance", "leakage_audit", "latency_benchmark", "drift_report",
                    "experiment:gates"),
    "risks": ("experiment:evaluation", "experiment:gates", "production_plan", FOLDS, "oos_performance", "drift_report"),
    "train.snapshot_id": ("snapshot",),
    "train.snapshot_content_sha256": ("snapshot",),
    "train.snapshot_identity_sha256": ("snapshot",),
    "train.as_of": ("snapshot",),
    "train.knowledge_time_max": ("snapshot",),
    "train.source": ("snapshot",),
    "train.range": ("production_plan",),
    "train.extents": ("code",),
    "train.research_last": ("production_plan",),
    "train.rows": (FOLDS,),
    "train.class_balance": (FOLDS,),
    "train.symbols": ("snapshot", "experiment:data"),
    "train.untraded": ("experiment:data",),
    "train.rows_per_symbol": ("snapshot",),
    "train.interval": ("snapshot",),
    "train.target": ("experiment:target", "code"),
    "train.purge": ("production_plan",),
    "train.embargo": ("experiment:research_paths",),
    "train.production_start": ("experiment:periods",),
    "train.folds": ("production_plan", FOLDS, "oos_performance"),
    "train.seeds": (FOLDS,),
    "train.deterministic": ("latency_benchmark",),
    "train.hp": ("tuned_hyperparameters",),
    "train.hp_source": ("tuned_hyperparameters", "code"),
    "train.feature_selection": ("feature_catalogue", "prefiltered_features", "selected_features", "code"),
    "train.preprocessing": ("prefiltered_features", FOLDS, "experiment:prefilter", "code"),
    "train.resources": ("usage",),
    "train.duration_s": (FOLDS, "tuned_hyperparameters"),
    "train.env": ("environment",),
    "train.code": ("environment",),
    "train.dagster": ("dagster",),
    "train.mlflow": ("tracking",),
    "metrics": ("oos_performance", "code"),
    "metrics.accuracy_reason": ("oos_performance", FOLDS),
    "metrics.val_loss": (FOLDS,),
    "metrics.validation_loss": (FOLDS, "code"),
    **dict.fromkeys(
        (f"metrics.{name}" for name in ("direction_accuracy", "auc", "f1", "log_loss", "brier", "ece")),
        ("oos_performance", FOLDS, "code"),
    ),
    "metrics.champion_delta": ("release", "code"),
    "leakage_audit": ("leakage_audit",),
    "latency_ms": ("latency_benchmark",),
    "latency": ("latency_benchmark", "code"),
    "architecture": ("production_plan",),
    "architecture.class": ("production_plan", "code"),
    "architecture.total_params": (FOLDS,),
    "architecture.output": (FOLDS,),
    "architecture.signature": ("release",),
    "inference": ("latency_benchmark",),
    "drift": ("drift_report",),
    "calibration": ("oos_performance", "ensemble_weights", FOLDS, "code"),
    "ensemble": ("ensemble_weights",),
    "gates": ("release",),
    "gates_passed": ("release",),
    "override": ("release",),
    "files": ("release",),
    "monitoring_plan": ("oos_performance",),
    "monitoring_plan.drift": ("experiment:name", "experiment:drift", "code"),
    "monitoring_plan.release": ("experiment:gates", "experiment:latency"),
    "change_log": ("release", "clock"),
    "lineage": ("code",),
    "null_reasons": ("code",),
}  # fmt: skip
"""Path of a block to where it comes from; the longest path that a value lies in counts."""
RUN = frozenset({"code", "clock", "environment", "usage", "tracking", "dagster", "release"})
"""Sources that are neither asset nor key of the experiment file."""
ASSETS = tuple(
    sorted(
        {one for sources in SOURCES.values() for one in sources if one not in RUN and not one.startswith("experiment:")}
    )
)
"""Every asset that a card is made from."""


def sources_of(path: str) -> tuple[str, ...]:
    """Sources of a value.

    Args:
        path: as `card_nulls.spelled` gives it.
    Raises:
        KeyError: no block holds it.
    """
    shortest = path
    while True:
        if shortest in SOURCES:
            return SOURCES[shortest]
        cut = max(shortest.rfind("."), shortest.rfind("["))
        if cut < 0:
            raise KeyError(f"{path}: no block of the card's sources holds it; declare it in SOURCES")
        shortest = shortest[:cut]


def lineage_block(experiment: Experiment, contents: Mapping[str, str | Mapping[str, str]]) -> dict[str, Any]:
    """`lineage`: the sources of each block, and of each asset its key, content hash and data version.

    Args:
        contents: content SHA-256 by asset; of a partitioned one, by partition.
    Raises:
        ValueError: an asset of `SOURCES` is missing, or one is given that nothing comes from.
    """
    if set(contents) != set(ASSETS):
        raise ValueError(f"content of {sorted(contents)}, the card is made from {list(ASSETS)}: hand in each of them")
    keys = sorted({one.partition(":")[2] for sources in SOURCES.values() for one in sources if ":" in one})
    return {
        "blocks": {path: list(sources) for path, sources in SOURCES.items()},
        "assets": {name: _identity(experiment.name, name, contents[name]) for name in ASSETS},
        "experiment": {"name": experiment.name, "fingerprint": experiment.section_fingerprint(*keys), "keys": keys},
    }


def _identity(experiment: str, asset: str, content: str | Mapping[str, str]) -> dict[str, Any]:
    key = f"{experiment}/{asset}"
    if isinstance(content, str):
        return {"key": key, "content_sha256": content, "data_version": content[:DATA_VERSION_DIGITS]}
    return {
        "key": key,
        "partitions": {
            partition: {"content_sha256": digest, "data_version": digest[:DATA_VERSION_DIGITS]}
            for partition, digest in content.items()
        },
    }
