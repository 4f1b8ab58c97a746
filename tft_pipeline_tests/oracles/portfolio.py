"""Loops over bars and symbols, written from the formulas, for what the package does with arrays; and a volatility."""

import math
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter


def held_positions(raw: np.ndarray, max_position: float, smooth: float, previous: list[float]) -> np.ndarray:
    """p_t = clip(k p_{t-1} + (1-k) clip(raw_t)); a bar without a value is flat and forgets."""
    held = np.zeros(raw.shape)
    for s in range(raw.shape[0]):
        last = previous[s]
        for t in range(raw.shape[1]):
            if math.isnan(raw[s, t]):
                last = 0.0
            else:
                wanted = min(max(raw[s, t], -max_position), max_position)
                last = min(max(smooth * last + (1 - smooth) * wanted, -max_position), max_position)
            held[s, t] = last
    return held


def financing(weight: float, borrow_bps: float, funding_bps: float, bars_per_year: float) -> float:
    """Of one bar: a short pays to borrow; a long pays the funding that a short receives."""
    borrowed = -weight if weight < 0 else 0.0
    return (borrow_bps * borrowed + funding_bps * weight) / 10_000 / bars_per_year


class Row(NamedTuple):
    """One bar of a book."""

    gross: float
    cost: float
    financing: float
    turnover: float
    gross_exposure: float
    net_exposure: float
    n_symbols: int

    @property
    def net(self) -> float:
        return self.gross - self.cost - self.financing


def book(
    positions: np.ndarray,
    volatility: np.ndarray,
    next_return: np.ndarray,
    target: float,
    cost_bps: list[float],
    previous: list[float],
    delay: int,
    *,
    max_weight: float = math.inf,
    borrow_bps: float = 0.0,
    funding_bps: float = 0.0,
    bars_per_year: float = 252.0,
) -> list[Row]:
    """One row a bar; nan where no symbol is present."""
    n_symbols, n_bars = positions.shape

    def present(s: int, t: int) -> bool:
        return math.isfinite(volatility[s, t]) and math.isfinite(next_return[s, t])

    def decided(s: int, t: int) -> float:
        wanted = positions[s, t] * target / volatility[s, t] if math.isfinite(volatility[s, t]) else 0.0
        return max(-max_weight, min(max_weight, wanted))

    def weight(s: int, t: int) -> float:
        if t < 0:
            return previous[s]
        if not present(s, t):
            return 0.0
        return previous[s] if t < delay else decided(s, t - delay)

    last_bar = max((t for t in range(n_bars) for s in range(n_symbols) if present(s, t)), default=-1)
    rows = []
    for t in range(n_bars):
        sums = [0.0] * 6
        count = 0
        for s in range(n_symbols):
            traded, held = 0.0, weight(s, t)
            if present(s, t):
                count += 1
                sums[0] += held * next_return[s, t]
                traded = abs(held - weight(s, t - 1))
                if t < last_bar and not present(s, t + 1):
                    traded += abs(held)
            elif t == 0:
                traded = abs(previous[s])
            sums[1] += cost_bps[s] / 10_000 * traded
            sums[2] += financing(held, borrow_bps, funding_bps, bars_per_year)
            sums[3] += traded
            sums[4] += abs(held)
            sums[5] += held
        means = [total / count if count else math.nan for total in sums]
        rows.append(Row(*means, count))
    return rows


def ewm_volatility(close: np.ndarray, *, span: int = 60, min_periods: int = 60, bars_per_year: float) -> np.ndarray:
    """(S, N) prices -> annual exponentially weighted standard deviation of simple returns up to each bar.

        u_k = (1 - a)^k, a = 2 / (span + 1), k bars back
        s^2 = [ sum(u r^2)/sum(u) - (sum(u r)/sum(u))^2 ] * sum(u)^2 / (sum(u)^2 - sum(u^2)) * bars_per_year

    Weights decay over missing returns too. NaN with fewer returns than `min_periods`, and where the variance is below
    1e-12 of the mean square: such a price does not move.
    """
    returns = np.full(close.shape, np.nan)
    returns[:, 1:] = close[:, 1:] / close[:, :-1] - 1.0
    seen = np.isfinite(returns)
    filled = np.where(seen, returns, 0.0)
    decay = 1.0 - 2.0 / (span + 1.0)

    def discounted(x: np.ndarray, rate: float) -> np.ndarray:
        return np.asarray(lfilter([1.0], [1.0, -rate], x, axis=1))

    mass = discounted(seen.astype(np.float64), decay)
    mass_of_squares = discounted(seen.astype(np.float64), decay**2)
    enough = (np.cumsum(seen, axis=1) >= min_periods) & (mass**2 > mass_of_squares)
    safe_mass = np.where(enough, mass, 1.0)
    second_moment = discounted(filled**2, decay) / safe_mass
    variance = second_moment - (discounted(filled, decay) / safe_mass) ** 2
    unbias = safe_mass**2 / np.where(enough, mass**2 - mass_of_squares, 1.0)
    usable = enough & (variance > 1e-12 * second_moment)
    return np.where(usable, np.sqrt(np.where(usable, variance * unbias, 1.0) * bars_per_year), np.nan)
