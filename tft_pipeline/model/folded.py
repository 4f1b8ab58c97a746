"""The forms a fitted network takes when it only forecasts: all that does not depend on the data is computed once.

`FoldedTft` reads whole windows; `StreamingTft` reads one new bar and keeps what variable selection made of the bars before,
which no later bar changes. Both use plain operations only, so that they can be exported. Not here: the exported file.

Axes: W windows, T bars, V variables, H hidden, N tokens, d width inside a variable's network.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from tft_pipeline.model.heads import Forecast
from tft_pipeline.model.layers import StaticContexts, resampled
from tft_pipeline.model.network import Tft
from tft_pipeline.model.selection_kernel import NORM_EPSILON
from tft_pipeline.model.variable_selection import VariableSelection


class FoldedSelection(nn.Module):
    """`VariableSelection` over real variables with its parameters folded; equal to it up to rounding."""

    def __init__(self, selection: VariableSelection, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        assert selection.reals is not None, "the network selects among real variables"
        folded = selection.reals.folded(scale, shift)
        self.slope, self.level = (_column(folded.inner[..., part]) for part in (0, 1))  # (V, d, 1)
        d = folded.inner.shape[1]
        self.maps, self.bias = nn.Buffer(folded.maps[..., :d].contiguous()), _column(folded.maps[..., d])
        self.skip = nn.Buffer(folded.skip)  # (V, H, K)
        self.spread = None if folded.spread is None else nn.Buffer(folded.spread.t().unsqueeze(-1))  # (3, V, 1)
        self.norm_weight, self.norm_bias = _column(folded.norm_weight), nn.Buffer(folded.norm_bias)
        self.joint = selection.joint
        if selection.joint is not None:
            self._fold_weights(selection, scale, shift)

    def _fold_weights(self, selection: VariableSelection, scale: Tensor, shift: Tensor) -> None:
        joint = copy.deepcopy(selection.joint)
        assert joint is not None
        by_real = joint.inner.weight.view(-1, *scale.shape)
        self.inner = _linear((by_real * scale).sum(-1), (by_real * shift).sum((1, 2)) + joint.inner.bias)
        self.gate = _linear(
            joint.gate.weight @ joint.outer.weight, joint.gate.weight @ joint.outer.bias + joint.gate.bias
        )
        slope, level = (resampled(part.reshape(1, -1), len(scale))[0] for part in (scale, shift))
        if joint.skip is not None:
            opening = 2.0 * torch.sigmoid(joint.skip.opening)
            slope, level = slope * opening, level * opening
        self.skip_slope, self.skip_level = nn.Buffer(slope), nn.Buffer(level)
        self.skip_norm = nn.Identity() if joint.skip is None else joint.skip.norm
        self.context, self.norm = joint.context, joint.norm

    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (N, V), context (N, H) -> selected (N, H), weights (N, V)."""
        weights = self._weights(x, context)
        lines = x.t().unsqueeze(1)  # (V, 1, N)
        h = functional.elu(self.slope * lines + self.level)  # (V, d, N)
        y = functional.glu(self.maps @ h + self.bias, dim=1)  # (V, H, N)
        if self.spread is None:
            basis = torch.cat((lines, torch.ones_like(lines)), dim=1)
        else:
            v2, v1, v0 = self.spread[0], self.spread[1], self.spread[2]  # (V, 1)
            flat = lines.squeeze(1)
            variance = functional.relu((v2 * flat + v1) * flat + v0) + NORM_EPSILON
            inverse = torch.rsqrt(variance).unsqueeze(1)
            basis = torch.cat((lines * inverse, inverse, torch.ones_like(lines)), dim=1)
        y = y + self.skip @ basis
        y = y - y.mean(1, keepdim=True)
        share = weights.t().unsqueeze(1) * torch.rsqrt(y.square().mean(1, keepdim=True) + NORM_EPSILON)  # (V, 1, N)
        return (y * self.norm_weight * share).sum(0).t() + weights @ self.norm_bias, weights

    def _weights(self, x: Tensor, context: Tensor | None) -> Tensor:
        """(N, V)."""
        if self.joint is None:
            return torch.ones_like(x)
        before = self.inner(x)
        if self.context is not None:
            before = before + self.context(context)
        branch = functional.glu(self.gate(functional.elu(before)), dim=-1)
        return torch.softmax(self.norm(branch + self.skip_norm(x * self.skip_slope + self.skip_level)), dim=-1)


