"""Targets in backtesting.py: one symbol, whole units, brought to its target fraction at every bar.

Convention: `next` runs when bar t has closed and orders what the row of bar t asks for; backtesting.py fills it at the open of
bar t + 1, or at the close of t with `trade_on_close`, which is our backtest's convention. Nothing at or before t changes. Its
loop begins at the second bar, so the first bar's target is not traded. At the last bar but one the position is closed, for
its own way of closing what is open at the end (`finalize_trades`) takes a price that is a bar old.

Not here: targets (`live.strategy`), statistics; those are backtesting.py's.
"""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tft_pipeline.live.adapters.libraries import library

if TYPE_CHECKING:
    import pandas as pd
    from backtesting import Backtest, Strategy

HEADROOM = 1.5
"""Margin beyond the largest target, so that a gap between the decision and its fill does not void the order."""
PRICES = ("open", "high", "low", "close")


def release_strategy(targets: pl.DataFrame, symbol: str) -> "type[Strategy]":
    """A `backtesting.Strategy` that holds the targets of one symbol.

    Before the first target, while the model has too little history to speak, it is flat. Units are whole and rounded towards
    zero: start with enough cash, or use `backtesting.lib.FractionalBacktest`.

    Args:
        targets: timestamp and a column of fractions named `symbol`, as `TFTStrategy.by_bar` makes them.
    Raises:
        MissingLibraryError: backtesting.py is not installed.
        ValueError: no such column; when run, bars without a target.
    """
    if symbol not in targets.columns:
        raise ValueError(f"the targets have no {symbol}: they hold {targets.columns[1:]}")
    base = library("backtesting").Strategy
    fraction_at = dict(zip(targets["timestamp"].dt.epoch("us").to_list(), targets[symbol].to_list(), strict=True))
    first = min(fraction_at, default=0)

    class ReleaseTargets(base):  # type: ignore[misc, valid-type]
        """Holds a fraction of the equity that a release asked for."""

        def init(self) -> None:
            """Find the target of every bar."""
            stamps = [int(value) for value in _microseconds(self.data.index)]
            without = [k for k, stamp in enumerate(stamps) if stamp not in fraction_at and stamp >= first]
            if without:
                raise ValueError(
                    f"{len(without)} bars have no target, the first at {self.data.index[without[0]]}: give the bars that the "
                    "signals were made from, stamped as they were"
                )
            self._fractions = [*(fraction_at.get(stamp, 0.0) for stamp in stamps[:-2]), 0.0, 0.0]

        def next(self) -> None:
            """Order the difference between the target and what is held."""
            fraction = self._fractions[len(self.data) - 1]
            change = int(fraction * self.equity / self.data.Close[-1]) - self.position.size
            if change > 0:
                self.buy(size=change)
            elif change < 0:
                self.sell(size=-change)

    return ReleaseTargets


def release_backtest(
    targets: pl.DataFrame,
    bars: pl.DataFrame,
    symbol: str,
    *,
    cash: float = 1e6,
    commission: float = 0.0,
    trade_on_close: bool = False,
) -> "Backtest":
    """The targets of one symbol over its bars, ready to `.run()`. The margin is wide enough for the largest target.

    Args:
        targets: as `release_strategy` takes them. Fractions are of the whole account: with several symbols in the strategy,
            this account holds one symbol's share and keeps the rest as cash.
        bars: timestamp, symbol, open, high, low, close, optionally volume.
        cash: at the start. commission: share of the amount traded.
        trade_on_close: fill at the close that was decided on, not at the next open.
    Raises:
        MissingLibraryError, ValueError: as `release_strategy`; bars without prices.
    """
    strategy = release_strategy(targets, symbol)
    largest = float(np.abs(targets[symbol].to_numpy()).max()) if targets.height else 0.0
    return library("backtesting").Backtest(
        candles(bars, symbol),
        strategy,
        cash=cash,
        commission=commission,
        margin=1.0 / (HEADROOM * max(1.0, largest)),
        trade_on_close=trade_on_close,
    )


def candles(bars: pl.DataFrame, symbol: str) -> "pd.DataFrame":
    """Bars of one symbol as backtesting.py reads them: Open, High, Low, Close, Volume, by naive UTC timestamps.

    Raises:
        ValueError: no bars of the symbol, or a price column that is missing.
    """
    import pandas as pd

    missing = [name for name in PRICES if name not in bars.columns]
    rows = bars.filter(pl.col("symbol") == symbol).sort("timestamp")
    if missing or rows.is_empty():
        raise ValueError(f"bars lack {missing}, or have no row of {symbol}: backtesting.py fills at opens and closes")
    names = [*PRICES, *(["volume"] if "volume" in rows.columns else [])]
    index = pd.DatetimeIndex(rows["timestamp"].dt.replace_time_zone(None).to_numpy())
    return pd.DataFrame({name.title(): rows[name].to_numpy() for name in names}, index=index)


def _microseconds(index: "pd.DatetimeIndex") -> np.ndarray:
    """(N,) microseconds since 1970; naive times are UTC."""
    naive = index.tz_convert("UTC").tz_localize(None) if index.tz is not None else index
    found: np.ndarray = naive.to_numpy().astype("datetime64[us]").astype(np.int64)
    return found
