"""Every family through the one interface: shapes, causality, what is not observed, what the last bar says."""

import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.families import Network, build_network
from tft_pipeline.model.heads import Forecast, LossMode
from tft_pipeline.model.inference import predict
from tft_pipeline_tests.oracles.model_panels import NETWORK, TRAINING, random_panel, small_fit

W, T, V = 5, 9, 3
FAMILIES = ("tft", "lstm", "pytorch_forecasting")
SECTION = NetworkSection(hidden=8, heads=2, variable_hidden=4, lstm_layers=2, dropout=0.2)

families = pytest.mark.parametrize("family", FAMILIES)


def _network(family: str, loss_mode: LossMode = "joint_mle", **keys: Any) -> Network:
    torch.manual_seed(3)
    section = SECTION.model_copy(update={"family": family, **keys})
    network = build_network(V, section, loss_mode, n_symbols=2, lookback=T)
    with torch.no_grad():
        for parameter in network.parameters():  # no term may hide behind a weight that starts at zero
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return network.eval()


def _windows(seed: int = 0) -> WindowBatch:
    generator = torch.Generator().manual_seed(seed)
    observed = torch.rand(W, T, generator=generator) < 0.8
    return WindowBatch(values=torch.randn(W, T, V, generator=generator) * observed.unsqueeze(-1), observed=observed)


@families
@pytest.mark.parametrize("loss_mode", get_args(LossMode))
def test_a_forecast_has_what_its_loss_trains_at_every_bar(family: str, loss_mode: LossMode) -> None:
    network, windows = _network(family, loss_mode), _windows()
    trained = {
        "sharpe": {"position"},
        "joint_mle": {"position", "mean", "log_scale"},
        "joint_quantile": {"position", "quantiles"},
        "bce": {"position", "logit"},
    }[loss_mode]
    for forecast, shape in ((network.forecast(windows), (W, T)), (network.forecast_last(windows), (W,))):
        found = {name: part for name, part in forecast._asdict().items() if part is not None}
        assert set(found) == trained
        assert all(part.shape[: len(shape)] == shape for part in found.values())
        assert forecast.position.abs().max() <= 1.0


@families
def test_the_last_bar_alone_is_the_last_of_every_bar(family: str) -> None:
    network, windows = _network(family), _windows()
    every, last = network.forecast(windows), network.forecast_last(windows)
    for whole, alone in zip(every, last, strict=True):
        if whole is not None:
            torch.testing.assert_close(whole[:, -1], alone, atol=2e-5, rtol=1e-4)


@settings(deadline=None, max_examples=20)
@given(bar=st.integers(0, T - 2), seed=st.integers(1, 1000), loss_mode=st.sampled_from(get_args(LossMode)))
@families
def test_later_bars_change_no_bit_and_the_bar_itself_does(
    family: str, bar: int, seed: int, loss_mode: LossMode
) -> None:
    network, windows, other = _network(family, loss_mode), _windows(), _windows(seed)
    later = torch.arange(T) > bar
    changed = WindowBatch(
        values=torch.where(later[:, None], other.values, windows.values),
        observed=torch.where(later, other.observed, windows.observed),
    )
    itself = WindowBatch(values=windows.values + 2.0 * (torch.arange(T) == bar)[:, None], observed=windows.observed)
    with torch.no_grad():
        before, after, moved = (network.forecast(each) for each in (windows, changed, itself))
    difference = _largest_difference(before, after)
    assert (difference[:, : bar + 1] == 0).all()
    assert difference[:, bar + 1 :].max() > 1e-3
    difference = _largest_difference(before, moved)
    assert (difference[:, :bar] == 0).all()
    assert difference[:, bar][windows.observed[:, bar]].min() > 1e-4


