"""The latency benchmark times the decision that predictions are made of, in forms that say what eager torch says."""

import time
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.phases import LatencySection
from tft_pipeline.model import forms as forms_module
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.forms import BarSeries, decide, open_forms
from tft_pipeline.model.inference import predict
from tft_pipeline.model.latency import benchmark_latency, quickest
from tft_pipeline_tests.oracles.model_panels import NETWORK, TRAINING, random_panel, small_fit

QUICK: dict[str, Any] = {"warmup": 1, "n": 20, "forms": (), "rate_per_s": 2000.0}


def timed(fitted: FittedFold, **changes: Any) -> Any:
    return benchmark_latency(fitted, LatencySection.model_validate(QUICK | changes), seed=1)


@pytest.fixture(scope="module")
def fitted() -> FittedFold:
    network = NETWORK.model_copy(update={"static_symbol": True})
    return small_fit(random_panel(), network=network, epochs=1)


@pytest.fixture(scope="module")
def lstm() -> FittedFold:
    network = NETWORK.model_copy(update={"family": "lstm", "lstm_layers": 2})
    training = TRAINING.model_copy(update={"loss_mode": "bce"})
    return small_fit(random_panel(), network=network, training=training, epochs=1)


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


def test_a_decision_without_a_symbol_is_that_of_an_unknown_one(fitted: FittedFold) -> None:
    window = random_panel(gaps=False).values[1, 105:121]
    with torch.inference_mode():
        nobody, stranger, known = (decide(fitted.build(), fitted, window, symbol=name) for name in ("", "X", "S1"))
    assert nobody == stranger != known


@pytest.mark.parametrize("change", ["short", "infinite", "fewer features"])
def test_a_window_that_the_network_was_not_made_for_is_refused(fitted: FittedFold, change: str) -> None:
    window = random_panel(gaps=False).values[1, 105:121].copy()
    if change == "infinite":
        window[3, 1] = np.inf
    cut = {"short": window[1:], "infinite": window, "fewer features": window[:, 1:]}[change]
    with pytest.raises(ValueError, match="would mean nothing"):
        decide(fitted.build(), fitted, cut)


def test_the_bars_of_a_series_and_its_windows_are_the_same_bars(fitted: FittedFold) -> None:
    series = BarSeries(fitted, seed=0)
    for k in (0, 5, 63, 64, 200):
        bars = np.stack([series.bar(one) for one in range(k - 15, k + 1)])
        np.testing.assert_array_equal(series.window(k), bars)
    assert np.isnan(series.window(63)).any(), "missing values must reach every form"
    assert series.symbol == fitted.symbols[0]


def test_an_exported_form_is_timed_beside_eager_torch_and_says_what_it_says(fitted: FittedFold) -> None:
    found = timed(fitted, forms=("onnx_stream",))
    rows = {row["form"]: row for row in found.forms}
    assert list(rows) == ["eager", "onnx_stream"]
    assert found.left_out == {}
    assert set(found.models) == {"onnx_stream"}
    for row in found.forms:
        assert row["difference"] <= 1e-5
        assert row["load_ms"] > 0.0
        assert row["first_decision_ms"] > 0.0
        assert len(row["distribution"]["ms"]) == 20
        assert row["p50"] == pytest.approx(np.quantile(row["distribution"]["ms"], 0.5))
    assert rows["eager"]["difference"] == 0.0
    assert rows["eager"]["export_s"] is None
    assert [row["chosen"] for row in found.forms].count(True) == 1
    assert found.chosen["p95"] == min(row["p95"] for row in found.forms), (
        "20 calls bound no p95: the p95 itself decides"
    )
    assert found.threads == 1


@pytest.mark.parametrize(
    ("keys", "words"), [({"family": "pytorch_forecasting"}, "eager torch only"), ({"n_context": 2}, "context set")]
)
def test_a_network_that_cannot_be_exported_is_timed_in_eager_torch_and_says_why(
    keys: dict[str, Any], words: str
) -> None:
    network = NETWORK.model_copy(update={"context_bars": 8, **keys})
    fitted = small_fit(random_panel(), network=network, epochs=1)
    found = timed(fitted, forms=("onnx_window", "onnx_stream", "compiled"))
    assert [row["form"] for row in found.forms] == ["eager"]
    assert set(found.left_out) == {"onnx_window", "onnx_stream", "compiled"}
    assert all(words in why for why in found.left_out.values())


