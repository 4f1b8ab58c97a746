"""The exported forms that a release carries beside its weights: made once, held against eager torch, asked before going live.

Not here: making forms (`forms`), timing them (`latency`), files.

Axes: W windows, T lookback, V variables.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from tft_pipeline.domain.phases import LatencyForm
from tft_pipeline.domain.signature import Signature
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.fit import FittedFold, symbol_levels
from tft_pipeline.model.forms import MISSING, TOLERANCE, BarSeries, decide, decision_facts, open_forms
from tft_pipeline.model.heads import QUANTILES, build_head
from tft_pipeline.model.isolation import single_thread
from tft_pipeline.model.onnx_decision import Feed, OnnxStream, OnnxWindow
from tft_pipeline.model.smoke import BrokenModelError

EXPORTED: tuple[LatencyForm, ...] = ("onnx_window", "onnx_stream")
"""Forms with a file of their own; eager torch and the compiled form run from the weights."""
CHECKED_BARS = 24
"""Decisions, with gaps among the bars before them, in which each output of a form is held against eager torch."""
GAPS = 0.15
"""Share of those bars that are not observed."""


@dataclass(frozen=True, kw_only=True)
class ExportedForms:
    """What a release carries of a network.

    Attributes:
        models: bytes by form. left_out: why there is none, by form.
        outputs: names of what the network forecasts, as the forms call them.
        quantile_levels: of the quantiles among them.
        differences: largest one of any output to eager torch, by form.
    """

    models: dict[str, bytes]
    left_out: dict[str, str]
    outputs: tuple[str, ...]
    quantile_levels: tuple[float, ...]
    differences: dict[str, float]


def export_forms(fitted: FittedFold, *, judged: str, seed: int) -> ExportedForms:
    """Every form in `EXPORTED` that the network has, each equal to eager torch to 1e-5 in all outputs, gaps included.

    Args:
        judged: form that the latency gate judged.
    Raises:
        BrokenModelError: `judged` is one of them, and the network has no such form or it says something else than eager torch.
    """
    opened, left_out = open_forms(fitted, BarSeries(fitted, seed=seed), EXPORTED)
    made = {one.form.name: one.form.model for one in opened if one.form.model is not None}
    models: dict[str, bytes] = {}
    differences: dict[str, float] = {}
    for form, model in made.items():
        difference = difference_to_torch(fitted, form, model, seed=seed)
        if difference <= TOLERANCE:
            models[form], differences[form] = model, difference
        else:
            left_out[form] = (
                f"it differs from eager torch by up to {difference:.1e} where bars are missing, more than {TOLERANCE:.0e}: it "
                "is another network"
            )
    if judged in EXPORTED and judged not in models:
        raise BrokenModelError(
            f"the form {judged}, which the latency gate judged, is not released: {left_out.get(judged)}"
        )
    head = build_head(1, fitted.training.loss_mode)(
        torch.zeros(1, 1)
    )  # weights mean nothing: it is asked what it answers
    outputs = tuple(f"forecast_{name}" for name, part in head._asdict().items() if part is not None)
    return ExportedForms(
        models=models,
        left_out=left_out,
        outputs=outputs,
        quantile_levels=() if head.quantiles is None else QUANTILES,
        differences=differences,
    )


def difference_to_torch(fitted: FittedFold, form: str, model: bytes, *, seed: int) -> float:
    """Largest difference of any output of an exported form to eager torch, relative where an output is above 1.

    Asked at `CHECKED_BARS` bars of a made-up series, of a symbol that the network knows and of one that it does not, with bars
    that are not observed and values that are missing. An output that is no number is infinitely far away.
    """
    values, observed = _made_up_bars(fitted, seed)
    facts, largest = decision_facts(fitted), 0.0
    asked = OnnxWindow(model, facts) if form == "onnx_window" else OnnxStream(model, facts)
    for symbol in dict.fromkeys((*fitted.symbols[-1:], "")):
        expected = _torch_outputs(fitted, values, observed, symbol)
        for k, said in _onnx_outputs(asked, values, observed, symbol, fitted.training.lookback):
            for name, column in expected.items():
                distance = np.abs(said[name] - column[k]) / np.maximum(1.0, np.abs(column[k]))
                largest = max(largest, float(np.max(distance)) if np.isfinite(distance).all() else np.inf)
    return largest


def _made_up_bars(fitted: FittedFold, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Values (N, V) around the training mean, some missing, and at which of the N = lookback - 1 + CHECKED_BARS bars there
    is one."""
    random, scaler = np.random.default_rng([seed, 1]), fitted.scaler
    shape = (fitted.training.lookback - 1 + CHECKED_BARS, len(scaler.names))
    values = scaler.mean + scaler.std * random.standard_normal(shape)
    values[random.random(shape) < MISSING] = np.nan
    observed = random.random(len(values)) >= GAPS
    observed[-1] = True
    return values.astype(np.float32), observed


