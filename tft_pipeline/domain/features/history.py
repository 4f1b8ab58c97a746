"""What a formula may look at: the bars of one symbol (`History`), or of all symbols side by side (`CrossSection`).

Formulas receive these objects and arrays in time order, nothing else, so that no formula can reach another symbol's
rows by accident and a late listing starts its windows at its own first row.

What they hold and compute is read-only: inside `sharing`, statistics of it are computed once (`windows`).
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tft_pipeline.domain.features.sharing import once, settled, sharing
from tft_pipeline.domain.features.windows import Array, ewm_std, lag, positive_log

SIGMA_SPAN = 60
UTC = "UTC"
ONE_SYMBOL_BYTES = 64 * 2**20
"""What is remembered of one symbol while a matrix over all symbols is filled."""


@dataclass(frozen=True, kw_only=True)
class History:
    """The bars of one symbol, oldest first; all arrays have one value a bar.

    `close` is complete and positive. The optional columns hold NaN where a value is missing or not finite.
    `timestamps` are UTC. `market_close` is the close of the market index on the same timestamp, NaN where the index has no
    bar. `others` are the columns beside these that some feature names among its inputs. `timezone` is where a bar's date
    and time of day are read.
    """

    timestamps: NDArray[np.datetime64]
    close: Array
    bars_per_year: float
    open: Array | None = None
    high: Array | None = None
    low: Array | None = None
    volume: Array | None = None
    market_close: Array | None = None
    others: Mapping[str, Array] = field(default_factory=dict)
    timezone: str = UTC

    def column(self, name: str) -> Array:
        """An optional column by name, one of `others` too.

        Raises:
            ValueError: the column is absent; features whose inputs are absent are skipped before they are computed.
        """
        values: Array | None = self.others[name] if name in self.others else getattr(self, name, None)
        if values is None:
            raise ValueError(f"column {name!r} is absent from the bars: resolve the features on them first")
        return values

    @cached_property
    def local_times(self) -> NDArray[np.datetime64]:
        """What a clock and a calendar in `timezone` show at each bar; the same hour twice where clocks go back."""
        if self.timezone == UTC:
            return self.timestamps
        stamps = pl.Series(self.timestamps).dt.replace_time_zone(UTC).dt.convert_time_zone(self.timezone)
        return stamps.dt.replace_time_zone(None).to_numpy()

    @cached_property
    def log_close(self) -> Array:
        """ln(close)."""
        return _settled(np.log(self.close))

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
        return _settled(positive_log(self.column("market_close")))

    def log_return_over(self, bars: int) -> Array:
        """ln(close_t / close_{t-bars}), in this symbol's own bars."""
        return _change(self.log_close, bars)

    def market_log_return_over(self, bars: int) -> Array:
        """Log return of the index between the same two timestamps; NaN where the index misses either of them."""
        return _change(self.market_log_close, bars)

    def between(self, start: int, stop: int) -> "History":
        """Its bars from row `start` up to row `stop`, as if there were no others."""
        rows = slice(start, stop)

        def cut(values: Array | None) -> Array | None:
            return None if values is None else values[rows]

        return History(
            timestamps=self.timestamps[rows],
            close=self.close[rows],
            bars_per_year=self.bars_per_year,
            open=cut(self.open),
            high=cut(self.high),
            low=cut(self.low),
            volume=cut(self.volume),
            market_close=cut(self.market_close),
            others={name: values[rows] for name, values in self.others.items()},
            timezone=self.timezone,
        )


@dataclass(frozen=True, kw_only=True)
class CrossSection:
    """All symbols on the union of their timestamps: matrices are (bars, symbols), NaN where a symbol has no bar.

    Sums over symbols go column by column, absent symbols adding 0.0, so that a symbol listed later leaves the
    rounding of earlier bars as it was. Inside `sharing` a matrix is filled once for all features that ask for it.
    """

    histories: tuple[History, ...]

    @cached_property
    def calendar(self) -> NDArray[np.datetime64]:
        """Every timestamp on which at least one symbol has a bar, ascending."""
        stamps = np.unique(np.concatenate([history.timestamps for history in self.histories]))
        stamps.flags.writeable = False
        return stamps

    @cached_property
    def rows(self) -> tuple[NDArray[np.intp], ...]:
        """For each symbol, the calendar row of each of its bars."""
        return tuple(np.searchsorted(self.calendar, history.timestamps) for history in self.histories)

    def matrix(self, formula: Callable[[History], Array]) -> Array:
        """Evaluate a one-symbol formula for all symbols and lay the results side by side; read-only."""
        # the calendar is one object a section, so it stands for its symbols
        return once(("matrix", _identity(formula)), (self.calendar,), lambda: (self._filled(formula),))[0]

    def _filled(self, formula: Callable[[History], Array]) -> Array:
        out = np.full((len(self.calendar), len(self.histories)), np.nan, order="F")
        for column, (history, rows) in enumerate(zip(self.histories, self.rows, strict=True)):
            with sharing(ONE_SYMBOL_BYTES):
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
    found: NDArray[np.intp] = np.isfinite(matrix).sum(axis=1)
    return found


def mean_over_symbols(matrix: Array, *, symbols_needed: int = 2) -> Array:
    """Mean over the symbols known on a bar; NaN where fewer than `symbols_needed` are."""
    count = known_count(matrix)
    total = np.zeros(len(matrix))
    for column in matrix.T:
        total += np.where(np.isfinite(column), column, 0.0)
    found: Array = np.divide(total, count, out=np.full(len(matrix), np.nan), where=count >= symbols_needed)
    return found


def _change(values: Array, bars: int) -> Array:
    return once(("change", bars), (values,), lambda: (values - lag(values, bars),))[0]


def _settled(values: Array) -> Array:
    return settled((values,))[0]


def _identity(formula: object) -> Hashable:
    """Equal for two partials of one function with equal arguments, which are different objects."""
    if isinstance(formula, partial):
        named = tuple((name, _identity(value)) for name, value in sorted(formula.keywords.items()))
        return formula.func, tuple(_identity(value) for value in formula.args), named
    return formula
