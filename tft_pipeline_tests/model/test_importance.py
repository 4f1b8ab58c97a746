"""Permutation importance against the training module's own validation loss, and what it may and may not read."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.sections import NetworkSection, TrainingSection
from tft_pipeline.model import importance
from tft_pipeline.model.context import WindowContext
from tft_pipeline.model.fit import FittedFold, symbol_levels
from tft_pipeline.model.importance import block_permutations, permutation_importance
from tft_pipeline.model.lightning import TftModule
from tft_pipeline.model.losses import Objective
from tft_pipeline.model.windows import panel_tensors
from tft_pipeline_tests.oracles.model_panels import NETWORK, TRAINING, random_panel, small_fit, small_fold

VARIANTS: dict[str, tuple[NetworkSection, TrainingSection]] = {
    "plain": (NETWORK, TRAINING),
    "symbol": (NETWORK.model_copy(update={"static_symbol": True}), TRAINING),
    "context": (NETWORK.model_copy(update={"n_context": 3, "context_bars": 5}), TRAINING),
    "bce": (NETWORK, TRAINING.model_copy(update={"loss_mode": "bce"})),
    "wide embedding": (NETWORK.model_copy(update={"variable_hidden": 8}), TRAINING),
}


def by_the_training_module(
    fitted: FittedFold, panel: Panel, fold: Fold, orders: np.ndarray
) -> tuple[float, np.ndarray]:
    """The loss that early stopping reads, with one column of its tensors overwritten at a time."""
    panel = panel.between(0, fold.validation.stop).listed()
    tensors = panel_tensors(
        panel,
        fitted.scaler,
        start=fold.train.start,
        stop=fold.validation.stop,
        target_volatility=fitted.target_volatility,
    )
    context = None
    if fitted.context is not None:
        context = WindowContext(fitted.context, panel.symbols, panel.calendar, fitted.network.n_context)
    module = TftModule(
        fitted.build(),
        tensors,
        fold.validation,
        calendar=panel.calendar,
        training=fitted.training,
        objective=Objective.of(fitted.training, fitted.position, panel.symbols, fitted.bars_per_year),
        levels=symbol_levels(panel.symbols, fitted.symbols) if fitted.network.static_symbol else None,
        context=context,
    ).eval()

    def loss() -> float:
        with torch.no_grad():
            forecast, observed, outcomes = module.validation_forecast()
            return float(module.objective.loss(forecast, observed, outcomes, torch.ones_like(observed[0])))

    base, whole = loss(), tensors.values.clone()
    first = fold.validation.start - fold.train.start
    rises = np.zeros(len(panel.features))
    for v in range(len(rises)):
        for order in orders:
            tensors.values.copy_(whole)
            for t, source in enumerate(order):
                tensors.values[:, first + t, v] = whole[:, first + source, v]
            rises[v] += (loss() - base) / len(orders)
    return base, rises


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_importance_is_the_rise_of_the_loss_that_training_stops_on(variant: str) -> None:
    network, training = VARIANTS[variant]
    panel = random_panel(edge=0.5)
    fitted = small_fit(panel, network=network, training=training, epochs=3)
    found = permutation_importance(fitted, panel, small_fold(), n_permutations=2, seed=5)
    assert found.loss == pytest.approx(fitted.history[fitted.best_epoch]["validation_loss"], rel=1e-5)
    loss, rises = by_the_training_module(fitted, panel, small_fold(), block_permutations(24, 2, seed=5))
    assert found.loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(found.increase, rises, atol=2e-5)
    assert np.abs(rises).max() > 1e-3


def test_one_variable_and_small_groups_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = random_panel(edge=0.5)
    fitted = small_fit(panel)
    whole = permutation_importance(fitted, panel, small_fold(), n_permutations=1, seed=5)
    for name, value in (("BYTES_A_GROUP", 1), ("TOKENS_A_CHUNK", 7), ("ROWS_A_CHUNK", 3)):
        monkeypatch.setattr(importance, name, value)
    cut = permutation_importance(fitted, panel, small_fold(), n_permutations=1, seed=5)
    np.testing.assert_allclose(cut.increase, whole.increase, atol=2e-5)
    lone = random_panel(n_features=1, edge=0.5)
    fitted = small_fit(lone)
    loss, rises = by_the_training_module(fitted, lone, small_fold(), block_permutations(24, 1, seed=5))
    found = permutation_importance(fitted, lone, small_fold(), n_permutations=1, seed=5)
    assert (found.loss, found.increase[0]) == pytest.approx((loss, rises[0]), abs=2e-5)


def test_the_feature_that_drives_the_returns_is_the_most_important() -> None:
    panel = random_panel(n_symbols=6, n_bars=300, n_features=5, gaps=False, edge=0.8)
    fold = Fold(key="f", train=Span(0, 190), validation=Span(192, 262), test=Span(264, 294))
    fitted = small_fit(panel, fold=fold, epochs=8, training=TRAINING.model_copy(update={"learning_rate": 0.02}))
    found = permutation_importance(fitted, panel, fold, n_permutations=2, seed=0)
    assert found.increase.argmax() == 0
    assert found.increase[0] > 5.0 * np.abs(found.increase[1:]).max()


def test_no_bar_behind_validation_is_read_and_the_same_seed_gives_the_same_bits() -> None:
    panel = random_panel()
    fitted, stop = small_fit(panel), small_fold().validation.stop
    later: dict[str, Any] = {}
    for name in ("values", "next_return", "volatility", "label", "close"):
        array = getattr(panel, name).copy()
        array[:, stop:] = np.nan
        later[name] = array
    # the returns and labels of validation itself are known one bar later, as the fit's own are
    found, blind, other = (
        permutation_importance(fitted, some, small_fold(), n_permutations=1, seed=seed)
        for some, seed in ((panel, 1), (replace(panel, **later), 1), (panel, 2))
    )
    np.testing.assert_array_equal(found.increase, blind.increase)
    assert found.loss == blind.loss
    assert (found.increase != other.increase).any()


def test_a_flat_feature_has_no_importance() -> None:
    panel = random_panel()
    values = panel.values.copy()
    values[..., 2] = 3.0
    flat = replace(panel, values=values)
    found = permutation_importance(small_fit(flat), flat, small_fold(), n_permutations=1, seed=1)
    assert abs(found.increase[2]) < 1e-5  # rounding of a float32 loss


@pytest.mark.parametrize("n_bars", [2, 3, 24, 126])
def test_permutations_keep_blocks_together_and_move_something(n_bars: int) -> None:
    orders = block_permutations(n_bars, 6, seed=3)
    block = min(int(np.ceil(np.sqrt(n_bars))), n_bars // 2)
    for order in orders:
        assert sorted(order) == list(range(n_bars))
        assert (order != np.arange(n_bars)).any()
        broken = int((np.diff(order) != 1).sum())
        assert broken <= -(-n_bars // block) - 1
    np.testing.assert_array_equal(orders, block_permutations(n_bars, 6, seed=3))
    assert n_bars < 24 or len({tuple(order) for order in orders}) > 1


def test_what_cannot_be_permuted_is_refused() -> None:
    with pytest.raises(ValueError, match="2 bars at least"):
        block_permutations(1, 1, seed=0)
    with pytest.raises(ValueError, match="0 permutations"):
        block_permutations(9, 0, seed=0)
    panel = random_panel()
    fitted = small_fit(panel, network=NETWORK.model_copy(update={"family": "lstm"}))
    with pytest.raises(ValueError, match="family lstm has no variable selection"):
        permutation_importance(fitted, panel, small_fold(), n_permutations=1, seed=0)
