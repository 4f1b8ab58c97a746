"""The forms in which a fitted network takes decisions: eager torch, exported to ONNX, compiled. Not here: timing (`latency`).

Axes: T lookback, V variables, P bars of the series.
"""

import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from tft_pipeline.domain.latency import EAGER
from tft_pipeline.domain.phases import LatencyForm
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.context import WindowContext
from tft_pipeline.model.export import LstmForm, lstm_onnx, streaming_onnx, window_onnx
from tft_pipeline.model.families import Network
from tft_pipeline.model.fit import FittedFold, symbol_levels
from tft_pipeline.model.folded import FoldedTft
from tft_pipeline.model.isolation import single_thread
from tft_pipeline.model.lstm import LstmNetwork
from tft_pipeline.model.network import Tft
from tft_pipeline.model.onnx_decision import OnnxStream, OnnxWindow, refuse_input

TOLERANCE = 1e-5
"""Largest difference of a raw position to that of eager torch; beyond it a form is another network."""
CHECKED = 16
"""Decisions in which each form is held against eager torch before it is timed."""
LEAST_BARS = 64
MISSING = 0.02
"""Share of the series' values that are missing: a form must treat them as eager torch does."""


def decide(
    network: Network,
    fitted: FittedFold,
    window: np.ndarray,
    *,
    symbol: str = "",
    at: datetime = datetime(9999, 1, 1, tzinfo=UTC),
) -> float:
    """Raw position at the last bar of one symbol's window (T, V) of unscaled features, all bars observed; in eager torch.

    Args:
        symbol: whose window it is; read with a static symbol or a context set. By default one the network does not know.
        at: close of the last bar; read with a context set, of which all that was resolved before may be chosen.
    Raises:
        ValueError: a window of another shape than (lookback, features), or an infinite value.
    """
    scaled = _scaled(fitted, window)
    static = fitted.network.static_symbol
    reader = None
    if fitted.context is not None:
        reader = WindowContext(fitted.context, (symbol,), (at,), fitted.network.n_context)
    batch = WindowBatch(
        values=scaled,
        observed=torch.ones(1, len(window), dtype=torch.bool),
        symbol=symbol_levels((symbol,), fitted.symbols) if static else None,
        context=None if reader is None else reader.of(np.zeros(1, dtype=int)),
    )
    return network.forecast_last(batch).position.item()


class BarSeries:
    """Made-up bars that come one after the other for ever: bar k is bar k + P again.

    Values are drawn around the training mean with the training deviation, a few are missing; how long a decision takes does
    not depend on them.

    Attributes:
        symbol: whose bars they are; the first that the network knows, else one it does not.
    """

    def __init__(self, fitted: FittedFold, *, seed: int) -> None:
        self.lookback, scaler = fitted.training.lookback, fitted.scaler
        self.n = max(self.lookback, LEAST_BARS)
        random = np.random.default_rng(seed)
        bars = scaler.mean + scaler.std * random.standard_normal((self.n, len(scaler.names)))
        bars[random.random(bars.shape) < MISSING] = np.nan
        self._twice = np.concatenate([bars, bars]).astype(np.float32)  # (2 P, V): every window is a view
        self.symbol = fitted.symbols[0] if fitted.symbols else ""

    def bar(self, k: int) -> np.ndarray:
        """(V,), bar k; before bar 0 there are others."""
        found: np.ndarray = self._twice[k % self.n]
        return found

    def window(self, k: int) -> np.ndarray:
        """(T, V), the bars up to bar k."""
        end = k % self.n + self.n + 1
        return self._twice[end - self.lookback : end]


@dataclass
class Form:
    """A network that is ready to decide; each call is the decision at the next bar of the series.

    Attributes:
        answer: raw position at bar k, called with k = 0, 1, ..
        export_s: seconds to export it; None for a form that is not exported.
        load_ms: from weights or exported bytes to a network that can be called; of the compiled form with the compiling.
        model: the exported bytes; None for a form that is not exported.
    """

    name: str
    answer: Callable[[int], float]
    load_ms: float
    export_s: float | None = None
    model: bytes | None = None
    _k: int = 0

    def __call__(self) -> float:
        """Raw position at the next bar."""
        position = self.answer(self._k)
        self._k += 1
        return position


@dataclass(frozen=True)
class OpenedForm:
    """A form that says what eager torch says.

    Attributes:
        difference: largest one to eager torch in the decisions that were checked; 0 for eager itself.
        first_decision_ms: of its first decision in this process; of the stream with the bars its cache wants.
    """

    form: Form
    difference: float
    first_decision_ms: float


