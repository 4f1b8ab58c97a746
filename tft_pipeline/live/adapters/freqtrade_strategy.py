"""A release as a freqtrade strategy: entries, exits, stakes and leverage from its signals.

Convention: freqtrade stamps a candle with its opening, we stamp a bar with its close, so the candle of date d is the bar
d + timeframe. Its row holds what counts at that close, and freqtrade acts on it at the next open, the same moment. Nothing at
or before the candle changes. A signal that is not valid yet at that moment is not used: the row says flat, or what was valid
before.

    enter_long   fraction > 0       exit_long   fraction <= 0       stake    = |fraction| * capital / leverage
    enter_short  fraction < 0       exit_short  fraction >= 0       leverage = max(1, |fraction| * symbols), futures only

so that all stakes together never need more than the capital. A position that is open follows its fraction where that differs
by more than `least_change` of the capital. The capital is freqtrade's own: free money and stakes, without open profits.

freqtrade answers an exception in a callback with its own proposal, and so would trade when in doubt. Callbacks here answer an
error with no stake, or with an exit, and log it.

Not here: signals (`replayed_signals`), targets (`live.strategy`), the bundle (`freqtrade_release`).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from tft_pipeline.live.adapters.libraries import library
from tft_pipeline.live.strategy import TFTStrategy

if TYPE_CHECKING:
    import pandas as pd
    from freqtrade.persistence import Trade
    from freqtrade.strategy import IStrategy

LOG = logging.getLogger(__name__)
FRACTION = "tft_fraction"
"""Column of a candle's row: fraction of the capital that counts at its close."""
CANDLE_COLUMNS = ("open", "high", "low", "close", "volume")
Signals = Callable[[pl.DataFrame], pl.DataFrame]
"""Bars (timestamp, symbol, open, high, low, close, volume; UTC closes) of all symbols -> a table of signals."""


@dataclass(frozen=True, kw_only=True)
class FreqtradeTerms:
    """How freqtrade runs the signals.

    Attributes:
        timeframe: of the candles, the release's interval.
        pairs: freqtrade pair -> symbol of the release, every symbol that its features read.
        startup_candles: before the first one that counts.
        can_short: whether fractions below 0 are held; needs futures. Without it they are flat.
        least_change: share of the capital by which a target must differ from what is held before it is adjusted, in [0, 1).
    Raises:
        ValueError: no pairs, two pairs of one symbol, a share outside its range.
    """

    timeframe: str
    pairs: Mapping[str, str]
    startup_candles: int
    can_short: bool = True
    least_change: float = 0.005

    def __post_init__(self) -> None:
        if not self.pairs or len(set(self.pairs.values())) != len(self.pairs):
            raise ValueError(f"pairs {dict(self.pairs)}: expected at least one, each of a symbol of its own")
        if not 0.0 <= self.least_change < 1.0 or self.startup_candles < 0:
            raise ValueError(
                f"least_change {self.least_change} is outside [0, 1), or startup_candles {self.startup_candles} below 0"
            )


