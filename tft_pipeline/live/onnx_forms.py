"""An exported network in ONNX Runtime, as a predictor's engine; no torch. Not here: exporting (`model.export`), positions.

The exported graphs read one window at a time, so that n symbols are n calls.

Axes: n windows, T bars, V features, H hidden, K = V (window) or H (stream), Q quantiles.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from tft_pipeline.domain.signature import QUANTILES, Signature
from tft_pipeline.live.engine import Engine, Form, Outputs, behind, scaled
from tft_pipeline.live.onnx_predictor import level_of_zero
from tft_pipeline.model.onnx_decision import one_thread_session

PREFIX = "forecast_"
Said = Mapping[str, np.ndarray]


def onnx_engine(model: bytes, form: Form, signature: Signature) -> Engine:
    """The engine of an exported network."""
    return OnnxWindowEngine(model, signature) if form == "onnx_window" else OnnxStreamEngine(model, signature)


class OnnxWindowEngine:
    """Whole windows: what is kept of a bar are its scaled features."""

    def __init__(self, model: bytes, signature: Signature) -> None:
        self._graph, self._scaler = _Graph(model, signature), signature.scaler
        self._levels = signature.quantile_levels
        self.width, self.reads_time = len(signature.features), False

    def rows(self, values: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
        """Scaled features (n, V) of observed bars."""
        return scaled(self._scaler, values)

    def step(
        self, values: np.ndarray, kept: np.ndarray, seen: np.ndarray, symbols: Sequence[str], at: datetime
    ) -> tuple[Outputs, np.ndarray]:
        """See `Engine.step`."""
        new = self.rows(values, symbols)
        windows, observed = behind(kept, seen, new)
        said = [
            self._graph.run({"values": windows[i : i + 1], "observed": observed[i : i + 1]}, symbol)
            for i, symbol in enumerate(symbols)
        ]
        return _outputs(said, self._levels), new


class OnnxStreamEngine:
    """One bar behind a cache of tokens. A window that is asked about by itself is fed bar after bar: T calls."""

    def __init__(self, model: bytes, signature: Signature) -> None:
        self._graph, self._scaler = _Graph(model, signature), signature.scaler
        self._levels = signature.quantile_levels
        self._cache = self._graph.shape("selected")  # (1, T - 1, H)
        self.width, self.reads_time = int(self._cache[-1]), False

    def rows(self, values: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
        """Tokens (n, H) of observed bars (n, V): a token depends on its bar alone, so nothing need be behind it."""
        kept = np.zeros((len(values), *self._cache[1:]), dtype=np.float32)
        return self._run(values, kept, np.zeros(kept.shape[:2], dtype=bool), symbols)[1]

    def step(
        self, values: np.ndarray, kept: np.ndarray, seen: np.ndarray, symbols: Sequence[str], at: datetime
    ) -> tuple[Outputs, np.ndarray]:
        """See `Engine.step`."""
        return self._run(values, kept, seen, symbols)

    def _run(
        self, values: np.ndarray, kept: np.ndarray, seen: np.ndarray, symbols: Sequence[str]
    ) -> tuple[Outputs, np.ndarray]:
        bars, observed = scaled(self._scaler, values), np.ones(1, dtype=bool)
        said = [
            self._graph.run(
                {
                    "values": bars[i : i + 1],
                    "observed": observed,
                    "selected": kept[i : i + 1],
                    "seen": seen[i : i + 1],
                },
                symbol,
            )
            for i, symbol in enumerate(symbols)
        ]
        return _outputs(said, self._levels), np.stack([one["next_selected"][0, -1] for one in said])


class _Graph:
    """A session and what it is fed with besides the bars; sessions may run in many threads at once."""

    def __init__(self, model: bytes, signature: Signature) -> None:
        self._session, self._signature = one_thread_session(model), signature
        self._inputs = {node.name: tuple(node.shape) for node in self._session.get_inputs()}
        self._outputs = [node.name for node in self._session.get_outputs() if node.name not in ("weights", "next_seen")]

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an input."""
        return self._inputs[name]

    def run(self, feed: dict[str, np.ndarray], symbol: str) -> Said:
        """Outputs by name, of one window of a symbol."""
        if "symbol" in self._inputs:
            feed = feed | {"symbol": np.array([self._signature.level(symbol)])}
        return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))


def _outputs(said: Sequence[Said], levels: tuple[float, ...]) -> Outputs:
    def column(name: str) -> np.ndarray:
        """(n,), NaN where the loss trains none."""
        return np.array([float(one[PREFIX + name][0]) if PREFIX + name in one else np.nan for one in said])

    mean, log_scale = column("mean"), column("log_scale")
    return Outputs(
        raw_position=column("position"),
        mean=mean,
        scale=np.exp(log_scale),
        probability=np.array([probability(one, levels) for one in said]),
    )


def probability(said: Said, levels: tuple[float, ...]) -> float:
    """Of a label above 0, NaN where the loss trains none: sigmoid(logit), 1 - F(0) of the quantiles, or Phi(mean / scale).

    As `heads.Forecast.probability`, which lies beside torch.
    """
    if PREFIX + "logit" in said:
        return 0.5 * (1.0 + math.tanh(0.5 * float(said[PREFIX + "logit"][0])))
    if QUANTILES in said:
        return 1.0 - level_of_zero(said[QUANTILES][0], levels)
    if PREFIX + "mean" in said:
        ratio = float(said[PREFIX + "mean"][0]) * math.exp(-float(said[PREFIX + "log_scale"][0]))
        return 0.5 * math.erfc(-ratio / math.sqrt(2.0))
    return math.nan
