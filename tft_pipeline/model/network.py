"""The decoder-only Temporal Fusion Transformer: a forecast and a position at every bar of a window.

    values (W, T, V) -> variable selection (W, T, H) -> LSTM -> gate, add, norm -> [context set] -> enrichment
                     -> causal attention -> gate, add, norm -> position-wise network -> gate, add, norm -> head at every bar

Axes: W windows, T bars, V variables, H hidden, N tokens. A token is one symbol at one bar; variable selection looks at one
token alone (and its symbol), so `select` may run once on the tokens of many overlapping windows and `decode` on the windows
made of them. Dropout acts on what was selected, not inside the variables' own networks.
Source: Lim et al. (2021); decoder-only as Wood et al. (2021), arXiv 2112.08534.
"""

import torch
from torch import Tensor, nn

from tft_pipeline.domain.sections import NetworkSection
from tft_pipeline.model.attention import visible_keys
from tft_pipeline.model.batch import ContextSet, Interpretation, WindowBatch
from tft_pipeline.model.context_attention import ContextAttention, EncodedSequences
from tft_pipeline.model.fusion import TemporalFusion
from tft_pipeline.model.heads import Forecast, LossMode, build_head
from tft_pipeline.model.layers import StaticContexts, StaticEncoder
from tft_pipeline.model.variable_selection import VariableEmbedding, VariableSelection


