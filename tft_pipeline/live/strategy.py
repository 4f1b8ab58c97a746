"""From signals to target weights: what a released model says, as fractions of capital, the way the backtest held it.

    w_i = clip(p_i * s_tgt / s_i, -max_weight, max_weight)        fraction_i = w_i / n

p is the position of the signal that counts, s the ex-ante annual volatility known with it, n the symbols that have both:
`domain.portfolio`'s own weights, and the share of capital that its mean gives each symbol. A volatility counts as long as its
signal does, in `targets` and in `path`; where a symbol is not observed (no bar, or too little history for its features)
give none, for the backtest has no row there.

The backtest counts a symbol only where its next return is known too. That is the future: so at the last bar of a symbol and at
every bar before one that it misses, the backtest holds nothing in it and gives the others its share, and live code, which
cannot know, does not. Elsewhere the two are equal.

Which signal counts at a time t: of a symbol's signals with valid_from <= t the newest, while t < valid_until. An older one
never speaks again. Without one the symbol is flat.

Here: one moment (`targets`) and a whole history (`path`). Not here: who makes signals (`predictor`, `replayed_signals`), the
latch of the kill switch, orders (`adapters`).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from tft_pipeline.domain.portfolio import portfolio_weights
from tft_pipeline.domain.regime import RegimeContext, RegimeSettings, restrained
from tft_pipeline.domain.signal import Signal, utc_time
from tft_pipeline.domain.signature import Signature

Allowed = Callable[[Mapping[str, float], Mapping[str, float]], Mapping[str, float]]
"""The kill switch's answer: wanted and held fractions -> fractions that may be held."""
NEEDED = ("symbol", "ts", "valid_from", "valid_until", "target_position", "volatility")
"""Columns of a table of signals that a strategy reads."""
NO_SIGNAL, NOT_YET, EXPIRED = "no signal", "signal not valid yet", "signal expired"
NO_VOLATILITY, OVERLAY, SWITCHED_OFF = "volatility not known", "closed by the regime", "closed by the kill switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetWeights:
    """What should be held at one moment.

    Attributes:
        at: the moment, UTC.
        fractions: of the book's capital, by symbol, every symbol of the strategy; the last word, kill switch included.
        weights: w before sharing the capital, before overlay and kill switch.
        share: 1 / n; 0 where no signal that counts has a volatility.
        flat: why a symbol is flat that has no signal to say so.
        valid_until: when the first of the signals used ends; None where none was used. Past it these targets are old.
        model_ids: releases whose signals were used.
    """

    at: datetime
    fractions: dict[str, float]
    weights: dict[str, float]
    share: float
    flat: dict[str, str]
    valid_until: datetime | None
    model_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TFTStrategy:
    """Immutable; one object serves backtest and live.

    Attributes:
        symbols: that may be held, in the order of the output.
        target_volatility: s_tgt, annual.
        max_weight: largest |w|.
        overlay: what a daily regime permits of each w, before the capital is shared; None for no overlay.
        allowed: the kill switch's answer, asked last in `targets`; None for none. `path` is history and asks nobody.
    Raises:
        ValueError: no symbol or one twice, a target or cap that is not positive.
    """

    symbols: tuple[str, ...]
    target_volatility: float
    max_weight: float = math.inf
    overlay: RegimeSettings | None = None
    allowed: Allowed | None = None

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"symbols {list(self.symbols)}: expected at least one, each once")
        if not self.target_volatility > 0.0 or not self.max_weight > 0.0:
            raise ValueError(
                f"target_volatility {self.target_volatility}, max_weight {self.max_weight}: each must be above 0, or "
                "every weight would be 0"
            )

    @classmethod
    def of(
        cls, signature: Signature, *, overlay: RegimeSettings | None = None, allowed: Allowed | None = None
    ) -> "TFTStrategy":
        """The strategy that a release was judged as."""
        return cls(
            symbols=signature.symbols,
            target_volatility=signature.target_volatility,
            max_weight=signature.max_weight,
            overlay=overlay,
            allowed=allowed,
        )

    def targets(
        self,
        now: datetime,
        signals: Iterable[Signal],
        volatility: Mapping[str, float],
        *,
        held: Mapping[str, float] | None = None,
        contexts: Mapping[str, RegimeContext] | None = None,
    ) -> TargetWeights:
        """What should be held now.

        Args:
            now: with a time zone.
            signals: of any symbols and times; those of strangers are ignored.
            volatility: s by symbol, annual, of the bars of the signals; without a symbol, None or NaN where it is not known
                and where the symbol was not observed.
            held: fractions held now, for the kill switch; nothing when not given.
            contexts: regimes now, needed with an overlay; a symbol without one counts as stale.
        Raises:
            ValueError: two different signals of a symbol's newest bar, a volatility that is not positive, contexts without an
                overlay.
        """
        if contexts is not None and self.overlay is None:
            raise ValueError("contexts without an overlay would change nothing: give the strategy RegimeSettings")
        now = utc_time(now, "now")
        used, flat = self._counting(now, signals)
        known = {symbol: _known(volatility.get(symbol)) if symbol in used else math.nan for symbol in self.symbols}
        positions = np.array([[used[s].target_position if s in used else 0.0] for s in self.symbols])
        scaled = self._weights(positions, np.array([[known[symbol]] for symbol in self.symbols]))[:, 0]
        weights = dict(zip(self.symbols, scaled.tolist(), strict=True))
        n_known = sum(math.isfinite(value) for value in known.values())
        share = 1.0 / n_known if n_known else 0.0
        flat |= {symbol: NO_VOLATILITY for symbol in used if not math.isfinite(known[symbol])}
        kept = weights
        if self.overlay is not None:
            kept = self._noting(flat, OVERLAY, weights, restrained(weights, contexts or {}, self.overlay))
        wanted = {symbol: weight * share for symbol, weight in kept.items()}
        if self.allowed is not None:
            wanted = self._noting(flat, SWITCHED_OFF, wanted, self.allowed(wanted, dict(held or {})))
        return TargetWeights(
            at=now,
            fractions=wanted,
            weights=weights,
            share=share,
            flat=dict(sorted(flat.items())),
            valid_until=min((signal.valid_until for signal in used.values()), default=None),
            model_ids=tuple(sorted({signal.model_id for signal in used.values()})),
        )

    def path(self, times: Sequence[datetime], table: pl.DataFrame) -> pl.DataFrame:
        """What would have been held at each moment, from signals and volatilities as they became valid.

        The volatility of a signal counts as long as the signal does. Neither overlay nor kill switch: what the regimes
        permitted is `domain.regime.regimes_at`, and today's latch says nothing about yesterday.

        Args:
            times: decision moments, sorted, each once, with time zones; such as the minutes after daily signals.
            table: columns of `NEEDED`, as `replayed_signals` makes them; volatility null where it is not known.
        Returns:
            timestamp (UTC) and one column a symbol of the strategy, fractions of capital, a row a moment.
        Raises:
            ValueError: columns missing, times out of order, two signals of one bar, a signal that is usable before an
                older one.
        """
        missing = [name for name in NEEDED if name not in table.columns]
        if missing:
            raise ValueError(f"the table of signals has no {missing}; make it with replayed_signals")
        calendar = _moments(times)
        positions = np.zeros((len(self.symbols), len(calendar)))
        volatility = np.full(positions.shape, np.nan)
        for s, symbol in enumerate(self.symbols):
            rows = table.filter(pl.col("symbol") == symbol).sort("ts", "valid_from")
            if rows.is_empty():
                continue
            place, counts = _valid_rows(calendar, rows, symbol)
            positions[s, counts] = rows["target_position"].to_numpy()[place[counts]]
            volatility[s, counts] = (
                rows["volatility"].cast(pl.Float64).fill_null(float("nan")).to_numpy()[place[counts]]
            )
        weights = self._weights(positions, volatility)
        n_known = np.isfinite(volatility).sum(axis=0)
        fractions = weights * np.where(n_known > 0, 1.0 / np.maximum(n_known, 1), 0.0)
        stamps = pl.Series("timestamp", calendar, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
        return pl.DataFrame(
            [stamps, *(pl.Series(name, row) for name, row in zip(self.symbols, fractions, strict=True))]
        )

    def by_bar(self, table: pl.DataFrame) -> pl.DataFrame:
        """What each bar decided: `path` at the moment its signals become valid, labelled with the bar's own timestamp.

        The row of bar t is decided after the close of t and earns from there. Frameworks that fill at the close of a row's bar
        read it as it is; those that decide from it and fill at the next open likewise.

        Raises:
            ValueError: signals of one bar that become valid at different moments, and what `path` refuses.
        """
        bars = table.group_by("ts").agg(pl.col("valid_from").n_unique().alias("moments"), pl.col("valid_from").first())
        bars = bars.sort("ts")
        if (bars["moments"] > 1).any():
            stamp = bars.filter(pl.col("moments") > 1)["ts"][0]
            raise ValueError(
                f"signals of bar {stamp} become valid at different moments: ask `path` for the moments you mean"
            )
        found = self.path(bars["valid_from"].to_list(), table)
        return found.with_columns(timestamp=bars["ts"].cast(pl.Datetime("us", "UTC")))

    def _weights(self, positions: np.ndarray, volatility: np.ndarray) -> np.ndarray:
        return portfolio_weights(
            positions, volatility, target_volatility=self.target_volatility, max_weight=self.max_weight
        )

    def _counting(self, now: datetime, signals: Iterable[Signal]) -> tuple[dict[str, Signal], dict[str, str]]:
        """The signal that counts of each symbol, and why the others have none."""
        newest: dict[str, Signal] = {}
        flat = dict.fromkeys(self.symbols, NO_SIGNAL)
        for signal in signals:
            if signal.symbol not in flat:
                continue
            if signal.valid_from > now:
                if signal.symbol not in newest:
                    flat[signal.symbol] = NOT_YET
                continue
            before = newest.get(signal.symbol)
            if before is not None and before.ts == signal.ts and before != signal:
                raise ValueError(
                    f"two different signals of {signal.symbol} at {signal.ts.isoformat()}, of {before.model_id} and "
                    f"{signal.model_id}: it is not known which one counts"
                )
            if before is None or signal.ts > before.ts:
                newest[signal.symbol] = signal
        used = {symbol: signal for symbol, signal in newest.items() if now < signal.valid_until}
        flat |= dict.fromkeys(newest, EXPIRED)
        return used, {symbol: why for symbol, why in flat.items() if symbol not in used}

    def _noting(
        self, flat: dict[str, str], why: str, before: Mapping[str, float], after: Mapping[str, float]
    ) -> dict[str, float]:
        """`after` of every symbol of the strategy; notes in `flat` what was closed."""
        kept = {symbol: float(after.get(symbol, 0.0)) for symbol in self.symbols}
        flat |= {symbol: why for symbol, weight in kept.items() if weight == 0.0 and before[symbol] != 0.0}
        return kept


def _known(volatility: float | None) -> float:
    return math.nan if volatility is None else float(volatility)


def _moments(times: Sequence[datetime]) -> np.ndarray:
    """(N,) microseconds since 1970, UTC."""
    stamps = pl.Series([utc_time(time, "time") for time in times], dtype=pl.Datetime("us", "UTC"))
    calendar = stamps.cast(pl.Int64).to_numpy()
    if (np.diff(calendar) <= 0).any():
        raise ValueError("times are not sorted, or one comes twice: give each moment once, in order")
    return calendar


def _valid_rows(calendar: np.ndarray, rows: pl.DataFrame, symbol: str) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the newest row usable at each moment, and whether it still counts; rows sorted by ts."""
    ts, first, end = (
        rows[name].dt.convert_time_zone("UTC").dt.cast_time_unit("us").cast(pl.Int64).to_numpy()
        for name in ("ts", "valid_from", "valid_until")
    )
    if (np.diff(ts) == 0).any():
        raise ValueError(f"two signals of one bar of {symbol}: it is not known which one counts")
    if (np.diff(first) < 0).any():
        raise ValueError(f"a signal of {symbol} is usable before an older one: it is not known which one counts")
    place = np.searchsorted(first, calendar, side="right") - 1
    return place, (place >= 0) & (calendar < end[np.maximum(place, 0)])
