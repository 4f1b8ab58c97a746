"""Interpretable multi-head attention: heads differ in queries and keys and share their values.

Axes: W windows, T bars, H hidden, M heads, D = H / M. Source: Lim et al. (2021), section 4.4, eq. 13-16.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def visible_keys(observed: Tensor) -> Tensor:
    """Which bars a bar may look at: observed ones up to itself, and always itself.

    observed (W, T) bool -> (W, T, T) bool, [w, query, key]. A bar that is not observed sees itself as well, so that its
    softmax is defined; nothing reads its output.
    """
    T = observed.shape[1]
    causal = torch.ones(T, T, dtype=torch.bool, device=observed.device).tril()
    itself = torch.eye(T, dtype=torch.bool, device=observed.device)
    return (observed.unsqueeze(1) & causal) | itself


class CausalAttention(nn.Module):
    """mean over heads of softmax(Q_m K_m' / sqrt(D)) V, then an output map; one V for all heads."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, hidden // heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, self.width)
        self.output = nn.Linear(self.width, hidden, bias=False)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """x (W, T, H), visible (W, Q, T) -> (W, Q, H) for the last Q bars of each window; Q = T attends from every bar."""
        W, T, _ = x.shape
        Q = visible.shape[1]
        query = self.query(x[:, T - Q :]).view(W, Q, self.heads, self.width).transpose(1, 2)  # (W, M, Q, D)
        key = self.key(x).view(W, T, self.heads, self.width).transpose(1, 2)  # (W, M, T, D)
        value = self.value(x).unsqueeze(1).expand(W, self.heads, T, self.width)  # (W, M, T, D), the same for every head
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible.unsqueeze(1))
        return self.output(mixed.mean(1))  # eq. 15: the heads' mean
