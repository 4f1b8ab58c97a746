"""Features of many bars, from bars in memory to one stored and hashed file, and against plain polars rolling expressions.

`ours`, `theirs` and `ratio` are the `SUBSET` that both can say in one expression a feature, on `peer_rows` bars, one
process and one thread each, frame to Float32 frame; that their values agree is checked first. The peer adds and subtracts
running sums: cheaper, and not equal to the bit when bars before the window change, which is what ours is for.

`details` has ours alone, every feature of the catalogue at all `rows`: block by block in as many processes as there are
cores, written to a file, which is read again and hashed. Seconds on the clock, CPU seconds of all processes, and the highest
sum of their proportional set sizes (shared pages counted once; Linux only), the bars in memory included. Figures for the
number of features that the project set itself are scaled by the count.
"""

import one_thread  # noqa: F401

# isort: split
import math
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
from comparison import Comparison, arguments, of_timings, show
from pairing import alternate

from tft_pipeline.domain.features import FeatureSet, build_features, resolve_features
from tft_pipeline.domain.features.blocks import FeatureBuild
from tft_pipeline.model.feature_stream import feature_frames
from tft_pipeline.model.processes import n_workers
from tft_pipeline.storage.frames import write_frames

INDEX = "INDEX"
BARS_PER_YEAR = 252.0
GIBIBYTE = 1 << 30
TARGET_FEATURES, TARGET_ROWS, TARGET_S, TARGET_GIB = 276, 5_000_000, 120.0, 8.0
AGREEMENT = 1e-3
"""Relative, beside 1e-5 absolute: the peer's running sums drift."""
SAMPLES_A_SECOND = 5.0
PEER_BARS = 5_000
"""Fewest bars of a symbol in the comparison: with fewer symbols rather than shorter ones."""


def panel(rows: int, symbols: int) -> pl.DataFrame:
    """OHLCV of random walks, `symbols` of them with rows / symbols bars each, and an index on the same bars."""
    n = rows // symbols
    rng = np.random.default_rng(0)
    stamps = np.datetime64("2000-01-03", "us") + np.arange(n) * np.timedelta64(60, "s")
    parts = []
    for name in sorted([*(f"S{k:05d}" for k in range(symbols)), INDEX]):
        close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.001, n)))
        opened = close * np.exp(rng.normal(0.0, 0.0005, n))
        parts.append(
            pl.DataFrame(
                {
                    "timestamp": pl.Series(stamps).dt.replace_time_zone("UTC"),
                    "symbol": pl.repeat(name, n, eager=True),
                    "open": opened,
                    "high": np.maximum(opened, close) * np.exp(np.abs(rng.normal(0.0, 0.0005, n))),
                    "low": np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0.0, 0.0005, n))),
                    "close": close,
                    "volume": np.round(np.exp(rng.normal(10.0, 1.0, n))),
                }
            )
        )
    return pl.concat(parts, rechunk=True)


def _zscore(value: pl.Expr, window: int) -> pl.Expr:
    return (value - value.rolling_mean(window)) / value.rolling_std(window)


def expressions() -> dict[str, pl.Expr]:
    """The subset as polars says it; the names are ours."""
    close, volume = pl.col("close"), pl.col("volume")
    log_return = close.log().diff()
    hilo = (pl.col("high") / pl.col("low")).log()
    annual = math.sqrt(BARS_PER_YEAR)
    lowest, highest = close.rolling_min, close.rolling_max
    return {
        **{f"sma_{n}_gap": close / close.rolling_mean(n) - 1.0 for n in (5, 10, 20, 50, 100, 200)},
        **{f"vol_{n}": log_return.rolling_std(n) * annual for n in (5, 10, 21, 63, 126, 252)},
        **{f"vol_ewm_{n}": log_return.ewm_std(span=n, min_samples=n) * annual for n in (10, 20, 60, 125)},
        **{f"z_{n}": _zscore(close.log(), n) for n in (5, 10, 21, 63, 126, 252)},
        **{f"vlm_z_{n}": _zscore((volume + 1.0).log(), n) for n in (5, 10, 21, 63, 126, 252)},
        **{f"dd_{n}": close / highest(n) - 1.0 for n in (21, 63, 126, 252)},
        **{f"mom_stochastic_{n}": (close - lowest(n)) / (highest(n) - lowest(n)) for n in (10, 21, 63, 126, 252)},
        **{
            f"range_parkinson_{n}": (BARS_PER_YEAR * (hilo**2).rolling_mean(n) / (4.0 * math.log(2.0))).sqrt()
            for n in (5, 10, 21, 63, 126)
        },
    }


SUBSET = tuple(expressions())


def chosen(bars: pl.DataFrame, names: tuple[str, ...] | None) -> FeatureSet:
    """Every feature that these bars allow, or some."""
    return resolve_features(bars.columns, groups=() if names else None, names=names, has_market=True)


