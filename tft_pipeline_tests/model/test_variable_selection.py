"""Stacked variable selection against one variable after another, against pytorch-forecasting, and its gradients."""

import numpy as np
import pytest
import torch

from tft_pipeline.model import selection_kernel
from tft_pipeline.model.variable_selection import VariableSelection
from tft_pipeline_tests.oracles import network as oracle
from tft_pipeline_tests.oracles.forecasting_peer import peer_variable_selection
from tft_pipeline_tests.oracles.model_panels import arrays, randomised


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that neither tokens nor variables fill evenly."""
    monkeypatch.setattr(selection_kernel, "TOKENS_A_CHUNK", 4)
    monkeypatch.setattr(selection_kernel, "VARIABLES_A_CHUNK", 2)


@pytest.mark.parametrize("n_variables", [1, 2, 5, 73])
@pytest.mark.usefixtures("small_chunks")
def test_selection_equals_one_token_and_one_variable_after_another(n_variables: int) -> None:
    module = randomised(VariableSelection(n_variables, 6, width=3))
    x = torch.randn(7, n_variables, dtype=torch.float64)
    selected, weights = module(x)
    expected = [oracle.variable_selection(arrays(module), row) for row in x.numpy()]
    np.testing.assert_allclose(selected.detach(), np.array([chosen for chosen, _ in expected]), atol=1e-11)
    np.testing.assert_allclose(weights.detach(), np.array([share for _, share in expected]), atol=1e-12)


@pytest.mark.parametrize("n_variables", [1, 2, 5, 73])
def test_selection_equals_pytorch_forecasting_with_the_same_weights(n_variables: int) -> None:
    """At the width of the paper, where a variable's own network is as wide as the rest."""
    peer, module = peer_variable_selection(n_variables, hidden=8)
    x = torch.randn(2, 5, n_variables, dtype=torch.float64)
    expected, shares = peer({f"x{v}": x[..., v : v + 1] for v in range(n_variables)})
    selected, weights = module(x.view(10, n_variables))
    np.testing.assert_allclose(selected.detach(), expected.view(10, -1).detach(), atol=1e-7)
    np.testing.assert_allclose(weights.detach(), shares.view(10, -1).detach(), atol=1e-7)


@pytest.mark.usefixtures("small_chunks")
def test_gradients_equal_finite_differences() -> None:
    module = randomised(VariableSelection(3, 4, width=2))
    x = torch.randn(6, 3, dtype=torch.float64)
    names, parameters = zip(*module.named_parameters(), strict=True)

    def output(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(output, parameters, atol=1e-7)


def test_chunks_change_only_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = VariableSelection(19, 16, width=8), torch.randn(50, 19)
    outputs = []
    for tokens, variables in ((1024, 8), (7, 3)):
        monkeypatch.setattr(selection_kernel, "TOKENS_A_CHUNK", tokens)
        monkeypatch.setattr(selection_kernel, "VARIABLES_A_CHUNK", variables)
        module.zero_grad()
        selected, _ = module(x)
        selected.square().sum().backward()
        outputs.append([selected.detach(), *(parameter.grad.clone() for parameter in module.parameters())])
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_weights_of_a_token_sum_to_one() -> None:
    _, weights = VariableSelection(11, 4, width=3)(torch.randn(20, 11))
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(20))


def test_inputs_that_want_a_gradient_are_refused() -> None:
    with pytest.raises(ValueError, match="gradient"):
        VariableSelection(2, 4, width=3)(torch.randn(3, 2, requires_grad=True))
