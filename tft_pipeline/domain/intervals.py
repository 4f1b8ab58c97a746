"""Lengths of bars by their names, and whether timestamps fit the length that is stated. Not here: calendars, sessions."""

from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl

Interval = Literal["1m", "5m", "15m", "1h", "1d"]
Stamp = Literal["close", "open"]
BAR_LENGTHS: dict[Interval, timedelta] = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "1d": timedelta(days=1),
}
LONGEST_LISTED = 5


def refusal_of_stamp(stamp: Stamp, interval: Interval) -> str | None:
    """Why bars of this interval cannot be stamped with their openings; None where they can.

    A shorter bar closes one interval after it opened. A daily bar closes with its session, which need not be a day later: a
    US stock that opens at 9:30 closes at 16:00, and a day's sum would be usable seventeen hours late or, across a weekend,
    on a day without trading.
    """
    if stamp == "open" and interval == "1d":
        return (
            "stamp is open and interval is 1d: a daily bar closes when its session ends, which an opening and a length do not "
            "tell; stamp daily bars with the times of their closes and set stamp: close"
        )
    return None


def common_spacing(bars: pl.DataFrame) -> timedelta | None:
    """The most frequent time from one bar of a symbol to its next, the shortest of equally frequent; None without any.

    It is the length of a bar even where most are missing, as in a market that seldom trades; the median is not.

    Args:
        bars: timestamp and symbol, sorted by symbol and timestamp.
    """
    spacing = bars.select(pl.col("timestamp").diff().over("symbol").drop_nulls().mode().min())["timestamp"][0]
    assert spacing is None or isinstance(spacing, timedelta)
    return spacing


def refusal_of_interval(bars: pl.DataFrame, interval: Interval) -> str | None:
    """Why bars cannot be of this interval; None where they can.

    Daily bars of sessions stand 23 to 25 hours apart where clocks change.

    Args:
        bars: timestamp and symbol, sorted by symbol and timestamp; stamps of openings and of closes are as far apart.
    """
    spacing, length = common_spacing(bars), BAR_LENGTHS[interval]
    if spacing is None:
        return f"no symbol has two bars, so nothing shows that they are of interval {interval}; bring more bars"
    if abs(spacing - length) <= (timedelta(hours=1) if interval == "1d" else timedelta(0)):
        return None
    fitting = [name for name, other in BAR_LENGTHS.items() if other == spacing]
    remedy = f"state interval {fitting[0]}" if fitting else f"make bars of one of {', '.join(BAR_LENGTHS)}"
    return (
        f"interval is {interval} and the bars of a symbol stand {spacing} apart most often: horizons, lookbacks and "
        f"closes would be of another length than stated; {remedy}"
    )


def missing_bars(bars: pl.DataFrame, length: timedelta, *, until: datetime | None = None) -> dict[str, dict[str, Any]]:
    """What a market that never closes lacks: the bars between a symbol's first and its last that have no row.

    Args:
        bars: timestamp and symbol, sorted by both, each pair once, no two bars of a symbol closer than `length`.
        length: of a bar.
        until: a close that the newest bar could have; without it nothing is missing behind the newest.
    Returns:
        By symbol: bars, first and last (ISO 8601), missing, and longest, the at most `LONGEST_LISTED` longest runs as
        {"first": close of the first missing bar, "bars": how many}, the longest and then the earliest first.
    """
    found: dict[str, dict[str, Any]] = {}
    for (symbol,), part in bars.group_by("symbol", maintain_order=True):
        stamps = part["timestamp"]
        if until is not None and stamps[-1] < until:
            stamps = pl.concat([stamps, pl.Series([until + length], dtype=stamps.dtype).alias(stamps.name)])
        runs = pl.DataFrame({"first": stamps + length, "bars": _bars_between(stamps, length)})
        runs = runs.filter(pl.col("bars") > 0).sort("bars", "first", descending=[True, False])
        found[str(symbol)] = {
            "bars": part.height,
            "first": part["timestamp"][0].isoformat(),
            "last": part["timestamp"][-1].isoformat(),
            "missing": int(runs["bars"].sum()),
            "longest": [
                {"first": row["first"].isoformat(), "bars": int(row["bars"])}
                for row in runs.head(LONGEST_LISTED).iter_rows(named=True)
            ],
        }
    return found


def _bars_between(stamps: pl.Series, length: timedelta) -> pl.Series:
    """How many bars lack between each one and the next; null for the last."""
    microseconds = stamps.diff().shift(-1).dt.total_microseconds()
    return microseconds // (length // timedelta(microseconds=1)) - 1
