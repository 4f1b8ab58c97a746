"""Predictions of a fitted fold: at each bar, the last output of the window that ends there. Not here: held positions.

Axes: S symbols, n bars of the span, N bars with the history before them, T lookback, V variables, H hidden.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.model.fit import FittedFold, single_thread
from tft_pipeline.model.network import Tft
from tft_pipeline.model.windows import panel_tensors

TOKENS_A_CHUNK = 65_536


@dataclass(frozen=True)
class Predictions:
    """Outputs at the bars of a span; arrays (S, n) are NaN where the symbol is not observed.

    Attributes:
        raw_position: signed share of the risk budget in [-1, 1], before holding and volatility scaling.
        mean: of the label, in units of expected risk; all NaN unless loss_mode is joint_mle.
        scale: standard deviation of the label; all NaN unless loss_mode is joint_mle.
        probability: of a label above zero; all NaN where loss_mode is sharpe.
        vsn_weights: (V,) mean variable selection weight over the observed bars of the span.
    """

    raw_position: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    probability: np.ndarray
    vsn_weights: np.ndarray


def predict(fitted: FittedFold, panel: Panel, span: Span) -> Predictions:
    """Forecast each bar of `span` from the `lookback` bars that end there; before the panel starts there is padding.

    Variable selection runs once a token, the rest once a window: equal to running each window alone.

    Raises:
        ValueError: the panel lacks the fold's features, an infinite feature value, or no observed bar in the span.
    """
    if panel.features != fitted.scaler.names:
        panel = panel.with_features(fitted.scaler.names)
    lookback = fitted.training.lookback
    start = span.start - lookback + 1
    tensors = panel_tensors(
        panel, fitted.scaler, start=start, stop=span.stop, target_volatility=fitted.target_volatility
    )
    seen = tensors.observed[:, lookback - 1 :]  # (S, n)
    if not seen.any():
        raise ValueError(f"no symbol is observed in bars {span.start}..{span.stop - 1}: there is nothing to predict")
    network = fitted.build()
    with single_thread(), torch.inference_mode():
        selected, weights = _select(network, tensors.values, tensors.observed)
        columns = _decode(network, selected, tensors.observed, lookback)
        vsn_weights = weights[:, lookback - 1 :][seen].double().mean(0).numpy()
    return Predictions(
        **{name: torch.where(seen, column, torch.nan).numpy() for name, column in columns.items()},
        vsn_weights=vsn_weights,
    )


def _select(network: Tft, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """values (S, N, V), observed (S, N) -> selected (S, N, H), weights (S, N, V)."""
    S, N, V = values.shape
    parts = [
        network.select(v, o)
        for v, o in zip(values.view(S * N, V).split(8_192), observed.view(S * N).split(8_192), strict=True)
    ]
    selected, weights = (torch.cat(column) for column in zip(*parts, strict=True))
    return selected.view(S, N, -1), weights.view(S, N, V)


def _decode(network: Tft, selected: Tensor, observed: Tensor, lookback: int) -> dict[str, Tensor]:
    """selected (S, N, H), observed (S, N) -> columns (S, N - T + 1), float64, from every window of T bars."""
    S, N, H = selected.shape
    n = N - lookback + 1
    windows = selected.unfold(1, lookback, 1).transpose(2, 3)  # (S, n, T, H), a view
    seen = observed.unfold(1, lookback, 1)  # (S, n, T), a view
    step = max(1, TOKENS_A_CHUNK // (lookback * S))
    parts: dict[str, list[Tensor]] = {name: [] for name in ("raw_position", "mean", "scale", "probability")}
    for first in range(0, n, step):
        bars = slice(first, min(first + step, n))
        forecast = network.decode_last(windows[:, bars].reshape(-1, lookback, H), seen[:, bars].reshape(-1, lookback))
        scale = None if forecast.log_scale is None else forecast.log_scale.exp()
        columns = (forecast.position, forecast.mean, scale, forecast.probability())
        for part, column in zip(parts.values(), columns, strict=True):
            empty = torch.full_like(forecast.position, torch.nan)
            part.append((empty if column is None else column).double().view(S, -1))
    return {name: torch.cat(part, dim=1) for name, part in parts.items()}
