"""What a fitted fold earns on later bars, against loops over its positions."""

from dataclasses import replace

import numpy as np

from tft_pipeline.domain.sections import PositionSection
from tft_pipeline.model.inference import predict
from tft_pipeline.model.scoring import net_returns
from tft_pipeline_tests.oracles.model_panels import BARS_PER_YEAR, random_panel, small_fit, small_fold
from tft_pipeline_tests.oracles.portfolio import book, held_positions

POSITION = PositionSection(
    max_position=0.7,
    position_smooth=0.4,
    max_weight=0.22,
    cost_bps=4.0,
    symbol_cost_bps={"S2": 30.0},
    slippage_bps=2.0,
    borrow_bps=200.0,
    funding_bps=700.0,
)


def test_net_returns_equal_the_loop_with_costs_by_symbol_cap_and_financing() -> None:
    panel, span = random_panel(), small_fold().test
    fitted = replace(small_fit(panel), position=POSITION)
    cut = panel.between(*span)
    raw = predict(fitted, panel, span).raw_position
    held = held_positions(raw, 0.7, 0.4, [0.0] * 3)
    rows = book(
        held,
        np.where(cut.observed, cut.volatility, np.nan),
        cut.next_return,
        0.15,
        [6.0, 6.0, 32.0],
        [0.0] * 3,
        0,
        max_weight=0.22,
        borrow_bps=200.0,
        funding_bps=700.0,
        bars_per_year=BARS_PER_YEAR,
    )
    expected = [row.net for row in rows if row.n_symbols]
    np.testing.assert_allclose(net_returns(fitted, panel, span), expected, atol=1e-15)
    uncapped = replace(fitted, position=POSITION.model_copy(update={"max_weight": 10.0}))
    assert not np.allclose(net_returns(uncapped, panel, span), expected, atol=1e-6)


def test_bars_on_which_no_symbol_can_be_held_are_left_out() -> None:
    panel, span = random_panel(), small_fold().test
    next_return = panel.next_return.copy()
    next_return[:, span.start + 3] = np.nan
    fitted = small_fit(panel)
    assert net_returns(fitted, replace(panel, next_return=next_return), span).size == len(range(*span)) - 1
