"""The dense view of a long frame that models read: symbols x bars x features, with what is absent marked.

Here: the arrays and how they are cut. Not here: how features or targets are computed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

VALUES_A_BLOCK, ROWS_A_BLOCK = 65_536, 1_024
"""Half a megabyte in float64, so that a block and what is computed from it stay in a core's cache; few enough rows that a sum
over them loses three digits at most."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Axes: S symbols, N bars of the calendar, V features. Arrays are read only.

    Attributes:
        calendar: (N,) timestamps, UTC, sorted.
        symbols: (S,) sorted names.
        features: (V,) names.
        values: (S, N, V) float32, NaN where a value is missing.
        observed: (S, N) the symbol has a bar there and enough history for every built feature.
        next_return: (S, N) return of the following bar; NaN where unknown.
        volatility: (S, N) ex-ante annual volatility known at the bar; NaN where unknown.
        label: (S, N) forward return over the horizon in units of expected risk; NaN where unknown.
        close: (S, N) price; NaN where the symbol has no bar.
    """

    calendar: tuple[datetime, ...]
    symbols: tuple[str, ...]
    features: tuple[str, ...]
    values: np.ndarray
    observed: np.ndarray
    next_return: np.ndarray
    volatility: np.ndarray
    label: np.ndarray
    close: np.ndarray

    @property
    def n_bars(self) -> int:
        """N."""
        return len(self.calendar)

    @property
    def scored(self) -> np.ndarray:
        """(S, N) bars with everything a loss needs: observed, finite next return, volatility and label."""
        finite = np.isfinite(self.next_return) & np.isfinite(self.volatility) & np.isfinite(self.label)
        found: np.ndarray = self.observed & finite
        return found

    def row_blocks(self) -> Iterator[tuple[int, slice]]:
        """Every bar of every symbol once: a symbol and a slice of its bars, `rows_a_block` or fewer."""
        step = rows_a_block(len(self.features))
        for s in range(len(self.symbols)):
            for first in range(0, self.n_bars, step):
                yield s, slice(first, min(first + step, self.n_bars))

    def between(self, start: int, stop: int) -> "Panel":
        """Bars start .. stop-1 as views."""
        if not 0 <= start < stop <= self.n_bars:
            raise ValueError(f"bars {start}..{stop} are not inside the panel's 0..{self.n_bars}")
        cut = slice(start, stop)
        return replace(
            self,
            calendar=self.calendar[cut],
            values=self.values[:, cut],
            observed=self.observed[:, cut],
            next_return=self.next_return[:, cut],
            volatility=self.volatility[:, cut],
            label=self.label[:, cut],
            close=self.close[:, cut],
        )

    def listed(self) -> "Panel":
        """Only symbols that are observed at some bar: one listed later must not change what is computed from earlier bars.

        Raises:
            ValueError: not one symbol is observed.
        """
        keep = np.flatnonzero(self.observed.any(axis=1))
        if not keep.size:
            raise ValueError(
                f"no symbol of {len(self.symbols)} is observed in these {self.n_bars} bars; bring more bars"
            )
        if keep.size == len(self.symbols):
            return self

        def kept(array: np.ndarray) -> np.ndarray:
            taken = array[keep]
            taken.setflags(write=False)
            return taken

        return replace(
            self,
            symbols=tuple(self.symbols[s] for s in keep),
            values=kept(self.values),
            observed=kept(self.observed),
            next_return=kept(self.next_return),
            volatility=kept(self.volatility),
            label=kept(self.label),
            close=kept(self.close),
        )

    def with_features(self, names: Sequence[str]) -> "Panel":
        """Only some features, in the order given (a copy)."""
        missing = [name for name in names if name not in self.features]
        if missing:
            raise ValueError(f"features {missing} are not in the panel ({len(self.features)} features)")
        index = [self.features.index(name) for name in names]
        values = np.ascontiguousarray(self.values[:, :, index])
        values.setflags(write=False)
        return replace(self, features=tuple(names), values=values)


def build_panel(features: pl.DataFrame, targets: pl.DataFrame, *, names: Sequence[str], min_history: int) -> Panel:
    """Put long frames on one grid.

    Args:
        features: timestamp, symbol and the named Float32 columns.
        targets: columns of `targets.TARGET_COLUMNS`.
        names: features to take, in this order.
        min_history: bars of a symbol before which it is not observed (longest lookback of the built features).
    Raises:
        ValueError: the two frames do not have the same (timestamp, symbol) rows.
    """
    calendar = targets["timestamp"].unique().sort()
    symbols = targets["symbol"].unique().sort()
    place = _places(targets, calendar, symbols)
    feature_place = _feature_places(features, targets, place, calendar, symbols)
    shape = (len(symbols), len(calendar))

    values = np.full((*shape, len(names)), np.nan, dtype=np.float32)
    rows = values.reshape(-1, len(names))
    chosen = features.select(names)
    step = rows_a_block(len(names))
    for first in range(0, chosen.height, step):  # whole rows: a column at a time would touch every cache line V times
        rows[feature_place[first : first + step]] = chosen.slice(first, step).to_numpy()

    def grid(column: str) -> np.ndarray:
        out = np.full(shape, np.nan)
        out.reshape(-1)[place] = targets[column].fill_null(float("nan")).to_numpy()
        out.setflags(write=False)
        return out

    present = np.zeros(shape, dtype=bool)
    present.reshape(-1)[place] = True
    history = np.cumsum(present, axis=1, dtype=np.int32)
    observed = present & (history >= min_history)
    values.setflags(write=False)
    observed.setflags(write=False)
    return Panel(
        calendar=tuple(calendar.to_list()),
        symbols=tuple(symbols.to_list()),
        features=tuple(names),
        values=values,
        observed=observed,
        next_return=grid("next_return"),
        volatility=grid("volatility"),
        label=grid("label"),
        close=grid("close"),
    )


def rows_a_block(n_features: int) -> int:
    """Rows of `n_features` values to work on at a time."""
    return min(ROWS_A_BLOCK, max(1, VALUES_A_BLOCK // max(1, n_features)))


def _places(frame: pl.DataFrame, calendar: pl.Series, symbols: pl.Series) -> np.ndarray:
    """Flat place, symbol * N + bar, of each row of a frame whose keys are all in `calendar` and `symbols`."""
    place = frame["symbol"].cast(pl.Enum(symbols)).to_physical().to_numpy().astype(np.intp)
    place *= len(calendar)
    place += calendar.search_sorted(frame["timestamp"]).to_numpy()
    return place


def _feature_places(
    features: pl.DataFrame, targets: pl.DataFrame, place: np.ndarray, calendar: pl.Series, symbols: pl.Series
) -> np.ndarray:
    """Flat place of each row of `features`; ValueError unless they are the rows of `targets`, which are at `place`."""
    same_calendar = features["timestamp"].unique().sort().equals(calendar)
    same_symbols = features["symbol"].unique().sort().equals(symbols)
    if same_calendar and same_symbols and features.height == targets.height:
        found = _places(features, calendar, symbols)
        if np.array_equal(found, place):
            return place
        if np.array_equal(np.sort(found), np.sort(place)):
            return found
    raise ValueError(
        f"features ({features.height} rows) and targets ({targets.height} rows) differ in their (timestamp, "
        "symbol) rows: they come from different snapshots; materialise both again"
    )
