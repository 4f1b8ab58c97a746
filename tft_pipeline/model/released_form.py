"""The form of a network that a release carries beside its weights: exported once, and asked again before it goes live.

Not here: making forms (`forms`), timing them (`latency`), files.
"""

import json
from typing import Any

import torch

from tft_pipeline.domain.phases import LatencyForm
from tft_pipeline.model.fit import FittedFold
from tft_pipeline.model.forms import TOLERANCE, BarSeries, decide, decision_facts, open_forms
from tft_pipeline.model.isolation import single_thread
from tft_pipeline.model.onnx_decision import OnnxStream, OnnxWindow
from tft_pipeline.model.smoke import BrokenModelError

EXPORTED: tuple[LatencyForm, ...] = ("onnx_window", "onnx_stream")
"""Forms with a file of their own; eager torch and the compiled form run from the weights."""


def export_form(fitted: FittedFold, form: LatencyForm, *, seed: int) -> tuple[bytes, dict[str, Any]]:
    """The exported network of a form in `EXPORTED`, and what it needs besides: `decision_facts` and the form's name.

    Raises:
        BrokenModelError: the network has no such form, or it decides otherwise than eager torch, beyond 1e-5.
    """
    opened, left_out = open_forms(fitted, BarSeries(fitted, seed=seed), (form,))
    made = next((one.form.model for one in opened if one.form.name == form), None)
    if made is None:
        raise BrokenModelError(f"the form {form}, which the latency gate judged, is not released: {left_out.get(form)}")
    return made, {"form": form, **decision_facts(fitted)}


def ask_form(fitted: FittedFold, model: bytes, facts: bytes, *, seed: int = 0) -> str:
    """Ask a stored form and eager torch for one made-up decision; the form's name.

    Raises:
        BrokenModelError: the form does not load, or says something else than eager torch, beyond 1e-5.
    """
    series = BarSeries(fitted, seed=seed)
    with single_thread(), torch.inference_mode():
        expected = decide(fitted.build(), fitted, series.window(0), symbol=series.symbol)
    try:
        about = json.loads(facts)
        form = about["form"]
        if form == "onnx_window":
            position = OnnxWindow(model, about).decide(series.window(0), symbol=series.symbol)
        else:
            stream = OnnxStream(model, about)
            for bar in series.window(0):
                position = stream.decide(bar, symbol=series.symbol)
    except Exception as error:  # whatever its files hold, a form that does not answer is not deployed
        raise BrokenModelError(
            f"the exported form does not load and decide ({(str(error).splitlines() or [''])[0]})"
        ) from error
    if not abs(position - expected) <= TOLERANCE:
        raise BrokenModelError(f"the form {form} decides {position}, eager torch {expected}: it is another network")
    return str(form)
