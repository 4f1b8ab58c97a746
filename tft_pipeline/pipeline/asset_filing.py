"""Where each asset is filed in the UI: its group in the order of the graph, kinds, tags, owner and freshness.

The one place that says so; `pipeline.factory` applies it. Not here: what an asset is (its own docstring).
"""

from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
from dagster._core.utils import is_valid_email

from tft_pipeline.pipeline.graph import ExperimentGraph

GROUPS = ("1_data", "2_features", "3_exploration", "4_tuning", "5_production", "6_evaluation", "7_release")
"""Groups sort by name, so each begins with its place; in the UI the experiment's name stands before it."""
NOBODY = "team:research"
"""The owner where the experiment file names none (`card.owner`)."""
WATCHED = ("snapshot", "drift_night")
"""What new bars lead to every day: fresh, or not, where `drift.fresh_within_hours` is set."""


@dataclass(frozen=True, slots=True)
class Filed:
    """An asset's place.

    Attributes:
        group: one of `GROUPS`.
        kinds: what it is made with or stored as, at most three.
        grain: what one row is.
        sees: bars that it may read: research, production or all.
        cost: light (seconds), computing (minutes, many processes) or training (fits networks).
    """

    group: str
    kinds: tuple[str, ...]
    grain: str
    sees: str
    cost: str = "light"


DATA, FEATURES, EXPLORATION, TUNING, PRODUCTION, EVALUATION, RELEASE = GROUPS
JSON, FRAME = ("json",), ("polars", "parquet")
FILED = {
    "bars": Filed(DATA, ("file",), "symbol_and_bar", "all"),
    "snapshot": Filed(DATA, FRAME, "symbol_and_bar", "all"),
    "feature_catalogue": Filed(FEATURES, JSON, "feature", "all"),
    "features": Filed(FEATURES, FRAME, "symbol_and_bar", "all", "computing"),
    "targets": Filed(FEATURES, FRAME, "symbol_and_bar", "all"),
    "prefiltered_features": Filed(FEATURES, ("polars", "json"), "feature", "research"),
    "exploration_plan": Filed(EXPLORATION, JSON, "fold", "research"),
    "exploration_spec": Filed(EXPLORATION, JSON, "fold", "research"),
    "exploration_fold": Filed(EXPLORATION, ("pytorch", "mlflow", "json"), "feature", "research", "training"),
    "selected_features": Filed(EXPLORATION, JSON, "feature", "research"),
    "tuned_hyperparameters": Filed(TUNING, ("optuna", "pytorch", "json"), "trial", "research", "training"),
    "research_paths": Filed(TUNING, ("pytorch", "json"), "path", "research", "training"),
    "production_plan": Filed(PRODUCTION, JSON, "fold", "production"),
    "production_spec": Filed(PRODUCTION, JSON, "fold", "production"),
    "production_fold": Filed(PRODUCTION, ("pytorch", "lightgbm", "mlflow"), "symbol_and_bar", "production", "training"),
    "leakage_audit": Filed(EVALUATION, ("polars", "json"), "guard", "all", "computing"),
    "oos_portfolio": Filed(EVALUATION, FRAME, "bar", "production"),
    "oos_performance": Filed(EVALUATION, ("scipy", "json"), "fold", "production", "computing"),
    "latency_benchmark": Filed(EVALUATION, ("onnx", "pytorch", "json"), "record", "production", "computing"),
    "drift_report": Filed(EVALUATION, ("lightgbm", "json"), "feature", "all", "computing"),
    "drift_night": Filed(EVALUATION, ("lightgbm", "json"), "feature", "all", "computing"),
    "ensemble_weights": Filed(EVALUATION, ("scipy", "json"), "fold", "production"),
    "purge_comparison": Filed(EVALUATION, ("pytorch", "json"), "variant", "production", "training"),
    "model_card": Filed(RELEASE, JSON, "record", "all"),
    "release": Filed(RELEASE, ("onnx", "safetensors", "mlflow"), "record", "all", "computing"),
    "report": Filed(RELEASE, ("plotly", "html"), "page", "all"),
}


def filed(graph: ExperimentGraph, spec: dg.AssetSpec) -> dg.AssetSpec:
    """A spec with its place."""
    name = spec.key.path[-1]
    place = FILED[name]
    hours = graph.experiment.drift.fresh_within_hours if name in WATCHED else None
    return spec.replace_attributes(
        group_name=f"{graph.name}_{place.group}",
        kinds=set(place.kinds),
        tags={"phase": place.group[2:], "sees": place.sees, "grain": place.grain, "cost": place.cost},
        owners=[owner(graph)],
        freshness_policy=None if hours is None else dg.FreshnessPolicy.time_window(timedelta(hours=hours)),
    )


def owner(graph: ExperimentGraph) -> str:
    """Who answers for an experiment, as Dagster wants it: an address, or a team."""
    named = graph.experiment.card.owner
    if named is None:
        return NOBODY
    return named if is_valid_email(named) else f"team:{named}"
