"""Variable selection: one gated residual network a variable, and softmax weights from all of them together.

Axes: N tokens (a symbol at a bar), V variables, D = width of a variable's own network, H hidden.
Source: Lim et al. (2021), eq. 6-8.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tft_pipeline.model.layers import symmetric_uniform
from tft_pipeline.model.selection_kernel import WeightedVariables


class VariableSelection(nn.Module):
    """Weigh the inputs of each token, then add them up.

    A variable is one number x. Its embedding and every linear map of it before the first ELU are affine in x, and two
    linear maps in a row are one, so that the network of variable v is

        h_v = ELU(k_v x + l_v)                               (D)     eq. 4 on the embedding
        y_v = LayerNorm(GLU(G_v h_v + g_v) + r_v x + s_v)    (H)     eq. 2-3, the skip being affine in x too
        selected = sum_v w_v y_v                             (H)     eq. 8
    """

    def __init__(self, n_variables: int, hidden: int, *, width: int) -> None:
        super().__init__()
        V, H, D = n_variables, hidden, width
        self.inner = symmetric_uniform(V, D, 2, bound=1.0)  # [k, l]
        self.gate = symmetric_uniform(V, 2 * H, D, bound=D**-0.5)
        self.gate_bias = symmetric_uniform(V, 2 * H, bound=D**-0.5)
        self.skip = symmetric_uniform(V, H, 2, bound=1.0)  # [r, s]
        self.norm_weight = nn.Parameter(torch.ones(V, H))
        self.norm_bias = nn.Parameter(torch.zeros(V, H))
        self.joint = JointWeights(V, min(H, V))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, V) -> selected (N, H), weights (N, V), each row summing to 1.

        Raises:
            ValueError: x wants a gradient, which `WeightedVariables` does not compute.
        """
        if x.requires_grad:
            raise ValueError("the inputs want a gradient, which is not computed here: it would be wrong; detach them")
        weights = self.joint(x)
        # GLU(G h + g) = a (1 + tanh b) with half the maps, on ELU + 1 instead of ELU: see selection_kernel
        bias = self.gate_bias - self.gate.sum(-1)
        value, gate = (0.5 * torch.cat((self.gate, bias.unsqueeze(-1)), dim=-1)).chunk(2, dim=1)  # (V, H, D+1) each
        skip = self.skip - self.skip.mean(1, keepdim=True)
        selected = WeightedVariables.apply(x, weights, self.inner, value, gate, skip, self.norm_weight, self.norm_bias)
        return selected, weights


class JointWeights(nn.Module):
    """Softmax of a gated residual network on all variables, each with an affine skip of its own: Lim et al. eq. 6.

    softmax(LayerNorm(GLU(W ELU(W' x + c') + c) + LayerNorm(p * x + q)))
    """

    def __init__(self, n_variables: int, width: int) -> None:
        super().__init__()
        V = n_variables
        self.inner, self.outer = nn.Linear(V, width), nn.Linear(width, width)
        self.gate = nn.Linear(width, 2 * V)
        self.skip, self.skip_bias = symmetric_uniform(V, bound=1.0), symmetric_uniform(V, bound=1.0)
        self.skip_norm, self.norm = nn.LayerNorm(V), nn.LayerNorm(V)
        nn.init.constant_(self.norm.weight, 0.1)  # start near equal weights

    def forward(self, x: Tensor) -> Tensor:
        """x (N, V) -> (N, V)."""
        branch = self.outer(functional.elu(self.inner(x)))
        skip = self.skip_norm(self.skip * x + self.skip_bias)
        return torch.softmax(self.norm(skip + functional.glu(self.gate(branch), dim=-1)), dim=-1)
