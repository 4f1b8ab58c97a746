"""Raw bars as they come, and the features and volatilities of the newest ones: by the catalogue's own formulas.

What a formula gives here is what it gives in a backtest on the same bars. Of a feature that is not recursive that is so to
the bit as soon as its `lookback` bars are there; a recursive one (an EWM, a running maximum, a streak) reads everything
since the first bar, so that its bits are those of the stored frame only where history begins with the same bar.
Here: the bars of one model. Not here: where bars come from, the model, minutes behind longer bars (their aggregates,
`minute_...`, are columns of the bars like any other).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Self

import numpy as np
import polars as pl

from tft_pipeline.domain.bars import RESERVED_PREFIX, BarsError, normalise_bars, utc_column
from tft_pipeline.domain.features import FeatureSet, resolve_features
from tft_pipeline.domain.features.blocks import FeatureBuild
from tft_pipeline.domain.signature import Signature
from tft_pipeline.domain.targets import build_targets
from tft_pipeline.live.bar_features import BarFeatures, aware
from tft_pipeline.live.bar_tails import needed_bars
from tft_pipeline.live.refusals import (
    DuplicateBarError,
    MissingFeatureError,
    OtherFormulaError,
    StaleBarError,
    UnknownSymbolError,
    UnusableBarsError,
)

KEYS = ("timestamp", "symbol")
N_BARS = "minute_number"
"""Bars a symbol has had; begins as no column of a user's may."""


