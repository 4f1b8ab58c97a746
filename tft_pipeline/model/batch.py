"""What every network family takes and gives: a batch of windows in, forecasts and what explains them out.

Axes: W windows, T bars, V variables, C context sequences, L bars of a context sequence.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

from torch import Tensor

from tft_pipeline.model.heads import Forecast


@dataclass(frozen=True, kw_only=True)
class ContextSet:
    """Past sequences a window may learn from; every label in it is resolved before the window's first scored bar.

    Attributes:
        values: (W, C, L, V), scaled as the window's own values are.
        next_return: (W, C, L), the following bar's return in units of its own expected risk.
        observed: (W, C, L) bool; a sequence without an observed bar is ignored.
    """

    values: Tensor
    next_return: Tensor
    observed: Tensor


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

    def last_bars(self, n: int) -> "WindowBatch":
        """The same windows cut to their last n bars."""
        return WindowBatch(
            values=self.values[:, -n:], observed=self.observed[:, -n:], symbol=self.symbol, context=self.context
        )

    def rows(self, which: slice | Tensor) -> "WindowBatch":
        """Some of the windows."""
        context = self.context
        if context is not None:
            context = ContextSet(**{field.name: getattr(context, field.name)[which] for field in fields(ContextSet)})
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
