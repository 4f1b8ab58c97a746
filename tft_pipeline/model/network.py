"""The decoder-only Temporal Fusion Transformer: a forecast and a position at every bar of a window.

    values (W, T, V) -> variable selection (W, T, H) -> LSTM -> gate, add, norm -> enrichment -> causal attention
                     -> gate, add, norm -> position-wise network -> gate, add, norm -> head at every bar

Axes: W windows, T bars, V variables, H hidden, N tokens. A token is one symbol at one bar; variable selection looks at one
token alone, so `select` may run once on the tokens of many overlapping windows and `decode` on the windows made of them.
Source: Lim et al. (2021); decoder-only as Wood et al. (2021), arXiv 2112.08534.
"""

from torch import Tensor, nn

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.attention import CausalAttention, visible_keys
from tft_pipeline.model.heads import Forecast, LossMode, build_head
from tft_pipeline.model.layers import GateAddNorm, GatedResidualNetwork
from tft_pipeline.model.variable_selection import VariableSelection


class Tft(nn.Module):
    """Network for `n_variables` real inputs, each scaled to about unit size."""

    def __init__(self, n_variables: int, section: NetworkSection, loss_mode: LossMode) -> None:
        super().__init__()
        H, dropout = section.hidden, section.dropout
        self.selection = VariableSelection(n_variables, H, width=section.variable_hidden)
        self.selection_dropout = nn.Dropout(dropout)
        between = dropout if section.lstm_layers > 1 else 0.0
        self.lstm = nn.LSTM(H, H, num_layers=section.lstm_layers, dropout=between, batch_first=True)
        self.after_lstm = GateAddNorm(H, dropout=dropout)
        self.enrichment = GatedResidualNetwork(H, dropout=dropout)
        self.attention = CausalAttention(H, section.heads)
        self.after_attention = GateAddNorm(H, dropout=dropout)
        self.position_wise = GatedResidualNetwork(H, dropout=dropout)
        self.before_head = GateAddNorm(H)
        self.head = build_head(H, loss_mode)

    def forward(self, values: Tensor, observed: Tensor) -> Forecast:
        """values (W, T, V) without NaN, observed (W, T) -> Forecast of (W, T)."""
        W, T, V = values.shape
        selected, _ = self.select(values.reshape(W * T, V), observed.reshape(W * T))
        return self.decode(selected.view(W, T, -1), observed)

    def select(self, values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """values (N, V), observed (N) -> selected (N, H), zero where not observed, and weights (N, V)."""
        selected, weights = self.selection(values)
        return self.selection_dropout(selected) * observed.unsqueeze(-1), weights

    def decode(self, selected: Tensor, observed: Tensor) -> Forecast:
        """selected (W, T, H), observed (W, T) -> Forecast of (W, T)."""
        return self._decode(selected, observed, selected.shape[1])

    def decode_last(self, selected: Tensor, observed: Tensor) -> Forecast:
        """selected (W, T, H), observed (W, T) -> Forecast of (W): the last bar's output of `decode`, at less cost."""
        return self._decode(selected, observed, 1).each(lambda part: part.squeeze(1))

    def _decode(self, selected: Tensor, observed: Tensor, n_last: int) -> Forecast:
        """Forecast of (W, Q), Q = n_last: everything after the attention runs for the last Q bars only."""
        recurrent, _ = self.lstm(selected)  # (W, T, H), from zero states
        temporal = self.after_lstm(recurrent, selected)  # (W, T, H)
        enriched = self.enrichment(temporal)  # (W, T, H)
        first = selected.shape[1] - n_last
        attended = self.attention(enriched, visible_keys(observed)[:, first:])  # (W, Q, H)
        mixed = self.after_attention(attended, enriched[:, first:])
        deep = self.position_wise(mixed)
        return self.head(self.before_head(deep, temporal[:, first:]))


def count_parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