class BarHistory:
    """The bars a model needs; grows by `append`. One thread at a time.

    Args:
        signature: whose features are computed.
        bars: raw rows, as `domain.bars.normalise_bars` takes them: timestamp (of the close), symbol, close, and what other
            columns the features are made of; with `available_at` a user's columns must be those that are public.
        opened_before: what the timestamps are earlier than the closes of their bars; `DataSection.opened_before`.
        keep_bars: newest bars a symbol that are kept; all by default. Recursive features forget what lies before them, and
            those that never forget (a running maximum, an age) begin anew.
    Raises:
        UnusableBarsError: bars that the pipeline would not have taken, or too few to keep.
        MissingFeatureError: a column that a feature is made of is not there. OtherFormulaError: a formula has changed.
        UnknownSymbolError: a symbol that is neither traded nor context.
    """

    def __init__(
        self,
        signature: Signature,
        bars: pl.DataFrame,
        *,
        opened_before: timedelta = timedelta(0),
        keep_bars: int | None = None,
    ) -> None:
        self.signature, self._opened_before, self._keep = signature, opened_before, keep_bars
        if keep_bars is not None and keep_bars < signature.max_lookback + signature.lookback:
            raise UnusableBarsError(
                f"keep_bars {keep_bars} < max_lookback {signature.max_lookback} + lookback {signature.lookback}: features of a "
                "window could not be computed; keep more bars, or leave it out to keep all"
            )
        self._before: dict[str, int] = {}  # bars of each symbol that are not kept any more
        self._bars = self._normalised(bars)
        self._features = self._resolved(self._bars.columns)
        self._computed: tuple[datetime, pl.DataFrame] | None = None
        self._volatility: pl.DataFrame | None = None
        self._trim()

    @property
    def calendar(self) -> pl.Series:
        """Timestamps at which some traded symbol has a bar, ascending."""
        return self._traded()["timestamp"].unique().sort()

    @property
    def last(self) -> datetime:
        """Timestamp of the newest traded bar.

        Raises:
            UnusableBarsError: there is none.
        """
        newest = self._traded()["timestamp"].max()
        if not isinstance(newest, datetime):
            raise UnusableBarsError(
                f"no bar of {', '.join(self.signature.symbols[:5])}: there is nothing to decide on; bring bars of these"
            )
        return newest

    def append(self, bars: pl.DataFrame) -> None:
        """Add newer bars, of some or all symbols; bring all of one timestamp together, context first or with them.

        A bar of a symbol that missed the last timestamps is legal: later features count it, decisions taken without it stay.

        Raises:
            DuplicateBarError, StaleBarError: not newer than the newest of its symbol; nothing was added.
            RefusedBarError: as the constructor.
        """
        new = self._normalised(bars)
        newest = dict(self._bars.group_by("symbol").agg(pl.col("timestamp").max()).iter_rows())
        for row in new.select("symbol", "timestamp").iter_rows(named=True):
            known = newest.get(row["symbol"])
            if known is not None and row["timestamp"] <= known:
                same = row["timestamp"] == known
                raise (DuplicateBarError if same else StaleBarError)(
                    f"bar {row['timestamp'].isoformat()} of {row['symbol']} is "
                    + ("there already" if same else f"older than its newest, {known.isoformat()}")
                    + ": what was decided on would change behind it; bring newer bars, or build the history anew"
                )
        absent = [name for name in self._bars.columns if name not in new.columns]
        if absent:
            raise MissingFeatureError(
                f"the new bars lack the columns {absent}, which features are made of; bring them, null where unknown"
            )
        self._bars = pl.concat([self._bars, new.select(self._bars.columns)]).sort("symbol", "timestamp")
        self._computed = self._volatility = None
        self._trim()

    def features_at(self, timestamp: datetime) -> BarFeatures:
        """The features of every traded symbol that is observed at a bar: it has a row there, and `max_lookback` bars.

        Raises:
            StaleBarError: no traded symbol has a bar then.
        """
        at = aware(timestamp)
        if at not in set(self.calendar):
            raise StaleBarError(
                f"no traded symbol has a bar at {at.isoformat()}: there is nothing to decide on; the newest bar is "
                f"{self.last.isoformat()}"
            )
        return self._bar(self._since(at), at)

    def recent(self, n: int, *, before: datetime | None = None) -> list[BarFeatures]:
        """The newest n calendar bars in the order of time, fewer where there are fewer; those before a time, where one is
        given: what a predictor warms up with."""
        stamps = self.calendar if before is None else self.calendar.filter(self.calendar < aware(before))
        wanted = stamps.tail(n).to_list() if n > 0 else []
        if not wanted:
            return []
        rows = self._since(wanted[0])
        return [self._bar(rows, at) for at in wanted]

    def volatility_at(self, timestamp: datetime) -> dict[str, float]:
        """Ex-ante annual volatility of each traded symbol at a bar, by `targets.build_targets`; absent where it is unknown:
        a symbol without a bar there, with too few returns, or whose price stands still."""
        if self._volatility is None:
            self._volatility = build_targets(
                self._bars.select(*KEYS, "close"),
                horizon=1,
                volatility_span=self.signature.volatility_span,
                bars_per_year=self.signature.bars_per_year,
                untraded=self.signature.untraded,
            ).select(*KEYS, "volatility")
        here = self._volatility.filter(pl.col("timestamp") == aware(timestamp)).drop_nulls()
        return dict(here.select("symbol", "volatility").iter_rows())

    def of(self, signature: Signature) -> Self:
        """The same bars for another model; columns that only it reads must be among those kept.

        Raises:
            RefusedBarError: as the constructor.
        """
        other = type(self)(signature, self._bars, keep_bars=self._keep)
        other._opened_before, other._before = self._opened_before, dict(self._before)
        return other

    def _normalised(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Bars in the one form, only known symbols."""
        signature = self.signature
        minutes = [name for name in bars.columns if name.startswith(RESERVED_PREFIX)]
        try:
            found = normalise_bars(
                bars.drop(minutes),
                timezone=signature.timezone,
                symbols=None,
                start=None,
                end=None,
                min_bars=1,
                opened_before=self._opened_before,
            )
            if minutes:  # aggregates of minutes, which the pipeline joins behind this check as well
                stamps = utc_column(bars["timestamp"], signature.timezone) + self._opened_before
                aggregates = bars.select(stamps, pl.col("symbol").cast(pl.String), *minutes)
                found = found.join(aggregates, on=KEYS, how="left", maintain_order="left")
        except BarsError as error:
            raise UnusableBarsError(str(error)) from error
        known = {*signature.symbols, *signature.untraded}
        unknown = sorted(set(found["symbol"].unique()) - known)
        if unknown:
            raise UnknownSymbolError(
                f"bars of {', '.join(unknown[:5])}: the model trades {len(signature.symbols)} symbols and reads "
                f"{', '.join(signature.untraded) or 'no market'} as context; features across symbols would change; leave "
                "these out, or train with them"
            )
        return found.drop("available_at", strict=False)

    def _resolved(self, columns: list[str]) -> FeatureSet:
        """The formulas of the model's features, held against the versions it was trained with."""
        signature = self.signature
        absent = [name for name in signature.user_columns if name not in columns]
        if absent:
            raise MissingFeatureError(
                f"the bars have no column {', '.join(absent)}, which the model reads as it is: it would decide on something "
                "else; bring the column, null where a value is unknown"
            )
        try:
            resolved = resolve_features(
                columns,
                groups=(),
                names=list(signature.feature_versions) or None,
                has_market=signature.market_symbol is not None,
                cross_markets=dict(signature.cross_markets),
            )
        except ValueError as error:
            raise OtherFormulaError(
                f"{error}: the model was trained by another version of this code; install that one, or train again"
            ) from error
        if resolved.skipped:
            name, why = resolved.skipped[0]
            raise MissingFeatureError(
                f"{len(resolved.skipped)} of {len(signature.features)} features cannot be computed (first {name}: {why}): the "
                f"model would decide on something else; bring bars with {', '.join(signature.raw_columns)}"
            )
        other = [each for each in resolved.features if each.version != signature.feature_versions[each.name]]
        if other:
            raise OtherFormulaError(
                f"{len(other)} feature(s) are of another formula than the model was trained with (first {other[0].name}: "
                f"version {other[0].version} here, {signature.feature_versions[other[0].name]} then): its inputs would mean "
                "something else; install the version that trained it, or train again"
            )
        return resolved

    def _since(self, first: datetime) -> pl.DataFrame:
        """Feature rows of all bars from `first` on, with the number of bars each symbol has had by then."""
        if self._computed is None or self._computed[0] > first:
            self._computed = first, self._compute(first)
        return self._computed[1]

    def _compute(self, first: datetime) -> pl.DataFrame:
        signature = self.signature
        counts = self._traded().select(*KEYS, pl.int_range(1, pl.len() + 1).over("symbol").alias(N_BARS))
        rows = counts.filter(pl.col("timestamp") >= first)
        bars = self._needed(first)
        build = FeatureBuild.of(
            bars,
            self._features,
            market_symbol=signature.market_symbol,
            cross_symbols=tuple(signature.cross_markets.values()),
            user_columns=signature.user_columns,
            bars_per_year=signature.bars_per_year,
            timezone=signature.timezone,
        )
        found = pl.concat(build.frames()).filter(pl.col("timestamp") >= first)
        return rows.join(found.select(*KEYS, *signature.features), on=KEYS, how="left", maintain_order="left")

    def _needed(self, first: datetime) -> pl.DataFrame:
        """The bars that features from `first` on are made of: all where one of them is recursive."""
        if any(feature.recursive for feature in self._features.features):
            return self._bars
        back = max((feature.lookback + feature.lag for feature in self._features.features), default=1)
        return needed_bars(self._bars, first=first, back=back, untraded=self.signature.untraded)

    def _bar(self, rows: pl.DataFrame, at: datetime) -> BarFeatures:
        names = self.signature.features
        gone = pl.col("symbol").replace_strict(self._before, default=0, return_dtype=pl.Int64)
        enough = pl.col(N_BARS) + gone >= self.signature.max_lookback
        here = rows.filter((pl.col("timestamp") == at) & enough)
        values = here.select(pl.col(names).cast(pl.Float32)).to_numpy()
        found: Mapping[str, np.ndarray] = dict(zip(here["symbol"], values, strict=True))
        return BarFeatures(timestamp=at, values=found, features=names)

    def _traded(self) -> pl.DataFrame:
        return self._bars.filter(~pl.col("symbol").is_in(list(self.signature.untraded)))

    def _trim(self) -> None:
        """Forget the oldest bars, twice as many as are kept at a time."""
        if self._keep is None:
            return
        counts = dict(self._traded()["symbol"].value_counts().iter_rows())
        if max(counts.values(), default=0) < 2 * self._keep:
            return
        for symbol, n in counts.items():
            self._before[symbol] = self._before.get(symbol, 0) + max(0, n - self._keep)
        self._bars = needed_bars(self._bars, first=None, back=self._keep, untraded=self.signature.untraded)
