"""The guide's network against a loop over bars and gates, and against the guide's own line."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.lstm import LstmNetwork
from tft_pipeline_tests.oracles import network as oracle
from tft_pipeline_tests.oracles.model_panels import arrays, randomised

W, T, V, H = 4, 12, 3, 6


def _section(layers: int, **keys: Any) -> NetworkSection:
    return NetworkSection(family="lstm", hidden=H, heads=2, lstm_layers=layers, **keys)


def _windows(*, gaps: bool) -> WindowBatch:
    generator = torch.Generator().manual_seed(2)
    observed = torch.rand(W, T, generator=generator) < 0.7 if gaps else torch.ones(W, T, dtype=torch.bool)
    return WindowBatch(values=torch.randn(W, T, V, generator=generator, dtype=torch.float64), observed=observed)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_every_bar_equals_the_loop_over_bars(layers: int) -> None:
    network = randomised(LstmNetwork(V, _section(layers), "joint_mle"))
    windows, weights = _windows(gaps=True), arrays(network)
    forecast = network.forecast(windows)
    for w in range(W):
        entered = windows.values[w].numpy() * windows.observed[w].numpy()[:, None]
        hidden = oracle.lstm(oracle.part(weights, "lstm"), entered, layers)
        expected = np.array([oracle.gaussian_head(oracle.part(weights, "head"), h) for h in hidden])
        actual = torch.stack((forecast.position[w], forecast.mean[w], forecast.log_scale[w]), dim=-1)
        np.testing.assert_allclose(actual.detach().numpy(), expected, atol=1e-12)


def test_the_probability_is_the_guide_s_sigmoid_of_a_layer_on_the_last_hidden_state() -> None:
    network = randomised(LstmNetwork(V, _section(2), "bce"))
    windows = _windows(gaps=False)
    lstm, fc = nn.LSTM(V, H, num_layers=2, batch_first=True).double(), nn.Linear(H, 1).double()
    lstm.load_state_dict(network.lstm.state_dict())
    fc.load_state_dict(network.head.output.state_dict())
    expected = torch.sigmoid(fc(lstm(windows.values)[0][:, -1])).squeeze(-1)
    torch.testing.assert_close(network.forecast_last(windows).probability(), expected, atol=1e-14, rtol=0)


def test_dropout_stands_between_the_layers_and_only_in_training() -> None:
    torch.manual_seed(0)
    windows = WindowBatch(values=torch.randn(W, T, V), observed=torch.ones(W, T, dtype=torch.bool))
    two, one = (LstmNetwork(V, _section(layers, dropout=0.5), "sharpe") for layers in (2, 1))
    assert not torch.equal(two.forecast(windows).position, two.forecast(windows).position)
    assert torch.equal(one.forecast(windows).position, one.forecast(windows).position)
    two.eval()
    assert torch.equal(two.forecast(windows).position, two.forecast(windows).position)


def test_every_parameter_is_trained() -> None:
    network = randomised(LstmNetwork(V, _section(2), "joint_mle"))
    network.forecast(_windows(gaps=True)).position.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
