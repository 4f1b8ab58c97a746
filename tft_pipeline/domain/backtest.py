"""From out-of-sample predictions to one portfolio return a bar, for the model and for its baselines on the same bars.

Positions are held across fold boundaries in time order: every fold start would otherwise be false turnover.
Not here: statistics of the series (`sharpe`), the verdict (`verdict`).
"""

from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.portfolio import (
    PortfolioSeries,
    break_even_cost_bps,
    long_only_positions,
    portfolio_returns,
)
from tft_pipeline.domain.positions import hold_positions
from tft_pipeline.domain.sections import PositionSection

BASELINES = ("long_only", "momentum")


def backtest(predictions: pl.DataFrame, position: PositionSection, *, target_volatility: float) -> pl.DataFrame:
    """Portfolio series of the model and the baselines.

    Args:
        predictions: timestamp, symbol, fold, raw_position, momentum_position, next_return, volatility; each
            (timestamp, symbol) once.
        position: clip, smoothing and cost; baselines pay the same cost.
        target_volatility: annual.
    Returns:
        One row a decision bar at which some symbol could be held: timestamp, fold, gross, cost, net, turnover, n_symbols,
        net_at_2x_cost, net_one_bar_late, and `<baseline>_gross`, `<baseline>_net` for each of `BASELINES`.
    Raises:
        ValueError: a (timestamp, symbol) that is scored twice.
    """
    keys = predictions.select("timestamp", "symbol")
    if keys.is_duplicated().any():
        twice = predictions.filter(keys.is_duplicated()).sort("timestamp").row(0, named=True)
        raise ValueError(
            f"{twice['symbol']} at {twice['timestamp']} is scored by several folds: each out-of-sample bar counts once; "
            "folds must not overlap"
        )
    calendar = predictions.select(pl.col("timestamp").unique().sort())["timestamp"]
    raw = _grid(predictions, "raw_position")
    volatility, next_return = _grid(predictions, "volatility"), _grid(predictions, "next_return")

    def earn(held: np.ndarray, cost_bps: float, delay_bars: int = 0) -> PortfolioSeries:
        return portfolio_returns(
            held,
            volatility,
            next_return,
            target_volatility=target_volatility,
            cost_bps=cost_bps,
            delay_bars=delay_bars,
        )

    held = hold_positions(raw, max_position=position.max_position, position_smooth=position.position_smooth)
    model = earn(held, position.cost_bps)
    folds = predictions.group_by("timestamp").agg(pl.col("fold").first()).sort("timestamp")["fold"]
    columns: dict[str, Any] = {
        "timestamp": calendar,
        "fold": folds,
        "gross": model.gross,
        "cost": model.cost,
        "net": model.net,
        "turnover": model.turnover,
        "n_symbols": model.n_symbols,
        "net_at_2x_cost": earn(held, 2.0 * position.cost_bps).net,
        "net_one_bar_late": earn(held, position.cost_bps, delay_bars=1).net if len(calendar) > 1 else model.net,
    }
    baselines = {
        "long_only": long_only_positions(np.isfinite(volatility)),
        "momentum": np.nan_to_num(_grid(predictions, "momentum_position")),
    }
    for name in BASELINES:
        series = earn(baselines[name], position.cost_bps)
        columns |= {f"{name}_gross": series.gross, f"{name}_net": series.net}
    return pl.DataFrame(columns).filter(pl.col("n_symbols") > 0)


def break_even_bps(series: pl.DataFrame) -> float | None:
    """Cost in basis points at which the mean net return is zero; None when nothing was traded."""
    model = PortfolioSeries(
        **{name: series[name].to_numpy() for name in ("gross", "cost", "net", "turnover", "n_symbols")}
    )
    return break_even_cost_bps(model) if float(series["turnover"].sum()) > 0.0 else None


def _grid(frame: pl.DataFrame, column: str) -> np.ndarray:
    """(symbols, bars), NaN where a symbol has no row."""
    row = frame.select(pl.col("symbol").rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()
    bar = frame.select(pl.col("timestamp").rank("dense").cast(pl.Int64) - 1).to_series().to_numpy()
    grid = np.full((int(row.max()) + 1, int(bar.max()) + 1), np.nan)
    grid[row, bar] = frame[column].to_numpy()
    return grid