def ours(bars: pl.DataFrame) -> pl.DataFrame:
    """The subset by the project's own formulas."""
    return build_features(bars, chosen(bars, SUBSET), market_symbol=INDEX, bars_per_year=BARS_PER_YEAR)


def theirs(bars: pl.DataFrame) -> pl.DataFrame:
    """The subset by polars."""
    traded = bars.lazy().filter(pl.col("symbol") != INDEX)
    features = [rule.over("symbol").cast(pl.Float32).alias(name) for name, rule in expressions().items()]
    return traded.select("timestamp", "symbol", *features).collect()


def refuse_other_values(bars: pl.DataFrame) -> None:
    """Both frames have values at the same places, and they agree.

    Raises:
        ValueError: not so; the times would be those of different work.
    """
    mine, peer = ours(bars), theirs(bars)
    for name in SUBSET:
        a, b = (frame[name].fill_null(np.nan).to_numpy() for frame in (mine, peer))
        if not np.allclose(a, b, rtol=AGREEMENT, atol=1e-5, equal_nan=True):
            apart = int((~np.isclose(a, b, rtol=AGREEMENT, atol=1e-5, equal_nan=True)).sum())
            raise ValueError(f"{name}: {apart} of {len(a)} values differ between ours and polars: nothing was compared")


class PeakMemory(threading.Thread):
    """The highest sum of the proportional set sizes of this process and its children, in bytes, while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._done = threading.Event()

    def run(self) -> None:
        """Look until `stop` is called."""
        me = psutil.Process()
        while not self._done.wait(1.0 / SAMPLES_A_SECOND):
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.NoSuchProcess:  # it ended between being listed and being asked
                    continue
            self.peak = max(self.peak, total)

    def stop(self) -> int:
        """Bytes."""
        self._done.set()
        self.join()
        return self.peak


def whole_catalogue(bars: pl.DataFrame, workers: int) -> dict[str, Any]:
    """Every feature to a stored and hashed file: how long and how much memory."""
    before, started = os.times(), time.perf_counter()
    memory = PeakMemory()
    memory.start()
    with tempfile.TemporaryDirectory() as folder:
        build = FeatureBuild.of(bars, chosen(bars, None), market_symbol=INDEX, bars_per_year=BARS_PER_YEAR)
        stored = write_frames(Path(folder) / "features.parquet", feature_frames(build, Path(folder), workers=workers))
        size = stored.path.stat().st_size
    wall, after = time.perf_counter() - started, os.times()
    return {
        "rows": stored.height,
        "features": len(build.features),
        "workers": workers,
        "wall_s": wall,
        "cpu_s": sum(after[:4]) - sum(before[:4]),
        "peak_gib": memory.stop() / GIBIBYTE,
        "file_gib": size / GIBIBYTE,
    }


def compare(*, rows: int, peer_rows: int, symbols: int, rounds: int, workers: int) -> Comparison:
    """The subset against polars, then everything alone."""
    fewer = min(symbols, max(peer_rows // PEER_BARS, 1))
    small = panel(peer_rows, fewer)
    refuse_other_values(small)
    timings = alternate({"ours": lambda: ours(small), "theirs": lambda: theirs(small)}, rounds=rounds)
    whole = whole_catalogue(panel(rows, symbols), workers)
    share = whole["features"] / TARGET_FEATURES * whole["rows"] / TARGET_ROWS
    whole |= {"wall_s_at_target_size": whole["wall_s"] / share, "target_s": TARGET_S, "target_gib": TARGET_GIB}
    of_subset = of_timings(
        "features",
        "polars rolling",
        timings["ours"],
        timings["theirs"],
        shapes={"features": len(SUBSET), "rows": peer_rows // fewer * fewer, "symbols": fewer},
        remarks=(
            f"all {whole['features']} features of {whole['rows']:,} bars of {symbols:,} symbols, stored and hashed: "
            f"{whole['wall_s']:.1f} s on the clock, {whole['cpu_s']:.0f} s of CPU, {workers} workers, peak memory "
            f"{whole['peak_gib']:.2f} GiB (PSS of all processes, bars included)",
            f"per {TARGET_FEATURES} features and {TARGET_ROWS:,} bars: {whole['wall_s_at_target_size']:.1f} s",
        ),
    )
    return Comparison(**{**vars(of_subset), "details": {**of_subset.details, "whole": whole}})


def main() -> None:
    """Command line."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=TARGET_ROWS, help="bars of the traded symbols")
    parser.add_argument("--peer-rows", type=int, default=500_000, help="bars that both sides compute the subset of")
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=n_workers(), help="processes")
    given = parser.parse_args()
    result = compare(
        rows=given.rows,
        peer_rows=given.peer_rows,
        symbols=given.symbols,
        rounds=given.rounds,
        workers=given.workers,
    )
    show(result, as_json=given.json)


if __name__ == "__main__":
    main()