def _torch_outputs(fitted: FittedFold, values: np.ndarray, observed: np.ndarray, symbol: str) -> Feed:
    """Outputs of eager torch (CHECKED_BARS, ...) at the windows that end at each of the last bars."""
    lookback = fitted.training.lookback
    scaled = np.nan_to_num(fitted.scaler.transform(values), nan=0.0) * observed[:, None]
    windows = torch.from_numpy(scaled).unfold(0, lookback, 1).transpose(1, 2)
    level = symbol_levels((symbol,), fitted.symbols).expand(len(windows)) if fitted.network.static_symbol else None
    shown = torch.from_numpy(observed).unfold(0, lookback, 1)
    with single_thread(), torch.inference_mode():
        forecast = fitted.build().forecast_last(WindowBatch(values=windows, observed=shown, symbol=level))
    return {f"forecast_{name}": part.numpy() for name, part in forecast._asdict().items() if part is not None}


def _onnx_outputs(
    asked: OnnxWindow | OnnxStream, values: np.ndarray, observed: np.ndarray, symbol: str, lookback: int
) -> Iterator[tuple[int, Feed]]:
    """The window's number and outputs by name, at each of the last bars that is observed."""
    if isinstance(asked, OnnxWindow):
        for k in range(CHECKED_BARS):
            if observed[k + lookback - 1]:
                span = slice(k, k + lookback)
                yield k, asked.forecast(values[span], observed[span], symbol=symbol)
        return
    cache = asked.start()
    for t, (bar, seen) in enumerate(zip(values, observed, strict=True)):
        said, cache = asked.step(cache, bar if seen else None, symbol=symbol)
        if said is not None and t >= lookback - 1:
            yield t - lookback + 1, said


def ask_forms(fitted: FittedFold, models: Mapping[str, bytes], signature: Signature, *, seed: int = 0) -> list[str]:
    """Ask stored forms and eager torch the same; the names of the forms.

    Raises:
        BrokenModelError: one does not load, says something else than eager torch, beyond 1e-5, or the signature's scaler,
            lookback or symbols are not the network's.
    """
    stated = (signature.scaler, signature.lookback, signature.static_symbols, signature.loss_mode)
    if stated != (fitted.scaler, fitted.training.lookback, fitted.symbols, fitted.training.loss_mode):
        raise BrokenModelError("the signature's scaler, lookback, symbols or loss are another model's")
    for form, model in models.items():
        try:
            difference = difference_to_torch(fitted, form, model, seed=seed)
        except Exception as error:  # whatever its file holds, a form that does not answer is not deployed
            raise BrokenModelError(
                f"the form {form} does not load and decide ({(str(error).splitlines() or [''])[0]})"
            ) from error
        if not difference <= TOLERANCE:
            raise BrokenModelError(
                f"the form {form} differs from eager torch by up to {difference:.1e}, more than {TOLERANCE:.0e}: it is another "
                "network"
            )
    return list(models)


def ask_form(fitted: FittedFold, model: bytes, facts: bytes, *, seed: int = 0) -> str:
    """The same of a release that carries one form as decision.onnx, and what it needs as decision.json; the form's name.

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
