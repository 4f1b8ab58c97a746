"""From out-of-sample predictions to one portfolio return a bar, for the model and for its baselines on the same bars.

Positions are held across fold boundaries in time order: every fold start would otherwise be false turnover. Rules are held as
they are; learned peers are clipped and smoothed as the model is, so that they trade under the same rules. All pay the same
costs and have the same cap on a weight.
Not here: statistics of the series (`sharpe`, `track_record`), the verdict (`verdict`).

Axes: S symbols, sorted, N bars.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import polars as pl

from tft_pipeline.domain.portfolio import (
    Book,
    PortfolioSeries,
    break_even_cost_bps,
    hold_book,
    long_only_positions,
)
from tft_pipeline.domain.positions import hold_positions
from tft_pipeline.domain.sections import PositionSection
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline.domain.verdict import annual_sharpe_or_none

BASELINES = ("long_only", "momentum", "macd", "ridge", "lightgbm")
LEARNED = frozenset({"ridge", "lightgbm"})
"""Baselines that are fitted: what they say is held as the model's output is."""
SERIES = tuple(field.name for field in fields(PortfolioSeries))


def backtest(
    predictions: pl.DataFrame, position: PositionSection, *, target_volatility: float, bars_per_year: float
) -> pl.DataFrame:
    """Portfolio series of the model and the baselines.

    Args:
        predictions: timestamp, symbol, fold, raw_position, next_return, volatility, and `<baseline>_position` of every
            baseline but long_only, in [-1, 1]; each (timestamp, symbol) once. Null is flat.
        position: clip, smoothing, cap and costs.
        target_volatility: annual.
        bars_per_year: bars that the yearly rates of borrowing and funding fall on.
    Returns:
        One row a decision bar at which some symbol could be held: timestamp, fold, the columns of `PortfolioSeries`,
        net_at_2x_cost (fee and slippage doubled, financing as it is), net_one_bar_late, and `<baseline>_gross`,
        `<baseline>_net` for each of `BASELINES`.
    Raises:
        ValueError: a (timestamp, symbol) that is scored twice, a baseline without its column, a position outside [-1, 1].
    """
    market = _Market.of(predictions, target_volatility)
    terms = BookTerms.of(position, market.symbols, bars_per_year=bars_per_year)
    held = market.held("raw_position", position)
    model = market.book(held, terms).portfolio()
    late = market.book(held, terms, delay_bars=1).portfolio() if len(market.calendar) > 1 else model
    columns: dict[str, Any] = {
        "timestamp": market.calendar,
        "fold": predictions.group_by("timestamp").agg(pl.col("fold").first()).sort("timestamp")["fold"],
        **{name: getattr(model, name) for name in SERIES},
        "net_at_2x_cost": market.book(held, terms.dearer(2.0)).portfolio().net,
        "net_one_bar_late": late.net,
    }
    for name in BASELINES:
        series = market.book(_baseline(market, name, position), terms).portfolio()
        columns |= {f"{name}_gross": series.gross, f"{name}_net": series.net}
    return pl.DataFrame(columns).filter(pl.col("n_symbols") > 0)


def symbol_table(
    predictions: pl.DataFrame, position: PositionSection, *, target_volatility: float, bars_per_year: float
) -> list[dict[str, Any]]:
    """What each symbol of the model's book did; one row a symbol, by name.

    A symbol's own net return is w r - c |dw| - financing, on the capital that it has: 1 / n of the book's at a bar of n
    symbols. Its contribution is the sum over bars of that share; contributions add up to the sum of the book's net returns.

    Args:
        predictions, position, target_volatility, bars_per_year: as `backtest` takes them.
    Returns:
        symbol, n_bars (at which it is present), contribution, sharpe_annual (of its own net return on these bars; None where
        it is undefined: fewer than two bars, or all alike), mean_turnover, mean_abs_weight, hit_rate (share of its bars with
        a net return above 0 among those not 0); None what has no bars to be taken over.
    """
    market = _Market.of(predictions, target_volatility)
    terms = BookTerms.of(position, market.symbols, bars_per_year=bars_per_year)
    book = market.book(market.held("raw_position", position), terms)
    share, net = np.nan_to_num(book.share), book.net
    rows = []
    for s, symbol in enumerate(market.symbols):
        here = book.present[s]
        own = net[s, here]
        rows.append(
            {
                "symbol": symbol,
                "n_bars": int(here.sum()),
                "contribution": float((net[s] * share).sum()),
                "sharpe_annual": annual_sharpe_or_none(own, bars_per_year),
                "mean_turnover": _mean(book.traded[s, here]),
                "mean_abs_weight": _mean(np.abs(book.weight[s, here])),
                "hit_rate": _mean(own[own != 0.0] > 0.0),
            }
        )
    return rows


