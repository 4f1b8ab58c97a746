"""What one fold's training reports and keeps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.inference import predict
from tft_pipeline.model.lightning import HIDDEN_SYMBOL_SHARE, TftModule
from tft_pipeline.model.losses import Objective
from tft_pipeline.model.network import Tft
from tft_pipeline.model.windows import block_bars, panel_tensors
from tft_pipeline_tests.oracles.losses import net_returns
from tft_pipeline_tests.oracles.model_panels import (
    BARS_PER_YEAR,
    NETWORK,
    POSITION,
    TRAINING,
    random_panel,
    small_fit,
    small_fold,
)


def _module(validation: Span, *, static_symbol: bool = False) -> TftModule:
    panel = random_panel()
    network = NETWORK.model_copy(update={"static_symbol": static_symbol})
    scaler = Scaler.fit(panel.values[panel.observed], panel.features)
    torch.manual_seed(0)
    return TftModule(
        Tft(4, network, "sharpe", n_symbols=2),
        panel_tensors(panel, scaler, start=10, stop=106, target_volatility=0.15),
        validation,
        calendar=panel.calendar,
        training=TRAINING.model_copy(update={"loss_mode": "sharpe"}),
        objective=Objective.of(
            TRAINING.model_copy(update={"loss_mode": "sharpe"}), POSITION, panel.symbols, BARS_PER_YEAR
        ),
        levels=torch.tensor([0, 1, 2]) if static_symbol else None,
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
            windows = WindowBatch(values=tensors.values[:, block], observed=tensors.observed[:, block])
            forecast = module.network.forecast(windows)
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
        cost_bps=[POSITION.cost_bps] * 3,
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
    windows = WindowBatch(values=module.tensors.values[:, bars].view(6, 16, 4), observed=observed.view(6, 16))
    forecast = module.network.forecast(windows)
    expected = module.objective.loss(forecast.each(lambda part: part.view(3, 2, 16)), observed, outcomes, counted)
    assert module.training_step([starts]).item() == expected.item()


def test_history_has_one_row_an_epoch_and_the_validation_sharpe_is_per_bar() -> None:
    history = small_fit(random_panel(), epochs=3).history
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert all(
        set(row)
        == {
            "epoch",
            "train_loss",
            "validation_loss",
            "validation_sharpe",
            "validation_accuracy",
            "learning_rate",
            "gradient_norm",
        }
        for row in history
    )
    assert all(abs(row["validation_sharpe"]) < 1.0 for row in history)
    assert all(row["learning_rate"] == TRAINING.learning_rate for row in history)


def test_the_gradient_norm_of_the_history_is_the_mean_before_clipping() -> None:
    """By hand: the norm over all parameters of each step, while the weights stand still."""
    still = TRAINING.model_copy(update={"learning_rate": 1e-30, "weight_decay": 0.0, "gradient_clip": 1e-3})
    module = _module(Span(60, 106))
    module.train()
    expected, steps = [], [torch.tensor([0, 22]), torch.tensor([40])]
    optimiser = torch.optim.AdamW(module.network.parameters(), lr=still.learning_rate)
    module.network.selection_dropout.p = 0.0
    for starts in steps:
        optimiser.zero_grad()
        torch.manual_seed(0)
        module.training_step([starts]).backward()
        squares = [p.grad.double().square().sum() for p in module.network.parameters() if p.grad is not None]
        expected.append(float(sum(squares)) ** 0.5)
        module.configure_gradient_clipping(optimiser, still.gradient_clip, None)
        clipped = sum(p.grad.double().square().sum() for p in module.network.parameters() if p.grad is not None)
        assert float(clipped) ** 0.5 == pytest.approx(1e-3, rel=1e-3)
    with torch.no_grad():
        forecast, observed, outcomes = module.validation_forecast()
        module._close_epoch(0.0, module.objective.net_returns(forecast, observed, outcomes)[0], None)
    assert module.history[0]["gradient_norm"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert module.history[0]["learning_rate"] == still.learning_rate


def test_a_loss_that_is_not_finite_names_epoch_step_bars_dates_and_remedy() -> None:
    module = _module(Span(60, 106))
    with torch.no_grad():
        module.network.head.output.bias.fill_(float("nan"))
    first, second = (
        r"bars 10\.\.25 \(2020-01-11T00:00\+00:00 \.\. 2020-01-26T00:00\+00:00\)",
        r"bars 30\.\.45 \(2020-01-31T",
    )
    with pytest.raises(
        FloatingPointError, match=rf"training loss is nan at epoch 0, step 0, in {first}; {second}.*learning_rate"
    ):
        module.training_step([torch.tensor([20]), torch.tensor([0])])
    with pytest.raises(FloatingPointError, match=r"validation loss is nan .* in bars 60\.\.105 \(2020-03-01T"):
        module.validation_step(0)


def test_a_gradient_that_is_not_finite_names_the_batch_that_made_it_and_not_the_next() -> None:
    """The loss is finite, the square of its gradient is not: clipping would make every weight NaN or stand still."""
    module = _module(Span(60, 106))
    loss = module.training_step([torch.tensor([0])])
    assert torch.isfinite(loss)
    (1e30 * loss).backward()
    with pytest.raises(FloatingPointError, match=r"gradient norm is (inf|nan) at epoch 0, step 0, in bars 10\.\.25 \("):
        module.configure_gradient_clipping(module.configure_optimizers(), 0.5, None)


def test_windows_lie_symbol_by_symbol_with_the_level_of_their_symbol() -> None:
    module = _module(Span(60, 106), static_symbol=True)
    bars = block_bars(torch.tensor([0, 20]), 16)
    windows = module.windows_of(bars)
    assert windows.context is None
    for s in range(3):
        for b in range(2):
            assert torch.equal(windows.values[2 * s + b], module.tensors.values[s, bars[b]])
            assert torch.equal(windows.observed[2 * s + b], module.tensors.observed[s, bars[b]])
            assert windows.symbol[2 * s + b] == s
    assert _module(Span(60, 106)).windows_of(bars).symbol is None


def test_some_symbols_are_hidden_in_training_and_none_in_validation() -> None:
    module = _module(Span(60, 106), static_symbol=True)
    bars = block_bars(torch.zeros(5_000, dtype=torch.long), 16)
    assert torch.equal(module._symbols(len(bars)), torch.tensor([0, 1, 2]).repeat_interleave(5_000))
    module.train()
    torch.manual_seed(0)
    symbols = module._symbols(len(bars)).view(3, 5_000)
    assert (symbols[0] == 0).all()
    for s in (1, 2):
        assert set(symbols[s].tolist()) == {0, s}
        hidden = (symbols[s] == 0).double().mean().item()
        assert hidden == pytest.approx(HIDDEN_SYMBOL_SHARE, abs=4 * (0.05 * 0.95 / 5_000) ** 0.5)


def test_the_level_of_unknown_symbols_is_trained_by_the_hidden_ones() -> None:
    module = _module(Span(60, 106), static_symbol=True)
    module.tensors = replace(module.tensors, observed=module.tensors.observed.clone())
    module.tensors.observed[0] = False  # the one symbol without a level of its own plays no part
    module.tensors.outcomes.present[0] = False
    module.train()
    torch.manual_seed(1)
    starts = torch.arange(0, 64, 2)
    module.training_step([starts]).backward()
    gradient = module.network.embedding.tables[0].weight.grad
    assert (gradient.abs().sum(1) > 0).all()
    module.zero_grad()
    module.eval().training_step([starts]).backward()
    gradient = module.network.embedding.tables[0].weight.grad
    assert (gradient[0] == 0).all()
    assert (gradient[1:].abs().sum(1) > 0).all()


@pytest.mark.parametrize("loss_mode", ["bce", "joint_mle", "joint_quantile", "sharpe"])
def test_the_accuracy_of_the_validation_bars_is_that_of_the_kept_networks_probabilities(loss_mode) -> None:
    """Predictions of the kept weights, and a loop over bars and symbols; a loss without a probability has none."""
    panel = random_panel()
    fold = small_fold()
    fitted = small_fit(panel, training=TRAINING.model_copy(update={"loss_mode": loss_mode}), fold=fold, epochs=2)
    found = fitted.history[fitted.best_epoch]["validation_accuracy"]
    if loss_mode == "sharpe":
        assert found is None
        return
    probability = predict(fitted, panel, fold.validation).probability
    right = [
        (probability[s, k] >= 0.5) == (panel.label[s, bar] > 0)
        for s in range(len(panel.symbols))
        for k, bar in enumerate(range(82, 106))
        if np.isfinite(panel.label[s, bar]) and np.isfinite(panel.next_return[s, bar]) and panel.observed[s, bar]
    ]
    # a probability next to one half may fall on either side of it in windows of another cut
    assert found == pytest.approx(np.mean(right), abs=1.5 / len(right))
