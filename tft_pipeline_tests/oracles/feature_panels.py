"""Panels for the feature tests: clean, ragged and hostile ones, all from a seed."""

import zlib
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from tft_pipeline.domain.minutes import MINUTE_COLUMNS
from tft_pipeline_tests.oracles.feature_bars import OracleBars, OraclePanel

INDEX = "INDEX"
BARS_PER_YEAR = 252.0
RAGGED_BARS = 420
SIGNED = {
    "minute_return",
    "minute_skew",
    "minute_first_half_hour",
    "minute_last_half_hour",
    "minute_vwap_gap",
    "minute_signed_volume",
    "minute_order_imbalance",
    "minute_autocorrelation",
}
"""Raw columns of minutes that are negative half of the time."""
START = datetime(2019, 11, 26, 20, 15, tzinfo=UTC)


def stamps(n: int) -> list[datetime]:
    """Daily stamps, weekends included, with a minute of the day that wanders."""
    return [START + timedelta(days=i, minutes=i % 7) for i in range(n)]


def bars_of(symbol: str, times: list[datetime], close: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    """OHLCV around the given closes."""
    n = len(times)
    opened = close * np.exp(rng.normal(0.0, 0.004, n))
    return pl.DataFrame(
        {
            "timestamp": pl.Series(times, dtype=pl.Datetime("us", "UTC")),
            "symbol": [symbol] * n,
            "open": opened,
            "high": np.maximum(opened, close) * np.exp(np.abs(rng.normal(0.0, 0.005, n))),
            "low": np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0.0, 0.005, n))),
            "close": close,
            "volume": np.round(np.exp(rng.normal(10.0, 1.0, n))),
            **minute_columns(symbol, n),
        }
    )


def minute_columns(symbol: str, n: int) -> dict[str, pl.Series]:
    """Made-up raw columns as minute bars bring them, positive or signed; they do not touch the draws of the prices.

    A symbol's first bar has no minutes, for no bar before it says where they begin.
    """
    rng = np.random.default_rng(zlib.crc32(symbol.encode()))
    found = {
        name: rng.normal(0.0, 0.3, n) if name in SIGNED else 1e-4 * np.exp(rng.normal(0.0, 0.5, n))
        for name in MINUTE_COLUMNS
    }
    return {name: pl.Series([None, *values[1:]], dtype=pl.Float64) for name, values in found.items()}


def walk(rng: np.random.Generator, n: int, sigma: float = 0.01) -> np.ndarray:
    return 50.0 * np.exp(np.cumsum(rng.normal(0.0002, sigma, n)))


def clean_panel(n: int, *, symbols: int = 3, seed: int = 0) -> pl.DataFrame:
    """All symbols and the index on every bar."""
    rng = np.random.default_rng(seed)
    names = [f"S{i}" for i in range(symbols)] + [INDEX]
    return pl.concat([bars_of(name, stamps(n), walk(rng, n), rng) for name in names]).sort("symbol", "timestamp")


def ragged_panel(*, seed: int = 1) -> pl.DataFrame:
    """Late and early listings, holes, a frozen price, twins, idle and missing volume, bars without a range."""
    n = RAGGED_BARS
    rng = np.random.default_rng(seed)
    times = stamps(n)
    frozen = walk(rng, n)
    frozen[100:190] = frozen[100]
    twin = walk(rng, n, 0.02)
    parts = [
        bars_of("FULL", times, walk(rng, n), rng),
        bars_of("LATE", times[60:], walk(rng, n - 60), rng),
        bars_of("EARLY", times[:300], walk(rng, 300), rng),
        bars_of("HOLES", times, walk(rng, n), rng).filter(pl.Series(rng.random(n) > 0.05)),
        bars_of("ICE", times, frozen, rng),
        bars_of("TWIN_A", times, twin, rng),
        bars_of("TWIN_B", times, twin, rng),
        bars_of(INDEX, times, walk(rng, n), rng).filter(pl.Series(rng.random(n) > 0.02)),
    ]
    row = pl.int_range(pl.len()).over("symbol")
    pinned = (pl.col("symbol") == "FULL") & (row % 37 == 5)
    return (
        pl.concat(parts)
        .with_columns(
            volume=pl.when((pl.col("symbol") == "LATE") & row.is_between(200, 225))
            .then(0.0)
            .when((pl.col("symbol") == "FULL") & (row == 150))
            .then(None)
            .otherwise("volume"),
            open=pl.when((pl.col("symbol") == "HOLES") & (row == 80)).then(None).otherwise("open"),
        )
        .with_columns(
            pl.when((pl.col("symbol") == "FULL") & (row == 150))
            .then(None)
            .when((pl.col("symbol") == "HOLES") & (row == 80))
            .then(0.0)
            .otherwise(name)
            .alias(name)
            for name in MINUTE_COLUMNS
        )
        .with_columns(
            pl.when(pinned).then(pl.col("close")).otherwise(name).alias(name) for name in ("open", "high", "low")
        )
        .sort("symbol", "timestamp")
    )


def random_panel(rng: np.random.Generator, n: int, *, symbols: int, sigma: float, index_from: int = 0) -> pl.DataFrame:
    """Random listing dates, ends, holes and frozen stretches; the index starts at `index_from`."""
    times = stamps(n)
    parts = []
    for i in range(symbols):
        first, last = sorted(rng.choice(n + 1, 2, replace=False))
        close = walk(rng, n, sigma)
        still = int(rng.integers(0, n))
        close[still : still + int(rng.integers(0, 90))] = close[still]
        keep = (np.arange(n) >= (0 if i == 0 else first)) & (np.arange(n) < (n if i == 0 else last))
        keep &= rng.random(n) > rng.choice([0.0, 0.1])
        frame = bars_of(f"S{i}", times, close, rng).filter(pl.Series(keep))
        parts.append(
            frame.with_columns(
                volume=pl.when(pl.Series(rng.random(frame.height) < 0.03)).then(None).otherwise("volume")
            )
        )
    index = bars_of(INDEX, times, walk(rng, n, sigma), rng).slice(index_from)
    return pl.concat([*parts, index.filter(pl.Series(rng.random(index.height) > 0.03))]).sort("symbol", "timestamp")


def as_oracle(bars: pl.DataFrame) -> OraclePanel:
    """The same bars as lists."""
    by_symbol = {}
    for (symbol,), part in bars.group_by("symbol", maintain_order=True):
        columns = {name: part[name].to_list() for name in ("open", "high", "low", "close", "volume")}
        others = {name: part[name].to_list() for name in MINUTE_COLUMNS}
        by_symbol[symbol] = OracleBars(times=part["timestamp"].to_list(), **columns, others=others)
    market = by_symbol.pop(INDEX)
    return OraclePanel(symbols=by_symbol, market=market, bars_per_year=BARS_PER_YEAR)
