"""Interpretable multi-head attention: heads differ in queries and keys and share their values.

Axes: W windows, T bars, Q queries (the last bars), H hidden, M heads, D = H / M. Source: Lim et al. (2021), section 4.4,
eq. 13-16.
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
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """x (W, T, H), visible (W, Q, T) -> (W, Q, H) for the last Q bars of each window; Q = T attends from every bar."""
        if visible.shape[1] == 1:
            return self._of_last(x, visible)
        value = self.value(x).unsqueeze(1).expand(-1, self.heads, -1, -1)  # (W, M, T, D), the same for every head
        query, key = self._queries(x, visible.shape[1]), self._keys(x)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible.unsqueeze(1))
        out: Tensor = self.output(mixed.mean(1))  # eq. 15: the heads' mean
        return out

    def shares(self, x: Tensor, visible: Tensor) -> Tensor:
        """As `forward` -> (W, Q, T), what each key counts for each query, mean over heads; each row sums to 1."""
        query, key = self._queries(x, visible.shape[1]), self._keys(x)
        scores = (query @ key.transpose(2, 3)) * self.width**-0.5  # (W, M, Q, T)
        return torch.softmax(scores.masked_fill(~visible.unsqueeze(1), -torch.inf), dim=-1).mean(1)

    def _of_last(self, x: Tensor, visible: Tensor) -> Tensor:
        """One query a window absorbs the maps of keys and values, so that no bar is mapped: (W, 1, H).

        The keys' bias adds the same to every score of a head and cancels in the softmax.
        """
        W, _, H = x.shape
        query = self.query(x[:, -1]).view(W, self.heads, 1, self.width)
        by_head = self.key.weight.view(self.heads, self.width, H)
        absorbed = (query @ by_head).squeeze(2)  # (W, M, H)
        scores = torch.bmm(absorbed, x.transpose(1, 2)) * self.width**-0.5  # (W, M, T)
        shares = torch.softmax(scores.masked_fill(~visible, -torch.inf), dim=-1).mean(1, keepdim=True)  # (W, 1, T)
        out: Tensor = self.output(self.value(torch.bmm(shares, x)))
        return out

    def _queries(self, x: Tensor, n_last: int) -> Tensor:
        """(W, M, Q, D)."""
        out: Tensor = self.query(x[:, x.shape[1] - n_last :]).unflatten(2, (self.heads, self.width)).transpose(1, 2)
        return out

    def _keys(self, x: Tensor) -> Tensor:
        """(W, M, T, D)."""
        out: Tensor = self.key(x).unflatten(2, (self.heads, self.width)).transpose(1, 2)
        return out