class Tft(nn.Module):
    """Network for `n_variables` real inputs, each scaled to about unit size.

    Args:
        n_symbols: symbols that have a level of their own where `section.static_symbol` is set; level 0 is everyone else.
    """

    def __init__(self, n_variables: int, section: NetworkSection, loss_mode: LossMode, *, n_symbols: int = 0) -> None:
        super().__init__()
        H, D, dropout, static = section.hidden, section.variable_hidden, section.dropout, section.static_symbol
        self.embedding = VariableEmbedding(n_variables, D, [(n_symbols + 1, D)] if static else [])
        self.static_selection = VariableSelection(0, H, width=D, widths=[D]) if static else None
        self.static_encoder = StaticEncoder(H, dropout=dropout) if static else None
        self.selection = VariableSelection(n_variables, H, width=D, context=static)
        self.selection_dropout = nn.Dropout(dropout)
        between = dropout if section.lstm_layers > 1 else 0.0
        self.lstm = nn.LSTM(H, H, num_layers=section.lstm_layers, dropout=between, batch_first=True)
        self.context = ContextAttention(H, section.heads, dropout=dropout) if section.n_context else None
        self.fusion = TemporalFusion(H, section.heads, dropout=dropout, context=static)
        self.head = build_head(H, loss_mode)

    def forecast(self, windows: WindowBatch) -> Forecast:
        """Forecast of (W, T)."""
        selected, _, contexts = self._selected(windows)
        return self.decode(selected, windows.observed, contexts, self._sequences(windows))

    def forecast_last(self, windows: WindowBatch) -> Forecast:
        """Forecast of (W): the last bar's output of `forecast`, at less cost."""
        selected, _, contexts = self._selected(windows)
        return self.decode_last(selected, windows.observed, contexts, self._sequences(windows))

    def interpret(self, windows: WindowBatch) -> Interpretation:
        """Weights (W, T, V) and attention (W, T, T)."""
        selected, weights, contexts = self._selected(windows)
        temporal = self._temporal(selected, contexts, self._sequences(windows))
        enriched = self.fusion.enrich(temporal, None if contexts is None else contexts.enrichment)
        return Interpretation(weights, self.fusion.attention.shares(enriched, visible_keys(windows.observed)))

    def contexts(self, symbol: Tensor | None) -> StaticContexts | None:
        """symbol (W,) levels -> contexts of (W, H); None for a network without static input.

        Raises:
            ValueError: the network needs symbols and none are given.
        """
        if self.static_selection is None or self.static_encoder is None:
            return None
        if symbol is None:
            raise ValueError(
                "the network has the symbol as a static input and the windows carry none: its contexts would be undefined; "
                "set WindowBatch.symbol, 0 for a symbol it was not trained on"
            )
        nothing = self.embedding.scale.new_empty(len(symbol), 0)
        scale, shift = self.embedding.scale[:0], self.embedding.shift[:0]
        static, _ = self.static_selection(nothing, scale, shift, [self.embedding.tables[0](symbol)])
        found: StaticContexts | None = self.static_encoder(static)
        return found

    def select(self, values: Tensor, observed: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """values (N, V), observed (N), context (N, H) -> selected (N, H), zero where not observed, and weights (N, V)."""
        selected, weights = self.selection(values, self.embedding.scale, self.embedding.shift, (), context)
        return self.selection_dropout(selected) * observed.unsqueeze(-1), weights

    def encode(self, context: ContextSet) -> EncodedSequences | None:
        """The P sequences of a context set, encoded once for all windows; None for a network that reads none."""
        if self.context is None:
            return None
        P, L, V = context.values.shape
        statics = self.contexts(context.symbol)
        static = None if statics is None else statics.selection.repeat_interleave(L, dim=0)  # (P L, H)
        selected, _ = self.select(context.values.reshape(P * L, V), context.observed.reshape(P * L), static)
        return self.context.encode(selected.view(P, L, -1), context.next_return, context.observed)

    def decode(
        self,
        selected: Tensor,
        observed: Tensor,
        contexts: StaticContexts | None = None,
        sequences: EncodedSequences | None = None,
    ) -> Forecast:
        """selected (W, T, H), observed (W, T), contexts of (W, H), sequences of (W, C, ..) -> Forecast of (W, T)."""
        return self._decode(selected, visible_keys(observed), contexts, sequences)

    def decode_last(
        self,
        selected: Tensor,
        observed: Tensor,
        contexts: StaticContexts | None = None,
        sequences: EncodedSequences | None = None,
    ) -> Forecast:
        """As `decode` -> Forecast of (W): the last bar's output, at less cost."""
        visible = torch.cat((observed[:, :-1], torch.ones_like(observed[:, -1:])), dim=1)  # as visible_keys' last row
        last = self._decode(selected, visible.unsqueeze(1), contexts, sequences)
        return last.each(lambda part: part.squeeze(1))

    def _selected(self, windows: WindowBatch) -> tuple[Tensor, Tensor, StaticContexts | None]:
        """selected (W, T, H), weights (W, T, V) and the static contexts of a batch."""
        W, T, V = windows.values.shape
        contexts = self.contexts(windows.symbol)
        context = None if contexts is None else contexts.selection.repeat_interleave(T, dim=0)  # (W T, H)
        selected, weights = self.select(windows.values.reshape(W * T, V), windows.observed.reshape(W * T), context)
        return selected.view(W, T, -1), weights.view(W, T, V), contexts

    def _sequences(self, windows: WindowBatch) -> EncodedSequences | None:
        """Each window's encoded sequences, of (W, C, ..).

        Raises:
            ValueError: the network reads a context set and the windows carry none.
        """
        if self.context is None:
            return None
        if windows.context is None:
            raise ValueError(
                "the network reads a context set and the windows carry none: it would forecast otherwise than it was trained; "
                "set WindowBatch.context, with members of -1 where nothing is resolved yet"
            )
        encoded = self.encode(windows.context)
        assert encoded is not None, "self.context is there"
        return encoded.of(windows.context.members)

    def _temporal(
        self, selected: Tensor, contexts: StaticContexts | None, sequences: EncodedSequences | None
    ) -> Tensor:
        """selected (W, T, H) -> (W, T, H), behind the LSTM's gate, whose states start at zero or from the static input, and
        behind the context set."""
        states = None
        if contexts is not None:
            layers = self.lstm.num_layers
            states = tuple(part.expand(layers, -1, -1).contiguous() for part in (contexts.hidden, contexts.cell))
        recurrent, _ = self.lstm(selected, states)
        temporal = self.fusion.after_lstm(recurrent, selected)
        if self.context is not None and sequences is not None:
            temporal = self.context.attend(temporal, sequences)
        out: Tensor = temporal
        return out

    def _decode(
        self,
        selected: Tensor,
        visible: Tensor,
        contexts: StaticContexts | None,
        sequences: EncodedSequences | None,
    ) -> Forecast:
        """visible (W, Q, T) -> Forecast of (W, Q): everything behind the attention runs for the last Q bars only."""
        temporal = self._temporal(selected, contexts, sequences)
        enrichment = None if contexts is None else contexts.enrichment
        found: Forecast = self.head(self.fusion(temporal, visible, enrichment))
        return found


def count_parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
