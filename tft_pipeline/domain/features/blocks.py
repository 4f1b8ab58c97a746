"""The feature frame in blocks, each the rows of a few symbols. The only place that knows both frames and arrays of formulas.

What a formula sees does not depend on the block it is computed in, so blocks may be computed in any order and in any
process: put together they are `build_features` to the bit. Not here: processes and files (the pipeline), what bars must
satisfy (`requirements`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from tft_pipeline.domain.features.catalogue import FeatureSet
from tft_pipeline.domain.features.evaluation import Float32Array, OutsideValues, as_float32, own_values, spread_values
from tft_pipeline.domain.features.feature import AcrossSymbols, Feature, OfMarket, OfSymbol, PerSymbol
from tft_pipeline.domain.features.history import UTC, CrossSection, History
from tft_pipeline.domain.features.joins import NOWHERE, Places, Stamps, newest_bar, same_bar
from tft_pipeline.domain.features.requirements import (
    KEYS,
    OPTIONAL,
    check_bars,
    check_inputs,
    check_untraded,
    check_user_columns,
)
from tft_pipeline.domain.features.sharing import settled, sharing
from tft_pipeline.domain.features.windows import Array

BLOCK_ROWS = 32_768
"""A block takes whole symbols until it has so many rows."""
MATRIX_BYTES = 512 * 2**20
"""What is remembered of matrices over all symbols."""


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of a few symbols that follow each other: rows `start` to `stop` of the bars, from `place` on in the result."""

    start: int
    stop: int
    place: int
    symbols: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        """How many."""
        return self.stop - self.start