def held_shares(predictions: pl.DataFrame) -> dict[str, float]:
    """Share of the scored rows on which each baseline holds a position; long only holds one on all."""
    return {"long_only": 1.0} | {
        name: float((predictions[f"{name}_position"].fill_nan(0.0).fill_null(0.0) != 0.0).sum())
        / max(predictions.height, 1)
        for name in BASELINES
        if name != "long_only"
    }


def break_even_bps(series: pl.DataFrame) -> float | None:
    """Fee and slippage in basis points at which the mean net return is zero; None when nothing was traded."""
    model = PortfolioSeries(**{name: series[name].to_numpy() for name in SERIES})
    return break_even_cost_bps(model) if float(series["turnover"].sum()) > 0.0 else None


@dataclass(frozen=True, kw_only=True)
class _Market:
    """The scored bars of all folds as arrays (S, N); NaN where a symbol has no row."""

    frame: pl.DataFrame
    symbols: tuple[str, ...]
    calendar: pl.Series
    place: tuple[np.ndarray, np.ndarray]
    volatility: np.ndarray
    next_return: np.ndarray
    target_volatility: float

    @classmethod
    def of(cls, predictions: pl.DataFrame, target_volatility: float) -> "_Market":
        keys = predictions.select("timestamp", "symbol")
        if keys.is_duplicated().any():
            twice = predictions.filter(keys.is_duplicated()).sort("timestamp").row(0, named=True)
            raise ValueError(
                f"{twice['symbol']} at {twice['timestamp']} is scored by several folds: each out-of-sample bar counts "
                "once; folds must not overlap"
            )
        symbols = predictions["symbol"].unique().sort()
        calendar = predictions["timestamp"].unique().sort()
        place = (
            predictions["symbol"].cast(pl.Enum(symbols)).to_physical().to_numpy(),
            calendar.search_sorted(predictions["timestamp"]).to_numpy(),
        )
        shape = (len(symbols), len(calendar))
        return cls(
            frame=predictions,
            symbols=tuple(symbols),
            calendar=calendar,
            place=place,
            volatility=_on_grid(predictions["volatility"], place, shape),
            next_return=_on_grid(predictions["next_return"], place, shape),
            target_volatility=target_volatility,
        )

    def held(self, column: str, position: PositionSection) -> np.ndarray:
        """(S, N) a column of raw positions, clipped and smoothed."""
        return hold_positions(
            _on_grid(self.frame[column], self.place, self.volatility.shape),
            max_position=position.max_position,
            position_smooth=position.position_smooth,
        )

    def book(self, held: np.ndarray, terms: BookTerms, *, delay_bars: int = 0) -> Book:
        """The book of positions (S, N)."""
        return hold_book(
            held,
            self.volatility,
            self.next_return,
            target_volatility=self.target_volatility,
            terms=terms,
            delay_bars=delay_bars,
        )


def _baseline(market: _Market, name: str, position: PositionSection) -> np.ndarray:
    """(S, N) positions of a baseline."""
    if name == "long_only":
        return long_only_positions(np.isfinite(market.volatility))
    column = f"{name}_position"
    if column not in market.frame.columns:
        raise ValueError(
            f"the predictions have no column {column}: {name} cannot be shown beside the model; they were made by an older "
            "revision, materialise the production folds again"
        )
    if name in LEARNED:
        return market.held(column, position)
    return market.held(column, PositionSection(max_position=1.0, position_smooth=0.0))  # as it is


def _on_grid(column: pl.Series, place: tuple[np.ndarray, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """(S, N), NaN where a symbol has no row or a null."""
    grid = np.full(shape, np.nan)
    grid[place] = column.to_numpy()
    return grid


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None
