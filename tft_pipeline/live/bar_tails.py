"""Which of many bars the newest ones need: so many before them of each symbol, and the context beside those.

A recursive feature reads every bar there ever was, and most forget: of an average with span s (or of Wilder's with period s)
the bars before the last n weigh (1 - 2 / (s + 1))^n (or (1 - 1 / s)^n). All of them state a `lookback` of s bars at least, so
that after `SETTLED` lookbacks what is left is below 1e-8, less than the rounding of a stored feature. A streak ends with the
first change of sign.

Not here: how many a feature looks back.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

import polars as pl

from tft_pipeline.domain.features.feature import Feature

BARS_OF_OTHERS = 32
"""Fewest bars of a market that is not traded: its usual spacing is read from the last 21."""
SETTLED = 20
"""Lookbacks, or spans, after which the first bar weighs nothing."""
NEVER_FORGET = frozenset({"dd_since_start", "dd_age"})
"""Features that hang on the highest price there ever was."""


def settled_bars(features: Iterable[Feature]) -> int | None:
    """Bars of a symbol after which it does not matter with which bar its history began; 1 where no feature is recursive, None
    where one never forgets."""
    recursive = [feature for feature in features if feature.recursive]
    if any(feature.name in NEVER_FORGET for feature in recursive):
        return None
    return max((SETTLED * feature.lookback for feature in recursive), default=1)


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
