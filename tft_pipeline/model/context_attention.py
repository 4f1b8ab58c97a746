"""What a window reads in its context set: keys without returns, values with the return that followed each bar.

    selected (N, L, H) -> LSTM -> last observed bar -> network                  = key
    selected, return   -> LSTM -> last observed bar -> network                  = value
    values of a window's C sequences -> self-attention -> gate, add, norm
    hidden (W, T, H) queries, keys and values of C sequences -> attention -> gate, add, norm -> (W, T, H)

A key says what a sequence looked like, a value what came of it. Not here: which sequences (`context`), variable selection.

Axes: W windows, T bars, C context sequences, L bars of a sequence, N sequences (W C, or the members of a pool), H hidden,
Q queries, M heads, D = H / M. Source: Wood, Kessler, Roberts, Zohren (2023), arXiv 2310.10500; gates and norms as
in Lim et al. (2021).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tft_pipeline.model.layers import GateAddNorm, GatedResidualNetwork


class EncodedSequences(NamedTuple):
    """Context sequences as the attention sees them: key (N, H), value (N, H), usable (N,), at least one bar observed.

    A sequence's encoding depends on it alone, so that one pool is encoded once for many windows.
    """

    key: Tensor
    value: Tensor
    usable: Tensor

    def of(self, members: Tensor) -> "EncodedSequences":
        """members (W, C), -1 for none -> the same of (W, C, ..)."""
        place = members.clamp(min=0)
        return EncodedSequences(self.key[place], self.value[place], self.usable[place] & (members >= 0))


class ContextAttention(nn.Module):
    """Hidden states of a window, changed by what followed sequences like it; unchanged, bit for bit, without context.

    Args:
        hidden: H.
        heads: M, a divisor of H.
    """

    def __init__(self, hidden: int, heads: int, *, dropout: float) -> None:
        super().__init__()
        self.key_lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.key_network = GatedResidualNetwork(hidden, dropout=dropout)
        self.return_embedding = nn.Linear(1, hidden)
        self.value_lstm = nn.LSTM(2 * hidden, hidden, batch_first=True)
        self.value_network = GatedResidualNetwork(hidden, dropout=dropout)
        self.among = SequenceAttention(hidden, heads)
        self.after_among = GateAddNorm(hidden, dropout=dropout)
        self.across = SequenceAttention(hidden, heads)
        self.after_across = GateAddNorm(hidden, dropout=dropout)

    def forward(self, hidden: Tensor, selected: Tensor, next_return: Tensor, observed: Tensor) -> Tensor:
        """hidden (W, T, H), selected (W, C, L, H), next_return (W, C, L), observed (W, C, L) -> (W, T, H)."""
        encoded = self.encode(selected.flatten(0, 1), next_return.flatten(0, 1), observed.flatten(0, 1))
        windows = observed.shape[:2]
        return self.attend(hidden, EncodedSequences(*(part.unflatten(0, windows) for part in encoded)))

    def encode(self, selected: Tensor, next_return: Tensor, observed: Tensor) -> EncodedSequences:
        """selected (N, L, H), next_return (N, L), observed (N, L) -> key, value (N, H), usable (N,)."""
        seen = observed.unsqueeze(-1)
        shape = selected * seen
        outcome = self.return_embedding(next_return.unsqueeze(-1)) * seen
        key, _ = self.key_lstm(shape)
        value, _ = self.value_lstm(torch.cat((shape, outcome), dim=-1))
        return EncodedSequences(
            self.key_network(last_observed(key, observed)),
            self.value_network(last_observed(value, observed)),
            observed.any(-1),
        )

    def attend(self, hidden: Tensor, encoded: EncodedSequences) -> Tensor:
        """hidden (W, T, H), encoded of (W, C, ..) -> (W, T, H); bar t reads the context, never another bar."""
        key, value, usable = encoded
        value = self.after_among(self.among(value, value, value, usable), value)
        read = self.after_across(self.across(hidden, key, value, usable), hidden)
        return torch.where(usable.any(1)[:, None, None], read, hidden)

    def shares(self, hidden: Tensor, encoded: EncodedSequences) -> Tensor:
        """As `attend` -> (W, T, C), what each sequence counts for each bar, mean over heads; zero without context."""
        return self.across.shares(hidden, encoded.key, encoded.usable) * encoded.usable.unsqueeze(1)


class SequenceAttention(nn.Module):
    """Multi-head attention over C sequences in no order: output(concat over heads of softmax(Q_m K_m' / sqrt(D)) V_m)."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, hidden)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, usable: Tensor) -> Tensor:
        """query (W, Q, H), key (W, C, H), value (W, C, H), usable (W, C) -> (W, Q, H)."""
        mixed = functional.scaled_dot_product_attention(
            self._by_head(self.query(query)),
            self._by_head(self.key(key)),
            self._by_head(self.value(value)),
            attn_mask=_readable(usable),
        )  # (W, M, Q, D)
        out: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return out

    def shares(self, query: Tensor, key: Tensor, usable: Tensor) -> Tensor:
        """As `forward` -> (W, Q, C), mean over heads; each row sums to 1."""
        by_head = self._by_head(self.query(query))
        scores = by_head @ self._by_head(self.key(key)).transpose(2, 3) * by_head.shape[-1] ** -0.5
        return torch.softmax(scores.masked_fill(~_readable(usable), -torch.inf), dim=-1).mean(1)

    def _by_head(self, x: Tensor) -> Tensor:
        """(W, Q, H) -> (W, M, Q, D)."""
        out: Tensor = x.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return out


def last_observed(states: Tensor, observed: Tensor) -> Tensor:
    """states (N, L, H), observed (N, L) -> (N, H), the state at the last observed bar; at the last bar if there is none."""
    behind = observed.flip(1).int().argmax(1)
    return states[torch.arange(len(states), device=states.device), states.shape[1] - 1 - behind]


def _readable(usable: Tensor) -> Tensor:
    """usable (W, C) -> mask (W, 1, 1, C); all of it where nothing is usable, so that the softmax is defined."""
    return (usable | ~usable.any(1, keepdim=True))[:, None, None]
