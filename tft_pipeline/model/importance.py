"""Block-permutation importance: how much the validation loss of a fitted fold rises when one feature loses its place in time.

The cross-check of variable selection weights, which say where a network looks and not what it gains there. It measures what
training itself is stopped by, the validation loss, with the network's own windows; attributions by gradients would explain
single outputs instead. Not here: selection weights (`inference`), how weights and importance agree (`domain.agreement`).

Axes: S symbols, N bars from the first window's start to the end of validation, n validation bars, V variables, H hidden,
B blocks (windows) of T bars.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.shadows import blocks_of
from tft_pipeline.model.context import WindowContext
from tft_pipeline.model.context_attention import EncodedSequences
from tft_pipeline.model.fit import FittedFold, symbol_levels
from tft_pipeline.model.isolation import single_thread
from tft_pipeline.model.layers import StaticContexts
from tft_pipeline.model.losses import Objective
from tft_pipeline.model.network import Tft
from tft_pipeline.model.variable_selection import FoldedVariables
from tft_pipeline.model.windows import block_bars, covering_starts, panel_tensors

TOKENS_A_CHUNK, ROWS_A_CHUNK = 512, 8_192
"""Tokens whose variables' outputs are kept at a time, and rows of changed inputs that are weighed at a time."""
BYTES_A_GROUP = 128 << 20
"""What the selections of one group of permuted variables may take."""


@dataclass(frozen=True)
class Importance:
    """What a fitted fold loses without each feature's order in time.

    Attributes:
        loss: validation loss of the features as they are; that of the fit's best epoch.
        increase: (V,) mean over permutations of the loss with the feature permuted, less `loss`; below zero where the network
            does better without.
    """

    loss: float
    increase: np.ndarray


def block_permutations(n_bars: int, n_permutations: int, *, seed: int) -> np.ndarray:
    """(n_permutations, n_bars) orders of bars 0 .. n_bars-1, by blocks of ceil(sqrt(n_bars)) consecutive bars.

    Inside a block a feature moves as it does in truth; its place among the returns is another. The last block may be shorter.
    No order is the identity.

    Raises:
        ValueError: fewer than 2 bars, or fewer than 1 permutation.
    """
    if n_bars < 2 or n_permutations < 1:
        raise ValueError(
            f"{n_permutations} permutations of {n_bars} bars: need 1 permutation and 2 bars at least, or nothing moves"
        )
    rng = np.random.default_rng([seed, n_bars])
    blocks = blocks_of(n_bars)
    orders: list[np.ndarray] = []
    while len(orders) < n_permutations:
        order = np.concatenate([blocks[k] for k in rng.permutation(len(blocks))])
        if (order != np.arange(n_bars)).any():
            orders.append(order)
    return np.stack(orders)


def permutation_importance(
    fitted: FittedFold, panel: Panel, fold: Fold, *, n_permutations: int, seed: int
) -> Importance:
    """Rise of the validation loss when a feature's values are permuted in blocks of validation bars, for all symbols together.

        I_v = mean_p loss(x with x_v[s, t] replaced by x_v[s, order_p(t)] for t in validation) - loss(x)

    The permutations are the same for all features, so that features are compared on the same orders. Values are permuted as the
    network sees them, scaled, a missing one as the train mean; bars before validation that a window reads stay as they are, and
    no bar behind validation is read. Rows where a symbol is not observed stay masked. Deterministic: no dropout, one thread.

    Args:
        fold: the fold `fitted` was trained on.
        n_permutations: P; the cost is V * P passes over the validation bars.
    Raises:
        ValueError: a family without variable selection, or too few validation bars to permute.
        FloatingPointError: a permuted loss that is not finite.
    Source: Fisher, Rudin and Dominici (2019), JMLR 20(177); blocks keep the autocorrelation that the network reads.
    """
    judge = _ValidationLoss(fitted, panel, fold)
    n_variables = len(fitted.scaler.names)
    orders = block_permutations(fold.validation.n_bars, n_permutations, seed=seed)
    losses = np.zeros((n_permutations, n_variables))
    with single_thread(), torch.inference_mode():
        loss = judge.loss(judge.selected)
        for p, order in enumerate(orders):
            for variables in torch.arange(n_variables).split(judge.group):
                for v, selected in zip(variables, judge.permuted(variables, torch.from_numpy(order)), strict=True):
                    losses[p, v] = judge.loss(selected)
    if not np.isfinite(losses).all():
        name = fitted.scaler.names[int(np.flatnonzero(~np.isfinite(losses).all(axis=0))[0])]
        raise FloatingPointError(
            f"fold {fold.key}: the validation loss with {name} permuted is not finite: its importance has no rank; lower "
            "training.learning_rate, or set exploration.permutations to 0"
        )
    return Importance(loss=loss, increase=(losses - loss).mean(axis=0))


