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
CACHE = ("selected", "seen")
"""What a stream carries from bar to bar; it is answered as next_selected, next_seen."""


class OnnxWindow:
    """Forecast at the last bar of a window, from the form that `export.window_onnx` or `export.lstm_onnx` makes.

    It holds nothing that a call changes: threads may share it.

    Args:
        model: bytes of the exported network.
        facts: scaler (`Scaler.to_dict`), lookback, symbols with a level of their own; see `decision_facts`.
    """

    def __init__(self, model: bytes, facts: Mapping[str, Any]) -> None:
        self.session = one_thread_session(model)
        self.outputs = [node.name for node in self.session.get_outputs()]
        self.scaler = Scaler.from_dict(facts["scaler"])
        self.shape = (int(facts["lookback"]), len(self.scaler.names))
        self.levels = _levels(self.session, facts)
        self.observed = np.ones(self.shape[0], dtype=bool)

    def forecast(self, window: np.ndarray, observed: np.ndarray | None = None, *, symbol: str = "") -> Feed:
        """Every output by name, without the axis of windows.

        Args:
            window: (T, V) unscaled features, NaN where missing; what stands at a bar that is not observed is not read.
            observed: (T,) bool; all bars by default. The last one must be.
            symbol: read with a static symbol.
        Raises:
            ValueError: another shape than (lookback, features), an infinite value, or a last bar that is not observed.
        """
        shown = self.observed if observed is None else np.asarray(observed, dtype=bool)
        refuse_mask(shown, self.shape[0])
        feed = {"values": _scaled(self.scaler, window, shown, self.shape)[None], "observed": shown[None]}
        return _answer(self.session, self.outputs, feed | _symbol(self.levels, symbol))

    def decide(self, window: np.ndarray, *, symbol: str = "") -> float:
        """Raw position at the last bar of a window (T, V) whose bars are all observed; as `forecast`."""
        return float(self.forecast(window, symbol=symbol)[POSITION])


class OnnxStream:
    """The same from `export.streaming_onnx`: fed one bar after the other, with what it made of the T - 1 before."""

    def __init__(self, model: bytes, facts: Mapping[str, Any]) -> None:
        self.session = one_thread_session(model)
        self.outputs = [node.name for node in self.session.get_outputs()]
        self.scaler = Scaler.from_dict(facts["scaler"])
        self.levels = _levels(self.session, facts)
        self.shapes = {node.name: tuple(node.shape) for node in self.session.get_inputs() if node.name in CACHE}
        self.cache = self.start()

    def start(self) -> Feed:
        """A cache of no observed bar: selected (1, T - 1, H), seen (1, T - 1)."""
        kinds: Mapping[str, type[np.generic]] = {"selected": np.float32, "seen": np.bool_}
        return {name: np.zeros(self.shapes[name], dtype=kinds[name]) for name in CACHE}

    def step(
        self, cache: Mapping[str, np.ndarray], bar: np.ndarray | None, *, symbol: str = ""
    ) -> tuple[Feed | None, Feed]:
        """Every output by name at the bar after those of the cache, and the cache for the one after it.

        Nothing of the stream is changed: threads may share it, each with caches of its own.

        Args:
            cache: `start`, or what the step before gave.
            bar: (V,) unscaled features, NaN where missing; None for a bar at which the symbol is not observed: then there is
                no forecast.
        Raises:
            ValueError: another shape than (features,), an infinite value, or a cache that is not of this network.
        """
        for name, shape in self.shapes.items():
            if cache[name].shape != shape:
                raise ValueError(
                    f"the cache's {name} is {cache[name].shape}, this network keeps {shape}: it is another's; start anew"
                )
        shape = (len(self.scaler.names),)
        if bar is None:
            values, observed = np.zeros(shape, dtype=np.float32), False
        else:
            values, observed = _scaled(self.scaler, bar, np.True_, shape), True
        feed = {"values": values[None], "observed": np.array([observed])} | {name: cache[name] for name in CACHE}
        said = _answer(self.session, self.outputs, feed | _symbol(self.levels, symbol))
        kept = {name: said.pop(f"next_{name}")[None] for name in CACHE}
        return said if observed else None, kept

    def decide(self, bar: np.ndarray, *, symbol: str = "") -> float:
        """Raw position at a bar (V,), observed, the one after that of the call before, whose cache the stream keeps.

        Raises:
            ValueError: as `step`.
        """
        said, self.cache = self.step(self.cache, bar, symbol=symbol)
        assert said is not None, "the bar is observed"
        return float(said[POSITION])


def refuse_input(values: np.ndarray, shape: tuple[int, ...], observed: np.ndarray | np.bool_ = np.True_) -> None:
    """Stop at what the network was not trained on.

    Raises:
        ValueError: another shape, or an infinite value at an observed bar.
    """
    if values.shape != shape:
        raise ValueError(_refusal(values, shape, 0))
    infinite = np.isinf(values) & np.asarray(observed)[..., None]
    if infinite.any():
        raise ValueError(_refusal(values, shape, int(infinite.sum())))


def refuse_mask(observed: np.ndarray, lookback: int) -> None:
    """Stop at a mask that marks no window to decide on.

    Raises:
        ValueError: another shape than (lookback,), or a last bar that is not observed.
    """
    if observed.shape != (lookback,) or not observed[-1]:
        raise ValueError(
            f"observed is {observed.shape}, for a window of {lookback} bars, or its last bar is not marked: a symbol that has "
            "no bar has no position; ask at a bar that it has"
        )


def one_thread_session(model: bytes) -> onnxruntime.InferenceSession:
    """Runs an exported network on the CPU, in the thread that asks."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _refusal(values: np.ndarray, shape: tuple[int, ...], n_infinite: int) -> str:
    return (
        f"the window is {values.shape} with {n_infinite} infinite values; the network was trained on {shape} and finite ones: "
        "its position would mean nothing; bring its features' last bars, missing ones as NaN"
    )


def _scaled(scaler: Scaler, values: np.ndarray, observed: np.ndarray | np.bool_, shape: tuple[int, ...]) -> np.ndarray:
    """Missing values at the training mean, which is 0, and 0 at bars that are not observed."""
    values = np.asarray(values)
    refuse_input(values, shape, observed)
    scaled = np.nan_to_num(scaler.transform(values), nan=0.0, copy=False)
    return np.where(np.asarray(observed)[..., None], scaled, np.float32(0.0))


def _answer(session: onnxruntime.InferenceSession, names: list[str], feed: Feed) -> Feed:
    """Outputs of the one window, without the axis of windows."""
    return {name: value[0] for name, value in zip(names, session.run(names, feed), strict=True)}


def _levels(session: onnxruntime.InferenceSession, facts: Mapping[str, Any]) -> dict[str, int] | None:
    """Level of each symbol, from 1; None for a network that reads no symbol."""
    if "symbol" not in {node.name for node in session.get_inputs()}:
        return None
    return {name: level for level, name in enumerate(facts["symbols"], start=1)}


def _symbol(levels: dict[str, int] | None, symbol: str) -> Feed:
    return {} if levels is None else {"symbol": np.array([levels.get(symbol, 0)])}