class FoldedTft(nn.Module):
    """A `Tft` that forecasts the last bar of each window; equal to `forecast_last` up to rounding.

    Raises:
        ValueError: the network reads a context set.
    """

    def __init__(self, network: Tft) -> None:
        super().__init__()
        if not isinstance(network, Tft):
            raise ValueError(
                f"only a tft has a folded form, this is a {type(network).__name__}: let the network itself forecast"
            )
        if network.context is not None:
            raise ValueError(
                "the network reads a context set, which the folded form does not carry: its positions would differ from those "
                "that were tested; forecast with the network itself, or train with network.n_context 0"
            )
        network = copy.deepcopy(network).eval().requires_grad_(False)
        self.network = network
        self.selection = FoldedSelection(network.selection, network.embedding.scale, network.embedding.shift)
        del network.selection

    def embed(self, values: Tensor, observed: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """values (N, V), observed (N), context (N, H) -> selected (N, H), zero where not observed, and weights (N, V)."""
        selected, weights = self.selection(values, context)
        return selected * observed.unsqueeze(-1), weights

    def forward(self, values: Tensor, observed: Tensor, symbol: Tensor | None = None) -> tuple[Forecast, Tensor]:
        """values (W, T, V), observed (W, T), symbol (W,) -> Forecast of (W) and the last bar's weights (W, V)."""
        W, T, V = values.shape
        contexts = self.network.contexts(symbol)
        context = None if contexts is None else contexts.selection.unsqueeze(1).expand(-1, T, -1).reshape(W * T, -1)
        selected, weights = self.embed(values.reshape(W * T, V), observed.reshape(W * T), context)
        forecast = self.network.decode_last(selected.view(W, T, -1), observed, contexts)
        return forecast, weights.view(W, T, V)[:, -1]


class StreamingTft(nn.Module):
    """A `FoldedTft` fed one bar at a time; equal to it on the window of the last T bars."""

    def __init__(self, folded: FoldedTft) -> None:
        super().__init__()
        self.folded = folded

    def start(self, windows: int, lookback: int) -> tuple[Tensor, Tensor]:
        """A cache of no observed bar: selected (W, T - 1, H), observed (W, T - 1)."""
        scale = self.folded.network.embedding.scale
        hidden = self.folded.network.lstm.hidden_size
        return scale.new_zeros(windows, lookback - 1, hidden), torch.zeros(windows, lookback - 1, dtype=torch.bool)

    def forward(
        self,
        values: Tensor,
        observed: Tensor,
        selected: Tensor,
        seen: Tensor,
        contexts: StaticContexts | None = None,
    ) -> tuple[Forecast, Tensor, Tensor, Tensor]:
        """A new bar values (W, V), observed (W) behind the cache selected (W, T - 1, H), seen (W, T - 1).

        Returns:
            Forecast of (W), the bar's weights (W, V), and the cache for the bar after it.
        """
        new, weights = self.folded.embed(values, observed, None if contexts is None else contexts.selection)
        selected = torch.cat((selected, new.unsqueeze(1)), dim=1)  # (W, T, H)
        seen = torch.cat((seen, observed.unsqueeze(1)), dim=1)
        forecast = self.folded.network.decode_last(selected, seen, contexts)
        return forecast, weights, selected[:, 1:], seen[:, 1:]


def _column(values: Tensor) -> nn.Buffer:
    return nn.Buffer(values.detach().unsqueeze(-1).contiguous())


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
    return layer.requires_grad_(False)
