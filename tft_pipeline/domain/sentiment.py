"""A probability of an upward move that comes with the source: what its column must be, and its values at some bars.

It is a source of the blend and no input of any model. When it was public is settled as for every column of the source: with
`available_at` a bar has the newest value published by then (`publications`).
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import polars as pl

from tft_pipeline.domain.bars import user_columns
from tft_pipeline.domain.content import frame_sha256

KEY = "ensemble.sentiment_column"
PREDICTED = "sentiment_probability"
"""Its column among a fold's predictions."""


def refuse_absent_sentiment(columns: Sequence[str], column: str) -> None:
    """ValueError unless a column of the user's own, of the source or of a table, has that name."""
    own = user_columns(columns)
    if column not in own:
        raise ValueError(
            f"{KEY} {column!r} is no column of the source or its tables that could hold a probability (there are "
            f"{', '.join(own) or 'none beside the bars'}): the blend would go without it; correct the name or drop the key"
        )


def refuse_impossible_sentiment(bars: pl.DataFrame, column: str, *, untraded: Collection[str]) -> None:
    """ValueError where a traded symbol's value is outside [0, 1], or not one bar has a value; missing ones are allowed."""
    refuse_absent_sentiment(bars.columns, column)
    value = pl.col(column).fill_nan(None)
    rows = bars.filter(~pl.col("symbol").is_in(list(untraded))).with_columns(value)
    bad = rows.filter(~pl.col(column).is_between(0.0, 1.0)).sort("timestamp", "symbol")
    if bad.height:
        raise ValueError(
            f"{KEY} {column!r} is outside [0, 1] in {bad.height} of {rows.height} rows (first at "
            f"{bad['timestamp'][0].isoformat()} {bad['symbol'][0]}, value {bad[column][0]:g}): it must be a probability of an "
            "upward move; rescale scores first, such as (score + 1) / 2"
        )
    if rows[column].null_count() == rows.height:
        raise ValueError(
            f"{KEY} {column!r} has no value at any of {rows.height} rows: drop the key, or bring the values"
        )


def sentiment_rows(
    bars: pl.DataFrame | pl.LazyFrame, column: str, *, first: datetime, last: datetime, untraded: Collection[str]
) -> pl.DataFrame:
    """timestamp, symbol and `PREDICTED` (null where missing) of the traded bars from first to last, by time and symbol."""
    inside = pl.col("timestamp").is_between(first, last) & ~pl.col("symbol").is_in(list(untraded))
    rows = (
        bars.lazy()
        .filter(inside)
        .select("timestamp", "symbol", pl.col(column).cast(pl.Float64).fill_nan(None).alias(PREDICTED))
    )
    return rows.sort("timestamp", "symbol").collect()


def sentiment_sha256(rows: pl.DataFrame) -> str:
    """Content of `sentiment_rows`, which belongs to the spec of the fold that scores them."""
    return frame_sha256(rows)
