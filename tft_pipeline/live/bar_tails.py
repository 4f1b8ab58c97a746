"""Which of many bars the newest ones need: so many before them of each symbol, and the context beside those.

Not here: how many a feature looks back.
"""

from collections.abc import Collection
from datetime import datetime

import polars as pl

BARS_OF_OTHERS = 32
"""Fewest bars of a market that is not traded: its usual spacing is read from the last 21."""


def needed_bars(bars: pl.DataFrame, *, first: datetime | None, back: int, untraded: Collection[str]) -> pl.DataFrame:
    """All bars from `first` on, and of each traded symbol `back` before them; None: the last `back` of each.

    A symbol that paused looks further into the past than the others. Markets that are read beside it go back as far as it.

    Args:
        bars: timestamp and symbol, sorted by symbol and timestamp.
    """
    context = pl.col("symbol").is_in(list(untraded))
    traded = bars.filter(~context)
    older = pl.len() if first is None else (pl.col("timestamp") < first).sum()
    row = pl.int_range(pl.len())
    kept = traded.filter((row >= older.cast(pl.Int64) - back).over("symbol"))
    oldest = kept.select(pl.col("timestamp").min()).item()
    before = (pl.col("timestamp") < oldest).sum() if oldest is not None else pl.len()
    beside = bars.filter(context).filter((row >= before.cast(pl.Int64) - max(back, BARS_OF_OTHERS)).over("symbol"))
    return pl.concat([kept, beside]).sort("symbol", "timestamp")
