"""The book against vectorbt on the same orders: what it earns, what it pays, and how far a book that drifts is from it.

Slow: vectorbt compiles its simulation once, for a quarter of a minute. The loops of `test_portfolio` are quick.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from tft_pipeline.domain.portfolio import PortfolioSeries, portfolio_returns
from tft_pipeline.domain.positions import hold_positions
from tft_pipeline.domain.sharpe import annualise, sharpe_ratio
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline_tests.oracles.vectorbt_book import Account, traded

pytestmark = pytest.mark.slow

CAPITAL, PURSE = 1e6, 1e9
"""Capital is constant: what is earned is not invested. The purse is deep enough for every order."""
TARGET, CAP = 0.15, 0.5
FEES_BPS = np.array([5.0, 1.0, 20.0, 3.0, 8.0])


@dataclass(frozen=True)
class Market:
    """(S, N): one symbol starts late, one leaves, one pauses; the last bar has no next return."""

    close: np.ndarray
    volatility: np.ndarray
    next_return: np.ndarray
    held: np.ndarray

    @classmethod
    def random(cls, *, gaps: bool = True, n_symbols: int = 5, n_bars: int = 160, seed: int = 0) -> "Market":
        rng = np.random.default_rng(seed)
        shape = (n_symbols, n_bars)
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.3 / 252**0.5, shape), axis=1))
        volatility = rng.uniform(0.1, 0.5, shape)
        if gaps:
            volatility[0, :30] = volatility[1, 100:] = volatility[2, 60:70] = volatility[2, 90] = np.nan
        next_return = np.full(shape, np.nan)
        next_return[:, :-1] = close[:, 1:] / close[:, :-1] - 1.0
        raw = np.where(np.isfinite(volatility), rng.uniform(-1, 1, shape), np.nan)
        return cls(close, volatility, next_return, hold_positions(raw, max_position=0.9, position_smooth=0.7))

    @property
    def present(self) -> np.ndarray:
        return np.isfinite(self.volatility) & np.isfinite(self.next_return)

    def weights(self, *, delay: int = 0) -> np.ndarray:
        """(S, N) written out: position times target over volatility, capped, late, zero where absent."""
        decided = np.nan_to_num(np.clip(self.held * TARGET / self.volatility, -CAP, CAP))
        late = np.zeros_like(decided)
        late[:, delay:] = decided[:, : decided.shape[1] - delay]
        return np.where(self.present, late, 0.0)

    def share(self) -> np.ndarray:
        """(N,) dollars of one unit of weight; those of the bar before where no symbol is left."""
        count = self.present.sum(axis=0)
        return CAPITAL / np.where(count, count, np.roll(count, 1))

    def series(self, terms: BookTerms, *, delay: int = 0, next_return: np.ndarray | None = None) -> PortfolioSeries:
        return portfolio_returns(
            self.held,
            self.volatility,
            self.next_return if next_return is None else next_return,
            target_volatility=TARGET,
            terms=terms,
            delay_bars=delay,
        )


def shares_traded(market: Market, weights: np.ndarray) -> np.ndarray:
    """(S, N) orders that bring every symbol to its weight of the constant capital at every close."""
    return np.diff(weights * market.share() / market.close, axis=1, prepend=0.0)


def by_decision(market: Market, paid: np.ndarray) -> np.ndarray:
    """(N-1,) what orders cost; one that closes a symbol is charged at the symbol's last bar, the bar before it."""
    closes = np.zeros_like(market.present)
    closes[:, 1:] = market.present[:, :-1] & ~market.present[:, 1:]
    moved = np.where(closes, 0.0, paid)
    moved[:, :-1] += np.where(closes, paid, 0.0)[:, 1:]
    return moved[:, :-1].sum(axis=0)


