"""What stands behind the LSTM in every Temporal Fusion Transformer: gates, static enrichment, attention, output gate.

Axes: W windows, T bars, Q queries (the last bars), H hidden. Source: Lim et al. (2021), section 4.5.
"""

from torch import Tensor, nn

from tft_pipeline.model.attention import CausalAttention
from tft_pipeline.model.layers import GateAddNorm, GatedResidualNetwork


class TemporalFusion(nn.Module):
    """Gate, enrichment, attention, position-wise network; shared by the decoder-only and the encoder-decoder network.

    Args:
        context: whether the enrichment reads a static context.
    """

    def __init__(self, hidden: int, heads: int, *, dropout: float, context: bool) -> None:
        super().__init__()
        self.after_lstm = GateAddNorm(hidden, dropout=dropout)
        self.enrichment = GatedResidualNetwork(hidden, dropout=dropout, context=context)
        self.attention = CausalAttention(hidden, heads)
        self.after_attention = GateAddNorm(hidden, dropout=dropout)
        self.position_wise = GatedResidualNetwork(hidden, dropout=dropout)
        self.before_head = GateAddNorm(hidden)

    def enrich(self, temporal: Tensor, context: Tensor | None) -> Tensor:
        """temporal (W, T, H), context (W, H) -> (W, T, H)."""
        out: Tensor = self.enrichment(temporal, None if context is None else context.unsqueeze(1))
        return out

    def forward(self, temporal: Tensor, visible: Tensor, context: Tensor | None) -> Tensor:
        """temporal (W, T, H) = after_lstm(..), visible (W, Q, T), context (W, H) -> (W, Q, H) of the last Q bars."""
        first = temporal.shape[1] - visible.shape[1]
        enriched = self.enrich(temporal, context)
        mixed = self.after_attention(self.attention(enriched, visible), enriched[:, first:])
        out: Tensor = self.before_head(self.position_wise(mixed), temporal[:, first:])
        return out
