"""The whole network against a loop over tokens, and what it may not see."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.attention import visible_keys
from tft_pipeline.model.batch import ContextSet, WindowBatch
from tft_pipeline.model.context_attention import EncodedSequences
from tft_pipeline.model.heads import LossMode
from tft_pipeline.model.network import Tft, count_parameters
from tft_pipeline_tests.oracles import network as oracle
from tft_pipeline_tests.oracles.model_panels import arrays, randomised

SECTION = NetworkSection(hidden=8, heads=2, lstm_layers=2, variable_hidden=3, dropout=0.2)


def _windows(values: torch.Tensor, observed: torch.Tensor, symbol: torch.Tensor | None = None) -> WindowBatch:
    return WindowBatch(values=values, observed=observed, symbol=symbol)


def _inputs(
    W: int = 3, T: int = 12, V: int = 5, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(W, T, V, generator=generator, dtype=dtype)
    observed = torch.rand(W, T, generator=generator) > 0.2
    observed[0] = True
    return values, observed


def test_network_equals_the_formulas_token_by_token() -> None:
    values, observed = _inputs()
    network = randomised(Tft(5, SECTION, "joint_mle"))
    forecast = network.forecast(_windows(values, observed))
    actual = torch.stack((forecast.position, forecast.mean, forecast.log_scale), dim=-1).detach().numpy()
    weights = network.interpret(_windows(values, observed)).weights
    for w in range(len(values)):
        outputs, shares = oracle.window(arrays(network), values[w].numpy(), observed[w].numpy(), heads=2, layers=2)
        np.testing.assert_allclose(actual[w], outputs, atol=1e-10)
        np.testing.assert_allclose(weights[w].detach(), shares, atol=1e-12)


@pytest.mark.parametrize("width", [3, 8])
def test_a_symbol_as_static_input_equals_the_formulas(width: int) -> None:
    values, observed = _inputs()
    section = SECTION.model_copy(update={"static_symbol": True, "variable_hidden": width})
    network = randomised(Tft(5, section, "joint_mle", n_symbols=4))
    forecast = network.forecast(_windows(values, observed, torch.tensor([4, 0, 2])))
    actual = torch.stack((forecast.position, forecast.mean, forecast.log_scale), dim=-1).detach().numpy()
    for w, level in enumerate([4, 0, 2]):
        outputs, _ = oracle.window(
            arrays(network), values[w].numpy(), observed[w].numpy(), heads=2, layers=2, level=level
        )
        np.testing.assert_allclose(actual[w], outputs, atol=1e-10)


def test_a_network_with_a_static_symbol_refuses_windows_without_one() -> None:
    values, observed = _inputs(dtype=torch.float32)
    network = Tft(5, SECTION.model_copy(update={"static_symbol": True}), "sharpe", n_symbols=4)
    with pytest.raises(ValueError, match="carry none"):
        network.forecast(_windows(values, observed))


def test_attention_of_a_bar_sums_to_one_over_observed_bars_up_to_itself() -> None:
    values, observed = _inputs()
    attention = randomised(Tft(5, SECTION, "joint_mle")).interpret(_windows(values, observed)).attention
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, 12, dtype=torch.float64))
    assert (attention[~visible_keys(observed)] == 0).all()


def _with_context(windows: WindowBatch, members: list[list[int]]) -> WindowBatch:
    generator = torch.Generator().manual_seed(8)
    dtype = windows.values.dtype
    observed = torch.rand(6, 4, generator=generator) > 0.2
    context = ContextSet(
        values=torch.randn(6, 4, 5, generator=generator, dtype=dtype) * observed.unsqueeze(-1),
        next_return=torch.randn(6, 4, generator=generator, dtype=dtype) * observed,
        observed=observed,
        symbol=torch.tensor([1, 2, 3, 1, 2, 0]),
        members=torch.tensor(members),
    )
    return replace(windows, context=context)


@pytest.mark.parametrize("static", [False, True])
def test_a_context_set_is_the_published_attention_between_gate_and_enrichment(static: bool) -> None:
    """Each window with its own sequences, encoded one by one, against the pooled form."""
    section = SECTION.model_copy(update={"n_context": 2, "static_symbol": static})
    network = randomised(Tft(5, section, "joint_mle", n_symbols=3))
    symbol = torch.tensor([1, 0, 3])
    windows = _with_context(_windows(*_inputs(), symbol), [[0, 3], [5, -1], [-1, -1]])
    context = windows.context
    expected = []
    for w, members in enumerate(context.members):
        used = members[members >= 0]
        alone = windows.rows(slice(w, w + 1))
        contexts = network.contexts(alone.symbol)
        selected, _, _ = network._selected(alone)
        rows = None
        if len(used):
            sequences = WindowBatch(
                values=context.values[used], observed=context.observed[used], symbol=context.symbol[used]
            )
            read, _, _ = network._selected(sequences)
            encoded = network.context.encode(read, context.next_return[used], context.observed[used])
            rows = EncodedSequences(*(part.unsqueeze(0) for part in encoded))
        expected.append(network.decode(selected, alone.observed, contexts, rows).mean)
    torch.testing.assert_close(network.forecast(windows).mean, torch.cat(expected), atol=1e-12, rtol=0)
    last = network.forecast_last(windows).mean
    torch.testing.assert_close(last, network.forecast(windows).mean[:, -1], atol=1e-12, rtol=0)


def test_a_network_with_a_context_set_refuses_windows_without_one() -> None:
    values, observed = _inputs(dtype=torch.float32)
    network = Tft(5, SECTION.model_copy(update={"n_context": 2}), "sharpe")
    with pytest.raises(ValueError, match="carry none"):
        network.forecast(_windows(values, observed))


@given(
    cut=st.integers(0, 10),
    seed=st.integers(0, 1000),
    static=st.booleans(),
    n_context=st.sampled_from([0, 2]),
    layers=st.sampled_from([1, 2]),
    width=st.sampled_from([3, SECTION.hidden]),
    loss_mode=st.sampled_from(get_args(LossMode)),
)
@settings(deadline=None, max_examples=80)
def test_later_bars_change_no_bit_of_earlier_outputs(
    cut: int, seed: int, static: bool, n_context: int, layers: int, width: int, loss_mode: LossMode
) -> None:
    section = SECTION.model_copy(
        update={"static_symbol": static, "n_context": n_context, "lstm_layers": layers, "variable_hidden": width}
    )
    torch.manual_seed(seed)
    network = Tft(5, section, loss_mode, n_symbols=3).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # no term may hide behind a weight that starts at zero
            parameter.add_(0.2 * torch.randn(parameter.shape))
    values, observed = _inputs(dtype=torch.float32)
    changed, hidden = values.clone(), observed.clone()
    changed[:, cut + 1 :] = 5.0 * torch.randn_like(changed[:, cut + 1 :])
    hidden[:, cut + 1 :] = ~hidden[:, cut + 1 :]
    symbol = torch.tensor([1, 0, 3]) if static else None
    windows, others = _windows(values, observed, symbol), _windows(changed, hidden, symbol)
    if n_context:
        windows, others = (_with_context(each, [[0, 3], [5, -1], [-1, -1]]) for each in (windows, others))
    with torch.no_grad():
        before, after = network.forecast(windows), network.forecast(others)
    moved = set()
    for name, one, other in zip(before._fields, before, after, strict=True):
        assert (one is None) == (other is None), name
        if one is not None and other is not None:
            assert torch.equal(one[:, : cut + 1], other[:, : cut + 1]), name
            if not torch.equal(one[:, cut + 1 :], other[:, cut + 1 :]):
                moved.add(name)
    assert moved, "a position may stand at its limit; what it is made from does not"


def test_an_earlier_bar_reaches_every_later_output() -> None:
    values, observed = _inputs()
    network = randomised(Tft(5, SECTION, "joint_mle"))
    changed = values.clone()
    changed[0, 3, 2] += 1.0
    moved = (network.forecast(_windows(values, observed)).mean - network.forecast(_windows(changed, observed)).mean)[
        0
    ].abs() > 0
    assert moved.tolist() == [False] * 3 + [True] * 9


def test_values_of_bars_that_are_not_observed_change_nothing() -> None:
    values, observed = _inputs()
    network = randomised(Tft(5, SECTION, "joint_mle"))
    changed = torch.where(observed.unsqueeze(-1), values, 7.0)
    before, after = (
        network.forecast(_windows(values, observed)).position,
        network.forecast(_windows(changed, observed)).position,
    )
    assert torch.equal(before[observed], after[observed])


def test_the_last_bar_alone_equals_the_last_bar_of_all() -> None:
    values, observed = _inputs()
    network = randomised(Tft(5, SECTION, "joint_mle"))
    every, last = network.forecast(_windows(values, observed)), network.forecast_last(_windows(values, observed))
    for one, other in zip(every[:3], last[:3], strict=True):
        torch.testing.assert_close(one[:, -1], other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("field", ["hidden", "heads", "lstm_layers", "variable_hidden", "dropout", "static_symbol"])
def test_every_field_of_the_section_moves_the_training_output(field: str) -> None:
    values, observed = _inputs(dtype=torch.float32)
    changed = {"hidden": 12, "heads": 4, "lstm_layers": 1, "variable_hidden": 5, "dropout": 0.4, "static_symbol": True}[
        field
    ]
    outputs = []
    for section in (SECTION, SECTION.model_copy(update={field: changed})):
        torch.manual_seed(0)
        symbol = torch.zeros(3, dtype=torch.long) if section.static_symbol else None
        outputs.append(Tft(5, section, "sharpe").train().forecast(_windows(values, observed, symbol)).position)
    assert not torch.equal(*outputs)


def test_parameters_are_counted_and_all_of_them_are_trained() -> None:
    values, observed = _inputs(dtype=torch.float32)
    network = Tft(5, SECTION, "joint_mle").train()
    forecast = network.forecast(_windows(values, observed))
    (forecast.position.sum() + forecast.log_scale.square().sum()).backward()
    assert count_parameters(network) == sum(value.numel() for value in network.state_dict().values())
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_every_parameter_of_static_input_and_context_set_is_trained() -> None:
    section = SECTION.model_copy(update={"static_symbol": True, "n_context": 2})
    network = Tft(5, section, "joint_mle", n_symbols=3).double().train()
    windows = _with_context(_windows(*_inputs(), torch.tensor([1, 0, 3])), [[0, 3], [5, 1], [2, 4]])
    forecast = network.forecast(windows)
    (forecast.position.sum() + forecast.log_scale.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("width", [3, 8])
def test_mixed_precision_trains_in_both_directions(width: int) -> None:
    """bfloat16 on a CPU stands for the CUDA device that is not there: selection keeps float32, the rest may not."""
    values, observed = _inputs(dtype=torch.float32)
    section = SECTION.model_copy(update={"static_symbol": True, "variable_hidden": width})
    network = Tft(5, section, "joint_mle", n_symbols=3).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        forecast = network.forecast(_windows(values, observed, torch.tensor([1, 0, 3])))
    assert torch.isfinite(forecast.mean).all()
    (forecast.position.float().sum() + forecast.log_scale.float().square().sum()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
