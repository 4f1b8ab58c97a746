"""A few bars for a process that is killed while it freezes them; it imports polars and nothing else."""

from datetime import UTC, datetime, timedelta

import polars as pl


def bars(n: int) -> pl.DataFrame:
    """n daily closes of one symbol."""
    stamps = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=k) for k in range(n)]
    frame = pl.DataFrame({"timestamp": stamps, "symbol": "AAA", "close": [100.0 + k % 7 for k in range(n)]})
    return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))
