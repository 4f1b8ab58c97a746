"""From stored frames to the panel that plans and folds work on. Not here: what a panel is (`domain.panel`).

A fold reads features and targets by address instead of as Dagster inputs: its dependency is its spec, whose content
hash covers the bars it may see, so that new bars leave old folds untouched.
"""

from collections.abc import Sequence

import polars as pl

from tft_pipeline.domain.panel import Panel, build_panel
from tft_pipeline.domain.planning import slice_for
from tft_pipeline.domain.reports import FeatureCatalogue, FoldSpec
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.pipeline.io_managers import FRAME_FILE
from tft_pipeline.storage.artifacts import read_artifact

KEYS = ("timestamp", "symbol")


def panel_of(features: pl.LazyFrame, targets: pl.DataFrame, catalogue: FeatureCatalogue, names: Sequence[str]) -> Panel:
    """The panel of some features."""
    return build_panel(
        features.select(*KEYS, *names).collect(), targets, names=names, min_history=catalogue.max_lookback
    )


def fold_panel(graph: ExperimentGraph, spec: FoldSpec) -> Panel:
    """The bars of one fold, out of the stored features and targets, verified against the spec.

    Raises:
        SliceChangedError: the stored bars are not those of the plan.
        IntegrityError: a stored file is damaged.
    """
    features = pl.scan_parquet(read_artifact(graph.layout.artifact(graph.name, "features")).path(FRAME_FILE))
    targets = pl.read_parquet(read_artifact(graph.layout.artifact(graph.name, "targets")).path(FRAME_FILE))
    columns = set(features.collect_schema().names())
    absent = [name for name in spec.features if name not in columns]
    if absent:
        raise ValueError(
            f"fold {spec.key}: planned features {absent} are not among the stored ones; materialise the fold plan again"
        )
    panel = build_panel(
        features.select(*KEYS, *spec.features).collect(), targets, names=spec.features, min_history=spec.min_history
    )
    return slice_for(panel, spec)
