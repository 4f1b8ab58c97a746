"""Who is in the panel: symbols' levels, and symbols that are listed later."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tft_pipeline.domain.panel import Panel
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.fit import symbol_levels
from tft_pipeline_tests.oracles.model_panels import NETWORK, random_panel, small_fit

PER_SYMBOL = ("values", "observed", "next_return", "volatility", "label", "close")


@pytest.fixture(scope="module")
def panel() -> Panel:
    return random_panel()


@pytest.mark.parametrize("keys", [{}, {"static_symbol": True}, {"n_context": 3, "context_bars": 6}])
def test_a_symbol_listed_after_validation_changes_no_bit(keys: dict[str, Any]) -> None:
    """Dropout, hidden symbols and context sequences are drawn; a later listing must not shift the draws."""
    wide = random_panel(n_symbols=4)
    observed = wide.observed.copy()
    observed[3, :110] = False
    values = np.where(observed[..., None], wide.values, np.nan)
    wide = replace(wide, observed=observed, values=values)
    narrow = replace(wide, **{name: getattr(wide, name)[:3] for name in PER_SYMBOL}, symbols=wide.symbols[:3])
    network = NETWORK.model_copy(update=keys)
    one, other = small_fit(wide, network=network), small_fit(narrow, network=network)
    assert one.history == other.history
    assert all(torch.equal(value, other.state[name]) for name, value in one.state.items())


def test_only_symbols_with_a_training_label_have_a_level_of_their_own(panel: Panel) -> None:
    observed = panel.observed.copy()
    observed[1, :82] = False  # listed when training is over
    static = NETWORK.model_copy(update={"static_symbol": True})
    fitted = small_fit(replace(panel, observed=observed), epochs=1, network=static)
    assert fitted.symbols == ("S0", "S2")
    assert symbol_levels(("S2", "S1", "S0"), fitted.symbols).tolist() == [2, 0, 1]
    assert fitted.build().embedding.tables[0].weight.shape[0] == 3
    assert small_fit(panel, epochs=1).symbols == ()


def test_the_order_of_symbols_in_the_panel_is_all_that_their_levels_follow_from(panel: Panel) -> None:
    """Two symbols with the same numbers differ by their level alone."""
    twins = {
        name: getattr(panel, name)[[2, 2, 2]] for name in ("values", "observed", "next_return", "volatility", "label")
    }
    static = NETWORK.model_copy(update={"static_symbol": True})
    network = small_fit(replace(panel, **twins), epochs=2, network=static).build()
    values = torch.randn(1, 16, 4).expand(4, 16, 4)
    windows = WindowBatch(
        values=values, observed=torch.ones(4, 16, dtype=torch.bool), symbol=torch.tensor([1, 1, 2, 0])
    )
    with torch.no_grad():
        position = network.forecast_last(windows).position
    assert position[0] == position[1]
    assert len(set(position.tolist())) == 3
