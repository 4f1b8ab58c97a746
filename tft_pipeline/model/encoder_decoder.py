"""The Temporal Fusion Transformer as published: an encoder over the past, a decoder over known future inputs.

    encoder inputs -> variable selection -> LSTM encoder ─┐
    decoder inputs -> variable selection -> LSTM decoder ─┴> gate, add, norm -> enrichment -> attention -> .. -> output

Its mathematics is pytorch-forecasting's `TemporalFusionTransformer`, without dropout inside the variables' own networks, and
its blocks are those of the decoder-only network, which the pipeline trains: `conversion` carries weights both ways.

Axes: W windows, T encoder bars, Q decoder bars, N tokens, R all reals, C all categoricals, H hidden.
Source: Lim et al. (2021), figure 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tft_pipeline.model.fusion import TemporalFusion
from tft_pipeline.model.layers import StaticContexts, StaticEncoder
from tft_pipeline.model.variable_selection import VariableEmbedding, VariableSelection


@dataclass(frozen=True, kw_only=True)
class InputNames:
    """Which inputs there are and who reads them. Every part lists its categoricals before its reals.

    Attributes:
        reals, categoricals: all inputs, in the order of the tensors' last axis.
        levels: (levels, embedding width) of each categorical, in the same order.
    """

    reals: tuple[str, ...]
    categoricals: tuple[str, ...] = ()
    levels: tuple[tuple[int, int], ...] = ()
    static_reals: tuple[str, ...] = ()
    static_categoricals: tuple[str, ...] = ()
    encoder_reals: tuple[str, ...] = ()
    encoder_categoricals: tuple[str, ...] = ()
    decoder_reals: tuple[str, ...] = ()
    decoder_categoricals: tuple[str, ...] = ()


class Outputs(NamedTuple):
    """What the network says; weights list categoricals before reals.

    Attributes:
        prediction: (W, Q, outputs).
        encoder_weights: (W, T, V). decoder_weights: (W, Q, V'). static_weights: (W, V'').
        attention: (W, Q, T + Q), mean over heads.
    """

    prediction: Tensor
    encoder_weights: Tensor
    decoder_weights: Tensor
    static_weights: Tensor
    attention: Tensor


class SelectedInputs(nn.Module):
    """Variable selection over some of a network's inputs, picked by position; no input at all gives zeros."""

    def __init__(
        self,
        names: InputNames,
        categoricals: Sequence[str],
        reals: Sequence[str],
        hidden: int,
        width: int,
        context: bool,
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.reals = [names.reals.index(name) for name in reals]
        self.categoricals = [names.categoricals.index(name) for name in categoricals]
        widths = [names.levels[c][1] for c in self.categoricals]
        self.selection: VariableSelection | None = None
        if reals or categoricals:
            self.selection = VariableSelection(len(reals), hidden, width=width, widths=widths, context=context)

    def forward(
        self, embedding: VariableEmbedding, reals: Tensor, levels: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """reals (N, R), levels (N, C), context (N, H) or (1, H) -> selected (N, H), weights (N, V)."""
        if self.selection is None:
            return reals.new_zeros(len(reals), self.hidden), reals.new_zeros(len(reals), 0)
        embedded = [embedding.tables[c](levels[:, c]) for c in self.categoricals]
        scale, shift = embedding.scale[self.reals], embedding.shift[self.reals]
        found: tuple[Tensor, Tensor] = self.selection(reals[:, self.reals], scale, shift, embedded, context)
        return found


class EncoderDecoderTft(nn.Module):
    """The published network.

    Args:
        hidden: H. width: of a real variable's embedding. n_outputs: of each decoder bar, quantiles for instance.
        dropout: between the blocks; on the selected inputs instead of inside the variables' own networks.
    """

    def __init__(
        self,
        names: InputNames,
        *,
        hidden: int,
        width: int,
        heads: int,
        lstm_layers: int = 1,
        dropout: float = 0.1,
        n_outputs: int = 1,
    ) -> None:
        super().__init__()
        self.names, self.hidden, self.width, self.heads, self.dropout = names, hidden, width, heads, dropout
        H, between = hidden, dropout if lstm_layers > 1 else 0.0
        self.embedding = VariableEmbedding(len(names.reals), width, names.levels)
        self.static = SelectedInputs(names, names.static_categoricals, names.static_reals, H, width, False)
        self.encoder = SelectedInputs(names, names.encoder_categoricals, names.encoder_reals, H, width, True)
        self.decoder = SelectedInputs(names, names.decoder_categoricals, names.decoder_reals, H, width, True)
        self.static_encoder = StaticEncoder(H, dropout=dropout)
        self.selection_dropout = nn.Dropout(dropout)
        self.lstm_encoder = nn.LSTM(H, H, num_layers=lstm_layers, dropout=between, batch_first=True)
        self.lstm_decoder = nn.LSTM(H, H, num_layers=lstm_layers, dropout=between, batch_first=True)
        self.fusion = TemporalFusion(H, heads, dropout=dropout, context=True)
        self.output = nn.Linear(H, n_outputs)

    def forward(self, reals: Tensor, levels: Tensor, n_encoder: int) -> Tensor:
        """reals (W, T + Q, R), levels (W, T + Q, C), n_encoder = T -> prediction (W, Q, outputs)."""
        selected, _, contexts = self._selected(reals, levels, n_encoder)
        return self.decode(*selected, contexts)

    def interpret(self, reals: Tensor, levels: Tensor, n_encoder: int) -> Outputs:
        """The prediction of `forward` with all weights behind it."""
        (encoder, decoder), weights, contexts = self._selected(reals, levels, n_encoder)
        temporal = self._temporal(encoder, decoder, contexts)
        visible = self._visible(encoder.shape[0], n_encoder, decoder.shape[1])
        shares = self.fusion.attention.shares(self.fusion.enrich(temporal, contexts.enrichment), visible)
        return Outputs(self.output(self.fusion(temporal, visible, contexts.enrichment)), *weights, shares)

    def contexts(self, reals: Tensor, levels: Tensor) -> tuple[StaticContexts, Tensor]:
        """reals (W, R), levels (W, C) -> contexts of (W, H) and weights; of (1, H), the same for all, without static inputs."""
        if self.static.selection is None:
            reals, levels = reals[:1], levels[:1]
        static, weights = self.static(self.embedding, reals, levels, None)
        return self.static_encoder(static), weights

    def select(self, reals: Tensor, levels: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder tokens: reals (N, R), levels (N, C), context (N, H) or (1, H) -> selected (N, H), weights (N, V)."""
        selected, weights = self.encoder(self.embedding, reals, levels, context)
        return self.selection_dropout(selected), weights

    def select_future(self, reals: Tensor, levels: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The same for decoder tokens."""
        selected, weights = self.decoder(self.embedding, reals, levels, context)
        return self.selection_dropout(selected), weights

    def decode(self, encoder: Tensor, decoder: Tensor, contexts: StaticContexts) -> Tensor:
        """encoder (W, T, H), decoder (W, Q, H) selected inputs -> prediction (W, Q, outputs)."""
        temporal = self._temporal(encoder, decoder, contexts)
        visible = self._visible(encoder.shape[0], encoder.shape[1], decoder.shape[1])
        out: Tensor = self.output(self.fusion(temporal, visible, contexts.enrichment))
        return out

    def _selected(
        self, reals: Tensor, levels: Tensor, n_encoder: int
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor], StaticContexts]:
        """Selected encoder and decoder inputs (W, ., H), the weights of encoder, decoder and static inputs, contexts."""
        contexts, static_weights = self.contexts(reals[:, 0], levels[:, 0])
        chosen, shares = [], []
        for select, bars in ((self.select, slice(0, n_encoder)), (self.select_future, slice(n_encoder, None))):
            x, c = reals[:, bars], levels[:, bars]
            W, n, _ = x.shape
            context = contexts.selection
            if len(context) > 1:
                context = context.repeat_interleave(n, dim=0)  # (W n, H)
            selected, weights = select(x.flatten(0, 1), c.flatten(0, 1), context)
            chosen.append(selected.view(W, n, -1))
            shares.append(weights.view(W, n, weights.shape[1]))
        return (chosen[0], chosen[1]), (shares[0], shares[1], static_weights.expand(len(reals), -1)), contexts

    def _temporal(self, encoder: Tensor, decoder: Tensor, contexts: StaticContexts) -> Tensor:
        """(W, T + Q, H) behind the gate of both LSTMs; the decoder goes on from the encoder's state."""
        shape = (self.lstm_encoder.num_layers, encoder.shape[0], self.hidden)
        past, states = self.lstm_encoder(
            encoder, (contexts.hidden.expand(shape).contiguous(), contexts.cell.expand(shape).contiguous())
        )
        future, _ = self.lstm_decoder(decoder, states)
        out: Tensor = self.fusion.after_lstm(torch.cat((past, future), dim=1), torch.cat((encoder, decoder), dim=1))
        return out

    def _visible(self, W: int, T: int, Q: int) -> Tensor:
        """(W, Q, T + Q): a decoder bar sees all encoder bars and the decoder bars before it, not itself."""
        device = self.embedding.scale.device
        earlier = torch.ones(Q, Q, dtype=torch.bool, device=device).tril(-1)
        return torch.cat((torch.ones(Q, T, dtype=torch.bool, device=device), earlier), dim=1).expand(W, -1, -1)
