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
    """Why bars, all symbols together, cannot be of this interval; None where they can.

    Daily bars of sessions stand 23 to 25 hours apart where clocks change.

    Args:
        bars: timestamp and symbol, sorted by symbol and timestamp; stamps of openings and of closes are as far apart.
    """
    spacing = common_spacing(bars)
    if spacing is None:
        return f"interval is {interval} and no symbol has two bars, so nothing shows it; bring more bars"
    if _fits(spacing, interval):
        return None
    fitting = [name for name, other in BAR_LENGTHS.items() if other == spacing]
    none = f"that is none of {', '.join(BAR_LENGTHS)}: make bars of one of these"
    remedy = f"state interval {fitting[0]}" if fitting else none
    return (
        f"interval is {interval} and the bars of a symbol stand {spacing} apart most often: horizons, lookbacks and "
        f"closes would be of another length than stated; {remedy}"
    )


def symbols_of_another_interval(bars: pl.DataFrame, interval: Interval) -> list[str]:
    """Symbols whose own bars do not show that they are of this interval, each with what they show, in words.

    Of few bars of a market that seldom trades, the most frequent distance may be longer than a bar.

    Args:
        bars: timestamp and symbol, sorted by symbol and timestamp.
    """
    found = []
    for (symbol,), part in bars.group_by("symbol", maintain_order=True):
        spacing = common_spacing(part)
        if spacing is None:
            found.append(f"{symbol} has one bar")
        elif not _fits(spacing, interval):
            found.append(f"bars of {symbol} stand {spacing} apart most often")
    return found


def refusal_of_openings(bars: pl.DataFrame, interval: Interval) -> str | None:
    """Why one interval cannot be added to every opening; None where it can.

    A longer bar of one symbol would count as known before it closed, whatever the bars of the others are.

    Args:
        bars: timestamp and symbol, sorted by symbol and timestamp; stamps of openings and of closes are as far apart.
    """
    refusal = refusal_of_interval(bars, interval)
    strange = symbols_of_another_interval(bars, interval)
    if refusal or not strange:
        return refusal
    return (
        f"interval is {interval}, and {'; '.join(strange[:LONGEST_LISTED])}"
        + (f"; and {len(strange) - LONGEST_LISTED} more" if len(strange) > LONGEST_LISTED else "")
        + f": a bar that is longer than {interval} would count as known before it closed; leave these symbols out, or stamp "
        "the bars with their closes"
    )


def _fits(spacing: timedelta, interval: Interval) -> bool:
    """Whether bars of an interval may stand so far apart."""
    return abs(spacing - BAR_LENGTHS[interval]) <= (timedelta(hours=1) if interval == "1d" else timedelta(0))


def missing_bars(
    bars: pl.DataFrame, length: timedelta, *, since: datetime | None = None, until: datetime | None = None
) -> dict[str, dict[str, Any]]:
    """What a market that never closes lacks: the bars between a symbol's first and its last that have no row.

    Args:
        bars: timestamp and symbol, sorted by both, each pair once, no two bars of a symbol closer than `length`.
        length: of a bar.
        since: the close before the first that could be there; without it nothing is missing before the oldest bar.
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
        if since is not None and stamps[0] > since:
            stamps = pl.concat([pl.Series([since], dtype=stamps.dtype).alias(stamps.name), stamps])
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
