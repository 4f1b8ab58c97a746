"""ONNX forms of a folded tft, one that reads whole windows and one that reads a bar and a cache; of an lstm, its windows.

Not here: the bundle, running them (`onnx_decision`).

Running them needs numpy and onnxruntime, not torch. The number of windows is fixed when exporting: torch's exporter keeps the
LSTM as one operator only then.

Axes: W windows, T bars, V variables, H hidden.
"""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.folded import FoldedTft, StreamingTft
from tft_pipeline.model.heads import Forecast
from tft_pipeline.model.lstm import LstmNetwork

OPSET = 20


def window_onnx(folded: FoldedTft, *, lookback: int, windows: int = 1) -> bytes:
    """ONNX of values (W, T, V), observed (W, T)[, symbol (W,)] -> the forecast of the last bar (W) and its weights (W, V).

    Outputs are `forecast_` with the name of each field of `Forecast` that the loss trains, then `weights`.
    """
    values, observed, symbol = _example(folded, lookback, windows)
    form = _WindowForm(folded).eval()
    inputs = {"values": values, "observed": observed} | ({} if symbol is None else {"symbol": symbol})
    with torch.no_grad():
        names = [*_names(form(**inputs)[0]), "weights"]
    return _export(_Flat(form), inputs, names)


def lstm_onnx(network: LstmNetwork, *, lookback: int, windows: int = 1) -> bytes:
    """ONNX of values (W, T, V), observed (W, T) -> the forecast of the last bar (W).

    Outputs are named as `window_onnx` names its forecast; there are no weights. It has no streaming form: the recurrence
    starts from zero states at the first bar of each window, so nothing of one window can be carried into the next.
    """
    values = torch.zeros(windows, lookback, network.lstm.input_size)
    inputs = {"values": values, "observed": torch.ones(windows, lookback, dtype=torch.bool)}
    form = LstmForm(network).eval()
    with torch.no_grad():
        names = _names(form(**inputs)[0])
    return _export(_Flat(form), inputs, names)


def streaming_onnx(folded: FoldedTft, *, lookback: int, windows: int = 1) -> bytes:
    """ONNX of values (W, V), observed (W), selected (W, T - 1, H), seen (W, T - 1)[, symbol (W,)] -> the forecast of the new
    bar, its weights, and the cache for the next one as `next_selected`, `next_seen`. A cache of zeros is one of no bar."""
    values, observed, symbol = _example(folded, lookback, windows)
    form = _StreamingForm(StreamingTft(folded)).eval()
    selected, seen = form.streaming.start(len(values), lookback)
    inputs = {"values": values[:, -1], "observed": observed[:, -1], "selected": selected, "seen": seen}
    inputs |= {} if symbol is None else {"symbol": symbol}
    with torch.no_grad():
        names = [*_names(form(**inputs)[0]), "weights", "next_selected", "next_seen"]
    return _export(_Flat(form), inputs, names)


class LstmForm(nn.Module):
    """values (W, T, V), observed (W, T) -> the forecast of the last bar, of a copy that is not trained on."""

    def __init__(self, network: LstmNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    def forward(self, values: Tensor, observed: Tensor) -> tuple[Forecast, tuple[Tensor, ...]]:
        """The forecast, and nothing besides."""
        return self.network.forecast_last(WindowBatch(values=values, observed=observed)), ()


class _WindowForm(nn.Module):
    def __init__(self, folded: FoldedTft) -> None:
        super().__init__()
        self.folded = folded

    def forward(
        self, values: Tensor, observed: Tensor, symbol: Tensor | None = None
    ) -> tuple[Forecast, tuple[Tensor, ...]]:
        forecast, weights = self.folded(values, observed, symbol)
        return forecast, (weights,)


class _StreamingForm(nn.Module):
    def __init__(self, streaming: StreamingTft) -> None:
        super().__init__()
        self.streaming = streaming

    def forward(
        self, values: Tensor, observed: Tensor, selected: Tensor, seen: Tensor, symbol: Tensor | None = None
    ) -> tuple[Forecast, tuple[Tensor, ...]]:
        contexts = self.streaming.folded.network.contexts(symbol)
        forecast, *rest = self.streaming(values, observed, selected, seen, contexts)
        return forecast, tuple(rest)


class _Flat(nn.Module):
    """The tensors that are there, in a row: an exported graph has no optional outputs."""

    def __init__(self, form: nn.Module) -> None:
        super().__init__()
        self.form = form

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        forecast, rest = self.form(*inputs)
        return (*(part for part in forecast if part is not None), *rest)


def _names(forecast: Forecast) -> list[str]:
    return [f"forecast_{name}" for name, part in forecast._asdict().items() if part is not None]


def _example(folded: FoldedTft, lookback: int, windows: int) -> tuple[Tensor, Tensor, Tensor | None]:
    scale = folded.network.embedding.scale
    values = scale.new_zeros(windows, lookback, len(scale))
    symbol = torch.zeros(windows, dtype=torch.long) if folded.network.static_selection is not None else None
    return values, torch.ones(windows, lookback, dtype=torch.bool), symbol


def _export(form: nn.Module, inputs: dict[str, Tensor], outputs: list[str]) -> bytes:
    with _quiet_exporter():
        # captured first: the exporter's own capture would turn the LSTM into a loop
        captured = torch.export.export(form.eval(), tuple(inputs.values()))
        program = torch.onnx.export(
            captured,
            input_names=list(inputs),
            output_names=outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "the exporter returns a program unless it writes a file"
    proto = program.model_proto
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info):
        for field in ("doc_string", "metadata_props"):  # the source lines and folders of the machine that exported
            part.ClearField(field)
    found: bytes = proto.SerializeToString()
    return found


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's word on each operator of libraries that are not installed."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch 2.13's exporter calls names that torch 2.13 renames
            warnings.filterwarnings("ignore", message=r".*(LeafSpec|isinstance\(treespec)", category=FutureWarning)
            # nn.LSTM keeps a list of its own parameters, which tracing sees as an assignment
            warnings.filterwarnings("ignore", message=r"The tensor attributes? .*lstm\._flat_weights")
            yield
    finally:
        logger.setLevel(before)