@pytest.mark.parametrize("delay", [0, 1])
def test_what_the_book_earns_is_what_the_orders_earn(delay):
    market = Market.random()
    account = traded(market.close, shares_traded(market, market.weights(delay=delay)), cash=PURSE)
    series = market.series(BookTerms(trading_bps=0.0, max_weight=CAP), delay=delay)
    assert np.abs(market.weights()).max() == CAP
    np.testing.assert_allclose(series.gross[:-1], account.earned() / CAPITAL, atol=1e-9)


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize(("fee", "slippage", "tolerance"), [(1.0, 0.0, 1e-12), (0.0, 7.0, 1e-12), (1.0, 7.0, 2e-7)])
def test_what_the_book_pays_is_what_the_orders_pay(delay, fee, slippage, tolerance):
    """Orders of |dw| at a price that stands still. A fee is charged on the slipped price too, which the book leaves out."""
    market = Market.random(seed=1)
    weights, present = market.weights(delay=delay), market.present
    size = np.diff(weights, axis=1, prepend=0.0) * market.share()
    leaves = present[:, :-1] & ~present[:, 1:]
    size[:, 1:] = np.where(leaves, -weights[:, :-1] * market.share()[:-1], size[:, 1:])
    size[:, -1] = 0.0  # the end of the panel closes nothing
    price = np.ones_like(market.close)
    account = traded(price, size, cash=PURSE, fees=fee * FEES_BPS * 1e-4, slippage=slippage * 1e-4)
    terms = BookTerms(trading_bps=fee * FEES_BPS + slippage, max_weight=CAP)
    series = market.series(terms, delay=delay, next_return=np.where(present, 0.0, np.nan))
    paid = by_decision(market, account.fees + account.slipped)
    np.testing.assert_allclose(series.cost[:-1], paid / CAPITAL, atol=tolerance)
    np.testing.assert_allclose(series.net[:-1], -paid / CAPITAL, atol=tolerance)
    assert series.cost[:-1].sum() > 100 * tolerance


def test_with_the_books_fees_the_whole_net_series_is_that_of_the_account():
    market = Market.random(gaps=False, seed=2)
    weights = market.weights()
    terms = BookTerms(trading_bps=FEES_BPS, max_weight=CAP)
    change = np.abs(np.diff(weights, axis=1, prepend=0.0))
    fixed = change * market.share() * FEES_BPS[:, None] * 1e-4
    account = traded(market.close, shares_traded(market, weights), cash=PURSE, fixed_fees=fixed)
    series = market.series(terms)
    np.testing.assert_allclose(series.net[:-1], account.earned() / CAPITAL, atol=1e-9)
    np.testing.assert_allclose(series.cost[:-1], account.fees[:, :-1].sum(axis=0) / CAPITAL, atol=1e-12)


def drifting(market: Market, fee: float, *, compounded: bool) -> Account:
    """Proportional fees on what is really traded, drift between two bars included; profits invested if compounded."""
    weights = market.weights()
    if compounded:
        return traded(market.close, weights / len(weights), cash=CAPITAL, fees=fee, percent=True)
    return traded(market.close, shares_traded(market, weights), cash=PURSE, fees=fee)


def sharpe_of_the_drift(market: Market, *, compounded: bool) -> float:
    """By how much the book's annual Sharpe ratio, at 5 bp, is above that of one that drifts and pays for it."""
    series = market.series(BookTerms(trading_bps=5.0, max_weight=CAP))
    account = drifting(market, 5e-4, compounded=compounded)
    capital = (account.value + account.fees.sum(axis=0))[:-1] if compounded else CAPITAL
    ours, theirs = (annualise(sharpe_ratio(r), 252.0) for r in (series.net[:-1], account.earned() / capital))
    return ours - theirs


@pytest.mark.parametrize("compounded", [False, True])
def test_that_weights_do_not_drift_hardly_changes_the_sharpe_ratio(compounded):
    """The figures that the docstring of `portfolio` states: 8 symbols of 30 % volatility, 8 years of days, 5 bp."""
    market = Market.random(gaps=False, n_symbols=8, n_bars=2016, seed=3)
    assert abs(sharpe_of_the_drift(market, compounded=compounded)) < 0.002
    still = replace(market, held=np.ones_like(market.held), volatility=np.full_like(market.held, 0.3))
    assert 0.01 < sharpe_of_the_drift(still, compounded=compounded) < 0.03