def test_a_form_that_says_something_else_is_not_timed(lstm: FittedFold, monkeypatch: pytest.MonkeyPatch) -> None:
    other = small_fit(random_panel(seed=1), network=lstm.network, training=lstm.training, epochs=1, seed=9)
    right = forms_module.lstm_onnx
    monkeypatch.setattr(forms_module, "lstm_onnx", lambda network, lookback: right(other.build(), lookback=lookback))
    found = timed(lstm, forms=("onnx_window",))
    assert [row["form"] for row in found.forms] == ["eager"]
    assert "it is another network" in found.left_out["onnx_window"]


def test_compiling_without_a_compiler_is_refused_by_name(lstm: FittedFold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    _, left_out = open_forms(lstm, BarSeries(lstm, seed=1), ("compiled",))
    assert "'no-such-compiler' is not found" in left_out["compiled"]
    assert "latency.forms" in left_out["compiled"]


def test_the_quickest_form_of_an_lstm_is_chosen_and_its_open_loop_timed_and_why_it_has_no_stream_is_told(
    lstm: FittedFold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eager torch sleeps 3 ms in each call here."""
    quick = forms_module._eager

    def slow(fitted: FittedFold, series: BarSeries) -> Any:
        form = quick(fitted, series)
        answer = form.answer
        form.answer = lambda k: (time.sleep(0.003), answer(k))[1]
        return form

    monkeypatch.setitem(forms_module._MAKERS, "eager", slow)  # type: ignore[arg-type]
    found = timed(lstm, forms=("onnx_window", "onnx_stream"), n=72, arrivals="fixed", rate_per_s=500.0)
    assert "zero states" in found.left_out["onnx_stream"]
    rows = {row["form"]: row for row in found.forms}
    assert rows["eager"]["p50"] > 3.0
    assert rows["onnx_window"]["difference"] <= 1e-5
    smallest = min(found.forms, key=lambda row: row["p95_ci"][1])
    assert found.chosen["form"] == found.open_loop["form"] == smallest["form"]
    loop = found.open_loop
    assert (loop["rate_per_s"], loop["arrivals"], loop["n"]) == (500.0, "fixed", 72)
    assert loop["p50"] >= 0.0
    assert 0.0 < loop["busy_share"] <= 1.0
    assert 0.0 <= loop["queued_share"] <= 1.0


@pytest.mark.slow
def test_the_compiled_form_says_what_eager_torch_says(fitted: FittedFold, lstm: FittedFold) -> None:
    for one in (fitted, lstm):
        opened, left_out = open_forms(one, BarSeries(one, seed=1), ("compiled",))
        assert left_out == {}
        assert [form.form.name for form in opened] == ["eager", "compiled"]
        assert opened[1].difference <= 1e-5


def test_the_quickest_is_judged_by_calls_that_had_no_part_in_its_choice() -> None:
    now, made = [0.0], {"lucky": 0, "steady": 0}

    def call(name: str) -> None:
        made[name] += 1
        # quick while forms are compared, slow ever after
        now[0] += 2.0 if name == "steady" else 1.0 if made[name] <= 110 else 5.0

    calls = {name: partial(call, name) for name in made}
    name, took = quickest(calls, warmup=5, n=100, clock=lambda: now[0])
    assert name == "lucky"
    assert set(took["lucky"].tolist()) == {5.0}
    assert set(took["steady"].tolist()) == {2.0}
    assert made == {"lucky": 5 + 105 + 105, "steady": 5 + 105}
    alone, took = quickest({"steady": calls["steady"]}, warmup=0, n=20, clock=lambda: now[0])
    assert (alone, made["steady"]) == ("steady", 5 + 105 + 21), "one form is no choice"
