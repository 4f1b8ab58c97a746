"""Raw bars as they come, and the features and volatilities of the newest ones: by the catalogue's own formulas.

What a formula gives here is what it gives in a backtest on the same bars. Of a feature that is not recursive that is so to
the bit as soon as its `lookback` bars are there; a recursive one (an EWM, a running maximum, a streak) reads everything
since the first bar, so that its bits are those of the stored frame only where history begins with the same bar.
Here: the bars of one model. Not here: where bars come from, the model, minutes behind longer bars (their aggregates,
`minute_...`, are columns of the bars like any other).
"""

import copy
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Self

import numpy as np
import polars as pl

from tft_pipeline.domain.bars import TIMESTAMP
from tft_pipeline.domain.features.blocks import FeatureBuild
from tft_pipeline.domain.signature import Signature
from tft_pipeline.domain.targets import build_targets
from tft_pipeline.live.bar_features import BarFeatures, aware
from tft_pipeline.live.bar_tails import SETTLED, needed_bars, settled_bars
from tft_pipeline.live.model_formulas import formulas_of
from tft_pipeline.live.raw_bars import KEYS, Publications, own_symbols, taken_rows
from tft_pipeline.live.refusals import (
    DuplicateBarError,
    MissingFeatureError,
    StaleBarError,
    UnusableBarsError,
)

N_BARS = "minute_number"
"""Bars a symbol has had; begins as no column of a user's may."""


