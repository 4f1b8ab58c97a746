"""The form that a release carries says what the weights say, and one that does not is refused."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model import released_form
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.forms import decide, decision_facts
from tft_pipeline.model.released_form import ExportedForms, ask_form, ask_forms, difference_to_torch, export_forms
from tft_pipeline.model.smoke import BrokenModelError
from tft_pipeline_tests.made_bundles import signature_of
from tft_pipeline_tests.oracles.model_panels import NETWORK, random_panel, small_fit

LSTM = NetworkSection(family="lstm", hidden=8, dropout=0.0)


@pytest.fixture(scope="module")
def fitted() -> FittedFold:
    return small_fit(random_panel(), network=LSTM, epochs=1)


@pytest.fixture(scope="module")
def forms(fitted: FittedFold) -> ExportedForms:
    return export_forms(fitted, judged="onnx_window", seed=0)


@pytest.fixture(scope="module")
def exported(fitted: FittedFold, forms: ExportedForms) -> tuple[bytes, dict[str, Any]]:
    """As a release carried it before releases had signatures."""
    return forms.models["onnx_window"], {"form": "onnx_window", **decision_facts(fitted)}


@pytest.fixture(scope="module")
def tft() -> tuple[FittedFold, ExportedForms]:
    made = small_fit(random_panel(), network=NETWORK, epochs=1)
    return made, export_forms(made, judged="onnx_stream", seed=0)


def test_the_exported_form_and_its_facts_alone_decide_as_eager_torch(fitted: FittedFold, exported) -> None:
    """onnxruntime and the facts by hand: scaling in numpy, no code of ours."""
    model, facts = exported
    facts = json.loads(json.dumps(facts))
    assert facts["form"] == "onnx_window"
    window = np.random.default_rng(5).standard_normal((facts["lookback"], len(fitted.scaler.names))).astype(np.float32)
    scaled = (window - fitted.scaler.mean) / fitted.scaler.std
    scaled = np.clip(scaled, -fitted.scaler.clip, fitted.scaler.clip)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feed = {"values": scaled[None].astype(np.float32), "observed": np.ones((1, facts["lookback"]), dtype=bool)}
    (found,) = session.run(["forecast_position"], feed)
    with torch.inference_mode():
        assert found[0] == pytest.approx(decide(fitted.build(), fitted, window), abs=1e-5)


def test_the_form_is_asked_from_its_bytes(fitted: FittedFold, exported) -> None:
    model, facts = exported
    assert ask_form(fitted, model, json.dumps(facts).encode()) == "onnx_window"


def test_a_form_of_other_weights_or_that_does_not_load_is_broken(fitted: FittedFold, exported) -> None:
    model, facts = exported
    about = json.dumps(facts).encode()
    other = small_fit(random_panel(seed=3), network=LSTM, epochs=1, seed=8)
    with pytest.raises(BrokenModelError, match="it is another network"):
        ask_form(other, model, about)
    for bad, said in ((b"no network", about), (model, b"{"), (model, b"{}")):
        with pytest.raises(BrokenModelError, match="does not load and decide"):
            ask_form(fitted, bad, said)


def test_both_forms_of_a_tft_are_made_and_hold_to_torch_with_gaps(tft) -> None:
    fitted, forms = tft
    assert set(forms.models) == {"onnx_window", "onnx_stream"}
    assert forms.left_out == {}
    assert forms.outputs == ("forecast_position", "forecast_mean", "forecast_log_scale")
    for form, model in forms.models.items():
        assert 0.0 < forms.differences[form] <= 1e-5
        assert difference_to_torch(fitted, form, model, seed=7) <= 1e-5


def test_an_lstm_has_windows_only_and_says_why(forms: ExportedForms) -> None:
    assert list(forms.models) == ["onnx_window"]
    assert "zero states" in forms.left_out["onnx_stream"]


def test_a_form_that_the_latency_gate_judged_must_be_there(fitted: FittedFold) -> None:
    with pytest.raises(BrokenModelError, match=r"onnx_stream.*is not released: an lstm starts from zero states"):
        export_forms(fitted, judged="onnx_stream", seed=0)


def test_a_network_with_a_context_set_has_no_form_and_is_released_all_the_same() -> None:
    made = small_fit(random_panel(), network=NETWORK.model_copy(update={"n_context": 4, "context_bars": 5}), epochs=1)
    forms = export_forms(made, judged="eager", seed=0)
    assert forms.models == {}
    assert set(forms.left_out) == {"onnx_window", "onnx_stream"}
    assert all("n_context is 4" in why for why in forms.left_out.values())
    assert forms.outputs == ("forecast_position", "forecast_mean", "forecast_log_scale")
    signature = signature_of(made, forms, "0" * 64)
    assert ask_forms(made, {}, signature) == []


def test_a_form_that_ignores_gaps_is_another_network(tft, monkeypatch) -> None:
    """Its decisions on windows without gaps are right: the check that today's latency makes would let it pass."""
    fitted, forms = tft
    window = released_form.OnnxWindow.forecast

    def all_observed(self, values, observed=None, *, symbol=""):
        return window(self, values, None, symbol=symbol)

    monkeypatch.setattr(released_form.OnnxWindow, "forecast", all_observed)
    assert difference_to_torch(fitted, "onnx_window", forms.models["onnx_window"], seed=0) > 1e-3
    with pytest.raises(BrokenModelError, match="the form onnx_window differs from eager torch"):
        ask_forms(fitted, forms.models, signature_of(fitted, forms, "0" * 64))


def test_forms_of_other_weights_or_another_scaler_are_broken(tft) -> None:
    fitted, forms = tft
    signature = signature_of(fitted, forms, "0" * 64)
    assert ask_forms(fitted, forms.models, signature) == ["onnx_window", "onnx_stream"]
    with pytest.raises(BrokenModelError, match="does not load and decide"):
        ask_forms(fitted, {"onnx_stream": b"no network"}, signature)
    moved = replace(fitted, state={name: value + 0.05 for name, value in fitted.state.items()})
    for form in forms.models:
        with pytest.raises(BrokenModelError, match=f"the form {form} differs from eager torch"):
            ask_forms(moved, {form: forms.models[form]}, signature)
    scaler = replace(fitted.scaler, mean=fitted.scaler.mean + 1.0)
    with pytest.raises(BrokenModelError, match="another model's"):
        ask_forms(fitted, forms.models, replace(signature, scaler=scaler))


def test_the_stream_of_an_older_release_is_asked_bar_by_bar(tft) -> None:
    fitted, forms = tft
    facts = {"form": "onnx_stream", **decision_facts(fitted)}
    assert ask_form(fitted, forms.models["onnx_stream"], json.dumps(facts).encode()) == "onnx_stream"
