"""A fitted network in torch, as a predictor's engine. Not here: states, positions, the exported forms (`onnx_forms`).

A tft reads tokens: what variable selection makes of a new bar is computed once and kept, folded (`model.folded`), and its
context sequences are encoded once, when it is loaded. Other families read whole windows of scaled features.

Axes: n windows, T bars, V features, H hidden, K = H or V.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from tft_pipeline.live.engine import Engine, Outputs, behind, scaled

if TYPE_CHECKING:
    from tft_pipeline.model.context_attention import EncodedSequences
    from tft_pipeline.model.fit import FittedFold
    from tft_pipeline.model.heads import Forecast
    from tft_pipeline.model.layers import StaticContexts
    from tft_pipeline.model.lstm import LstmNetwork
    from tft_pipeline.model.network import Tft
    from tft_pipeline.model.reference import ReferenceTft


def torch_engine(fitted: "FittedFold") -> Engine:
    """The engine of a fitted network. Torch has one thread from here on, in the whole process."""
    import torch

    from tft_pipeline.model.network import Tft

    if (
        torch.get_num_threads() != 1
    ):  # global, so it is set once and not around each call, which other threads would see
        torch.set_num_threads(1)
    network = fitted.build().requires_grad_(False)
    return TokenEngine(fitted, network) if isinstance(network, Tft) else WindowEngine(fitted, network)


class TokenEngine:
    """A tft on tokens: one selection step a new bar, with a context set as well as without."""

    def __init__(self, fitted: "FittedFold", network: "Tft") -> None:
        import torch

        from tft_pipeline.model.folded import FoldedSelection

        self._fitted, self._network = fitted, network
        self.width = network.lstm.hidden_size
        with torch.inference_mode():
            embedding = network.embedding
            self._selection = FoldedSelection(network.selection, embedding.scale, embedding.shift).requires_grad_(False)
            # level 0 stands for every symbol that was not trained on
            self._levels = {name: level for level, name in enumerate(fitted.symbols, start=1)}
            self._contexts = network.contexts(torch.arange(len(fitted.symbols) + 1))
            pool = fitted.context
            whole = None if pool is None else pool.context_set(np.arange(len(pool.identity))[:, None])
            self._encoded = None if whole is None else network.encode(whole)
            self.reads_time = self._encoded is not None

    def rows(self, values: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
        """Tokens (n, H) of observed bars (n, V)."""
        import torch

        contexts = self._of(symbols)
        with torch.inference_mode():
            bars = torch.from_numpy(scaled(self._fitted.scaler, values))
            tokens, _ = self._selection(bars, None if contexts is None else contexts.selection)
            return np.array(tokens.numpy())

    def step(
        self, values: np.ndarray, kept: np.ndarray, seen: np.ndarray, symbols: Sequence[str], at: datetime
    ) -> tuple[Outputs, np.ndarray]:
        """See `Engine.step`."""
        import torch

        new = self.rows(values, symbols)
        selected, observed = behind(kept, seen, new)
        with torch.inference_mode():
            forecast = self._network.decode_last(
                torch.from_numpy(selected), torch.from_numpy(observed), self._of(symbols), self._sequences(symbols, at)
            )
            return _outputs(forecast), new

    def _of(self, symbols: Sequence[str]) -> "StaticContexts | None":
        """Static contexts of (n, H)."""
        import torch

        if self._contexts is None:
            return None
        with torch.inference_mode():
            levels = torch.tensor([self._levels.get(name, 0) for name in symbols])
            return type(self._contexts)(*(part[levels] for part in self._contexts))

    def _sequences(self, symbols: Sequence[str], at: datetime) -> "EncodedSequences | None":
        """Each window's context sequences, of (n, C, ..): all resolved before this bar."""
        import torch

        from tft_pipeline.model.context import symbol_keys, time_keys

        if self._encoded is None or self._fitted.context is None:
            return None
        names, times = symbol_keys(symbols), np.repeat(time_keys([at]), len(symbols))
        return self._encoded.of(
            torch.from_numpy(self._fitted.context.choose(names, times, self._fitted.network.n_context))
        )


class WindowEngine:
    """A family without tokens, on whole windows: what is kept of a bar are its scaled features."""

    def __init__(self, fitted: "FittedFold", network: "LstmNetwork | ReferenceTft") -> None:
        self._scaler, self._network = fitted.scaler, network
        self.width, self.reads_time = len(fitted.scaler.names), False

    def rows(self, values: np.ndarray, symbols: Sequence[str]) -> np.ndarray:
        """Scaled features (n, V) of observed bars."""
        return scaled(self._scaler, values)

    def step(
        self, values: np.ndarray, kept: np.ndarray, seen: np.ndarray, symbols: Sequence[str], at: datetime
    ) -> tuple[Outputs, np.ndarray]:
        """See `Engine.step`."""
        import torch

        from tft_pipeline.model.batch import WindowBatch

        new = self.rows(values, symbols)
        windows, observed = behind(kept, seen, new)
        with torch.inference_mode():
            batch = WindowBatch(values=torch.from_numpy(windows), observed=torch.from_numpy(observed))
            return _outputs(self._network.forecast_last(batch)), new


def _outputs(forecast: "Forecast") -> Outputs:
    nothing = np.full(len(forecast.position), np.nan)
    probability = forecast.probability()
    return Outputs(
        raw_position=forecast.position.double().numpy(),
        mean=nothing if forecast.mean is None else forecast.mean.double().numpy(),
        scale=nothing if forecast.log_scale is None else forecast.log_scale.exp().double().numpy(),
        probability=nothing if probability is None else probability.double().numpy(),
    )
