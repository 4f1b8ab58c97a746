"""Causal attention against a loop over bars and heads."""

import numpy as np
import torch

from tft_pipeline.model.attention import CausalAttention, visible_keys
from tft_pipeline_tests.oracles import network as oracle
from tft_pipeline_tests.oracles.model_panels import arrays, randomised


def _inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, 9, 8, generator=generator, dtype=torch.float64)
    observed = torch.rand(3, 9, generator=generator) > 0.3
    observed[0] = True
    observed[1, :4] = False
    return x, observed


def test_a_bar_sees_observed_bars_up_to_itself_and_always_itself() -> None:
    visible = visible_keys(torch.tensor([[False, True, False, True]]))[0]
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]]
    assert visible.int().tolist() == expected


def test_attention_equals_the_formula_bar_by_bar_and_head_by_head() -> None:
    x, observed = _inputs()
    module = randomised(CausalAttention(8, 4))
    expected = [
        oracle.attention(arrays(module), rows, seen, 4) for rows, seen in zip(x.numpy(), observed.numpy(), strict=True)
    ]
    np.testing.assert_allclose(module(x, visible_keys(observed)).detach(), np.array(expected), atol=1e-12)


def test_shares_are_what_the_output_is_made_of() -> None:
    x, observed = _inputs()
    module = randomised(CausalAttention(8, 4))
    visible = visible_keys(observed)
    shares = module.shares(x, visible)
    torch.testing.assert_close(module.output(shares @ module.value(x)), module(x, visible), atol=1e-12, rtol=0)
    assert (shares[~visible] == 0).all()
    torch.testing.assert_close(shares.sum(-1), torch.ones(3, 9, dtype=torch.float64))


def test_attending_from_the_last_bar_alone_gives_the_last_output() -> None:
    x, observed = _inputs()
    module = randomised(CausalAttention(8, 4))
    visible = visible_keys(observed)
    torch.testing.assert_close(module(x, visible[:, -1:]), module(x, visible)[:, -1:], atol=1e-13, rtol=0)


def test_bars_that_are_not_observed_change_no_other_bar() -> None:
    x, observed = _inputs()
    module = randomised(CausalAttention(8, 4))
    changed = torch.where(observed.unsqueeze(-1), x, x + 10.0)
    before, after = (module(values, visible_keys(observed)) for values in (x, changed))
    assert torch.equal(before[observed], after[observed])
    assert not torch.equal(before[~observed], after[~observed])
