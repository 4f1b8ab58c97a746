"""What a snapshot says of itself. Not here: writing it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl

from tft_pipeline.domain.bars import user_columns
from tft_pipeline.domain.content import frame_sha256, json_sha256

SCHEMA_VERSION = 2


def snapshot_manifest(
    bars: pl.DataFrame,
    *,
    created_at: datetime,
    interval: str,
    source: dict[str, Any],
    minute_source: dict[str, Any] | None = None,
    tables: Sequence[dict[str, Any]] = (),
    environment: dict[str, Any],
) -> dict[str, Any]:
    """The manifest; its id is made of the time the snapshot was taken and of its content.

    What minutes and tables brought is columns of the bars, and so part of the content and of the identity.

    Args:
        bars: normalised bars with all that was joined to them.
        created_at: UTC.
        interval: length of a bar.
        source: name, rows, files and hash of the bars that were read, without machine paths.
        minute_source: the same of the minute bars, and what was used of them (`JoinedMinutes.about`).
        tables: the same of each table (`JoinedTable.about`).
        environment: versions of code and writers.
    """
    content = frame_sha256(bars)
    identity = json_sha256([content, interval])
    first, last = bars["timestamp"].min(), bars["timestamp"].max()
    known = bars["available_at"].max() if "available_at" in bars.columns else last
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    assert isinstance(known, datetime)
    return {
        "schema_version": SCHEMA_VERSION,
        "snapshot_id": f"{created_at:%Y-%m-%dT%H-%M-%SZ}-{identity[:12]}",
        "content_sha256": content,
        "identity_sha256": identity,
        "created_at": created_at.isoformat(),
        "as_of": last.isoformat(),
        "event_range": {"start": first.isoformat(), "end": last.isoformat()},
        "knowledge_time_max": known.isoformat(),
        "symbols": bars["symbol"].unique().sort().to_list(),
        "columns": {name: str(dtype) for name, dtype in bars.schema.items()},
        "rows": bars.height,
        "tz": "UTC",
        "interval": interval,
        "source": source,
        "minute_source": minute_source,
        "tables": list(tables),
        "environment": environment,
        "quality": quality(bars),
    }


def quality(bars: pl.DataFrame) -> dict[str, Any]:
    """Counts for the manifest: rows a symbol, gaps against the common calendar, nulls and NaN by feature."""
    calendar = bars["timestamp"].n_unique()
    per_symbol = bars.group_by("symbol").agg(
        rows=pl.len(), first=pl.col("timestamp").min(), last=pl.col("timestamp").max()
    )
    ticks = bars.select(pl.col("timestamp").unique().sort())["timestamp"]
    gaps = {}
    for row in per_symbol.sort("symbol").iter_rows(named=True):
        inside = ticks.is_between(row["first"], row["last"]).sum()
        gaps[row["symbol"]] = int(inside) - int(row["rows"])
    floats = [name for name in user_columns(bars.columns)]
    return {
        "calendar_bars": int(calendar),
        "rows_per_symbol": {r["symbol"]: r["rows"] for r in per_symbol.sort("symbol").iter_rows(named=True)},
        "gaps_per_symbol": gaps,
        "duplicates": 0,
        "nulls": {name: int(bars[name].null_count()) for name in floats},
        "non_finite": {name: int(bars[name].is_infinite().sum()) + int(bars[name].is_nan().sum()) for name in floats},
    }
