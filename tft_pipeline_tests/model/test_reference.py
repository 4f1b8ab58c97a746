"""pytorch-forecasting's network gets from us what its own dataset would give it, and trains, saves and loads as one of ours."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_forecasting import TemporalFusionTransformer
from pytorch_forecasting.metrics import MAE
from safetensors.torch import load_file, save_file

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model import reference
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.reference import ReferenceTft, window_dataset, window_inputs

W, T, V = 4, 7, 3
SECTION = NetworkSection(family="pytorch_forecasting", hidden=8, heads=2, variable_hidden=4, lstm_layers=2, dropout=0.1)


def _network(n_variables: int = V, **keys: Any) -> ReferenceTft:
    torch.manual_seed(1)
    network = ReferenceTft(n_variables, SECTION.model_copy(update=keys), "joint_mle", lookback=T)
    return _perturbed(network)


def _perturbed(network: ReferenceTft) -> ReferenceTft:
    """In evaluation mode, every weight moved, so that none of those that start at zero hides a term."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return network.eval()


def _windows(n_variables: int = V, *, gaps: bool = False) -> WindowBatch:
    generator = torch.Generator().manual_seed(2)
    observed = torch.rand(W, T, generator=generator) < 0.8 if gaps else torch.ones(W, T, dtype=torch.bool)
    return WindowBatch(values=torch.randn(W, T, n_variables, generator=generator), observed=observed)


def _loaded(values: torch.Tensor, bars: list[tuple[int, int]]) -> dict[str, torch.Tensor]:
    """What their loader yields for bars 0 .. last of window w, each of (w, last) as the end of a series of its own.

    Each series has one bar more, the decoder's; its values are noise, unknown when the forecast is made.
    """
    random = np.random.default_rng(0)
    rows = []
    for series, (w, last) in enumerate(bars):
        encoder = values[w, : last + 1].numpy()
        table = np.concatenate((encoder, random.standard_normal((1, encoder.shape[1])).astype(np.float32)))
        columns = {f"x{v}": table[:, v] for v in range(table.shape[1])}
        rows.append(pd.DataFrame({"series": f"{series:03d}", "bar": range(last + 2), "target": 0.0, **columns}))
    template = window_dataset(pd.concat(rows, ignore_index=True), values.shape[2], T)
    dataset = type(template).from_dataset(
        template, pd.concat(rows, ignore_index=True), stop_randomization=True, predict=True
    )
    batch, _ = next(iter(dataset.to_dataloader(train=False, batch_size=len(bars))))
    return batch


@pytest.mark.parametrize("n_variables", [1, V])
@pytest.mark.parametrize("bars", [[(0, 6), (1, 6), (3, 6)], [(0, 0), (2, 3), (1, 5), (3, 1)]])
def test_inputs_are_those_of_its_own_loader_and_so_are_outputs(n_variables: int, bars: list[tuple[int, int]]) -> None:
    network, values = _network(n_variables), _windows(n_variables).values
    window, last = torch.tensor(bars).unbind(1)
    ours, theirs = window_inputs(values, window, last), _loaded(values, bars)
    for name in ("encoder_cont", "encoder_cat", "encoder_lengths", "decoder_cat", "decoder_lengths", "target_scale"):
        assert torch.equal(ours[name], theirs[name]), name
    assert ours["decoder_cont"].shape == theirs["decoder_cont"].shape
    assert not torch.equal(ours["decoder_cont"], theirs["decoder_cont"])  # and yet it does not matter
    assert torch.equal(network.transformer(ours).prediction, network.transformer(theirs).prediction)


