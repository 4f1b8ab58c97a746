import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skfolio.datasets import load_sp500_dataset

from tft_pipeline.domain.portfolio import (
    break_even_cost_bps,
    hold_book,
    long_only_positions,
    momentum_positions,
    portfolio_returns,
    portfolio_weights,
)
from tft_pipeline.domain.sharpe import annualise, sharpe_ratio
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline_tests.oracles.portfolio import Row, book, ewm_volatility

SHAPE = (3, 9)
GAP = st.just(float("nan"))


@settings(max_examples=80, deadline=None)
@given(
    positions=arrays(np.float64, SHAPE, elements=st.floats(-1, 1)),
    volatility=arrays(np.float64, SHAPE, elements=st.floats(0.05, 0.8) | GAP),
    returns=arrays(np.float64, SHAPE, elements=st.floats(-0.1, 0.1) | GAP),
    costs=arrays(np.float64, 3, elements=st.floats(0, 50)),
    previous=arrays(np.float64, 3, elements=st.floats(-2, 2)),
    delay=st.integers(0, 3),
    cap=st.sampled_from([0.3, 1.0, math.inf]),
    rates=st.tuples(st.floats(0, 500), st.floats(-500, 500)),
)
def test_the_book_equals_a_loop_over_bars_and_symbols(
    positions, volatility, returns, costs, previous, delay, cap, rates
):
    borrow, funding = rates
    series = portfolio_returns(
        positions,
        volatility,
        returns,
        target_volatility=0.15,
        terms=BookTerms(
            trading_bps=costs,
            max_weight=cap,
            borrow_per_bar=borrow * 1e-4 / 252,
            funding_per_bar=funding * 1e-4 / 252,
        ),
        previous_weights=previous,
        delay_bars=delay,
    )
    rows = book(
        positions,
        volatility,
        returns,
        0.15,
        list(costs),
        list(previous),
        delay,
        max_weight=cap,
        borrow_bps=borrow,
        funding_bps=funding,
    )
    for name in Row._fields:
        np.testing.assert_allclose(getattr(series, name), [getattr(row, name) for row in rows], atol=1e-13)
    np.testing.assert_allclose(series.net, [row.net for row in rows], atol=1e-14)


def sp500() -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    prices = load_sp500_dataset()
    close = prices.to_numpy(dtype=np.float64).T
    next_return = np.full(close.shape, np.nan)
    next_return[:, :-1] = close[:, 1:] / close[:, :-1] - 1.0
    # decided one bar before the first return of 1991-06-03
    start = int(prices.index.searchsorted(pd.Timestamp("1991-06-03"))) - 1
    return close, ewm_volatility(close, bars_per_year=252.0), next_return, start


def test_momentum_on_twenty_stocks_reproduces_the_published_sharpe_gross_and_net():
    close, volatility, next_return, start = sp500()
    whole = portfolio_returns(
        momentum_positions(close), volatility, next_return, target_volatility=0.15, terms=BookTerms(trading_bps=5.0)
    )
    series = whole.between(start, close.shape[1] - 1)
    assert series.net.size == 7955
    assert (series.n_symbols == 20).all()
    assert annualise(sharpe_ratio(series.gross), 252.0) == pytest.approx(0.690682, abs=1e-6)
    assert annualise(sharpe_ratio(series.net), 252.0) == pytest.approx(0.608510, abs=1e-6)


def test_at_the_break_even_cost_the_mean_net_return_is_zero():
    close, volatility, next_return, start = sp500()
    positions = momentum_positions(close)

    def mean_net(cost: float) -> float:
        series = portfolio_returns(
            positions, volatility, next_return, target_volatility=0.15, terms=BookTerms(trading_bps=cost)
        )
        return float(series.between(start, close.shape[1] - 1).net.mean())

    free = portfolio_returns(
        positions, volatility, next_return, target_volatility=0.15, terms=BookTerms(trading_bps=0.0)
    )
    even = break_even_cost_bps(free.between(start, close.shape[1] - 1))
    assert mean_net(even) == pytest.approx(0.0, abs=1e-15)
    assert mean_net(even / 2) > 0.0 > mean_net(even * 2)


