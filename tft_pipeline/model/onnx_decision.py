"""One decision by an exported network: numpy and onnxruntime, no torch. Not here: exporting (`export`), timing (`latency`).

Axes: T lookback, V variables, H hidden.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from tft_pipeline.domain.scaling import Scaler

Feed = dict[str, np.ndarray]
POSITION = "forecast_position"


class OnnxWindow:
    """Raw position at the last bar of a window, from the form that `export.window_onnx` or `export.lstm_onnx` makes.

    Args:
        model: bytes of the exported network.
        facts: scaler (`Scaler.to_dict`), lookback, symbols with a level of their own; see `decision_facts`.
    """

    def __init__(self, model: bytes, facts: Mapping[str, Any]) -> None:
        self.session = one_thread_session(model)
        self.scaler = Scaler.from_dict(facts["scaler"])
        self.shape = (int(facts["lookback"]), len(self.scaler.names))
        self.levels = _levels(self.session, facts)
        self.observed = np.ones((1, self.shape[0]), dtype=bool)

    def decide(self, window: np.ndarray, *, symbol: str = "") -> float:
        """window (T, V) of unscaled features, all bars observed; `symbol` is read with a static symbol.

        Raises:
            ValueError: another shape than (lookback, features), or an infinite value.
        """
        refuse_input(window, self.shape)
        values = np.nan_to_num(self.scaler.transform(window), nan=0.0, copy=False)[None]
        feed = {"values": values, "observed": self.observed} | _symbol(self.levels, symbol)
        return float(self.session.run([POSITION], feed)[0][0])


class OnnxStream:
    """The same from `export.streaming_onnx`: fed one bar after the other, it keeps what it made of the T - 1 before."""

    def __init__(self, model: bytes, facts: Mapping[str, Any]) -> None:
        self.session = one_thread_session(model)
        self.scaler = Scaler.from_dict(facts["scaler"])
        self.levels = _levels(self.session, facts)
        shapes = {node.name: tuple(node.shape) for node in self.session.get_inputs()}
        self.cache: Feed = {
            "selected": np.zeros(shapes["selected"], dtype=np.float32),
            "seen": np.zeros(shapes["seen"], dtype=bool),
        }
        self.observed = np.ones(1, dtype=bool)

    def decide(self, bar: np.ndarray, *, symbol: str = "") -> float:
        """bar (V,) of unscaled features, observed, the one after that of the call before.

        Raises:
            ValueError: another shape than (features,), or an infinite value.
        """
        refuse_input(bar, (len(self.scaler.names),))
        values = np.nan_to_num(self.scaler.transform(bar), nan=0.0, copy=False)[None]
        feed = {"values": values, "observed": self.observed, **self.cache} | _symbol(self.levels, symbol)
        position, selected, seen = self.session.run([POSITION, "next_selected", "next_seen"], feed)
        self.cache = {"selected": selected, "seen": seen}
        return float(position[0])


def refuse_input(values: np.ndarray, shape: tuple[int, ...]) -> None:
    """Stop at what the network was not trained on.

    Raises:
        ValueError: another shape, or an infinite value.
    """
    if values.shape != shape or np.isinf(values).any():
        raise ValueError(
            f"the window is {values.shape} with {int(np.isinf(values).sum())} infinite values; the network was trained on "
            f"{shape} and finite ones: its position would mean nothing; bring its features' last bars, missing ones as NaN"
        )


def one_thread_session(model: bytes) -> onnxruntime.InferenceSession:
    """Runs an exported network on the CPU, in the thread that asks."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _levels(session: onnxruntime.InferenceSession, facts: Mapping[str, Any]) -> dict[str, int] | None:
    """Level of each symbol, from 1; None for a network that reads no symbol."""
    if "symbol" not in {node.name for node in session.get_inputs()}:
        return None
    return {name: level for level, name in enumerate(facts["symbols"], start=1)}


def _symbol(levels: dict[str, int] | None, symbol: str) -> Feed:
    return {} if levels is None else {"symbol": np.array([levels.get(symbol, 0)])}
