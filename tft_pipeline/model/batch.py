"""What every network family takes and gives: a batch of windows in, forecasts and what explains them out.

Axes: W windows, T bars, V variables, P context sequences, C of them a window, L bars of a sequence.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from torch import Tensor

from tft_pipeline.model.heads import Forecast


@dataclass(frozen=True, kw_only=True)
class ContextSet:
    """Past sequences, and which of them each window may learn from: those resolved before its first scored bar.

    Attributes:
        values: (P, L, V), scaled as the windows' own values are.
        next_return: (P, L), the label of each bar: the forward return in units of its own expected risk.
        observed: (P, L) bool; a sequence without an observed bar is ignored.
        symbol: (P,) long, level of the sequence's symbol, as `WindowBatch.symbol`.
        members: (W, C) long, places in P; -1 where too few sequences were resolved.
    """

    values: Tensor
    next_return: Tensor
    observed: Tensor
    symbol: Tensor
    members: Tensor


@dataclass(frozen=True, kw_only=True)
class WindowBatch:
    """Windows of consecutive bars.

    Attributes:
        values: (W, T, V), scaled, without NaN; zero where missing or not observed.
        observed: (W, T) bool.
        symbol: (W,) long, level of the window's symbol: 0 for one the network was not trained on, else its place + 1; None
            where no static input is used.
        context: None where no context set is used.
    """

    values: Tensor
    observed: Tensor
    symbol: Tensor | None = None
    context: ContextSet | None = None

    def rows(self, which: slice | Tensor) -> "WindowBatch":
        """Some of the windows."""
        context = self.context
        if context is not None:
            context = replace(context, members=context.members[which])
        return WindowBatch(
            values=self.values[which],
            observed=self.observed[which],
            symbol=None if self.symbol is None else self.symbol[which],
            context=context,
        )


class Interpretation(NamedTuple):
    """What a network attended to.

    Attributes:
        weights: (W, T, V) variable selection weights, each row summing to 1; None for a family that has none.
        attention: (W, T, T) share of bar k in what bar t read, [w, t, k], mean over heads; None for a family that has none.
    """

    weights: Tensor | None
    attention: Tensor | None


class Family(Protocol):
    """A network family: a torch module with these three ways in."""

    def forecast(self, windows: WindowBatch) -> Forecast:
        """Forecast of (W, T): bar t has seen bars 0 .. t of its window."""
        ...

    def forecast_last(self, windows: WindowBatch) -> Forecast:
        """Forecast of (W): the last bar's row of `forecast`, at less cost."""
        ...

    def interpret(self, windows: WindowBatch) -> Interpretation:
        """Weights and attention behind `forecast`."""
        ...
