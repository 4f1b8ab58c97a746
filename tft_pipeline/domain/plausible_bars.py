"""All that looks wrong in bars that can be used: prices, missing bars, names, times to come. One place for every caller.

Not here: the single rules (`plausibility`, `market_days`, `symbol_names`).
"""

from datetime import datetime

import polars as pl

from tft_pipeline.domain.intervals import Interval
from tft_pipeline.domain.market_days import market_days, missing_and_alone
from tft_pipeline.domain.plausibility import Finding, implausible_prices
from tft_pipeline.domain.symbol_names import alike


def implausible_bars(
    bars: pl.DataFrame, interval: Interval, *, timezone: str | None, now: datetime
) -> tuple[Finding, ...]:
    """What a person should look at before believing a result; nothing of it is changed.

    Args:
        bars: as `bars.normalise_bars` gives them.
        timezone: in which days are counted; None is UTC.
        now: closes after it are told; UTC.
    """
    found = list(alike(bars))
    if bars["timestamp"].n_unique() > 1:
        found += missing_and_alone(bars, market_days(bars["timestamp"], interval, timezone=timezone), interval)
    found += implausible_prices(bars, daily=interval == "1d")
    later = bars.filter(pl.col("timestamp") > now)
    if later.height:
        last = later.sort("timestamp").row(-1, named=True)
        found.append(
            Finding(
                "future",
                last["symbol"],
                later["timestamp"].min(),  # type: ignore[arg-type]
                later.height,
                f"{later.height} bars close after now, the last on {last['timestamp']:%Y-%m-%d %H:%M} ({last['symbol']}): "
                "days and months exchanged, a wrong unit or a wrong zone; correct their timestamps",
            )
        )
    return tuple(found)
