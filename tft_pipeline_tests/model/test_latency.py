"""The latency benchmark times the decision that predictions are made of, and its interval covers."""

from typing import Any

import numpy as np
import pytest
import torch

from tft_pipeline.domain.folds import Span
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.inference import predict
from tft_pipeline.model.latency import benchmark_latency, decide, quantile_interval
from tft_pipeline_tests.oracles.model_panels import NETWORK, random_panel, small_fit


@pytest.fixture(scope="module")
def fitted() -> FittedFold:
    return small_fit(random_panel(), epochs=1)


@pytest.mark.parametrize(
    "keys", [{}, {"static_symbol": True}, {"family": "lstm", "lstm_layers": 2}, {"family": "pytorch_forecasting"}]
)
def test_the_timed_decision_is_the_predicted_position(keys: dict[str, Any]) -> None:
    panel = random_panel(gaps=False)
    fitted = small_fit(random_panel(), network=NETWORK.model_copy(update=keys), epochs=1)
    expected = predict(fitted, panel, Span(120, 121)).raw_position[1, 0]
    with torch.inference_mode():
        actual = decide(fitted.build(), fitted, panel.values[1, 105:121], symbol="S1")
    assert actual == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("family", ["lstm", "pytorch_forecasting"])
def test_every_family_is_timed(family: str) -> None:
    fitted = small_fit(random_panel(), network=NETWORK.model_copy(update={"family": family}), epochs=1)
    measured = benchmark_latency(fitted, warmup=0, n=20, seed=1)
    assert len(measured["samples_ms"]) == 20
    assert measured["n_parameters"] == fitted.n_parameters > 0


def test_a_decision_without_a_symbol_is_that_of_an_unknown_one() -> None:
    fitted = small_fit(random_panel(), network=NETWORK.model_copy(update={"static_symbol": True}), epochs=1)
    window = random_panel(gaps=False).values[1, 105:121]
    with torch.inference_mode():
        nobody, stranger, known = (decide(fitted.build(), fitted, window, symbol=name) for name in ("", "X", "S1"))
    assert nobody == stranger != known


def test_figures_are_ordered_and_the_samples_are_kept(fitted: FittedFold) -> None:
    measured = benchmark_latency(fitted, warmup=3, n=60, seed=1)
    figures = [measured[name] for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")]
    assert figures == sorted(figures)
    assert len(measured["samples_ms"]) == measured["n"] == 60
    assert measured["p95_ms"] == pytest.approx(np.quantile(measured["samples_ms"], 0.95))
    assert measured["p95_ci_ms"][0] <= measured["p95_ms"]
    assert measured["p999_ms"] is None
    assert measured["cold_start_ms"] > measured["load_ms"] > 0
    assert measured["threads"] == 1


def test_the_interval_of_a_quantile_covers_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        lower, upper = quantile_interval(np.sort(random.random(200)), 0.95)
        assert lower is not None
        assert upper is not None
        hits += lower <= 0.95 < upper
    assert 0.945 < hits / 2000 < 0.985


def test_an_end_that_no_order_statistic_bounds_is_none() -> None:
    lower, upper = quantile_interval(np.arange(20.0), 0.95)
    assert lower == 16.0
    assert upper is None


def test_too_few_calls_are_refused(fitted: FittedFold) -> None:
    with pytest.raises(ValueError, match="n 19"):
        benchmark_latency(fitted, warmup=0, n=19, seed=1)


@pytest.mark.parametrize("change", ["short", "infinite", "fewer features"])
def test_a_window_that_the_network_was_not_made_for_is_refused(fitted: FittedFold, change: str) -> None:
    window = random_panel(gaps=False).values[1, 105:121].copy()
    if change == "infinite":
        window[3, 1] = np.inf
    cut = {"short": window[1:], "infinite": window, "fewer features": window[:, 1:]}[change]
    with pytest.raises(ValueError, match="would mean nothing"):
        decide(fitted.build(), fitted, cut)
