"""The ONNX forms, run by onnxruntime, against torch."""

import numpy as np
import onnxruntime
import pytest
import torch

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.export import lstm_onnx, streaming_onnx, window_onnx
from tft_pipeline.model.folded import FoldedTft
from tft_pipeline.model.lstm import LstmNetwork
from tft_pipeline.model.network import Tft

T, V = 10, 5
SECTIONS = {
    "two LSTM layers, narrow embeddings": NetworkSection(hidden=8, heads=2, lstm_layers=2, variable_hidden=3),
    "static symbol, the paper's widths": NetworkSection(hidden=8, heads=2, variable_hidden=8, static_symbol=True),
}


def _folded(section: NetworkSection) -> FoldedTft:
    torch.manual_seed(2)
    return FoldedTft(Tft(V, section, "joint_mle", n_symbols=3).eval())


def _bars(section: NetworkSection, n: int = 25) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    observed = torch.rand(1, n, generator=generator) > 0.15
    values = torch.randn(1, n, V, generator=generator) * observed.unsqueeze(-1)
    return values, observed, torch.tensor([2]) if section.static_symbol else None


def _given(session: onnxruntime.InferenceSession, *inputs: torch.Tensor | np.ndarray | None) -> dict[str, np.ndarray]:
    arrays = [np.asarray(value) for value in inputs if value is not None]
    return {node.name: array for node, array in zip(session.get_inputs(), arrays, strict=True)}


@pytest.mark.parametrize("name", SECTIONS)
def test_the_exported_window_equals_torch_on_every_bar(name: str) -> None:
    folded = _folded(SECTIONS[name])
    session = onnxruntime.InferenceSession(window_onnx(folded, lookback=T))
    values, observed, symbol = _bars(SECTIONS[name])
    assert [node.name for node in session.get_outputs()] == [
        "forecast_position",
        "forecast_mean",
        "forecast_log_scale",
        "weights",
    ]
    for t in range(T, values.shape[1] + 1):
        window = values[:, t - T : t], observed[:, t - T : t]
        forecast, weights = folded(*window, symbol)
        expected = [*(part for part in forecast if part is not None), weights]
        for one, other in zip(session.run(None, _given(session, *window, symbol)), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", SECTIONS)
def test_the_exported_stream_equals_windows_in_torch(name: str) -> None:
    folded = _folded(SECTIONS[name])
    session = onnxruntime.InferenceSession(streaming_onnx(folded, lookback=T))
    values, observed, symbol = _bars(SECTIONS[name])
    shapes = {node.name: node.shape for node in session.get_inputs()}
    selected, seen = np.zeros(shapes["selected"], np.float32), np.zeros(shapes["seen"], bool)
    for t in range(values.shape[1]):
        given = _given(session, values[:, t], observed[:, t], selected, seen, symbol)
        *outputs, selected, seen = session.run(None, given)
        if t + 1 >= T:
            window = values[:, t + 1 - T : t + 1], observed[:, t + 1 - T : t + 1]
            np.testing.assert_allclose(outputs[0], folded(*window, symbol)[0].position, atol=1e-5)


def test_the_file_names_no_folder_of_the_machine_that_made_it() -> None:
    exported = window_onnx(_folded(SECTIONS["two LSTM layers, narrow embeddings"]), lookback=T)
    assert b".py" not in exported
    assert b"site-packages" not in exported


def test_several_windows_are_forecast_at_once() -> None:
    section = SECTIONS["two LSTM layers, narrow embeddings"]
    folded = _folded(section)
    session = onnxruntime.InferenceSession(window_onnx(folded, lookback=T, windows=3))
    values, observed, _ = _bars(section, n=T + 2)
    batch = values[0].unfold(0, T, 1).transpose(1, 2).contiguous(), observed[0].unfold(0, T, 1).contiguous()
    np.testing.assert_allclose(session.run(None, _given(session, *batch))[0], folded(*batch)[0].position, atol=1e-5)


def test_the_exported_lstm_equals_torch_on_every_bar() -> None:
    """The guide's layers; a bar that is not observed enters as zeros, whatever values it carries."""
    torch.manual_seed(2)
    section = NetworkSection(family="lstm", hidden=8, heads=2, lstm_layers=2, dropout=0.1)
    network = LstmNetwork(V, section, "joint_quantile").eval()
    session = onnxruntime.InferenceSession(lstm_onnx(network, lookback=T))
    values = torch.randn(1, 25, V, generator=torch.Generator().manual_seed(1))
    observed = torch.rand(1, 25, generator=torch.Generator().manual_seed(2)) > 0.15
    assert [node.name for node in session.get_outputs()] == ["forecast_position", "forecast_quantiles"]
    for t in range(T, 26):
        window = values[:, t - T : t], observed[:, t - T : t]
        with torch.no_grad():
            forecast = network.forecast_last(WindowBatch(values=window[0], observed=window[1]))
        expected = [part for part in forecast if part is not None]
        for one, other in zip(session.run(None, _given(session, *window)), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_exporting_an_lstm_leaves_the_network_as_it_was() -> None:
    section = NetworkSection(family="lstm", hidden=4, heads=2, dropout=0.1)
    network = LstmNetwork(V, section, "bce").train()
    lstm_onnx(network, lookback=T)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
