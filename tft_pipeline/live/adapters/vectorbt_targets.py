"""Targets in vectorbt: the account that holds, after every bar, the fractions that the release asked for.

Convention: the row of bar t is decided after its close and filled at that same close, as in our backtest: it earns from bar t
to t + 1 and changes nothing at or before t. With `delay_bars=1` it is filled at the next close.

Not here: targets (`live.strategy`), statistics; those are vectorbt's.
"""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tft_pipeline.live.adapters.libraries import library

if TYPE_CHECKING:
    import vectorbt

FULLY_INVESTED = 1.0 + 1e-9
"""Largest sum of fractions, shorts below 0, that cash pays for."""


def vectorbt_portfolio(
    targets: pl.DataFrame,
    bars: pl.DataFrame,
    *,
    cash: float = 1e6,
    fees: float = 0.0,
    slippage: float = 0.0,
    delay_bars: int = 0,
) -> "vectorbt.Portfolio":
    """One account over all symbols, brought to its target fractions at every close.

    Profits are invested and weights drift between two bars, so an account that stands still trades a little each bar; our
    backtest's constant capital does not (see `domain.portfolio`). Without fees the account's return over each bar is that of
    the backtest.

    Args:
        targets: timestamp and one column of fractions a symbol, as `TFTStrategy.by_bar` makes them.
        bars: timestamp, symbol, close; each target has a bar of some symbol. Where one symbol has none its last close stands,
            for its value and for orders.
        cash: at the start.
        fees, slippage: shares of the amount traded.
        delay_bars: bars between a decision and its fill.
    Raises:
        MissingLibraryError: vectorbt is not installed.
        ValueError: targets without bars, a symbol without a close, negative delay, fractions whose sum, shorts counted below
            0, is above 1: bought with more cash than the account has, so that vectorbt would buy less without saying so.
            Longs that sold shorts pay for are no such case, however large.
    """
    if not 0 <= delay_bars < max(targets.height, 1):
        raise ValueError(f"delay_bars {delay_bars} is outside 0..{targets.height - 1}: no target would be traded")
    symbols = [name for name in targets.columns if name != "timestamp"]
    wanted = targets.select(symbols).to_numpy().astype(np.float64)
    wanted = np.concatenate([np.zeros((delay_bars, len(symbols))), wanted[: targets.height - delay_bars]])
    most = wanted.sum(axis=1)
    if most.size and most.max() > FULLY_INVESTED:
        raise ValueError(
            f"targets at {targets['timestamp'][int(most.argmax())]} add up to {most.max():.3f} of the capital, shorts counted "
            "below 0: the account has no cash for that, and vectorbt would buy less without saying so; lower target_volatility "
            "or max_weight, or use another adapter"
        )
    close = _closes(targets, bars, symbols)
    vbt = library("vectorbt")
    import pandas as pd

    index = pd.DatetimeIndex(targets["timestamp"].dt.replace_time_zone(None).to_numpy())
    return vbt.Portfolio.from_orders(
        pd.DataFrame(close, index=index, columns=symbols),
        size=np.ascontiguousarray(wanted),
        size_type="targetpercent",
        fees=fees,
        slippage=slippage,
        init_cash=cash,
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
    )


def _closes(targets: pl.DataFrame, bars: pl.DataFrame, symbols: list[str]) -> np.ndarray:
    """(N, S) closes at the targets' times; the last known one where a symbol has none."""
    wide = (
        bars.filter(pl.col("symbol").is_in(symbols))
        .pivot("symbol", index="timestamp", values="close")
        .sort("timestamp")
        .with_columns(pl.col("timestamp").dt.cast_time_unit("us"))
    )
    absent = [symbol for symbol in symbols if symbol not in wide.columns]
    if absent:
        raise ValueError(f"no bars of {absent}: their targets cannot be bought or sold")
    strangers = targets.join(wide, on="timestamp", how="anti")
    if strangers.height:
        raise ValueError(
            f"{strangers.height} targets have no bar, the first at {strangers['timestamp'][0]}: give the bars that the signals "
            "were made from"
        )
    filled = wide.with_columns(pl.col(symbols).fill_null(strategy="forward").fill_null(strategy="backward"))
    return (
        targets.select("timestamp")
        .join(filled, on="timestamp", how="left", maintain_order="left")
        .select(symbols)
        .to_numpy()
    )
