"""Stacked variable selection against one variable after another, and its gradients."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tft_pipeline.model import selection_kernel
from tft_pipeline.model.variable_selection import VariableSelection
from tft_pipeline_tests.oracles import network as oracle
from tft_pipeline_tests.oracles.model_panels import arrays, randomised


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that neither tokens nor variables fill evenly."""
    monkeypatch.setattr(selection_kernel, "TOKENS_A_CHUNK", 4)
    monkeypatch.setattr(selection_kernel, "VARIABLES_A_CHUNK", 2)


def _embedding(n_variables: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    scale, shift = torch.randn(2, n_variables, width, generator=generator, dtype=torch.float64)
    return scale, shift


@pytest.mark.parametrize("n_variables", [1, 2, 5, 73])
@pytest.mark.parametrize("width", [1, 3, 6, 8])
@pytest.mark.parametrize("context", [False, True])
@pytest.mark.usefixtures("small_chunks")
def test_selection_equals_one_token_and_one_variable_after_another(n_variables: int, width: int, context: bool) -> None:
    module = randomised(VariableSelection(n_variables, 6, width=width, context=context))
    scale, shift = _embedding(n_variables, width)
    x, contexts = torch.randn(7, n_variables, dtype=torch.float64), torch.randn(7, 6, dtype=torch.float64)
    selected, weights = module(x, scale, shift, (), contexts if context else None)
    expected = [
        oracle.variable_selection(arrays(module), row, scale.numpy(), shift.numpy(), context=c if context else None)
        for row, c in zip(x.numpy(), contexts.numpy(), strict=True)
    ]
    np.testing.assert_allclose(selected.detach(), np.array([chosen for chosen, _ in expected]), atol=1e-11)
    np.testing.assert_allclose(weights.detach(), np.array([share for _, share in expected]), atol=1e-12)


@pytest.mark.parametrize(("n_variables", "widths"), [(0, [3]), (0, [3, 6]), (2, [3, 6, 1]), (1, [4])])
def test_categories_are_selected_among_real_variables(n_variables: int, widths: list[int]) -> None:
    module = randomised(VariableSelection(n_variables, 6, width=3, widths=widths))
    scale, shift = _embedding(n_variables, 3)
    x = torch.randn(7, n_variables, dtype=torch.float64)
    embedded = [torch.randn(7, width, dtype=torch.float64) for width in widths]
    selected, weights = module(x, scale, shift, embedded)
    expected = [
        oracle.variable_selection(
            arrays(module), x[n].numpy(), scale.numpy(), shift.numpy(), [vector[n].numpy() for vector in embedded]
        )
        for n in range(7)
    ]
    np.testing.assert_allclose(selected.detach(), np.array([chosen for chosen, _ in expected]), atol=1e-11)
    np.testing.assert_allclose(weights.detach(), np.array([share for _, share in expected]), atol=1e-12)


@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.usefixtures("small_chunks")
def test_gradients_equal_finite_differences(width: int) -> None:
    """With the skip as it is (width = hidden) and with the normalised skip; the embedding's gradient too."""
    module = randomised(VariableSelection(3, 4, width=width))
    x = torch.randn(6, 3, dtype=torch.float64)
    names, parameters = zip(*module.named_parameters(), strict=True)
    embedding = tuple(part.requires_grad_() for part in _embedding(3, width))

    def output(scale: Tensor, shift: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x, scale, shift))

    assert torch.autograd.gradcheck(output, (*embedding, *parameters), atol=1e-7)


@pytest.mark.parametrize("width", [8, 16])
def test_chunks_change_only_rounding(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    module, x = VariableSelection(19, 16, width=width), torch.randn(50, 19)
    scale, shift = (part.float() for part in _embedding(19, width))
    outputs = []
    for tokens, variables in ((1024, 8), (7, 3)):
        monkeypatch.setattr(selection_kernel, "TOKENS_A_CHUNK", tokens)
        monkeypatch.setattr(selection_kernel, "VARIABLES_A_CHUNK", variables)
        module.zero_grad()
        selected, _ = module(x, scale, shift)
        selected.square().sum().backward()
        outputs.append([selected.detach(), *(parameter.grad.clone() for parameter in module.parameters())])
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5 * max(1.0, one.abs().max().item()), rtol=1e-4)


def test_weights_of_a_token_sum_to_one() -> None:
    scale, shift = (part.float() for part in _embedding(11, 3))
    _, weights = VariableSelection(11, 4, width=3)(torch.randn(20, 11), scale, shift)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(20))


def test_inputs_that_want_a_gradient_are_refused() -> None:
    scale, shift = (part.float() for part in _embedding(2, 3))
    with pytest.raises(ValueError, match="gradient"):
        VariableSelection(2, 4, width=3)(torch.randn(3, 2, requires_grad=True), scale, shift)
