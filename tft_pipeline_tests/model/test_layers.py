"""Gates and residual networks against a loop over tokens."""

import numpy as np
import pytest
import torch
from torch import nn

from tft_pipeline.model.layers import GateAddNorm, GatedResidualNetwork, ResampleNorm, StaticEncoder
from tft_pipeline_tests.oracles import network as oracle
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


def test_a_context_enters_before_the_nonlinearity() -> None:
    module = randomised(GatedResidualNetwork(6, dropout=0.0, context=True))
    x, context = torch.randn(2, 5, 6, dtype=torch.float64)
    expected = [
        oracle.gated_residual_network(arrays(module), row, c) for row, c in zip(x.numpy(), context.numpy(), strict=True)
    ]
    np.testing.assert_allclose(module(x, context).detach(), np.array(expected), atol=1e-12)


@pytest.mark.parametrize("width", [1, 2, 3, 6, 9])
def test_resample_norm_equals_the_formula_at_any_width(width: int) -> None:
    module = randomised(ResampleNorm(6))
    x, own = torch.randn(5, width, dtype=torch.float64), arrays(module)
    expected = [oracle.resample_norm(row, own["opening"], own["norm.weight"], own["norm.bias"]) for row in x.numpy()]
    np.testing.assert_allclose(module(x).detach(), np.array(expected), atol=1e-12)


def test_static_encoder_gives_each_part_a_context_of_its_own() -> None:
    module = randomised(StaticEncoder(6, dropout=0.0))
    static = torch.randn(3, 6, dtype=torch.float64)
    for name, actual in module(static)._asdict().items():
        own = oracle.part(arrays(module), name)
        expected = [oracle.gated_residual_network(own, row) for row in static.numpy()]
        np.testing.assert_allclose(actual.detach(), np.array(expected), atol=1e-12)


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