def strategy_of_signals(signals: Signals, strategy: TFTStrategy, terms: FreqtradeTerms) -> "type[IStrategy]":
    """A base class for a strategy file of freqtrade; the file defines a subclass, for freqtrade loads only those.

    Args:
        signals: asked once for every new set of candles.
        strategy: targets and, for callbacks, the kill switch: it is asked again before every order.
    Raises:
        MissingLibraryError: freqtrade is not installed.
        ValueError: a traded symbol without a pair.
    """
    without = [symbol for symbol in strategy.symbols if symbol not in terms.pairs.values()]
    if without:
        raise ValueError(f"no pair for {without}: the release trades them; name a pair for each symbol")
    base = library("freqtrade.strategy").IStrategy
    step = timedelta(seconds=library("freqtrade.exchange").timeframe_to_seconds(terms.timeframe))

    class ReleaseStrategy(base):  # type: ignore[misc, valid-type]
        """Holds what a release asks for."""

        INTERFACE_VERSION = 3
        timeframe = terms.timeframe
        can_short = terms.can_short
        startup_candle_count = terms.startup_candles
        process_only_new_candles = True
        position_adjustment_enable = True
        use_exit_signal = True
        minimal_roi: ClassVar[dict[str, float]] = {"0": 1e6}  # never reached: exits are the release's
        stoploss = -0.99  # no stop but liquidation: the release sizes by volatility, and the kill switch stops
        order_types: ClassVar[dict[str, Any]] = {
            "entry": "market",
            "exit": "market",
            "stoploss": "market",
            "stoploss_on_exchange": False,
        }
        _table: pl.DataFrame | None = None
        _made_from: tuple[Any, ...] = ()

        def informative_pairs(self) -> list[tuple[str, str]]:
            """Candles of every symbol that features read."""
            return [(pair, self.timeframe) for pair in terms.pairs]

        def populate_indicators(self, dataframe: "pd.DataFrame", metadata: dict[str, Any]) -> "pd.DataFrame":
            """Add the fraction that counts at the close of each candle; 0 for a pair that is not traded."""
            symbol = terms.pairs.get(metadata["pair"])
            if symbol not in strategy.symbols:
                dataframe[FRACTION] = 0.0
                return dataframe
            table = self._signals()
            closes = [stamp + step for stamp in _stamps(dataframe)]
            dataframe[FRACTION] = strategy.path(closes, table)[symbol].to_numpy() if closes else 0.0
            if not self.can_short:
                dataframe[FRACTION] = dataframe[FRACTION].clip(lower=0.0)
            return dataframe

        def populate_entry_trend(self, dataframe: "pd.DataFrame", metadata: dict[str, Any]) -> "pd.DataFrame":
            """Enter where there is a target."""
            dataframe["enter_long"] = (dataframe[FRACTION] > 0.0).astype(int)
            dataframe["enter_short"] = (dataframe[FRACTION] < 0.0).astype(int)
            return dataframe

        def populate_exit_trend(self, dataframe: "pd.DataFrame", metadata: dict[str, Any]) -> "pd.DataFrame":
            """Leave where there is none, or the other direction."""
            dataframe["exit_long"] = (dataframe[FRACTION] <= 0.0).astype(int)
            dataframe["exit_short"] = (dataframe[FRACTION] >= 0.0).astype(int)
            return dataframe

        def leverage(
            self,
            pair: str,
            current_time: datetime,
            current_rate: float,
            proposed_leverage: float,
            max_leverage: float,
            entry_tag: str | None,
            side: str,
        ) -> float:
            """As much as the target needs; 1 where it is not known."""
            needed = abs(self._fraction(pair, current_time, 0.0) or 0.0) * len(strategy.symbols)
            return min(max(1.0, needed), max_leverage)

        def custom_stake_amount(
            self,
            pair: str,
            current_time: datetime,
            current_rate: float,
            proposed_stake: float,
            min_stake: float | None,
            max_stake: float,
            leverage: float,
            entry_tag: str | None,
            side: str,
        ) -> float:
            """The target's stake; 0, no trade, where it is not known, of the other side, or below the exchange's least."""
            fraction = self._fraction(pair, current_time, 0.0) or 0.0
            wanted = max(fraction if side == "long" else -fraction, 0.0)
            stake = min(wanted * self._capital() / leverage, max_stake)
            return stake if stake >= (min_stake or 0.0) else 0.0

        def adjust_trade_position(
            self,
            trade: "Trade",
            current_time: datetime,
            current_rate: float,
            current_profit: float,
            min_stake: float | None,
            max_stake: float,
            current_entry_rate: float,
            current_exit_rate: float,
            current_entry_profit: float,
            current_exit_profit: float,
        ) -> float | None:
            """Bring an open position to its target; exits are signals of their own."""
            sign = -1.0 if trade.is_short else 1.0
            capital = self._capital()
            if trade.has_open_orders or not capital > 0.0:
                return None
            held = trade.amount * current_rate / capital
            fraction = self._fraction(trade.pair, current_time, sign * held)
            if fraction is None or fraction * sign <= 0.0 or abs(fraction * sign - held) <= terms.least_change:
                return None
            change = (fraction * sign - held) * capital  # of the amount's value, now
            if change > 0.0:
                return min(float(change / trade.leverage), max_stake)
            # freqtrade sells stake / trade.stake_amount of the amount: stakes are counted at entry prices
            return float(change / current_rate * trade.stake_amount / trade.amount)

        def custom_exit(
            self, pair: str, trade: "Trade", current_time: datetime, current_rate: float, current_profit: float
        ) -> str | None:
            """Leave between two candles where nothing may be held any more: signal ended, kill switch, or unknown."""
            capital = self._capital()
            sign = -1.0 if trade.is_short else 1.0
            held = sign * trade.amount * current_rate / capital if capital > 0.0 else 0.0
            fraction = self._fraction(pair, current_time, held)
            return "no target" if fraction is None or fraction * sign <= 0.0 else None

        def _signals(self) -> pl.DataFrame:
            """The table of signals of the candles that there are; made once a set of candles."""
            frames = {pair: self.dp.get_pair_dataframe(pair, self.timeframe) for pair in terms.pairs}
            empty = [pair for pair, frame in frames.items() if frame.empty]
            if empty:
                raise ValueError(
                    f"no candles of {empty}: the release reads them; download them, or add them to the whitelist"
                )
            made_from = tuple((pair, len(f), f["date"].iloc[-1], f["close"].iloc[-1]) for pair, f in frames.items())
            if self._table is None or made_from != self._made_from:
                self._table = signals(pl.concat([_bars(f, terms.pairs[pair], step) for pair, f in frames.items()]))
                self._made_from = made_from
            return self._table

        def _fraction(self, pair: str, now: datetime, held: float) -> float | None:
            """What may be held of a pair now, kill switch asked; None where that fails, which is logged."""
            try:
                if self._table is None:
                    raise ValueError("no signals were made yet")
                symbol = terms.pairs[pair]
                now = now.replace(tzinfo=UTC) if now.tzinfo is None else now
                fraction = float(strategy.path([now], self._table)[symbol][0])
                if not self.can_short:
                    fraction = max(fraction, 0.0)
                if strategy.allowed is not None:
                    fraction = float(strategy.allowed({symbol: fraction}, {symbol: held})[symbol])
            except Exception:
                LOG.exception("no target for %s at %s: nothing is entered, what is open is closed", pair, now)
                return None
            return fraction

        def _capital(self) -> float:
            return float(self.wallets.get_total_stake_amount()) if self.wallets is not None else 0.0

    return ReleaseStrategy


def _stamps(frame: "pd.DataFrame") -> list[datetime]:
    """Openings of the candles, UTC."""
    return [stamp.to_pydatetime().astimezone(UTC) for stamp in frame["date"]]


def _bars(frame: "pd.DataFrame", symbol: str, step: timedelta) -> pl.DataFrame:
    """Candles as our bars: stamped with their close."""
    closes = pl.Series("timestamp", _stamps(frame), dtype=pl.Datetime("us", "UTC")) + step
    values = [pl.Series(name, frame[name].to_numpy(), dtype=pl.Float64) for name in CANDLE_COLUMNS]
    return pl.DataFrame([closes, pl.Series("symbol", [symbol] * len(frame), dtype=pl.String), *values])