def open_forms(
    fitted: FittedFold,
    series: BarSeries,
    wanted: Sequence[LatencyForm],
    report: Callable[[str], None] = lambda doing: None,
) -> tuple[tuple[OpenedForm, ...], dict[str, str]]:
    """Eager torch and the wanted forms that equal it, in one thread; and the others with the reason why they are left out.

    Args:
        report: told of each form before it is opened.
    """
    left_out: dict[str, str] = {name: why for name in wanted if (why := why_not(fitted, name)) is not None}
    opened: list[OpenedForm] = []
    expected = np.empty(0)
    for name in (EAGER, *(name for name in wanted if name not in left_out)):
        report(f"opening {name}")
        with single_thread():
            form = _MAKERS[name](fitted, series)
            with torch.inference_mode():
                began = time.perf_counter()
                positions = [form()]
                first_ms = (time.perf_counter() - began) * 1e3
                positions += [form() for _ in range(CHECKED - 1)]
        expected = np.array(positions) if name == EAGER else expected
        difference = float(np.abs(np.array(positions) - expected).max())
        if not difference <= TOLERANCE:
            left_out[name] = (
                f"it differs from eager torch by up to {difference:.1e} in {CHECKED} decisions, more than {TOLERANCE:.0e}: it "
                "is another network"
            )
            continue
        opened.append(OpenedForm(form=form, difference=difference, first_decision_ms=first_ms))
    return tuple(opened), left_out


def why_not(fitted: FittedFold, name: LatencyForm) -> str | None:
    """Why a network has no such form here; None where it has one."""
    section = fitted.network
    if section.family == "pytorch_forecasting":
        return "pytorch-forecasting's network is run as its authors wrote it, in eager torch only"
    if section.n_context:
        return f"network.n_context is {section.n_context}: a context set is gathered in torch for each decision"
    if name == "onnx_stream" and section.family == "lstm":
        return (
            "an lstm starts from zero states at the first bar of each window: no cache carries over to the next window"
        )
    compiler = os.environ.get("CXX", "g++")
    if name == "compiled" and shutil.which(compiler) is None:
        return (
            f"torch.compile needs a C++ compiler and {compiler!r} is not found: install g++ or name one in CXX, or take "
            "'compiled' out of latency.forms"
        )
    return None


def decision_facts(fitted: FittedFold) -> dict[str, Any]:
    """What an exported network needs besides its file to take a decision; JSON-ready."""
    return {
        "scaler": fitted.scaler.to_dict(),
        "lookback": fitted.training.lookback,
        "symbols": list(fitted.symbols),
    }


def _eager(fitted: FittedFold, series: BarSeries) -> Form:
    began = time.perf_counter()
    network = fitted.build()
    return Form(
        name=EAGER,
        answer=lambda k: decide(network, fitted, series.window(k), symbol=series.symbol),
        load_ms=_since(began),
    )


def _onnx_window(fitted: FittedFold, series: BarSeries) -> Form:
    began = time.perf_counter()
    network, lookback = fitted.build(), fitted.training.lookback
    if isinstance(network, LstmNetwork):
        model = lstm_onnx(network, lookback=lookback)
    else:
        model = window_onnx(_folded(network), lookback=lookback)
    export_s, began = time.perf_counter() - began, time.perf_counter()
    decision = OnnxWindow(model, decision_facts(fitted))
    return Form(
        name="onnx_window",
        answer=lambda k: decision.decide(series.window(k), symbol=series.symbol),
        load_ms=_since(began),
        export_s=export_s,
        model=model,
    )


def _onnx_stream(fitted: FittedFold, series: BarSeries) -> Form:
    began = time.perf_counter()
    lookback = fitted.training.lookback
    model = streaming_onnx(_folded(fitted.build()), lookback=lookback)
    export_s, began = time.perf_counter() - began, time.perf_counter()
    decision = OnnxStream(model, decision_facts(fitted))
    load_ms = _since(began)

    def answer(k: int) -> float:
        if k == 0:
            for before in range(1 - lookback, 0):
                decision.decide(series.bar(before), symbol=series.symbol)
        return decision.decide(series.bar(k), symbol=series.symbol)

    return Form(name="onnx_stream", answer=answer, load_ms=load_ms, export_s=export_s, model=model)


def _compiled(fitted: FittedFold, series: BarSeries) -> Form:
    began = time.perf_counter()
    network = fitted.build()
    form: torch.nn.Module = LstmForm(network) if isinstance(network, LstmNetwork) else _folded(network)
    observed = torch.ones(1, fitted.training.lookback, dtype=torch.bool)
    level = symbol_levels((series.symbol,), fitted.symbols) if fitted.network.static_symbol else None
    more = () if level is None else (level,)
    with torch.inference_mode(), warnings.catch_warnings():
        # the compiler of torch 2.13 imports a module that uses what torch 2.13 renames
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.script_method", category=DeprecationWarning)
        run = torch.compile(form)

        def answer(k: int) -> float:
            return float(run(_scaled(fitted, series.window(k)), observed, *more)[0].position.item())

        answer(0)
    return Form(name="compiled", answer=answer, load_ms=_since(began))


_MAKERS: Mapping[str, Callable[[FittedFold, BarSeries], Form]] = {
    EAGER: _eager,
    "onnx_window": _onnx_window,
    "onnx_stream": _onnx_stream,
    "compiled": _compiled,
}


def _folded(network: Network) -> FoldedTft:
    assert isinstance(network, Tft), "why_not leaves the other families out"
    return FoldedTft(network)


def _scaled(fitted: FittedFold, window: np.ndarray) -> torch.Tensor:
    """(T, V) -> (1, T, V), missing values at the training mean."""
    refuse_input(window, (fitted.training.lookback, len(fitted.scaler.names)))
    return torch.from_numpy(np.nan_to_num(fitted.scaler.transform(window), nan=0.0, copy=False)).unsqueeze(0)


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1e3