class _ValidationLoss:
    """The validation loss as a function of what variable selection gives at the validation bars (S, n, H).

    Selection is nearly all of the cost with hundreds of variables, and a permuted variable changes only the output of its own
    network and the weights: the other networks' outputs are computed once for all variables of a group.
    """

    def __init__(self, fitted: FittedFold, panel: Panel, fold: Fold) -> None:
        network = fitted.build()
        if not isinstance(network, Tft):
            raise ValueError(
                f"family {fitted.network.family} has no variable selection: there are no weights to check; fit a tft"
            )
        section = fitted.training
        panel = panel.between(0, fold.validation.stop).listed()
        starts, self.picked = covering_starts(
            fold.validation.start, fold.validation.stop, lookback=section.lookback, warmup=section.warmup_bars
        )
        begin = int(starts.min())
        tensors = panel_tensors(
            panel, fitted.scaler, start=begin, stop=fold.validation.stop, target_volatility=fitted.target_volatility
        )
        self.network, self.observed = network, tensors.observed
        self.first = first = fold.validation.start - begin
        self.values = tensors.values[:, first:]  # (S, n, V)
        self.bars = block_bars(starts - begin, section.lookback)  # (B, T)
        every = self.bars[self.picked].unsqueeze(0)  # (1, n)
        self.seen, self.outcomes = tensors.observed[:, every], tensors.outcomes.at(every)
        self.objective = Objective.of(section, fitted.position, panel.symbols, fitted.bars_per_year)
        levels = symbol_levels(panel.symbols, fitted.symbols) if fitted.network.static_symbol else None
        with single_thread(), torch.inference_mode():
            self.contexts = network.contexts(levels)
            self.sequences = self._sequences(fitted, panel, self.bars[:, section.warmup_bars].numpy() + begin)
            self.before = self._selected(tensors.values[:, :first], self.observed[:, :first])
            self.selected = self._selected(self.values, self.observed[:, first:])
        self.group = max(1, BYTES_A_GROUP // (4 * self.selected.numel()))

    def _sequences(self, fitted: FittedFold, panel: Panel, first_scored: np.ndarray) -> EncodedSequences | None:
        if fitted.context is None:
            return None
        reader = WindowContext(fitted.context, panel.symbols, panel.calendar, fitted.network.n_context)
        read = reader.of(first_scored)
        encoded = self.network.encode(read)
        return None if encoded is None else encoded.of(read.members)

    def _selection_context(self, n_bars: int) -> Tensor | None:
        """(S n_bars, H), each symbol's n_bars times running."""
        return None if self.contexts is None else self.contexts.selection.repeat_interleave(n_bars, dim=0)

    def _selected(self, values: Tensor, observed: Tensor) -> Tensor:
        """values (S, N, V), observed (S, N) -> (S, N, H)."""
        S, N, V = values.shape
        selected, _ = self.network.select(values.reshape(S * N, V), observed.reshape(-1), self._selection_context(N))
        return selected.view(S, N, -1)

    def loss(self, selected: Tensor) -> float:
        """Of (S, n, H) at the validation bars; the bars before them are as they are."""
        S, B = len(selected), len(self.bars)
        tokens = torch.cat((self.before, selected), dim=1)
        contexts = None
        if self.contexts is not None:
            contexts = StaticContexts(*(part.repeat_interleave(B, dim=0) for part in self.contexts))
        forecast = self.network.decode(
            tokens[:, self.bars].flatten(0, 1), self.observed[:, self.bars].flatten(0, 1), contexts, self.sequences
        )
        joined = forecast.each(lambda part: part.unflatten(0, (S, B))[:, self.picked].unsqueeze(1))  # (S, 1, n)
        return self.objective.loss(joined, self.seen, self.outcomes, torch.ones_like(self.seen[0])).item()

    def permuted(self, variables: Tensor, order: Tensor) -> Tensor:
        """variables (F,), order (n,) -> (F, S, n, H): what is selected with each of the variables permuted alone."""
        S, n, V = self.values.shape
        tokens, moved = self.values.reshape(S * n, V), self.values[:, order].reshape(S * n, V)
        context = self._selection_context(n)
        out = tokens.new_empty(len(variables), S * n, self.selected.shape[-1])
        for first in range(0, S * n, TOKENS_A_CHUNK):
            some = slice(first, first + TOKENS_A_CHUNK)
            out[:, some] = self._each_replaced(
                tokens[some], moved[some], variables, None if context is None else context[some]
            )
        found: Tensor = (out * self.observed[:, self.first :].reshape(-1, 1)).unflatten(1, (S, n))
        return found

    def _each_replaced(self, x: Tensor, moved: Tensor, variables: Tensor, context: Tensor | None) -> Tensor:
        """x, moved (N, V), context (N, H) -> (F, N, H): selected of x with column v taken from `moved`, for each v."""
        N, V = x.shape
        F = len(variables)
        selection, (scale, shift) = self.network.selection, (self.network.embedding.scale, self.network.embedding.shift)
        assert selection.reals is not None, "the variables of a window are real"
        folded = selection.reals.folded(scale, shift)
        outputs = torch.stack([_output(folded, v, x) for v in range(V)], dim=1)  # (N, V, H)
        changes = torch.stack([_output(folded, v, moved) for v in variables.tolist()], dim=1) - outputs[:, variables]
        step = max(1, ROWS_A_CHUNK // F)
        parts = []
        for first in range(0, N, step):
            some = slice(first, first + step)
            inputs = x[some].unsqueeze(1).repeat(1, F, 1)  # (N', F, V)
            inputs[:, torch.arange(F), variables] = moved[some][:, variables]
            weights = torch.ones_like(inputs)
            if selection.joint is not None:
                rows = None if context is None else context[some].repeat_interleave(F, dim=0)
                weights = selection.joint(inputs.flatten(0, 1), scale, shift, (), rows).view_as(inputs)
            own = weights[:, torch.arange(F), variables].unsqueeze(-1)  # (N', F, 1)
            parts.append(torch.bmm(weights, outputs[some]) + own * changes[some])
        return torch.cat(parts).transpose(0, 1)


def _output(folded: FoldedVariables, v: int, x: Tensor) -> Tensor:
    """x (N, V) -> (N, H): the output of variable v's own network."""
    one = FoldedVariables(
        inner=folded.inner[v : v + 1],
        maps=folded.maps[v : v + 1],
        skip=folded.skip[v : v + 1],
        norm_weight=folded.norm_weight[v : v + 1],
        norm_bias=folded.norm_bias[v : v + 1],
        spread=None if folded.spread is None else folded.spread[v : v + 1],
    )
    column = x[:, v : v + 1]
    return one.weighted_sum(column, torch.ones_like(column))
