"""What one fold's training reports and keeps."""

import numpy as np
import pytest
import torch

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.lightning import TftModule
from tft_pipeline.model.losses import Objective
from tft_pipeline.model.network import Tft
from tft_pipeline.model.windows import block_bars, panel_tensors
from tft_pipeline_tests.oracles.losses import net_returns
from tft_pipeline_tests.oracles.model_panels import BARS_PER_YEAR, NETWORK, POSITION, TRAINING, random_panel, small_fit


def _module(validation: Span) -> TftModule:
    panel = random_panel()
    scaler = Scaler.fit(panel.values[panel.observed], panel.features)
    torch.manual_seed(0)
    return TftModule(
        Tft(4, NETWORK, "sharpe"),
        panel_tensors(panel, scaler, start=10, stop=106, target_volatility=0.15),
        validation,
        training=TRAINING.model_copy(update={"loss_mode": "sharpe"}),
        objective=Objective.of(TRAINING.model_copy(update={"loss_mode": "sharpe"}), POSITION, BARS_PER_YEAR),
        on_epoch=None,
    ).eval()


def test_validation_forecasts_every_bar_from_its_own_block_and_scores_them_as_one() -> None:
    """A loop: each validation bar from the block that covers it, then one portfolio over the whole span."""
    module = _module(Span(60, 106))
    stride = TRAINING.lookback - TRAINING.warmup_bars
    ends = [min(60 + stride * (k + 1), 106) for k in range(5)]
    tensors, position = module.tensors, np.zeros((3, 46))
    for bar in range(60, 106):
        end = next(end for end in ends if bar < end)
        block = slice(end - TRAINING.lookback - 10, end - 10)
        with torch.no_grad():
            forecast = module.network(tensors.values[:, block], tensors.observed[:, block])
        position[:, bar - 60] = forecast.position[:, bar - (end - TRAINING.lookback)]
    span = slice(50, 96)
    outcomes = tensors.outcomes
    expected = net_returns(
        position,
        tensors.observed[:, span].numpy(),
        outcomes.present[:, span].numpy(),
        outcomes.leverage[:, span].double().numpy(),
        outcomes.next_return[:, span].double().numpy(),
        max_position=POSITION.max_position,
        position_smooth=POSITION.position_smooth,
        cost_bps=POSITION.cost_bps,
    )
    with torch.no_grad():
        forecast, observed, joined = module.validation_forecast()
        returns = module.objective.net_returns(forecast, observed, joined)
    np.testing.assert_allclose(returns[0], expected, atol=1e-7)


def test_bars_of_the_warmup_are_held_through_but_not_scored() -> None:
    module = _module(Span(60, 106))
    starts = torch.tensor([0, 22])
    bars = block_bars(starts, TRAINING.lookback)
    counted = torch.ones(2, TRAINING.lookback, dtype=torch.bool)
    counted[:, : TRAINING.warmup_bars] = False
    observed, outcomes = module.tensors.observed[:, bars], module.tensors.outcomes.at(bars)
    forecast = module.network(module.tensors.values[:, bars].view(6, 16, 4), observed.view(6, 16))
    expected = module.objective.loss(forecast.each(lambda part: part.view(3, 2, 16)), observed, outcomes, counted)
    assert module.training_step(starts).item() == expected.item()


def test_history_has_one_row_an_epoch_and_the_validation_sharpe_is_per_bar() -> None:
    history = small_fit(random_panel(), epochs=3).history
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert all(set(row) == {"epoch", "train_loss", "validation_loss", "validation_sharpe"} for row in history)
    assert all(abs(row["validation_sharpe"]) < 1.0 for row in history)


def test_a_loss_that_is_not_finite_names_epoch_step_and_remedy() -> None:
    module = _module(Span(60, 106))
    with torch.no_grad():
        module.network.head.output.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"training loss is nan at epoch 0, step 0.*learning_rate"):
        module.training_step(torch.tensor([0, 20]))
