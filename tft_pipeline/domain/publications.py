"""The newest value that was public at a bar: one rule for the source's own columns and for tables joined to the bars.

Not here: checks of what is joined (`bars`, `tables`).
"""

from collections.abc import Sequence

import polars as pl

PUBLIC_SINCE = "|public_since"
"""When the values of a bar became usable; null where there are none."""
AVAILABLE_AT = "|available_at"
"""The `available_at` of the row that a bar's values stand in."""


def newest_published(
    bars: pl.DataFrame, rows: pl.DataFrame, columns: Sequence[str], *, by: Sequence[str] = ("symbol",)
) -> pl.DataFrame:
    """Give every bar the values of the newest row that was public at its timestamp.

    A row is usable at bar t if it speaks of t or an older time and was published by then:
    max(row's timestamp, row's available_at) <= t. Of the usable rows the one with the latest timestamp counts, and of
    its restatements the latest published. So a late value of an older row never displaces a newer row's, a restated
    value changes no bar before its publication, and rows published later change no earlier bar.

    Args:
        bars: timestamp and the columns of `by`, in any order; none of `columns`.
        rows: timestamp, available_at, the columns of `by` and `columns`; no nulls but in `columns`. A null of the newest
            row is a null of the bar.
        by: what bars and rows must share; nothing for values that speak of all bars.
    Returns:
        The bars in order of time, with `columns`, `PUBLIC_SINCE` and `AVAILABLE_AT`.
    """
    usable = pl.max_horizontal("timestamp", "available_at")
    published = rows.sort(usable, "timestamp", "available_at")
    newest = pl.col("timestamp").cum_max()
    # what arrives after a newer row's value is out of date on arrival
    published = published.filter(pl.col("timestamp") >= (newest.over(*by) if by else newest))
    published = published.select(
        *by,
        usable.alias("timestamp"),
        usable.alias(PUBLIC_SINCE),
        pl.col("available_at").alias(AVAILABLE_AT),
        *columns,
    )
    published = published.unique([*by, "timestamp"], keep="last", maintain_order=True)
    return bars.sort("timestamp").join_asof(
        published, on="timestamp", by=list(by) or None, strategy="backward", check_sortedness=False
    )
