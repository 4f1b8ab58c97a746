from dataclasses import replace

import numpy as np
import pytest

from tft_pipeline.domain.portfolio import hold_book
from tft_pipeline.domain.sections import PositionSection
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline_tests.oracles.portfolio import financing

MINUTES_A_YEAR = 252.0 * 390.0


def constant_book(weight: float, n_bars: int, terms: BookTerms) -> np.ndarray:
    """(n_bars,) financing of one symbol held at a weight."""
    volatility = np.full((1, n_bars), 0.15)
    held = np.full((1, n_bars), weight)
    return hold_book(held, volatility, np.zeros((1, n_bars)), target_volatility=0.15, terms=terms).financing[0]


@pytest.mark.parametrize("bars_per_year", [252.0, MINUTES_A_YEAR])
@pytest.mark.parametrize("weight", [-0.8, 0.5])
def test_a_year_of_bars_pays_the_yearly_rate_whatever_a_bar_is(bars_per_year, weight):
    section = PositionSection(borrow_bps=300.0, funding_bps=-120.0)
    terms = BookTerms.of(section, ["A"], bars_per_year=bars_per_year)
    paid = constant_book(weight, int(bars_per_year), terms)
    assert paid[0] == pytest.approx(financing(weight, 300.0, -120.0, bars_per_year), rel=1e-12)
    assert paid.sum() == pytest.approx(0.03 * max(-weight, 0.0) - 0.012 * weight, rel=1e-9)


def test_shorts_pay_to_borrow_and_receive_the_funding_that_longs_pay():
    borrow = BookTerms(trading_bps=0.0, borrow_per_bar=0.001)
    funding = BookTerms(trading_bps=0.0, funding_per_bar=0.001)
    assert constant_book(1.0, 1, borrow)[0] == 0.0
    assert constant_book(-1.0, 1, borrow)[0] == pytest.approx(0.001)
    assert constant_book(1.0, 1, funding)[0] == pytest.approx(0.001)
    assert constant_book(-1.0, 1, funding)[0] == pytest.approx(-0.001)


def test_the_defaults_of_an_experiment_finance_nothing_and_cap_at_ten():
    terms = BookTerms.of(PositionSection(), ["A", "B"], bars_per_year=252.0)
    assert not terms.financed
    assert terms.max_weight == 10.0
    np.testing.assert_array_equal(terms.trading_shares(2), [5.0e-4] * 2)
    assert replace(terms, borrow_per_bar=1e-9).financed
    assert replace(terms, funding_per_bar=-1e-9).financed


def test_each_symbol_pays_its_own_fee_and_the_common_slippage():
    section = PositionSection(cost_bps=5.0, symbol_cost_bps={"B": 1.0, "Z": 99.0}, slippage_bps=2.0, borrow_bps=30.0)
    terms = BookTerms.of(section, ["C", "B"], bars_per_year=252.0)
    np.testing.assert_allclose(terms.trading_shares(2), [7e-4, 3e-4])
    dearer = terms.dearer(2.0)
    np.testing.assert_allclose(dearer.trading_shares(2), [14e-4, 6e-4])
    assert dearer.borrow_per_bar == terms.borrow_per_bar == 0.003 / 252.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trading_bps": -1.0}, "would pay for trading"),
        ({"trading_bps": np.array([1.0, np.nan])}, "trading_bps"),
        ({"trading_bps": np.ones((2, 2))}, "trading_bps"),
        ({"max_weight": 0.0}, "every weight would be 0"),
        ({"max_weight": float("nan")}, "max_weight"),
        ({"borrow_per_bar": -0.1}, "borrow_per_bar"),
        ({"funding_per_bar": float("inf")}, "funding_per_bar"),
    ],
)
def test_terms_that_no_book_can_be_held_on_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        BookTerms(**{"trading_bps": 1.0, **change})


def test_terms_of_other_symbols_are_refused_and_so_is_a_year_without_bars():
    with pytest.raises(ValueError, match="holds 1 symbols and the book 3"):
        BookTerms(trading_bps=np.ones(1)).trading_shares(3)
    with pytest.raises(ValueError, match="bars_per_year 0"):
        BookTerms.of(PositionSection(), ["A"], bars_per_year=0.0)
