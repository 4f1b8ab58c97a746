"""Made-up minute bars and the daily bars over them: sessions of New York across a change of clocks, half days, gaps."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from tft_pipeline_tests.oracles.minutes import Minute

NEW_YORK = ZoneInfo("America/New_York")
FIRST = date(2024, 3, 6)
HALF_DAY = date(2024, 3, 13)


def session(day: date) -> tuple[datetime, datetime]:
    """Opening and close of a day's session, UTC; 9:30 to 16:00 in New York, to 13:00 on the half day."""
    close = time(13) if day == HALF_DAY else time(16)
    opened, closed = (datetime.combine(day, at, NEW_YORK) for at in (time(9, 30), close))
    return opened.astimezone(UTC), closed.astimezone(UTC)


def days(n: int) -> list[date]:
    """n weekdays from Wednesday 6 March 2024 on; clocks change on the Sunday after."""
    found = np.busday_offset(FIRST.isoformat(), np.arange(n), roll="forward")
    return [date.fromisoformat(str(day)) for day in found]


def daily_bars(n: int, symbols: tuple[str, ...] = ("AAA", "BBB"), seed: int = 0) -> pl.DataFrame:
    """Daily bars stamped with the time of their close."""
    frames = []
    for k, symbol in enumerate(symbols):
        steps = np.random.default_rng([seed, k]).normal(0.0, 0.01, n)
        stamps = pl.Series([session(day)[1] for day in days(n)], dtype=pl.Datetime("us", "UTC"))
        frames.append(pl.DataFrame({"timestamp": stamps, "symbol": symbol, "close": 50.0 * np.exp(np.cumsum(steps))}))
    return pl.concat(frames)


def minute_bars(
    n: int, symbols: tuple[str, ...] = ("AAA", "BBB"), seed: int = 0, *, every: int = 1, kept: float = 0.9
) -> pl.DataFrame:
    """OHLCV minutes of the sessions with idle and absent minutes, still stretches and repeated prices; grid of 0.01.

    Args:
        every: of every so many runs of ten minutes of a session only the first, to be short.
        kept: share of minutes that have a row.
    """
    frames = []
    for k, symbol in enumerate(symbols):
        rng = np.random.default_rng([seed, k, 1])
        for day in days(n):
            opened, closed = session(day)
            length = int((closed - opened).total_seconds() // 60)
            at = np.arange(1, length + 1)
            at = at[(at - 1) // 10 % every == 0]
            at = at[rng.random(len(at)) < kept]
            price = np.round(50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0004, len(at)))), 2)
            before = np.append(price[:1], price[:-1])
            stamps = [opened + timedelta(minutes=int(m)) for m in at]
            frames.append(
                pl.DataFrame(
                    {
                        "timestamp": pl.Series(stamps, dtype=pl.Datetime("us", "UTC")),
                        "symbol": symbol,
                        "open": before,
                        "high": np.maximum(before, price) + np.round(rng.random(len(at)) * 0.03, 2),
                        "low": np.minimum(before, price) - np.round(rng.random(len(at)) * 0.03, 2),
                        "close": price,
                        "volume": np.where(rng.random(len(at)) < 0.1, 0.0, np.round(rng.exponential(300.0, len(at)))),
                    }
                )
            )
    return pl.concat(frames)


def as_minutes(frame: pl.DataFrame, symbol: str) -> list[Minute]:
    """The rows of one symbol."""
    columns = ("timestamp", "open", "high", "low", "close", "volume")
    return [Minute(*row) for row in frame.filter(pl.col("symbol") == symbol).select(columns).iter_rows()]