@dataclass(frozen=True)
class FeatureBuild:
    """What is to be computed from which bars; `of` checks that it can be.

    Everything of a block but `outside` is a function of the block's own rows and the bars of the untraded symbols.
    """

    bars: pl.DataFrame
    features: tuple[Feature, ...]
    market_symbol: str | None
    cross_symbols: tuple[str, ...]
    user_columns: tuple[str, ...]
    bars_per_year: float
    timezone: str

    @classmethod
    def of(
        cls,
        bars: pl.DataFrame,
        feature_set: FeatureSet,
        *,
        market_symbol: str | None,
        cross_symbols: Sequence[str] = (),
        user_columns: Sequence[str] = (),
        bars_per_year: float,
        timezone: str | None = None,
    ) -> "FeatureBuild":
        """The same arguments and errors as `build_features`."""
        check_bars(bars)
        check_user_columns(bars, user_columns, feature_set.features)
        if not bars_per_year > 0.0:
            raise ValueError(
                f"bars_per_year {bars_per_year} is not above 0: volatilities need it, pass 252 for daily bars"
            )
        build = cls(
            bars=bars,
            features=feature_set.features,
            market_symbol=market_symbol,
            cross_symbols=tuple(cross_symbols),
            user_columns=tuple(user_columns),
            bars_per_year=bars_per_year,
            timezone=timezone or UTC,
        )
        check_untraded([symbol for symbol, _, _ in build.spans], market_symbol, cross_symbols)
        check_inputs(bars, feature_set.features, market_symbol, cross_symbols)
        return build

    @property
    def own(self) -> tuple[Feature, ...]:
        """Features that look at one symbol alone."""
        return tuple(feature for feature in self.features if isinstance(feature.source, PerSymbol))

    @property
    def beyond(self) -> tuple[Feature, ...]:
        """Features that look further: at the market, another market or all symbols."""
        return tuple(feature for feature in self.features if not isinstance(feature.source, PerSymbol))

    @cached_property
    def spans(self) -> tuple[tuple[str, int, int], ...]:
        """Each symbol with its first row and the row behind its last."""
        runs = self.bars.select(pl.col("symbol").rle()).unnest("symbol")
        stops = np.cumsum(runs["len"].to_numpy())
        return tuple(
            (symbol, int(stop - rows), int(stop))
            for symbol, rows, stop in zip(runs["value"], runs["len"], stops, strict=True)
        )

    @cached_property
    def traded(self) -> tuple[tuple[int, int], ...]:
        """The rows of each symbol that is in the result."""
        untraded = {self.market_symbol, *self.cross_symbols}
        return tuple((start, stop) for symbol, start, stop in self.spans if symbol not in untraded)

    def blocks(self, rows: int = BLOCK_ROWS) -> tuple[Block, ...]:
        """The result in order, cut between symbols: as soon as a block has `rows` rows, or an untraded symbol follows."""
        found: list[list[tuple[int, int]]] = []
        for span in self.traded:
            open_block = found and found[-1][-1][1] == span[0] and found[-1][-1][1] - found[-1][0][0] < rows
            if open_block:
                found[-1].append(span)
            else:
                found.append([span])
        blocks, place = [], 0
        for spans in found:
            start, stop = spans[0][0], spans[-1][1]
            blocks.append(Block(start, stop, place, tuple(spans)))
            place += stop - start
        return tuple(blocks)

    def frames(self, rows: int = BLOCK_ROWS) -> Iterator[pl.DataFrame]:
        """The result block by block, one after the other in this process."""
        outside = self.outside(self.beyond)
        for block in self.blocks(rows):
            yield self.frame(block, self.own_values(block), outside)

    def own_values(self, block: Block) -> Float32Array:
        """The features that look at one symbol alone, (features, rows of the block), NaN where there is no value."""
        own = self.own
        out = np.empty((len(own), block.rows), dtype=np.float32)
        for start, stop in block.symbols:
            history = self._history(start, stop, market=self._market)
            own_values(out[:, start - block.start : stop - block.start], own, history)
        return out

    def outside(self, features: Iterable[Feature]) -> dict[str, OutsideValues]:
        """Features that look further than one symbol, by name. All traded bars are in memory meanwhile."""
        chosen = tuple(features)
        across = [feature for feature in chosen if isinstance(feature.source, AcrossSymbols)]
        found = {}
        with sharing(MATRIX_BYTES):
            section = self._section(across) if across else None
            for feature in across:
                assert section is not None
                assert isinstance(feature.source, AcrossSymbols)
                found[feature.name] = spread_values(feature.name, section, feature.source.formula(section))
        del section
        with sharing():
            for feature in chosen:
                if isinstance(feature.source, OfMarket):
                    assert self._market is not None
                    values = as_float32(feature.name, feature.source.formula(self._market))
                    found[feature.name] = OutsideValues("market", values)
                elif isinstance(feature.source, OfSymbol):
                    symbol = feature.source.symbol
                    values = as_float32(feature.name, feature.source.formula(self._others[symbol]))
                    found[feature.name] = OutsideValues(f"symbol {symbol}", values)
        return found

    def frame(self, block: Block, own: Float32Array, outside: Mapping[str, OutsideValues]) -> pl.DataFrame:
        """The rows of a block, all columns.

        Args:
            block: One of `blocks`.
            own: Its `own_values`.
            outside: `outside` of all features in `beyond`.
        """
        part = self.bars.slice(block.start, block.rows)
        stamps = _stamps(part)
        places: dict[str, Places] = {}
        rows = dict(zip((feature.name for feature in self.own), own, strict=True))
        columns = []
        for feature in self.features:
            values = rows.get(feature.name)
            if values is None:
                given = outside[feature.name]
                if given.calendar == "rows":
                    values = given.values[block.place : block.place + block.rows]
                else:
                    if given.calendar not in places:
                        places[given.calendar] = self._places(given.calendar, stamps)
                    place = places[given.calendar]
                    values = np.where(place == NOWHERE, np.float32(np.nan), given.values[place])
            if feature.lag:
                values = _later(values, block, feature.lag)
            columns.append(pl.Series(feature.name, values).fill_nan(None))
        users = [part[name].cast(pl.Float32) for name in self.user_columns]
        return pl.DataFrame([*(part[key] for key in KEYS), *columns, *users])

    @cached_property
    def _market(self) -> History | None:
        return None if self.market_symbol is None else self._history(*self._span_of(self.market_symbol), market=None)

    @cached_property
    def _others(self) -> dict[str, History]:
        return {symbol: self._history(*self._span_of(symbol), market=None) for symbol in self.cross_symbols}

    @cached_property
    def _calendar(self) -> Stamps:
        return np.unique(np.concatenate([_stamps(self.bars.slice(start, stop - start)) for start, stop in self.traded]))

    def _span_of(self, symbol: str) -> tuple[int, int]:
        return next((start, stop) for name, start, stop in self.spans if name == symbol)

    def _places(self, calendar: str, stamps: Stamps) -> Places:
        if calendar == "traded":
            return same_bar(stamps, self._calendar)
        if calendar == "market":
            assert self._market is not None
            return same_bar(stamps, self._market.timestamps)
        return newest_bar(stamps, self._others[calendar.partition(" ")[2]].timestamps, self.timezone)

    def _section(self, features: Sequence[Feature]) -> CrossSection:
        inputs = {name for feature in features for name in feature.inputs}
        histories = tuple(
            self._history(start, stop, market=self._market, columns=inputs) for start, stop in self.traded
        )
        return CrossSection(histories=histories)

    def _history(self, start: int, stop: int, *, market: History | None, columns: set[str] | None = None) -> History:
        """The bars of one symbol as arrays, with the index close of the same timestamps beside them.

        Args:
            start, stop: Its rows.
            market: The index, None for the index itself.
            columns: Those that formulas will ask for; all by default.
        """
        part = self.bars.slice(start, stop - start)
        named = {name for feature in self.features for name in feature.inputs} if columns is None else columns
        wanted = {name for name in part.columns if name in named or (columns is None and name in OPTIONAL)}
        stamps = _stamps(part)
        given = {name: _finite_or_nan(part[name]) for name in wanted - {"close", *KEYS}}
        market_close = None
        if market is not None:
            place = same_bar(stamps, market.timestamps)
            (market_close,) = settled((np.where(place == NOWHERE, np.nan, market.close[place]),))
        return History(
            timestamps=stamps,
            close=_finite_or_nan(part["close"]),
            bars_per_year=self.bars_per_year,
            open=given.pop("open", None),
            high=given.pop("high", None),
            low=given.pop("low", None),
            volume=given.pop("volume", None),
            market_close=market_close,
            others=given,
            timezone=self.timezone,
        )


def _later(values: Float32Array, block: Block, bars: int) -> Float32Array:
    """Each symbol's values, `bars` of its bars later."""
    out = np.full(values.shape, np.nan, dtype=np.float32)
    for start, stop in block.symbols:
        first, behind = start - block.start, stop - block.start
        out[min(first + bars, behind) : behind] = values[first : max(behind - bars, first)]
    return out


def _stamps(part: pl.DataFrame) -> Stamps:
    return part["timestamp"].dt.replace_time_zone(None).to_numpy()


def _finite_or_nan(series: pl.Series) -> Array:
    values = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return settled((np.where(np.isfinite(values), values, np.nan),))[0]
