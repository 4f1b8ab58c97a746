"""A check that a feature frame does not know the future: cut the bars, or replace what follows, and build again."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

KEYS = ("timestamp", "symbol")
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A value that changed although only later bars did.

    Args:
        feature: The column; "timestamp" or "symbol" when the rows themselves differ.
        symbol: Symbol of the earliest row that changed.
        timestamp: Its timestamp, at or before the cut.
        cut: Bars up to here were left as they were.
        change: "removed" when the later bars were taken away, "perturbed" when they were replaced by noise.
        expected: Value with the original later bars.
        found: Value after the change.
    """

    feature: str
    symbol: str
    timestamp: datetime
    cut: datetime
    change: str
    expected: float | None
    found: float | None

    def __str__(self) -> str:
        return (
            f"{self.feature} of {self.symbol} at {self.timestamp} is {self.expected}, and {self.found} once the bars "
            f"after {self.cut} are {self.change}: the value depends on the future"
        )


def first_causality_violation(
    build: Callable[[pl.DataFrame], pl.DataFrame], bars: pl.DataFrame, cut_timestamps: Iterable[datetime]
) -> Violation | None:
    """Build from all bars, from those up to each cut, and with those after it replaced by noise; compare the bits.

    Two builds agree when every row at or before the cut has the same key and, in every column, the same null mask and
    the same bytes. Both changes are needed: removal finds what depends on the length, noise what depends on values.

    Args:
        build: Bars -> frame with timestamp and symbol. Must be deterministic.
        bars: Long frame; float columns are raw values.
        cut_timestamps: Cuts, tried in the order given; each should leave some bars on both sides.
    Returns:
        The earliest row of the first differing column at the first failing cut, or None.
    """
    full = build(bars)
    for cut in cut_timestamps:
        upto = pl.col("timestamp") <= cut
        expected = full.filter(upto)
        for change, changed in (("removed", bars.filter(upto)), ("perturbed", perturbed_after(bars, cut))):
            violation = _first_difference(expected, build(changed).filter(upto), cut, change)
            if violation is not None:
                return violation
    return None


def perturbed_after(bars: pl.DataFrame, cut: datetime, *, seed: int = 0) -> pl.DataFrame:
    """Replace every float value after the cut by noise.

    Prices of a bar share one log-normal factor (sigma 0.5), so that low <= close <= high stays true; every other
    float column gets its own factors and an offset of the size of its mean, so that zeros move too. Rows at or before
    the cut are not touched.
    """
    rng = np.random.default_rng(seed)
    later = pl.col("timestamp") > cut
    price_factor = pl.Series(np.exp(0.5 * rng.standard_normal(bars.height)))
    replaced = []
    for name, dtype in bars.schema.items():
        if not dtype.is_float():
            continue
        if name in _PRICES:
            noisy = pl.col(name) * price_factor
        else:
            factor = pl.Series(np.exp(0.5 * rng.standard_normal(bars.height)))
            size = bars[name].fill_nan(None).abs().mean() or 1.0
            noisy = pl.col(name) * factor + size * pl.Series(rng.random(bars.height))
        replaced.append(pl.when(later).then(noisy.cast(dtype)).otherwise(pl.col(name)).alias(name))
    return bars.with_columns(replaced)


def _first_difference(expected: pl.DataFrame, found: pl.DataFrame, cut: datetime, change: str) -> Violation | None:
    if expected.columns != found.columns:
        column = next(iter(set(expected.columns) ^ set(found.columns)), expected.columns[0])
        raise ValueError(f"builds have different columns ({column!r} first): compare builds of one feature set")
    rows = min(expected.height, found.height)
    a, b = expected.head(rows), found.head(rows)
    different = {name: np.flatnonzero(_differs(a[name], b[name])) for name in [*KEYS, *a.columns]}
    for name, where in different.items():
        if len(where):
            row = min(where, key=lambda i: (a["timestamp"][int(i)], int(i)))
            return _violation(name, a, b, int(row), cut, change)
    if expected.height != found.height:
        longer = expected if expected.height > rows else found
        return _violation("timestamp", longer, longer, rows, cut, change)
    return None


def _violation(name: str, a: pl.DataFrame, b: pl.DataFrame, row: int, cut: datetime, change: str) -> Violation:
    is_key = name in KEYS
    return Violation(
        feature=name,
        symbol=a["symbol"][row],
        timestamp=a["timestamp"][row],
        cut=cut,
        change=change,
        expected=None if is_key else a[name][row],
        found=None if is_key else b[name][row],
    )


def _differs(a: pl.Series, b: pl.Series) -> NDArray[np.bool_]:
    """Rows that differ in null mask or bytes; NaN equals NaN of the same bits, 0.0 does not equal -0.0."""
    if a.dtype != b.dtype:
        return np.ones(len(a), dtype=np.bool_)
    if a.dtype not in (pl.Float32, pl.Float64):
        return a.ne_missing(b).to_numpy()
    bits = np.uint32 if a.dtype == pl.Float32 else np.uint64
    left, right = a.fill_null(0.0).to_numpy().view(bits), b.fill_null(0.0).to_numpy().view(bits)
    differs: NDArray[np.bool_] = (left != right) | (a.is_null().to_numpy() != b.is_null().to_numpy())
    return differs
