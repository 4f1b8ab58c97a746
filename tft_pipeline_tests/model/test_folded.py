"""Folded, streaming and exported forms against the network they were made of."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.folded import FoldedTft, StreamingTft
from tft_pipeline.model.heads import LossMode
from tft_pipeline.model.network import Tft
from tft_pipeline_tests.oracles.model_panels import randomised

SECTION = NetworkSection(hidden=8, heads=2, lstm_layers=2, variable_hidden=3)
SECTIONS = {
    "narrow embeddings": SECTION,
    "the paper's widths": SECTION.model_copy(update={"variable_hidden": 8, "lstm_layers": 1}),
    "embeddings of one number": SECTION.model_copy(update={"variable_hidden": 1}),
    "static symbol": SECTION.model_copy(update={"static_symbol": True}),
}
T = 12


def _windows(n_variables: int, *, static: bool, W: int = 3) -> WindowBatch:
    generator = torch.Generator().manual_seed(0)
    observed = torch.rand(W, T, generator=generator) > 0.2
    observed[0] = True
    observed[1, -1] = False
    return WindowBatch(
        values=torch.randn(W, T, n_variables, generator=generator, dtype=torch.float64) * observed.unsqueeze(-1),
        observed=observed,
        symbol=torch.tensor([4, 0, 2])[:W] if static else None,
    )


def _network(section: NetworkSection, loss_mode: LossMode = "joint_mle", n_variables: int = 5) -> Tft:
    return randomised(Tft(n_variables, section, loss_mode, n_symbols=4))


def _parts(forecast: tuple[Tensor | None, ...]) -> Iterator[Tensor]:
    return (part for part in forecast if part is not None)


@pytest.mark.parametrize("name", SECTIONS)
@pytest.mark.parametrize("n_variables", [1, 2, 5])
def test_the_folded_form_equals_the_network(name: str, n_variables: int) -> None:
    network = _network(SECTIONS[name], n_variables=n_variables)
    windows = _windows(n_variables, static=SECTIONS[name].static_symbol)
    forecast, weights = FoldedTft(network)(windows.values, windows.observed, windows.symbol)
    for actual, expected in zip(_parts(forecast), _parts(network.forecast_last(windows)), strict=True):
        torch.testing.assert_close(actual, expected.detach(), atol=1e-10, rtol=0)
    expected = network.interpret(windows).weights[:, -1].detach()
    torch.testing.assert_close(weights, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", SECTIONS)
def test_bar_after_bar_equals_the_window_of_the_last_bars(name: str) -> None:
    """Also while the window is still filling: the bars before the first are not observed."""
    static = SECTIONS[name].static_symbol
    folded = FoldedTft(_network(SECTIONS[name]))
    windows = _windows(5, static=static)
    contexts = folded.network.contexts(windows.symbol)
    streaming = StreamingTft(folded)
    lookback = 7
    cache = streaming.start(3, lookback)
    padded = torch.cat((torch.zeros(3, lookback - 1, 5, dtype=torch.float64), windows.values), dim=1)
    seen = torch.cat((torch.zeros(3, lookback - 1, dtype=torch.bool), windows.observed), dim=1)
    for t in range(T):
        forecast, weights, *cache = streaming(windows.values[:, t], windows.observed[:, t], *cache, contexts)
        expected, shares = folded(padded[:, t : t + lookback], seen[:, t : t + lookback], windows.symbol)
        for one, other in zip(_parts(forecast), _parts(expected), strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
        torch.testing.assert_close(weights, shares, atol=1e-12, rtol=0)


def test_folding_leaves_the_network_as_it_was() -> None:
    network = _network(SECTION).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = FoldedTft(network)
    assert network.training
    assert not folded.training or not folded.network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in folded.parameters())


def test_a_later_change_of_the_network_does_not_reach_the_folded_form() -> None:
    network = _network(SECTION)
    windows = _windows(5, static=False)
    folded = FoldedTft(network)
    before = folded(windows.values, windows.observed)[0].position
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert np.array_equal(before, folded(windows.values, windows.observed)[0].position)


def test_a_network_with_a_context_set_is_refused() -> None:
    with pytest.raises(ValueError, match="context set"):
        FoldedTft(_network(SECTION.model_copy(update={"n_context": 2})))
