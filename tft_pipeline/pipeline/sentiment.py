"""How the column of `ensemble.sentiment_column` comes into production folds: out of the snapshot, past every model.

A fold reads it by address, as it reads features; the fold's spec covers its values. Not here: what the column must be
(`domain.sentiment`).
"""

from collections.abc import Iterable
from datetime import datetime

import polars as pl

from tft_pipeline.domain.planning import SliceChangedError
from tft_pipeline.domain.reports import FoldSpec
from tft_pipeline.domain.sentiment import sentiment_rows, sentiment_sha256
from tft_pipeline.pipeline.graph import ExperimentGraph
from tft_pipeline.storage.artifacts import read_artifact
from tft_pipeline.storage.snapshots import BARS_FILE


def specs_with_sentiment(graph: ExperimentGraph, specs: Iterable[FoldSpec], bars: pl.DataFrame) -> tuple[FoldSpec, ...]:
    """Production specs that also cover the column's values at their test bars; as they were without a column."""
    column = graph.experiment.ensemble.sentiment_column
    if column is None:
        return tuple(specs)
    return tuple(
        spec.model_copy(update={"sentiment": (column, sentiment_sha256(_rows(graph, spec, bars, column)))})
        for spec in specs
    )


def fold_sentiment(graph: ExperimentGraph, spec: FoldSpec) -> pl.DataFrame:
    """timestamp, symbol and sentiment_probability at a fold's test bars, verified against its spec.

    Raises:
        SliceChangedError: the stored values are not those of the plan.
        IntegrityError: a stored file is damaged.
    """
    assert spec.sentiment is not None
    column, planned = spec.sentiment
    bars = pl.scan_parquet(read_artifact(graph.layout.artifact(graph.name, "snapshot")).path(BARS_FILE))
    columns = bars.collect_schema().names()
    rows = _rows(graph, spec, bars, column) if column in columns else None
    if rows is None or sentiment_sha256(rows) != planned:
        raise SliceChangedError(
            f"fold {spec.key}: {column!r} of the stored snapshot is not what the plan was made on at the fold's test bars; the "
            "blend would be of other values; materialise the fold plan again"
        )
    return rows


def _rows(graph: ExperimentGraph, spec: FoldSpec, bars: pl.DataFrame | pl.LazyFrame, column: str) -> pl.DataFrame:
    test = spec.dates["test"]
    return sentiment_rows(
        bars,
        column,
        first=datetime.fromisoformat(test["first"]),
        last=datetime.fromisoformat(test["last"]),
        untraded=graph.experiment.data.untraded,
    )
