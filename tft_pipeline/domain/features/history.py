"""What a formula may look at: the bars of one symbol (`History`), or of all symbols side by side (`CrossSection`).

Formulas receive these objects and arrays in time order, nothing else, so that no formula can reach another symbol's
rows by accident and a late listing starts its windows at its own first row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tft_pipeline.domain.features.windows import Array, ewm_std, lag, positive_log

SIGMA_SPAN = 60


@dataclass(frozen=True, kw_only=True)
class History:
    """The bars of one symbol, oldest first; all arrays have one value a bar.

    `close` is complete and positive. The optional columns hold NaN where a value is missing or not finite.
    `market_close` is the close of the market index on the same timestamp, NaN where the index has no bar.
    """

    timestamps: NDArray[np.datetime64]
    close: Array
    bars_per_year: float
    open: Array | None = None
    high: Array | None = None
    low: Array | None = None
    volume: Array | None = None
    market_close: Array | None = None

    def column(self, name: str) -> Array:
        """An optional column by name.

        Raises:
            ValueError: the column is absent; features whose inputs are absent are skipped before they are computed.
        """
        values: Array | None = getattr(self, name)
        if values is None:
            raise ValueError(f"column {name!r} is absent from the bars: resolve the features on them first")
        return values

    @cached_property
    def log_close(self) -> Array:
        """ln(close)."""
        return np.log(self.close)

    @cached_property
    def log_return(self) -> Array:
        """ln(close_t / close_{t-1}), NaN on the first bar."""
        return self.log_return_over(1)

    @cached_property
    def sigma(self) -> Array:
        """EWM standard deviation (span 60, from 60 returns on) of the one-bar log return; per bar, known at t."""
        return ewm_std(self.log_return, SIGMA_SPAN)

    @cached_property
    def market_log_close(self) -> Array:
        """ln(market close) on this symbol's own timestamps, NaN where the index has no bar."""
        return positive_log(self.column("market_close"))

    def log_return_over(self, bars: int) -> Array:
        """ln(close_t / close_{t-bars}), in this symbol's own bars."""
        return self.log_close - lag(self.log_close, bars)

    def market_log_return_over(self, bars: int) -> Array:
        """Log return of the index between the same two timestamps; NaN where the index misses either of them."""
        return self.market_log_close - lag(self.market_log_close, bars)


@dataclass(frozen=True, kw_only=True)
class CrossSection:
    """All symbols on the union of their timestamps: matrices are (bars, symbols), NaN where a symbol has no bar.

    Sums over symbols go column by column, absent symbols adding 0.0, so that a symbol listed later leaves the
    rounding of earlier bars as it was.
    """

    histories: tuple[History, ...]

    @cached_property
    def calendar(self) -> NDArray[np.datetime64]:
        """Every timestamp on which at least one symbol has a bar, ascending."""
        return np.unique(np.concatenate([history.timestamps for history in self.histories]))

    @cached_property
    def rows(self) -> tuple[NDArray[np.intp], ...]:
        """For each symbol, the calendar row of each of its bars."""
        return tuple(np.searchsorted(self.calendar, history.timestamps) for history in self.histories)

    def matrix(self, formula: Callable[[History], Array]) -> Array:
        """Evaluate a one-symbol formula for all symbols and lay the results side by side."""
        out = np.full((len(self.calendar), len(self.histories)), np.nan, order="F")
        for column, (history, rows) in enumerate(zip(self.histories, self.rows, strict=True)):
            out[rows, column] = formula(history)
        return out

    def broadcast(self, values: Array) -> Array:
        """The same value for every symbol of a bar: (bars,) -> (bars, symbols)."""
        return np.broadcast_to(values[:, None], (len(self.calendar), len(self.histories)))

    def flatten(self, matrix: Array) -> Array:
        """Back to one value a row of the long frame: symbols one after the other, each in time order."""
        return np.concatenate([matrix[rows, column] for column, rows in enumerate(self.rows)])


def known_count(matrix: Array) -> NDArray[np.intp]:
    """Number of symbols with a known value on each bar."""
    return np.isfinite(matrix).sum(axis=1)


def mean_over_symbols(matrix: Array, *, symbols_needed: int = 2) -> Array:
    """Mean over the symbols known on a bar; NaN where fewer than `symbols_needed` are."""
    count = known_count(matrix)
    total = np.zeros(len(matrix))
    for column in matrix.T:
        total += np.where(np.isfinite(column), column, 0.0)
    return np.divide(total, count, out=np.full(len(matrix), np.nan), where=count >= symbols_needed)
