"""Gates and residual networks against a loop over tokens and against pytorch-forecasting."""

import numpy as np
import torch
from torch import nn

from tft_pipeline.model.layers import GateAddNorm, GatedResidualNetwork
from tft_pipeline_tests.oracles import network as oracle
from tft_pipeline_tests.oracles.forecasting_peer import peer_residual_network
from tft_pipeline_tests.oracles.model_panels import arrays, randomised


def test_gated_residual_network_equals_the_formula_token_by_token() -> None:
    module = randomised(GatedResidualNetwork(6, dropout=0.0))
    x = torch.randn(5, 6, dtype=torch.float64)
    expected = [oracle.gated_residual_network(arrays(module), row) for row in x.numpy()]
    np.testing.assert_allclose(module(x).detach(), np.array(expected), atol=1e-12)


def test_gate_add_norm_equals_the_formula_token_by_token() -> None:
    module = randomised(GateAddNorm(4))
    x, skip = torch.randn(2, 7, 4, dtype=torch.float64)
    expected = [oracle.gate_add_norm(arrays(module), a, b) for a, b in zip(x.numpy(), skip.numpy(), strict=True)]
    np.testing.assert_allclose(module(x, skip).detach(), np.array(expected), atol=1e-12)


def test_gated_residual_network_equals_pytorch_forecasting_with_the_same_weights() -> None:
    module = randomised(GatedResidualNetwork(6, dropout=0.1))
    x = torch.randn(5, 6, dtype=torch.float64)
    np.testing.assert_allclose(module(x).detach(), peer_residual_network(module)(x).detach(), atol=1e-10)


def test_a_closed_gate_leaves_the_normalised_skip() -> None:
    module = GateAddNorm(4).double()
    with torch.no_grad():
        module.gate.weight.zero_()
        module.gate.bias.fill_(-50.0)
    x, skip = torch.randn(2, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(module(x, skip), nn.functional.layer_norm(skip, (4,)), atol=1e-12, rtol=0)


def test_dropout_acts_in_training_only() -> None:
    module = GatedResidualNetwork(8, dropout=0.5)
    x = torch.randn(40, 8)
    assert not torch.equal(module.train()(x), module.eval()(x))
    assert torch.equal(module(x), module(x))