class BarHistory:
    """The bars a model needs; grows by `append`. One thread at a time.

    Args:
        signature: whose features are computed.
        bars: raw rows, as `domain.bars.normalise_bars` takes them: timestamp (of the close), symbol, close, and what other
            columns the features are made of. With `available_at` a bar may have several rows, and a user's column is read
            from the bar on at which it was public, as in the snapshot (`domain.bar_publications.publish_in_time`); bars of
            a snapshot have that behind them, so leave `available_at` out of these.
        opened_before: what the timestamps are earlier than the closes of their bars; `DataSection.opened_before`.
        keep_bars: newest bars a symbol that are kept, at least; all by default. `enough` says how many change nothing.
        marks: what `marks` of another history over the same bars said: begin where that one did.
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
        marks: Mapping[str, Any] | None = None,
    ) -> None:
        self.signature, self._opened_before = signature, opened_before
        self._before: dict[str, int] = {}  # bars of each symbol that are not kept any more
        self._bars, self._publications = Publications.of(self._taken(bars))
        self._features = formulas_of(signature, self._bars.columns)
        self._computed: tuple[datetime, pl.DataFrame] | None = None
        self._volatility: pl.DataFrame | None = None
        if marks is not None:
            firsts = {symbol: datetime.fromisoformat(mark["first"]) for symbol, mark in marks.items()}
            first = pl.col("symbol").replace_strict(firsts, default=None, return_dtype=TIMESTAMP)
            self._bars = self._bars.filter((pl.col("timestamp") >= first) | first.is_null())
            self._before = {symbol: int(mark["before"]) for symbol, mark in marks.items()}
        self.keep(keep_bars)

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

    @property
    def enough(self) -> int | None:
        """`keep_bars` that change no feature of a window and no volatility by more than the rounding of what is stored.

        None where a feature never forgets: then all bars are kept, and a bar costs the more the longer it runs. What remains is
        the rule of `targets.build_targets` by which a price that stands still has no volatility: it compares with the mean
        volatility of the bars that are kept.
        """
        settled, signature = self.settled, self.signature
        if settled is None:
            return None
        return max(max(signature.max_lookback, settled) + signature.lookback, SETTLED * signature.volatility_span)

    @property
    def settled(self) -> int | None:
        """Bars of a symbol after which its features do not tell where its history began; `bar_tails.settled_bars`."""
        return settled_bars(self._features.features)

    def bars_of(self, symbol: str) -> int:
        """How many a symbol has had."""
        return self._before.get(symbol, 0) + int((self._bars["symbol"] == symbol).sum())

    @property
    def forgot(self) -> bool:
        """Whether there were bars that are not kept any more."""
        return any(self._before.values())

    @property
    def marks(self) -> dict[str, dict[str, Any]]:
        """By symbol the timestamp of the first bar that is kept, and the number of bars before it; JSON-ready."""
        firsts = self._bars.group_by("symbol").agg(pl.col("timestamp").min()).sort("symbol")
        return {
            symbol: {"first": first.isoformat(), "before": self._before.get(symbol, 0)}
            for symbol, first in firsts.iter_rows()
        }

    def keep(self, keep_bars: int | None) -> None:
        """Keep so many bars a symbol from now on, at least; None: all.

        Raises:
            UnusableBarsError: too few for a window.
        """
        signature = self.signature
        if keep_bars is not None and keep_bars < signature.max_lookback + signature.lookback:
            raise UnusableBarsError(
                f"keep_bars {keep_bars} < max_lookback {signature.max_lookback} + lookback {signature.lookback}: features of a "
                "window could not be computed; keep more bars, or leave it out to keep all"
            )
        self._keep = keep_bars
        self._trim()

    def traded_in(self, bars: pl.DataFrame) -> bool:
        """Whether rows bring a bar of a traded symbol, and not context alone."""
        return bool(bars["symbol"].cast(pl.String).is_in(list(self.signature.symbols)).any())

    def appended(self, bars: pl.DataFrame) -> Self:
        """Another history with these bars as well; this one stays as it is. Costs no more than `append`."""
        other = copy.copy(self)  # frames are never changed in place
        other.append(bars)
        return other

    @property
    def newest(self) -> datetime | None:
        """Timestamp of the newest bar, of context too."""
        found: datetime | None = self._bars["timestamp"].max()  # type: ignore[assignment]
        return found

    def append(self, bars: pl.DataFrame) -> None:
        """Add newer bars, of some or all symbols; bring all of one timestamp together, context first or with them.

        A bar of a symbol that missed the last timestamps is legal: later features count it, decisions taken without it stay.
        With `available_at` what is not public yet waits for the bar at which it is; a restatement comes with the row that it
        restates, for a row of an older bar is refused.

        Raises:
            DuplicateBarError, StaleBarError: not newer than the newest of its symbol; nothing was added.
            RefusedBarError: as the constructor.
        """
        rows = self._taken(bars, later=True)
        newest = dict(self._bars.group_by("symbol").agg(pl.col("timestamp").max()).iter_rows())
        for row in rows.select("symbol", "timestamp").iter_rows(named=True):
            known = newest.get(row["symbol"])
            if known is not None and row["timestamp"] <= known:
                same = row["timestamp"] == known
                raise (DuplicateBarError if same else StaleBarError)(
                    f"bar {row['timestamp'].isoformat()} of {row['symbol']} is "
                    + ("there already" if same else f"older than its newest, {known.isoformat()}")
                    + ": what was decided on would change behind it; bring newer bars, or build the history anew"
                )
        absent = [name for name in self._bars.columns if name not in rows.columns]
        if absent:
            raise MissingFeatureError(
                f"the new bars lack the columns {absent}, which features are made of; bring them, null where unknown"
            )
        new, self._publications = self._publications.then(rows)
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
        a symbol without a bar there, with too few returns, or whose price stands still.

        Absent too where the symbol is not observed, as in `features_at`: the capital is shared between those that are.
        """
        if self._volatility is None:
            self._volatility = build_targets(
                self._bars.select(*KEYS, "close"),
                horizon=1,
                volatility_span=self.signature.volatility_span,
                bars_per_year=self.signature.bars_per_year,
                untraded=self.signature.untraded,
            ).select(*KEYS, "volatility")
        at = pl.col("timestamp") == aware(timestamp)
        here = self._volatility.filter(at).drop_nulls()
        seen = self._counted().filter(at & self._long_enough())
        return dict(here.join(seen, on=KEYS, how="semi").select("symbol", "volatility").iter_rows())

    def of(self, signature: Signature) -> Self:
        """The same bars for another model, without symbols it does not know; what only it reads must be among those kept.

        Raises:
            RefusedBarError: as the constructor; bars that it looks back at are not kept any more.
        """
        bars, _ = own_symbols(self._bars, signature)
        other = type(self)(signature, bars)
        other._opened_before, other._before = self._opened_before, self._before
        other._publications = self._publications
        least = signature.max_lookback + signature.lookback
        other.keep(self._keep if self._keep is None or self.forgot else max(self._keep, least))
        return other

    def _taken(self, bars: pl.DataFrame, *, later: bool = False) -> pl.DataFrame:
        return taken_rows(bars, self.signature, opened_before=self._opened_before, later=later)

    def _since(self, first: datetime) -> pl.DataFrame:
        """Feature rows of all bars from `first` on, with the number of bars each symbol has had by then."""
        if self._computed is None or self._computed[0] > first:
            self._computed = first, self._compute(first)
        return self._computed[1]

    def _compute(self, first: datetime) -> pl.DataFrame:
        signature = self.signature
        rows = self._counted().filter(pl.col("timestamp") >= first)
        bars = self._needed(first)
        try:
            build = FeatureBuild.of(
                bars,
                self._features,
                market_symbol=signature.market_symbol,
                cross_symbols=tuple(signature.cross_markets.values()),
                user_columns=signature.user_columns,
                bars_per_year=signature.bars_per_year,
                timezone=signature.timezone,
            )
        except ValueError as error:  # such as an index that is not there
            raise UnusableBarsError(f"{error}; the model reads it, bring its bars too") from error
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
        here = rows.filter((pl.col("timestamp") == at) & self._long_enough())
        values = here.select(pl.col(names).cast(pl.Float32)).to_numpy()
        found: Mapping[str, np.ndarray] = dict(zip(here["symbol"], values, strict=True))
        return BarFeatures(timestamp=at, values=found, features=names)

    def _counted(self) -> pl.DataFrame:
        """Keys of the traded bars, with the number of bars that the symbol has had by then."""
        gone = pl.col("symbol").replace_strict(self._before, default=0, return_dtype=pl.Int64)
        had = pl.int_range(1, pl.len() + 1).over("symbol") + gone
        return self._traded().select(*KEYS, had.alias(N_BARS))

    def _long_enough(self) -> pl.Expr:
        return pl.col(N_BARS) >= self.signature.max_lookback

    def _traded(self) -> pl.DataFrame:
        return self._bars.filter(~pl.col("symbol").is_in(list(self.signature.untraded)))

    def _trim(self) -> None:
        """Forget the oldest bars, twice as many as are kept at a time."""
        if self._keep is None:
            return
        counts = dict(self._traded()["symbol"].value_counts().iter_rows())
        if max(counts.values(), default=0) < 2 * self._keep:
            return
        self._before = self._before | {
            symbol: self._before.get(symbol, 0) + max(0, n - self._keep) for symbol, n in counts.items()
        }
        self._bars = needed_bars(self._bars, first=None, back=self._keep, untraded=self.signature.untraded)
        self._computed = self._volatility = None
