"""The form that a release carries says what the weights say, and one that does not is refused."""

import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.forms import decide
from tft_pipeline.model.released_form import ask_form, export_form
from tft_pipeline.model.smoke import BrokenModelError
from tft_pipeline_tests.oracles.model_panels import NETWORK, random_panel, small_fit

LSTM = NetworkSection(family="lstm", hidden=8, dropout=0.0)


@pytest.fixture(scope="module")
def fitted() -> FittedFold:
    return small_fit(random_panel(), network=LSTM, epochs=1)


@pytest.fixture(scope="module")
def exported(fitted: FittedFold) -> tuple[bytes, dict[str, Any]]:
    return export_form(fitted, "onnx_window", seed=0)


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


def test_a_form_that_the_network_does_not_have_is_not_exported(fitted: FittedFold) -> None:
    with pytest.raises(BrokenModelError, match=r"onnx_stream.*is not released: an lstm starts from zero states"):
        export_form(fitted, "onnx_stream", seed=0)


def test_the_stream_is_asked_bar_by_bar() -> None:
    made = small_fit(random_panel(), network=NETWORK, epochs=1)
    model, facts = export_form(made, "onnx_stream", seed=0)
    assert ask_form(made, model, json.dumps(facts).encode()) == "onnx_stream"