def test_one_bar_of_delay_is_the_weight_of_the_bar_before():
    close, volatility, next_return, start = sp500()
    stop = close.shape[1] - 1
    positions = momentum_positions(close)
    late = portfolio_returns(
        positions, volatility, next_return, target_volatility=0.15, terms=BookTerms(trading_bps=5.0), delay_bars=1
    ).between(start, stop)
    weights = portfolio_weights(positions, volatility, target_volatility=0.15)
    shifted = pd.DataFrame(weights.T).shift(1).to_numpy().T
    gross = (shifted * next_return).mean(axis=0)[start:stop]
    np.testing.assert_allclose(late.gross, gross, atol=1e-15)


def test_weights_turn_a_risk_share_into_capital():
    weights = portfolio_weights(np.array([[0.5, -1.0]]), np.array([[0.30, np.nan]]), target_volatility=0.15)
    np.testing.assert_allclose(weights, [[0.25, 0.0]])


def test_a_symbol_that_leaves_pays_for_closing_at_its_last_bar_and_the_end_of_the_panel_closes_nothing():
    volatility = np.array([[0.15, 0.15, np.nan, np.nan], [0.15, 0.15, 0.15, 0.15]])
    returns = np.zeros((2, 4))
    series = portfolio_returns(
        np.ones((2, 4)), volatility, returns, target_volatility=0.15, terms=BookTerms(trading_bps=np.array([10.0, 0.0]))
    )
    np.testing.assert_allclose(series.cost, [0.0005, 0.0005, 0.0, 0.0])
    np.testing.assert_allclose(series.turnover, [1.0, 0.5, 0.0, 0.0])


def test_cutting_a_panel_and_passing_the_weights_on_changes_nothing():
    rng = np.random.default_rng(1)
    positions, returns = rng.uniform(-1, 1, (4, 40)), rng.normal(0, 0.01, (4, 40))
    volatility = rng.uniform(0.1, 0.4, (4, 40))
    book_knobs = {"target_volatility": 0.15, "terms": BookTerms(trading_bps=7.0)}
    whole = portfolio_returns(positions, volatility, returns, **book_knobs)
    last = portfolio_weights(positions, volatility, target_volatility=0.15)[:, 24]
    second = portfolio_returns(
        positions[:, 25:], volatility[:, 25:], returns[:, 25:], previous_weights=last, **book_knobs
    )
    np.testing.assert_allclose(second.net, whole.net[25:], atol=1e-16)


def test_scaling_all_positions_leaves_the_sharpe_ratio_alone():
    rng = np.random.default_rng(2)
    positions, returns = rng.uniform(-1, 1, (4, 60)), rng.normal(0, 0.01, (4, 60))
    volatility = rng.uniform(0.1, 0.4, (4, 60))
    full, half = (
        sharpe_ratio(
            portfolio_returns(
                k * positions, volatility, returns, target_volatility=0.15, terms=BookTerms(trading_bps=3.0)
            ).net
        )
        for k in (1.0, 0.5)
    )
    assert full == pytest.approx(half, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), span=st.integers(2, 30), gaps=st.booleans())
