"""Gates and residual networks of the Temporal Fusion Transformer. Not here: variable selection, attention.

Axes: ... any leading axes, H hidden. Source: Lim, Arik, Loeff, Pfister (2021), Int. J. Forecasting 37(4), section 4.1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class GateAddNorm(nn.Module):
    """LayerNorm(skip + GLU(x)): a branch that can be switched off. Lim et al. eq. 5 with the norm of eq. 2."""

    def __init__(self, hidden: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.gate = nn.Linear(hidden, 2 * hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x (..., H), skip (..., H) -> (..., H). GLU(a, b) = a * sigmoid(b); dropout acts before the gate."""
        x = functional.dropout(x, self.dropout, self.training)
        return self.norm(skip + functional.glu(self.gate(x), dim=-1))


class GatedResidualNetwork(nn.Module):
    """LayerNorm(x + GLU(W1 ELU(W2 x + b2) + b1)): Lim et al. eq. 2-4, equal widths, so that the skip is the identity."""

    def __init__(self, hidden: int, *, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(hidden, hidden)
        self.outer = nn.Linear(hidden, hidden)
        self.gate_add_norm = GateAddNorm(hidden, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., H) -> (..., H)."""
        branch = self.outer(functional.elu(self.inner(x)))  # eq. 4, 3
        return self.gate_add_norm(branch, x)  # eq. 2


def symmetric_uniform(*shape: int, bound: float) -> nn.Parameter:
    """A parameter drawn from U(-bound, bound)."""
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