def _largest_difference(one: Forecast, other: Forecast) -> torch.Tensor:
    """(W, T), over all that a forecast has: a position alone may stand at its limit."""
    parts = [(a - b).abs() for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return torch.cat([part.view(W, T, -1) for part in parts], dim=-1).amax(-1)


@families
def test_values_of_a_bar_that_is_not_observed_are_not_read(family: str) -> None:
    network, windows = _network(family), _windows()
    garbage = WindowBatch(
        values=torch.where(windows.observed.unsqueeze(-1), windows.values, torch.full((W, T, V), 7.0)),
        observed=windows.observed,
    )
    assert not windows.observed.all()
    torch.testing.assert_close(network.forecast(windows).position, network.forecast(garbage).position)
    torch.testing.assert_close(network.forecast_last(windows).position, network.forecast_last(garbage).position)


@families
def test_a_window_is_forecast_alone_as_in_a_batch(family: str) -> None:
    network, windows = _network(family), _windows()
    together = network.forecast(windows).position
    for w in range(W):
        alone = network.forecast(windows.rows(slice(w, w + 1))).position
        torch.testing.assert_close(alone[0], together[w], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["tft", "pytorch_forecasting"])
def test_weights_and_attention_are_shares_and_attention_looks_back_only(family: str) -> None:
    weights, attention = _network(family).interpret(_windows())
    assert weights is not None
    assert attention is not None
    assert weights.shape == (W, T, V)
    assert attention.shape == (W, T, T)
    torch.testing.assert_close(weights.sum(-1), torch.ones(W, T))
    torch.testing.assert_close(attention.sum(-1), torch.ones(W, T))
    assert weights.min() > 0
    assert (attention.triu(1) == 0).all()


def test_an_lstm_has_neither_weights_nor_attention() -> None:
    assert tuple(_network("lstm").interpret(_windows())) == (None, None)


@families
def test_the_same_seed_gives_the_same_network(family: str) -> None:
    section = SECTION.model_copy(update={"family": family})
    states = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        states.append(build_network(V, section, "sharpe", n_symbols=0, lookback=T).state_dict())
    same = [{name: torch.equal(states[0][name], other[name]) for name in states[0]} for other in states[1:]]
    assert all(same[0].values())
    assert not all(same[1].values())


@pytest.mark.parametrize("family", ["lstm", "pytorch_forecasting"])
@pytest.mark.parametrize(("key", "value"), [("static_symbol", True), ("n_context", 4)])
def test_an_input_that_a_family_has_not_is_refused(family: str, key: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"network\.{key} is {value} and network\.family is {family}.*set network"):
        _network(family, **{key: value})


def test_only_the_reference_imports_pytorch_forecasting() -> None:
    program = (
        "import sys\n"
        "from tft_pipeline.domain.sections import NetworkSection\n"
        "from tft_pipeline.model.families import build_network\n"
        "for family in ('tft', 'lstm'):\n"
        "    build_network(2, NetworkSection(family=family), 'bce', n_symbols=0, lookback=8)\n"
        "assert 'pytorch_forecasting' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@families
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_fit_is_repeated_to_the_bit_and_its_weights_build_it_again(
    family: str, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tft_pipeline.model.reference.VALUES_A_CHUNK", 4_000)  # several chunks a step
    panel = random_panel(n_symbols=2)
    network = NETWORK.model_copy(update={"family": family})
    training = TRAINING.model_copy(update={"accumulate_batches": accumulate})
    one, two = (small_fit(panel, network=network, training=training) for _ in range(2))
    assert one.history == two.history
    assert one.state.keys() == two.state.keys()
    assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)
    rebuilt = one.build()
    assert not rebuilt.training
    assert all(torch.equal(value, one.state[name]) for name, value in rebuilt.state_dict().items())
    assert one.n_parameters == sum(parameter.numel() for parameter in rebuilt.parameters())


@families
def test_every_family_finds_what_is_there_to_find(family: str) -> None:
    panel = random_panel(n_symbols=4, gaps=False, edge=0.9, seed=3)
    network = NETWORK.model_copy(update={"family": family, "dropout": 0.0})
    training = TRAINING.model_copy(update={"learning_rate": 0.02, "loss_mode": "bce"})
    fitted = small_fit(panel, network=network, training=training, epochs=12)
    span = Span(108, 138)
    probability = predict(fitted, panel, span).probability
    label = panel.label[:, slice(*span)]
    assert ((probability > 0.5) == (label > 0)).mean() > 0.7