def test_the_volatility_of_the_reproduction_equals_pandas_on_series_with_and_without_gaps(seed, span, gaps):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (3, 80)), axis=1))
    if gaps:
        close[rng.random(close.shape) < 0.15] = np.nan
    returns = pd.DataFrame(close.T).pct_change(fill_method=None)
    expected = returns.ewm(span=span, min_periods=10).std().to_numpy().T * np.sqrt(252.0)
    found = ewm_volatility(close, span=span, min_periods=10, bars_per_year=252.0)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_momentum_is_the_sign_of_the_change_and_flat_without_history():
    close = np.array([[1.0, 2.0, 1.5, 2.0, np.nan, 3.0]])
    np.testing.assert_array_equal(momentum_positions(close, lookback=2), [[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(momentum_positions(close, lookback=6), np.zeros((1, 6)))


def test_long_only_holds_the_budget_where_present():
    np.testing.assert_array_equal(long_only_positions(np.array([[True, False]])), [[1.0, 0.0]])


def test_inputs_no_return_can_be_computed_from_are_refused():
    one = np.full((1, 3), 0.2)
    knobs = {"target_volatility": 0.15, "terms": BookTerms(trading_bps=1.0)}
    with pytest.raises(ValueError, match="do not fit"):
        portfolio_returns(one, np.full((1, 2), 0.2), one, **knobs)
    with pytest.raises(ValueError, match="not positive: its weight would be infinite"):
        portfolio_returns(one, np.zeros((1, 3)), one, **knobs)
    with pytest.raises(ValueError, match="hold_positions first"):
        portfolio_returns(np.full((1, 3), np.nan), one, one, **knobs)
    with pytest.raises(ValueError, match="target_volatility"):
        portfolio_returns(one, one, one, target_volatility=0.0, terms=BookTerms(trading_bps=1.0))
    with pytest.raises(ValueError, match="trading_bps holds 2 symbols and the book 1"):
        portfolio_returns(one, one, one, target_volatility=0.15, terms=BookTerms(trading_bps=np.ones(2)))
    with pytest.raises(ValueError, match="previous_weights"):
        portfolio_returns(one, one, one, previous_weights=np.array([np.nan]), **knobs)
    with pytest.raises(ValueError, match="delay_bars"):
        portfolio_returns(one, one, one, delay_bars=3, **knobs)
    with pytest.raises(ValueError, match="lookback"):
        momentum_positions(one, lookback=0)


def test_break_even_needs_trades():
    flat = portfolio_returns(
        np.zeros((1, 3)), np.ones((1, 3)), np.ones((1, 3)), target_volatility=1.0, terms=BookTerms(trading_bps=1.0)
    )
    with pytest.raises(ValueError, match="turnover is 0"):
        break_even_cost_bps(flat)
    with pytest.raises(ValueError, match="no bar"):
        break_even_cost_bps(flat.between(0, 0))


def test_no_weight_is_beyond_the_cap_and_a_book_below_it_does_not_notice_it():
    rng = np.random.default_rng(3)
    positions, volatility = rng.uniform(-1, 1, (4, 60)), rng.uniform(0.001, 0.4, (4, 60))
    free = portfolio_weights(positions, volatility, target_volatility=0.15)
    capped = portfolio_weights(positions, volatility, target_volatility=0.15, max_weight=2.0)
    assert np.abs(free).max() > 10.0
    assert np.abs(capped).max() == 2.0
    below = np.abs(free) <= 2.0
    np.testing.assert_array_equal(capped[below], free[below])
    np.testing.assert_array_equal(np.sign(capped), np.sign(free))


def test_at_the_break_even_cost_financing_is_paid_too():
    rng = np.random.default_rng(4)
    positions = rng.uniform(-1, 1, (4, 60))
    returns, volatility = 0.01 * np.sign(positions), np.full((4, 60), 0.3)
    dear = BookTerms(trading_bps=0.0, borrow_per_bar=0.004, funding_per_bar=0.001)
    even = break_even_cost_bps(portfolio_returns(positions, volatility, returns, target_volatility=0.15, terms=dear))
    unfinanced = BookTerms(trading_bps=0.0)
    assert even < break_even_cost_bps(
        portfolio_returns(positions, volatility, returns, target_volatility=0.15, terms=unfinanced)
    )
    at_even = replace(dear, trading_bps=even)
    net = portfolio_returns(positions, volatility, returns, target_volatility=0.15, terms=at_even).net
    assert net.mean() == pytest.approx(0.0, abs=1e-15)


def test_the_portfolio_is_the_mean_of_what_its_symbols_earn_and_pay():
    rng = np.random.default_rng(5)
    volatility = np.where(rng.random((4, 60)) < 0.2, np.nan, 0.2)
    returns = rng.normal(0, 0.01, (4, 60))
    terms = BookTerms(trading_bps=np.array([1.0, 2.0, 4.0, 8.0]), borrow_per_bar=0.001)
    held = hold_book(rng.uniform(-1, 1, (4, 60)), volatility, returns, target_volatility=0.15, terms=terms)
    np.testing.assert_allclose((held.net * held.share).sum(axis=0), held.portfolio().net, atol=1e-17)
    assert (held.net[~held.present] == 0.0).all()
    np.testing.assert_allclose(held.cost, held.traded * np.array([[1e-4], [2e-4], [4e-4], [8e-4]]))
