"""A network with a context set from training to prediction: what it may know, and that it is the same everywhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.phases import LatencySection
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.forms import decide
from tft_pipeline.model.inference import predict
from tft_pipeline.model.latency import benchmark_latency
from tft_pipeline_tests.oracles.model_panels import NETWORK, random_panel, small_fit

SECTION = NETWORK.model_copy(update={"n_context": 3, "context_bars": 6, "static_symbol": True})
TEST = Span(108, 138)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return random_panel()


@pytest.fixture(scope="module")
def fitted(panel: Panel) -> FittedFold:
    return small_fit(panel, network=SECTION)


@pytest.mark.parametrize("choice", ["random", "time_equivalent", "change_point"])
@pytest.mark.parametrize("key", ["n_context", "context_bars"])
def test_what_the_windows_read_changes_the_fit(panel: Panel, choice: str, key: str) -> None:
    section = SECTION.model_copy(update={"context_choice": choice, "n_context": 1})
    longer = random_panel(n_symbols=6, n_bars=140, seed=3)
    other = section.model_copy(update={key: getattr(section, key) + 1})
    one, two = (small_fit(longer, network=each, epochs=1).history for each in (section, other))
    assert one != two


def test_the_same_seed_gives_the_same_bits(fitted: FittedFold, panel: Panel) -> None:
    again = small_fit(panel, network=SECTION)
    assert all(torch.equal(value, again.state[name]) for name, value in fitted.state.items())
    for name, value in fitted.context.tensors().items():
        assert torch.equal(value, again.context.tensors()[name])


def test_the_pool_holds_training_bars_only(panel: Panel, fitted: FittedFold) -> None:
    noise = np.random.default_rng(5)
    changed = panel.values.copy()
    changed[:, 80:] += noise.standard_normal(changed[:, 80:].shape).astype(np.float32)
    again = small_fit(replace(panel, values=changed), network=SECTION)
    for name, value in fitted.context.tensors().items():
        assert torch.equal(value, again.context.tensors()[name]), name


@pytest.mark.parametrize("cut", [110, 125])
def test_later_bars_change_no_bit_of_earlier_predictions(fitted: FittedFold, panel: Panel, cut: int) -> None:
    changed = panel.values.copy()
    changed[:, cut + 1 :] = 3.0
    before, after = predict(fitted, panel, TEST), predict(fitted, replace(panel, values=changed), TEST)
    bars = cut + 1 - TEST.start
    assert np.array_equal(before.raw_position[:, :bars], after.raw_position[:, :bars], equal_nan=True)


def test_a_prediction_does_not_depend_on_the_span_it_is_asked_for_in(fitted: FittedFold, panel: Panel) -> None:
    whole, part = predict(fitted, panel, TEST), predict(fitted, panel, Span(120, 126))
    np.testing.assert_allclose(whole.raw_position[:, 12:18], part.raw_position, atol=1e-6)


def test_one_decision_equals_the_prediction_of_its_bar(fitted: FittedFold, panel: Panel) -> None:
    expected = predict(fitted, panel, Span(120, 121)).raw_position[2, 0]
    window = panel.values[2, 105:121]
    actual = decide(fitted.build(), fitted, window, symbol="S2", at=panel.calendar[120])
    assert actual == pytest.approx(expected, abs=1e-6)


def test_latency_counts_the_context_set(fitted: FittedFold) -> None:
    settings = LatencySection(warmup=1, n=20, forms=(), rate_per_s=500.0)
    assert benchmark_latency(fitted, settings, seed=0).chosen["form"] == "eager"
