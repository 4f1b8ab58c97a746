"""Our network with pytorch-forecasting's weights: the same outputs, the same gradients, and back without a loss."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tft_pipeline.model.conversion import from_pytorch_forecasting, input_names, stacked, to_pytorch_forecasting
from tft_pipeline_tests.oracles.forecasting_peer import peer_batch, peer_outputs, peer_transformer, unshared

Inputs = tuple[Tensor, Tensor, int]
F_OF_THE_ISSUE = [1, 2, 5, 73, 276]
SHAPES: dict[str, dict[str, Any]] = {
    "past reals only": {"encoder": 5},
    "narrow embeddings": {"encoder": 5, "width": 3},
    "wide embeddings": {"encoder": 5, "width": 12},
    "embeddings of one number": {"encoder": 5, "width": 1},
    "known future": {"encoder": 3, "known": 2},
    "one known future input": {"encoder": 3, "known": 1},
    "static reals": {"encoder": 3, "static": 2},
    "one static real": {"encoder": 3, "static": 1, "width": 4},
    "categories": {"encoder": 3, "known": 2, "static": 2, "categories": True},
    "categories and narrow embeddings": {"encoder": 3, "known": 1, "static": 1, "categories": True, "width": 3},
    "categories without static reals": {"encoder": 2, "categories": True},
    "two LSTM layers": {"encoder": 3, "known": 1, "static": 1, "layers": 2},
    "four heads": {"encoder": 2, "heads": 4},
}
EVERY_KIND_OF_INPUT: dict[str, Any] = {"known": 2, "static": 2, "categories": True}


def _inputs(batch: dict[str, Tensor]) -> Inputs:
    reals = torch.cat((batch["encoder_cont"], batch["decoder_cont"]), dim=1)
    levels = torch.cat((batch["encoder_cat"], batch["decoder_cat"]), dim=1)
    return reals, levels, batch["encoder_cont"].shape[1]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_weights_and_attention_equal_theirs(shape: str) -> None:
    peer = peer_transformer(**SHAPES[shape])
    batch = peer_batch(peer, windows=3, bars=12, steps=3)
    network = from_pytorch_forecasting(peer)
    with torch.no_grad():
        expected, actual = peer_outputs(peer, batch), network.interpret(*_inputs(batch))
        again = network(*_inputs(batch))
    for name, value in expected.items():
        torch.testing.assert_close(getattr(actual, name), value, atol=1e-7, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
    torch.testing.assert_close(again, expected["prediction"], atol=1e-7, rtol=0)


@pytest.mark.parametrize("n_variables", F_OF_THE_ISSUE)
@pytest.mark.parametrize("width", [4, 8])
def test_outputs_equal_theirs_for_any_number_of_variables(n_variables: int, width: int) -> None:
    peer = peer_transformer(encoder=n_variables, width=width)
    batch = peer_batch(peer, windows=2, bars=12, steps=1)
    with torch.no_grad():
        expected = peer_outputs(peer, batch)["prediction"]
        torch.testing.assert_close(from_pytorch_forecasting(peer)(*_inputs(batch)), expected, atol=1e-7, rtol=0)
        batch = {name: value.float() if value.is_floating_point() else value for name, value in batch.items()}
        single = peer_outputs(peer.float(), batch)["prediction"]
        torch.testing.assert_close(
            from_pytorch_forecasting(peer)(*_inputs(batch)), single, atol=1e-4 * single.abs().max().item(), rtol=0
        )


@pytest.mark.parametrize("n_variables", F_OF_THE_ISSUE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_outputs_equal_theirs_for_any_number_of_variables_beside_every_kind_of_input(
    n_variables: int, dtype: torch.dtype
) -> None:
    """Static and known reals, a static, a known and a past category: prediction, weights and attention."""
    peer = peer_transformer(encoder=n_variables, **EVERY_KIND_OF_INPUT).to(dtype)
    batch = peer_batch(peer, windows=2, bars=12, steps=3)
    with torch.no_grad():
        expected, actual = peer_outputs(peer, batch), from_pytorch_forecasting(peer).interpret(*_inputs(batch))
    assert expected["encoder_weights"].shape[-1] == n_variables + 2 + 2
    for name, value in expected.items():
        atol = 1e-7 if dtype is torch.float64 else 1e-4 * value.abs().max().item()
        torch.testing.assert_close(getattr(actual, name), value, atol=atol, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_equal_theirs(shape: str) -> None:
    _assert_equal_gradients(SHAPES[shape], torch.float64, atol=1e-6)


@pytest.mark.parametrize("n_variables", F_OF_THE_ISSUE)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_gradients_equal_theirs_for_any_number_of_variables_beside_every_kind_of_input(
    n_variables: int, dtype: torch.dtype, atol: float
) -> None:
    _assert_equal_gradients({"encoder": n_variables, **EVERY_KIND_OF_INPUT}, dtype, atol=atol)


def _assert_equal_gradients(shape: dict[str, Any], dtype: torch.dtype, *, atol: float) -> None:
    """Of every weight, within `atol` of its largest."""
    peer = peer_transformer(**shape).to(dtype).train()
    batch = peer_batch(peer, windows=2, bars=12, steps=2)
    network = from_pytorch_forecasting(peer)
    network.train()
    pull = torch.randn(2, 2, 3, dtype=dtype, generator=torch.Generator().manual_seed(1))
    (peer_outputs(peer, batch)["prediction"] * pull).sum().backward()
    (network(*_inputs(batch)) * pull).sum().backward()
    expected = stacked(network, unshared(peer))
    for name, gradient in unshared(network).items():
        scale = expected[name].abs().max().clamp(min=1.0).item()
        torch.testing.assert_close(
            gradient, expected[name], atol=atol * scale, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("shape", ["categories and narrow embeddings", "one static real", "two LSTM layers"])
def test_weights_return_without_a_loss(shape: str) -> None:
    peer, other = peer_transformer(**SHAPES[shape]), peer_transformer(**SHAPES[shape])
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    to_pytorch_forecasting(from_pytorch_forecasting(peer), other)
    for (name, one), (_, two) in zip(peer.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(one, two), name


def test_weights_of_ours_give_theirs_the_same_outputs() -> None:
    """The way back from weights that were never theirs."""
    peer = peer_transformer(**SHAPES["categories"])
    network = from_pytorch_forecasting(peer)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    to_pytorch_forecasting(network, peer)
    batch = peer_batch(peer, windows=3, bars=12, steps=2)
    with torch.no_grad():
        torch.testing.assert_close(network(*_inputs(batch)), peer_outputs(peer, batch)["prediction"], atol=1e-7, rtol=0)


def test_a_model_with_other_inputs_is_refused() -> None:
    network = from_pytorch_forecasting(peer_transformer(encoder=3))
    with pytest.raises(ValueError, match="inputs differ"):
        to_pytorch_forecasting(network, peer_transformer(encoder=4))


def test_a_model_with_other_sizes_is_refused() -> None:
    network = from_pytorch_forecasting(peer_transformer(encoder=3))
    with pytest.raises(ValueError, match="build the model with our sizes"):
        to_pytorch_forecasting(network, peer_transformer(encoder=3, hidden=16, width=8))


@pytest.mark.parametrize(("ours", "theirs"), [({}, {"layers": 2}), ({"layers": 2}, {}), ({"heads": 4}, {"heads": 2})])
def test_a_refused_model_keeps_its_weights(ours: dict[str, int], theirs: dict[str, int]) -> None:
    network, other = (
        from_pytorch_forecasting(peer_transformer(encoder=3, **ours)),
        peer_transformer(encoder=3, **theirs),
    )
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    with pytest.raises(ValueError, match="nothing was copied"):
        to_pytorch_forecasting(network, other)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_options_that_the_network_does_not_have_are_refused_by_name() -> None:
    peer = peer_transformer(encoder=3)
    peer.hparams.causal_attention = False
    peer.hparams.share_single_variable_networks = True
    with pytest.raises(ValueError, match=r"share_single_variable_networks, causal_attention=False"):
        input_names(peer)


def test_a_decoder_bar_does_not_see_itself_or_later_bars() -> None:
    peer = peer_transformer(**SHAPES["known future"])
    network = from_pytorch_forecasting(peer)
    reals, levels, n = _inputs(peer_batch(peer, windows=2, bars=12, steps=4))
    changed = reals.clone()
    changed[:, n + 2 :] += 1.0
    before, after = network(reals, levels, n), network(changed, levels, n)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2:], after[:, 2:])
    attention = network.interpret(reals, levels, n).attention
    assert (attention[:, :, n:].triu(0) == 0).all()
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 4, dtype=torch.float64))
