"""What a book of positions earns: weights, portfolio returns net of trading and financing, and the simplest baselines.

    w_t     = clip(z_t * s_tgt / s_t, -max_weight, max_weight)
    R_{t+1} = mean_i [ w_i,t * r_i,t+1 - c_i * |w_i,t - w_i,t-1| - b * max(-w_i,t, 0) - f * w_i,t ]

Weights are fractions of a constant capital. They do not drift with prices between two bars, so a weight that stays the same
costs nothing. A book that drifts and is brought back at every bar pays for that too: over 8 years of days, 8 symbols of 30 %
volatility and 5 bp it loses less than 0.03 of an annual Sharpe ratio where the weights stand still, and less than 0.002 where
they move as positions do (the tests against vectorbt measure it).

Axes: S symbols, N bars of the calendar. Not here: how positions are made (`positions`), what c, b and f are (`terms`),
statistics of the series (`sharpe`, `track_record`).
"""

import math
from dataclasses import dataclass, fields

import numpy as np

from tft_pipeline.domain.terms import BPS, BookTerms

VARIANCE_ROUNDING = 1e-12
"""A variance below this share of the mean square is rounding, not movement."""


@dataclass(frozen=True, kw_only=True)
class PortfolioSeries:
    """One value a decision bar t; what is decided at the close of t is earned over bar t+1.

    Attributes:
        gross: (N,) return before costs; NaN at bars without any symbol (the last bar of a panel is one).
        cost: (N,) fees and slippage as a return, not negative.
        financing: (N,) borrowing and funding as a return; negative where holding pays.
        net: (N,) gross - cost - financing.
        turnover: (N,) mean |change of weight| over the symbols, the amount `cost` is charged on.
        gross_exposure: (N,) mean |w|.
        net_exposure: (N,) mean w.
        n_symbols: (N,) symbols the mean is taken over.
    """

    gross: np.ndarray
    cost: np.ndarray
    financing: np.ndarray
    net: np.ndarray
    turnover: np.ndarray
    gross_exposure: np.ndarray
    net_exposure: np.ndarray
    n_symbols: np.ndarray

    def between(self, start: int, stop: int) -> "PortfolioSeries":
        """Decision bars start .. stop-1."""
        return PortfolioSeries(**{field.name: getattr(self, field.name)[start:stop] for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Book:
    """What every symbol holds, earns and pays; (S, N) fractions of the capital that one symbol has, zero where absent.

    Attributes:
        present: bool; volatility and next return are known.
        weight: held from the close of the bar to the next.
        traded: |change of weight|, closing included.
        gross: weight * next return.
        cost: fees and slippage.
        financing: borrowing and funding.
    """

    present: np.ndarray
    weight: np.ndarray
    traded: np.ndarray
    gross: np.ndarray
    cost: np.ndarray
    financing: np.ndarray

    @property
    def net(self) -> np.ndarray:
        """(S, N) gross - cost - financing."""
        found: np.ndarray = self.gross - self.cost - self.financing
        return found

    @property
    def share(self) -> np.ndarray:
        """(N,) capital of one symbol, 1 / symbols present; NaN at bars without any."""
        count = self.present.sum(axis=0)
        return np.where(count > 0, 1.0 / np.maximum(count, 1), np.nan)

    def portfolio(self) -> PortfolioSeries:
        """Equal mean over the symbols present at each bar."""
        share = self.share
        gross, cost, financing, turnover, gross_exposure, net_exposure = (
            part.sum(axis=0) * share
            for part in (self.gross, self.cost, self.financing, self.traded, np.abs(self.weight), self.weight)
        )
        return PortfolioSeries(
            gross=gross,
            cost=cost,
            financing=financing,
            net=gross - cost - financing,
            turnover=turnover,
            gross_exposure=gross_exposure,
            net_exposure=net_exposure,
            n_symbols=self.present.sum(axis=0),
        )


def portfolio_weights(
    positions: np.ndarray, volatility: np.ndarray, *, target_volatility: float, max_weight: float = math.inf
) -> np.ndarray:
    """w = clip(z * s_tgt / s, -max_weight, max_weight), the fraction of capital in a symbol; 0 where s is not known.

    Args:
        positions: z (S, N), share of the risk budget.
        volatility: s (S, N), annual, known at the bar; NaN where unknown.
        target_volatility: s_tgt, annual, in the same unit (0.15 is 15 %).
        max_weight: a cap on leverage: s near 0 would make w without limit.
    Raises:
        ValueError: target or a volatility that is not positive, a position that is not finite where the volatility
            is known.
    """
    if not target_volatility > 0.0:
        raise ValueError(f"target_volatility {target_volatility} is not positive: every weight would be 0")
    positions, volatility = _same_shape(positions, volatility)
    known = np.isfinite(volatility)
    if (volatility[known] <= 0.0).any():
        raise ValueError(
            f"volatility {volatility[known].min():g} is not positive: its weight would be infinite; "
            "set it to NaN so that the symbol counts as absent there"
        )
    if not np.isfinite(positions[known]).all():
        raise ValueError(
            "a position is not finite at a bar whose volatility is known: "
            "pass raw positions through hold_positions first"
        )
    weights = np.where(known, positions * target_volatility / np.where(known, volatility, 1.0), 0.0)
    return np.clip(weights, -max_weight, max_weight)


def portfolio_returns(
    positions: np.ndarray,
    volatility: np.ndarray,
    next_return: np.ndarray,
    *,
    target_volatility: float,
    terms: BookTerms,
    previous_weights: np.ndarray | None = None,
    delay_bars: int = 0,
) -> PortfolioSeries:
    """`hold_book`, as the series of the portfolio: the equal mean over symbols."""
    return hold_book(
        positions,
        volatility,
        next_return,
        target_volatility=target_volatility,
        terms=terms,
        previous_weights=previous_weights,
        delay_bars=delay_bars,
    ).portfolio()


def hold_book(
    positions: np.ndarray,
    volatility: np.ndarray,
    next_return: np.ndarray,
    *,
    target_volatility: float,
    terms: BookTerms,
    previous_weights: np.ndarray | None = None,
    delay_bars: int = 0,
) -> Book:
    """Weight times next return of every symbol, less the cost of getting there and of being there.

    A symbol is present at t when its volatility and its next return are both known; elsewhere it holds nothing.
    One that leaves (present at t, absent at t+1, while the book goes on) pays for closing, c * |w_t|, at t, its
    last bar; coming back it pays for opening. A previous weight whose symbol is absent at the first bar is closed
    there. Nothing is closed at the end of the panel.

    Args:
        positions: z (S, N), finite where the volatility is known.
        volatility: s (S, N), ex-ante annual standard deviation known at t; NaN where unknown.
        next_return: (S, N) simple return of bar t+1; NaN where unknown.
        target_volatility: s_tgt, annual.
        terms: cap and costs, of these symbols.
        previous_weights: (S,) weights held before the first bar; none when not given.
        delay_bars: Bars between decision and trade: the weight decided at t is held from t + delay_bars. Until the
            first one arrives the previous weights stand. The series stays indexed by the bar after which the
            weight earns.
    Raises:
        ValueError: shapes that do not fit, a negative delay, and what `portfolio_weights` raises.
    """
    weights = portfolio_weights(positions, volatility, target_volatility=target_volatility, max_weight=terms.max_weight)
    volatility, next_return = _same_shape(volatility, next_return)
    n_symbols, n_bars = weights.shape
    shares = terms.trading_shares(n_symbols)
    before = np.zeros(n_symbols) if previous_weights is None else np.asarray(previous_weights, dtype=np.float64)
    if before.shape != (n_symbols,) or not np.isfinite(before).all():
        raise ValueError(
            f"previous_weights {before.shape}: expected {n_symbols} finite weights, 0.0 for a symbol without one"
        )
    if not 0 <= delay_bars < max(n_bars, 1):
        raise ValueError(f"delay_bars {delay_bars} is outside 0..{n_bars - 1}: no decision would be traded")

    present = np.isfinite(volatility) & np.isfinite(next_return)
    if delay_bars:
        late = np.repeat(before[:, None], delay_bars, axis=1)
        weights = np.concatenate([late, weights[:, : n_bars - delay_bars]], axis=1)
    weights = np.where(present, weights, 0.0)
    change = np.abs(np.diff(weights, axis=1, prepend=before[:, None]))
    traded = np.where(present, change, 0.0)
    traded[:, 0] = change[:, 0]
    traded[:, :-1] += np.where(_leaves(present), np.abs(weights[:, :-1]), 0.0)
    return Book(
        present=present,
        weight=weights,
        traded=traded,
        gross=weights * np.where(present, next_return, 0.0),
        cost=shares[:, None] * traded,
        financing=terms.borrow_per_bar * np.maximum(-weights, 0.0) + terms.funding_per_bar * weights,
    )


def _leaves(present: np.ndarray) -> np.ndarray:
    """(S, N-1) symbols at their last bar before an absence, as long as any symbol is present later."""
    book_goes_on = np.flip(np.logical_or.accumulate(np.flip(present.any(axis=0))))[1:]
    found: np.ndarray = present[:, :-1] & ~present[:, 1:] & book_goes_on
    return found


def break_even_cost_bps(series: PortfolioSeries) -> float:
    """Fee and slippage, the same for all symbols, at which the mean net return is 0:

        1e4 * mean(gross - financing) / mean(turnover)

    Negative when the book loses before them.

    Raises:
        ValueError: no bar with a symbol, or nothing was ever traded.
    """
    scored = series.n_symbols > 0
    if not scored.any():
        raise ValueError("no bar of the series has a symbol: there is nothing to break even on")
    turnover = float(series.turnover[scored].mean())
    if turnover <= 0.0:
        raise ValueError("turnover is 0: without trades no cost changes the return")
    return float((series.gross - series.financing)[scored].mean()) / turnover / BPS


def long_only_positions(present: np.ndarray) -> np.ndarray:
    """Baseline: the full risk budget, always. present (S, N) bool -> positions (S, N), 1 where present, else 0."""
    return np.asarray(present, dtype=bool).astype(np.float64)


def momentum_positions(close: np.ndarray, lookback: int = 252) -> np.ndarray:
    """Baseline: time-series momentum, z_t = sign(P_t / P_{t-lookback} - 1); 0 where either price is unknown.

    Args:
        close: (S, N) prices, NaN where the symbol has no bar.
        lookback: Bars.
    Raises:
        ValueError: lookback < 1.
    Source: Moskowitz, Ooi & Pedersen (2012), JFE 104(2).
    """
    if lookback < 1:
        raise ValueError(f"lookback {lookback} < 1: momentum compares with an earlier bar")
    close = np.asarray(close, dtype=np.float64)
    positions = np.zeros(close.shape)
    if close.shape[1] > lookback:
        positions[:, lookback:] = np.sign(close[:, lookback:] / close[:, :-lookback] - 1.0)
    return np.nan_to_num(positions, nan=0.0)


def _same_shape(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, (S, N) of one shape."""
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"shapes {first.shape} and {second.shape} do not fit: expected (symbols, bars) for each")
    return first, second
