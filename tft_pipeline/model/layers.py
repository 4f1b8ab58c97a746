"""Gates and residual networks of the Temporal Fusion Transformer. Not here: variable selection, attention.

Axes: ... any leading axes, H hidden. Source: Lim, Arik, Loeff, Pfister (2021), Int. J. Forecasting 37(4), section 4.1.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class GateAddNorm(nn.Module):
    """LayerNorm(skip + GLU(x)): a branch that can be switched off. Lim et al. eq. 5 with the norm of eq. 2."""

    def __init__(self, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.gate = gate_map(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x (..., H), skip (..., H) -> (..., H). GLU(a, b) = a * sigmoid(b); dropout acts before the gate."""
        x = functional.dropout(x, self.dropout, self.training)
        out: Tensor = self.norm(skip + functional.glu(self.gate(x), dim=-1))
        return out


class GatedResidualNetwork(nn.Module):
    """LayerNorm(x + GLU(W1 ELU(W2 x + W3 c + b2) + b1)): Lim et al. eq. 2-4, equal widths, so that the skip is the identity.

    Args:
        context: whether a context vector c takes part.
    """

    def __init__(self, hidden: int, *, dropout: float, context: bool = False) -> None:
        super().__init__()
        self.inner = hidden_map(hidden, hidden)
        self.context = context_map(hidden, hidden) if context else None
        self.outer = hidden_map(hidden, hidden)
        self.gate_add_norm = GateAddNorm(hidden, dropout=dropout)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (..., H), context broadcastable to it -> (..., H)."""
        before = self.inner(x)
        if self.context is not None:
            before = before + self.context(context)
        out: Tensor = self.gate_add_norm(self.outer(functional.elu(before)), x)  # eq. 4, 3, 2
        return out


class StaticContexts(NamedTuple):
    """What the static inputs say to each part of the network; tensors (W, H)."""

    selection: Tensor
    hidden: Tensor
    cell: Tensor
    enrichment: Tensor


class StaticEncoder(nn.Module):
    """Four gated residual networks of the static embedding: Lim et al. section 4.3."""

    def __init__(self, hidden: int, *, dropout: float) -> None:
        super().__init__()
        self.selection = GatedResidualNetwork(hidden, dropout=dropout)
        self.hidden = GatedResidualNetwork(hidden, dropout=dropout)
        self.cell = GatedResidualNetwork(hidden, dropout=dropout)
        self.enrichment = GatedResidualNetwork(hidden, dropout=dropout)

    def forward(self, static: Tensor) -> StaticContexts:
        """static (W, H)."""
        return StaticContexts(self.selection(static), self.hidden(static), self.cell(static), self.enrichment(static))


class ResampleNorm(nn.Module):
    """LayerNorm(2 sigmoid(opening) * resampled x): a vector of another width made to fit.

    Resampling is linear interpolation between the first and the last value. It is pytorch-forecasting's skip connection where
    widths differ; the paper has none, its widths are equal.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.opening = nn.Parameter(torch.zeros(size))
        self.norm = nn.LayerNorm(size)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, width) -> (N, size)."""
        out: Tensor = self.norm(resampled(x, len(self.opening)) * (2.0 * torch.sigmoid(self.opening)))
        return out


def resampled(x: Tensor, size: int) -> Tensor:
    """x (N, width) -> (N, size) by linear interpolation, ends on ends; x itself where width = size."""
    if x.shape[1] == size:
        return x
    return functional.interpolate(x.unsqueeze(1), size, mode="linear", align_corners=True).squeeze(1)


def hidden_map(n_in: int, n_out: int) -> nn.Linear:
    """A linear map before an ELU or a gate: He's normal start, no bias at first."""
    layer = nn.Linear(n_in, n_out)
    nn.init.kaiming_normal_(layer.weight, a=0, mode="fan_in", nonlinearity="leaky_relu")
    nn.init.zeros_(layer.bias)
    return layer


def gate_map(n_in: int, n_out: int) -> nn.Linear:
    """The map of a gated linear unit, n_in -> 2 n_out: Glorot's uniform start, no bias at first."""
    layer = nn.Linear(n_in, 2 * n_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def context_map(n_in: int, n_out: int) -> nn.Linear:
    """The map of a context vector, without bias: Glorot's uniform start."""
    layer = nn.Linear(n_in, n_out, bias=False)
    nn.init.xavier_uniform_(layer.weight)
    return layer


def symmetric_uniform(*shape: int, bound: float) -> nn.Parameter:
    """A parameter drawn from U(-bound, bound)."""
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))


def normal(*shape: int, std: float) -> nn.Parameter:
    """A parameter drawn from N(0, std^2)."""
    return nn.Parameter(torch.empty(*shape).normal_(0.0, std))
