"""Predictions of a fitted fold: at each bar, the last output of the window that ends there. Not here: held positions.

Axes: S symbols, n bars of the span, N bars with the history before them, T lookback, V variables, H hidden, C context
sequences, Q quantiles.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.model.batch import WindowBatch
from tft_pipeline.model.context import WindowContext
from tft_pipeline.model.context_attention import EncodedSequences
from tft_pipeline.model.families import Network
from tft_pipeline.model.fit import FittedFold, symbol_levels
from tft_pipeline.model.heads import Forecast
from tft_pipeline.model.isolation import single_thread
from tft_pipeline.model.layers import StaticContexts
from tft_pipeline.model.lstm import LstmNetwork
from tft_pipeline.model.network import Tft
from tft_pipeline.model.windows import panel_tensors

if TYPE_CHECKING:
    from tft_pipeline.model.reference import ReferenceTft

TOKENS_A_CHUNK = 65_536
TOKENS_A_SELECTION = 8_192


@dataclass(frozen=True)
class Predictions:
    """Outputs at the bars of a span; arrays (S, n) are NaN where the symbol is not observed.

    Attributes:
        raw_position: signed share of the risk budget in [-1, 1], before holding and volatility scaling.
        mean: of the label, in units of expected risk; all NaN unless loss_mode is joint_mle.
        scale: standard deviation of the label; all NaN unless loss_mode is joint_mle.
        probability: of a label above zero; all NaN where loss_mode is sharpe.
        quantiles: (S, n, Q) of the label, in units of expected risk, at the levels `heads.QUANTILES`; None unless loss_mode is
            joint_quantile.
        vsn_weights: (V,) mean variable selection weight over the observed bars of the span; all NaN for an lstm.
    """

    raw_position: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    probability: np.ndarray
    quantiles: np.ndarray | None
    vsn_weights: np.ndarray


def predict(fitted: FittedFold, panel: Panel, span: Span, until: int | None = None) -> Predictions:
    """Forecast each bar of `span` from the `lookback` bars that end there; before the panel starts there is padding.

    Equal to running each window alone through `Family.forecast_last`; a tft runs its variable selection once a token.

    Args:
        until: forecasts of the panel's bars from this one on are not wanted: those of whole chunks of them are left out, NaN.
            All others are what they are without it, to the bit.
    Raises:
        ValueError: the panel lacks the fold's features, an infinite feature value, or no observed bar in the span.
    """
    batch, seen = _batch(fitted, panel, span)
    lookback, network = fitted.training.lookback, fitted.build()
    context = None
    if fitted.context is not None:
        reader = WindowContext(fitted.context, panel.symbols, panel.calendar, fitted.network.n_context)
        context = reader.of(np.arange(*span))
    batch = replace(batch, context=context)
    wanted = span.n_bars if until is None else until - span.start
    with single_thread(), torch.inference_mode():
        if isinstance(network, Tft):
            columns, weights = by_token(network, batch, lookback, wanted)
        else:
            columns, weights = _by_window(network, batch, lookback, wanted), _weights(network, batch, lookback)
    absent = ~seen.numpy()
    for column in columns.values():
        column[absent] = np.nan
    return Predictions(
        raw_position=columns["raw_position"],
        mean=columns["mean"],
        scale=columns["scale"],
        probability=columns["probability"],
        quantiles=columns.get("quantiles"),
        vsn_weights=_mean_weights(weights, seen),
    )


def selection_weights(fitted: FittedFold, panel: Panel, span: Span) -> np.ndarray:
    """(V,) the `vsn_weights` of `predict`, to the bit, without forecasts: selection reads a bar alone, a forecast a window.

    Raises:
        ValueError: as `predict`; a family without variable selection.
    """
    network = fitted.build()
    if not isinstance(network, Tft):
        raise ValueError(
            f"family {fitted.network.family} has no variable selection of its own: there are no weights to read"
        )
    batch, seen = _batch(fitted, panel, span)
    with single_thread(), torch.inference_mode():
        _, weights = _select(network, batch, network.contexts(batch.symbol))
    return _mean_weights(weights, seen)


def _batch(fitted: FittedFold, panel: Panel, span: Span) -> tuple[WindowBatch, Tensor]:
    """The bars that windows ending in `span` read, one window of S symbols without a context set, and which (S, n) are seen."""
    if panel.features != fitted.scaler.names:
        panel = panel.with_features(fitted.scaler.names)
    start = span.start - fitted.training.lookback + 1
    tensors = panel_tensors(
        panel, fitted.scaler, start=start, stop=span.stop, target_volatility=fitted.target_volatility
    )
    seen = tensors.observed[:, span.start - start :]  # (S, n)
    if not seen.any():
        raise ValueError(f"no symbol is observed in bars {span.start}..{span.stop - 1}: there is nothing to predict")
    levels = symbol_levels(panel.symbols, fitted.symbols) if fitted.network.static_symbol else None
    return WindowBatch(values=tensors.values, observed=tensors.observed, symbol=levels), seen


def _mean_weights(weights: Tensor, seen: Tensor) -> np.ndarray:
    """weights (S, N, V), seen (S, n) the last n of N -> (V,)."""
    return weights[:, weights.shape[1] - seen.shape[1] :][seen].double().mean(0).numpy()


def by_token(
    network: Tft, batch: WindowBatch, lookback: int, wanted: int | None = None
) -> tuple[dict[str, np.ndarray], Tensor]:
    """Variable selection once a token, context sequences once, the rest once a window.

    Args:
        batch: S windows of all N bars; members (S * n, C) of its context set are those of the n windows of each.
        wanted: of the n windows, how many of the first must be forecast; all by default.
    Returns:
        Columns (S, n) as `Predictions` names them, quantiles (S, n, Q) only where there are any, and weights (S, N, V).
    Raises:
        ValueError: the network reads a context set and the batch carries none.
    """
    if network.context is not None and batch.context is None:
        raise ValueError(
            "the network reads a context set and the windows carry none: it would forecast otherwise than it was trained; "
            "give the batch the context set of the fold's pool (context.WindowContext)"
        )
    contexts = network.contexts(batch.symbol)
    selected, weights = _select(network, batch, contexts)
    windows = selected.unfold(1, lookback, 1).transpose(2, 3)  # (S, n, T, H), a view
    seen = batch.observed.unfold(1, lookback, 1)  # (S, n, T), a view
    S, n, _ = seen.shape
    encoded = None if batch.context is None else network.encode(batch.context)

    def sequences(bars: slice) -> EncodedSequences | None:
        if batch.context is None or encoded is None:
            return None
        return encoded.of(batch.context.members.view(S, n, -1)[:, bars].flatten(0, 1))

    def forecast(bars: slice) -> Forecast:
        some, shown = windows[:, bars], seen[:, bars]
        return network.decode_last(
            some.flatten(0, 1), shown.flatten(0, 1), _repeated(contexts, some.shape[1]), sequences(bars)
        )

    return _columns(forecast, (S, n), lookback, n if wanted is None else wanted), weights


def _select(network: Tft, batch: WindowBatch, contexts: StaticContexts | None) -> tuple[Tensor, Tensor]:
    """batch of (S, N) -> selected (S, N, H), weights (S, N, V), from a few thousand tokens at a time."""
    S, N, V = batch.values.shape
    values, observed = batch.values.view(S * N, V), batch.observed.view(S * N)
    parts = []
    for tokens in torch.arange(S * N).split(TOKENS_A_SELECTION):
        part = slice(int(tokens[0]), int(tokens[-1]) + 1)
        context = None if contexts is None else contexts.selection[tokens // N]
        parts.append(network.select(values[part], observed[part], context))
    selected, weights = (torch.cat(column) for column in zip(*parts, strict=True))
    return selected.view(S, N, -1), weights.view(S, N, V)


def _by_window(network: Network, batch: WindowBatch, lookback: int, wanted: int) -> dict[str, np.ndarray]:
    """batch of (S, N) -> columns (S, n): every window through the whole network."""
    values = batch.values.unfold(1, lookback, 1).transpose(2, 3)  # (S, n, T, V), a view
    seen = batch.observed.unfold(1, lookback, 1)  # (S, n, T), a view

    def forecast(bars: slice) -> Forecast:
        some, shown = values[:, bars], seen[:, bars]
        return network.forecast_last(WindowBatch(values=some.flatten(0, 1), observed=shown.flatten(0, 1)))

    return _columns(forecast, seen.shape[:2], lookback, wanted)


def _weights(network: "LstmNetwork | ReferenceTft", batch: WindowBatch, lookback: int) -> Tensor:
    """batch of (S, N) -> weights (S, N, V), NaN for an lstm; a bar's weights depend on that bar alone, whatever its window."""
    if isinstance(network, LstmNetwork):
        return torch.full_like(batch.values, torch.nan)
    cuts = zip(batch.values.split(lookback, dim=1), batch.observed.split(lookback, dim=1), strict=True)
    return torch.cat([network.weights(WindowBatch(values=v, observed=o)) for v, o in cuts], dim=1)


