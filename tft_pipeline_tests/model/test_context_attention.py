"""The context attention against a loop, under changes of what it must not read, and on a task only it can learn."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tft_pipeline.model.context_attention import ContextAttention, last_observed
from tft_pipeline_tests.oracles import context as oracle
from tft_pipeline_tests.oracles.model_panels import arrays, randomised

W, T, C, L, H, HEADS = 5, 4, 3, 6, 8, 2


def _module() -> ContextAttention:
    module = randomised(ContextAttention(H, HEADS, dropout=0.1))
    assert isinstance(module, ContextAttention)
    return module


def _inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Window 0 observes everything; 1 lacks a sequence; 2 lacks all; 3 has padding in front; 4 has gaps and open ends."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(W, T, H, generator=generator, dtype=torch.float64)
    selected = torch.randn(W, C, L, H, generator=generator, dtype=torch.float64)
    next_return = torch.randn(W, C, L, generator=generator, dtype=torch.float64)
    observed = torch.ones(W, C, L, dtype=torch.bool)
    observed[1, 1] = False
    observed[2] = False
    observed[3, :, :2] = False
    observed[4] = torch.rand(C, L, generator=generator) > 0.5
    observed[4, 0, -2:] = False
    observed[4, 0, 0] = True
    return hidden, selected, next_return, observed


def test_it_equals_a_loop_over_sequences_bars_and_heads() -> None:
    module, inputs = _module(), _inputs()
    expected = [
        oracle.context_attention(arrays(module), *(part[w].numpy() for part in inputs), HEADS) for w in range(W)
    ]
    np.testing.assert_allclose(module(*inputs).detach(), np.array(expected), atol=1e-11)


def test_a_window_without_context_passes_through_bit_for_bit() -> None:
    module, inputs = _module(), _inputs()
    out = module(*inputs)
    assert torch.equal(out[2], inputs[0][2])
    assert not torch.isclose(out[[0, 1, 3, 4]], inputs[0][[0, 1, 3, 4]]).all(-1).any()


def test_gradients_are_finite_where_context_is_missing() -> None:
    module, (hidden, selected, next_return, observed) = _module(), _inputs()
    hidden.requires_grad_()
    module(hidden, selected, next_return, observed).square().sum().backward()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    torch.testing.assert_close(hidden.grad[2], 2.0 * hidden[2].detach())


def test_the_order_of_the_sequences_does_not_matter() -> None:
    module, (hidden, selected, next_return, observed) = _module(), _inputs()
    order = [2, 0, 1]
    out = module(hidden, selected[:, order], next_return[:, order], observed[:, order])
    torch.testing.assert_close(out, module(hidden, selected, next_return, observed), atol=1e-12, rtol=0)


def test_what_is_not_observed_changes_nothing() -> None:
    module, (hidden, selected, next_return, observed) = _module(), _inputs()
    there = observed.double()
    other = module(
        hidden,
        selected * there[..., None] + 100.0 * (1.0 - there[..., None]),
        next_return * there - 50.0 * (1.0 - there),
        observed,
    )
    assert torch.equal(other, module(hidden, selected, next_return, observed))


def test_every_observed_return_changes_its_own_window_alone() -> None:
    module, (hidden, selected, next_return, observed) = _module(), _inputs()
    before = module(hidden, selected, next_return, observed)
    for w, c, bar in ((0, 1, 0), (1, 2, 5), (3, 0, 2)):
        changed = next_return.clone()
        changed[w, c, bar] += 1.0
        moved = (module(hidden, selected, changed, observed) != before).any(-1)
        assert moved[w].all()
        assert not moved[torch.arange(W) != w].any()


def test_a_bar_reads_the_context_and_no_other_bar_of_its_window() -> None:
    module, (hidden, selected, next_return, observed) = _module(), _inputs()
    changed = hidden.clone()
    changed[:, 2] += 1.0
    before, after = (module(h, selected, next_return, observed) for h in (hidden, changed))
    assert torch.equal(before[:, [0, 1, 3]], after[:, [0, 1, 3]])
    assert (before[:, 2] != after[:, 2]).all()


def test_keys_know_no_returns_and_values_do() -> None:
    module, (_, selected, next_return, observed) = _module(), _inputs()
    flat = selected[0], next_return[0], observed[0]
    first, second = module.encode(*flat), module.encode(flat[0], flat[1] + 1.0, flat[2])
    assert torch.equal(first.key, second.key)
    assert (first.value != second.value).all()


def test_a_pool_encoded_once_gives_what_sets_encoded_each_give() -> None:
    module, (hidden, _, _, _) = _module(), _inputs()
    generator = torch.Generator().manual_seed(1)
    pool = (
        torch.randn(7, L, H, generator=generator, dtype=torch.float64),
        torch.randn(7, L, generator=generator, dtype=torch.float64),
        torch.rand(7, L, generator=generator) > 0.3,
    )
    members = torch.tensor([[0, 1, 2], [6, 3, -1], [-1, -1, -1], [5, 5, 0], [4, -1, 2]])
    place = members.clamp(min=0)
    each = module(hidden, pool[0][place], pool[1][place], pool[2][place] & (members >= 0)[..., None])
    once = module.attend(hidden, module.encode(*pool).of(members))
    torch.testing.assert_close(once, each, atol=1e-12, rtol=0)
    assert torch.equal(once[2], hidden[2])


def test_shares_sum_to_one_over_the_usable_sequences() -> None:
    module, (hidden, selected, next_return, observed) = _module(), _inputs()
    encoded = module.encode(selected.flatten(0, 1), next_return.flatten(0, 1), observed.flatten(0, 1))
    members = torch.arange(W * C).view(W, C)
    shares = module.shares(hidden, encoded.of(members))
    assert shares.shape == (W, T, C)
    torch.testing.assert_close(shares.sum(-1)[[0, 1, 3, 4]], torch.ones(4, T, dtype=torch.float64))
    assert not shares[2].any()
    assert not shares[1, :, 1].any()
    weights = arrays(module)
    query = weights["across.query.weight"] @ hidden[0, 0].numpy() + weights["across.query.bias"]
    key = encoded.key[:C].detach().numpy() @ weights["across.key.weight"].T + weights["across.key.bias"]
    scores = np.stack([key[:, m : m + 4] @ query[m : m + 4] / 2.0 for m in (0, 4)])
    expected = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(shares[0, 0].detach(), expected, atol=1e-12)


def test_the_last_observed_state_is_found_row_by_row() -> None:
    states = torch.arange(12.0).view(3, 4, 1)
    observed = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]).bool()
    assert last_observed(states, observed).flatten().tolist() == [2.0, 7.0, 11.0]


def test_dropout_acts_in_training_only() -> None:
    module, inputs = _module(), _inputs()
    assert not torch.equal(module.train()(*inputs), module.eval()(*inputs))
    assert torch.equal(module(*inputs), module(*inputs))


@pytest.mark.parametrize("returns_shown", [True, False])
def test_it_learns_a_regime_that_only_the_context_returns_show(returns_shown: bool) -> None:
    """Which of two patterns pays is drawn anew for each window: its sign is in the returns behind sequences of that pattern."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(2, 8, generator=generator)
    network = nn.ModuleDict({"context": ContextAttention(8, 2, dropout=0.0), "head": nn.Linear(8, 1)})
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    accuracies = []
    for _ in range(150):
        own = torch.randint(2, (64,), generator=generator)
        sign = 2.0 * torch.randint(2, (64, 2), generator=generator) - 1.0  # of each pattern, in each window
        kind = torch.randint(2, (64, 6), generator=generator)
        kind[:, 0] = own  # one sequence at least tells
        selected = patterns[kind].unsqueeze(2) + 0.1 * torch.randn(64, 6, 3, 8, generator=generator)
        noise = 0.3 * torch.randn(64, 6, 3, generator=generator)
        next_return = sign.gather(1, kind).unsqueeze(2) + noise if returns_shown else noise
        hidden = patterns[own].unsqueeze(1) + 0.1 * torch.randn(64, 1, 8, generator=generator)
        wanted = sign.gather(1, own[:, None])
        read = network["context"](hidden, selected, next_return, torch.ones(64, 6, 3, dtype=torch.bool))
        logit = network["head"](read).squeeze(-1)
        loss = nn.functional.softplus(-wanted * logit).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        accuracies.append(((logit > 0) == (wanted > 0)).float().mean().item())
    accuracy = float(np.mean(accuracies[-20:]))  # each batch is new, so that this is out of sample
    assert accuracy > 0.95 if returns_shown else accuracy < 0.6