@pytest.mark.parametrize("values_a_chunk", [reference.VALUES_A_CHUNK, 3 * T * V])
def test_every_bar_is_their_forecast_of_the_bars_up_to_it(values_a_chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "VALUES_A_CHUNK", values_a_chunk)
    network, windows = _network(), _windows(gaps=True)
    every, last = network.forecast(windows), network.forecast_last(windows)
    known = windows.values * windows.observed.unsqueeze(-1)
    loaded = _loaded(known, [(w, bar) for w in range(W) for bar in range(T)])
    expected = network.head(network.transformer(loaded).prediction[:, 0]).each(lambda part: part.view(W, T))
    for ours, alone, theirs in zip(every, last, expected, strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(alone, theirs[:, -1], atol=2e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:Attribute '(loss|logging_metrics)' is an instance")
def test_it_is_their_own_network_with_the_head_for_its_output_layer() -> None:
    """Their network, built and called without us, takes our weights under their names and says the same."""
    torch.manual_seed(6)
    ours = _perturbed(ReferenceTft(V, SECTION, "sharpe", lookback=T))
    windows = _windows()
    series = pd.DataFrame({"series": "s", "bar": range(T + 1), "target": 0.0, **{f"x{v}": 0.0 for v in range(V)}})
    theirs = TemporalFusionTransformer.from_dataset(
        window_dataset(series, V, T),
        hidden_size=8,
        attention_head_size=2,
        lstm_layers=2,
        hidden_continuous_size=4,
        output_size=1,
        loss=MAE(),
    ).eval()
    state = dict(ours.transformer.state_dict())
    for name, value in ours.transformer.state_dict().items():
        state[name.replace("_encoder.", "_decoder.") if name.startswith("post_lstm") else name] = value
        state[name.removeprefix("encoder_variable_selection.") if ".prescalers." in name else name] = value
    state |= {f"output_layer.{name}": value for name, value in ours.head.output.state_dict().items()}
    theirs.load_state_dict(state, strict=True)
    expected = torch.tanh(theirs(_loaded(windows.values, [(w, T - 1) for w in range(W)])).prediction[:, 0, 0])
    assert expected.std() > 0.01
    torch.testing.assert_close(ours.forecast_last(windows).position, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("heads", [1, 2])
def test_weights_and_attention_are_its_own_interpretation(heads: int) -> None:
    network, windows = _network(heads=heads), _windows()
    weights, attention = network.interpret(windows)
    assert weights is not None
    assert attention is not None
    for w in range(W):
        output = network.transformer(_loaded(windows.values, [(w, T - 1)]))
        torch.testing.assert_close(weights[w], output.encoder_variables[0, :, 0])
        theirs = network.transformer.interpret_output(output, reduction="none")
        torch.testing.assert_close(attention[w, -1], theirs["attention"][0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(weights[w].mean(0), theirs["encoder_variables"][0])


def test_weights_of_a_bar_do_not_depend_on_its_window() -> None:
    network, windows = _network(), _windows(gaps=True)
    alone = WindowBatch(values=windows.values[:, 4:5], observed=windows.observed[:, 4:5])
    torch.testing.assert_close(network.weights(windows)[:, 4:5], network.weights(alone), atol=2e-5, rtol=1e-4)


def _gradients(network: ReferenceTft, windows: WindowBatch) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    network.zero_grad()
    forecast = network.forecast(windows)
    (forecast.position.square().sum() + forecast.mean.sum()).backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


def test_chunks_give_the_gradients_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    network, windows = _network(dropout=0.0).train(), _windows(gaps=True)
    whole = _gradients(network, windows)
    monkeypatch.setattr(reference, "VALUES_A_CHUNK", 5 * T * V)
    for name, gradient in _gradients(network, windows).items():
        torch.testing.assert_close(gradient, whole[name], atol=1e-4, rtol=1e-4)


def test_chunks_run_again_drop_out_what_they_dropped_before(monkeypatch: pytest.MonkeyPatch) -> None:
    network, windows = _network(dropout=0.3).train(), _windows(gaps=True)
    monkeypatch.setattr(reference, "VALUES_A_CHUNK", 5 * T * V)
    again = _gradients(network, windows)
    monkeypatch.setattr(reference, "checkpoint", lambda function, *inputs, use_reentrant: function(*inputs))
    for name, gradient in _gradients(network, windows).items():
        torch.testing.assert_close(again[name], gradient, atol=2e-5, rtol=1e-4)


def test_a_step_changes_every_weight_that_anything_depends_on() -> None:
    network, windows = _network().train(), _windows(gaps=True)
    before = {name: value.clone() for name, value in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        forecast = network.forecast(windows)
        (forecast.position.sum() + forecast.mean.sum() + forecast.log_scale.sum()).backward()
        optimizer.step()
    kept = {name for name, value in network.named_parameters() if torch.equal(before[name], value)}
    # Its static input is a vector of zeros and so is its decoder's: their first maps multiply nothing.
    assert kept == {
        "transformer.static_context_variable_selection.fc1.weight",
        "transformer.static_context_initial_hidden_lstm.fc1.weight",
        "transformer.static_context_initial_cell_lstm.fc1.weight",
        "transformer.static_context_enrichment.fc1.weight",
        "transformer.lstm_decoder.weight_ih_l0",
    }


def test_each_weight_is_saved_once_and_loads_strictly(tmp_path: Path) -> None:
    network, windows = _network(), _windows(gaps=True)
    state = network.state_dict()
    assert sum(value.numel() for value in state.values()) == sum(p.numel() for p in network.parameters())
    save_file(state, tmp_path / "weights.safetensors")  # refuses two names of one tensor
    torch.manual_seed(9)
    other = ReferenceTft(V, SECTION, "joint_mle", lookback=T).eval()
    assert not torch.equal(other.forecast(windows).position, network.forecast(windows).position)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
    assert torch.equal(other.forecast(windows).position, network.forecast(windows).position)


def test_what_encoder_and_decoder_share_stays_shared_in_a_copy() -> None:
    network = copy.deepcopy(_network())
    transformer = network.transformer
    assert transformer.post_lstm_gate_decoder is transformer.post_lstm_gate_encoder
    assert transformer.post_lstm_add_norm_decoder is transformer.post_lstm_add_norm_encoder
    assert len(list(network.parameters())) == len(network.state_dict())


def test_building_it_says_nothing_and_keeps_no_data(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    network = _network()
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert network.transformer.hparams.dataset_parameters is None
    assert network.transformer._trainer is None
