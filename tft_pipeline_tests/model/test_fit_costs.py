"""Costs by symbol, cap and financing reach the training of a fold, each cost at its own symbol."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tft_pipeline.domain.sections import PositionSection
from tft_pipeline.model.fit import FittedFold, fit_fold
from tft_pipeline_tests.oracles.model_panels import BARS_PER_YEAR, NETWORK, TRAINING, random_panel, small_fold


def _fit(keys: dict[str, Any]) -> FittedFold:
    """On a panel whose first symbol is not listed before the fold is over, so that places of symbols shift."""
    panel = random_panel()
    observed = panel.observed.copy()
    observed[0, :120] = False
    return fit_fold(
        replace(panel, observed=observed),
        small_fold(),
        network=NETWORK,
        training=TRAINING,
        position=PositionSection(**keys),
        target_volatility=0.15,
        horizon=1,
        bars_per_year=BARS_PER_YEAR,
        epochs=1,
        seed=1,
    )


def _same(one: FittedFold, other: FittedFold) -> bool:
    return one.history == other.history and all(torch.equal(v, other.state[k]) for k, v in one.state.items())


@pytest.mark.parametrize(
    "keys",
    [
        {"symbol_cost_bps": {"S1": 300.0}},
        {"symbol_cost_bps": {"S2": 300.0}},
        {"slippage_bps": 40.0},
        {"max_weight": 0.02},
        {"borrow_bps": 3000.0},
        {"funding_bps": -3000.0},
    ],
)
def test_every_cost_and_the_cap_change_the_weights_that_are_learned(keys: dict[str, Any]) -> None:
    assert not _same(_fit({}), _fit(keys))


def test_the_cost_of_a_symbol_that_is_not_listed_yet_falls_on_no_other() -> None:
    assert _same(_fit({}), _fit({"symbol_cost_bps": {"S0": 300.0, "elsewhere": 300.0}}))
    assert not _same(_fit({"symbol_cost_bps": {"S1": 300.0}}), _fit({"symbol_cost_bps": {"S2": 300.0}}))


def test_the_same_costs_told_in_another_way_give_the_same_bits() -> None:
    told = _fit({"cost_bps": 1.0, "symbol_cost_bps": {"S1": 6.0, "S2": 2.0}, "slippage_bps": 2.0})
    assert _same(told, _fit({"cost_bps": 8.0, "symbol_cost_bps": {"S2": 4.0}}))