def _columns(
    forecast: Callable[[slice], Forecast], shape: Sequence[int], lookback: int, wanted: int
) -> dict[str, np.ndarray]:
    """Float64 columns (S, n), and quantiles (S, n, Q) where there are any, from the Forecast (S * n') of n' bars at a time.

    Chunks that begin at the first `wanted` bars are computed, as they are when all are; the others are NaN.
    """
    S, n = shape
    step = max(1, TOKENS_A_CHUNK // (lookback * S))
    parts: dict[str, list[Tensor]] = {}
    for first in range(0, min(n, max(1, wanted)), step):
        some = forecast(slice(first, min(first + step, n)))
        empty = torch.full_like(some.position, torch.nan)
        scale = None if some.log_scale is None else some.log_scale.exp()
        row = {"raw_position": some.position, "mean": some.mean, "scale": scale, "probability": some.probability()}
        for name, column in row.items():
            parts.setdefault(name, []).append((empty if column is None else column).view(S, -1))
        if some.quantiles is not None:
            parts.setdefault("quantiles", []).append(some.quantiles.view(S, -1, some.quantiles.shape[-1]))
    columns = {}
    for name, part in parts.items():
        done = torch.cat(part, dim=1).double().numpy()
        columns[name] = np.full((S, n, *done.shape[2:]), np.nan)
        columns[name][:, : done.shape[1]] = done
    return columns


def _repeated(contexts: StaticContexts | None, n: int) -> StaticContexts | None:
    """contexts of (S, H) -> of (S * n, H), each symbol's n times running."""
    return None if contexts is None else StaticContexts(*(part.repeat_interleave(n, dim=0) for part in contexts))
