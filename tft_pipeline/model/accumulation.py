"""A gradient step over several batches whose loss is no sum over them, at one batch's memory. Not here: the loss.

Axes: S symbols, B blocks, T bars of a block. The Sharpe ratio of pooled bars needs all forecasts before it gives any gradient:

    dL/dw = sum over batches b of (df_b/dw)' dL/df_b,   dL/df_b known only once every f_b is

so each batch is forecast twice: first for its values alone, and again, from the same random numbers, when its dL/df_b is there.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tft_pipeline.model.heads import Forecast


class StepBatches:
    """The batches of each gradient step: at most `n` of them, dealt so that steps differ by one batch at most.

    A small last step would give a Sharpe ratio of few bars.

    Args:
        batches: of block starts (B,); each pass over it is one epoch.
    """

    def __init__(self, batches: Iterable[Tensor], n: int) -> None:
        self.batches, self.n = batches, n

    def __iter__(self) -> Iterator[list[Tensor]]:
        batches = list(self.batches)  # block starts, not blocks
        n_steps = math.ceil(len(batches) / self.n)
        for step in range(n_steps):
            yield batches[len(batches) * step // n_steps : len(batches) * (step + 1) // n_steps]


def pooled_forecast(forecast: Callable[[Tensor], Forecast], batches: Sequence[Tensor]) -> Forecast:
    """Forecasts of several batches side by side; going back through them holds the graph of one batch at a time.

    Dropout and other draws from torch's global random state are the same the second time; the gradient is that of one graph
    over all batches with those draws.

    Args:
        forecast: of one batch's starts (B,): Forecast of (S, B, T).
    Returns:
        Forecast of (S, sum of B, T).
    """
    # An input that needs a gradient, or the checkpoint would give none to the weights inside. Reentrant: its first pass builds
    # no graph at all; the other kind builds one and empties it of what is saved through hooks only, which functions that keep
    # tensors of their own escape.
    anchor = torch.zeros((), requires_grad=True)
    parts = [checkpoint(lambda starts, _: forecast(starts), starts, anchor, use_reentrant=True) for starts in batches]

    def joined(column: tuple[Tensor | None, ...]) -> Tensor | None:
        there = [part for part in column if part is not None]
        return torch.cat(there, dim=1) if there else None

    position, *others = zip(*parts, strict=True)
    return Forecast(torch.cat(position, dim=1), *(joined(column) for column in others))
