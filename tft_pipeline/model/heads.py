"""From the network's hidden state to a forecast and a raw position. Not here: holding, costs, losses.

Axes: ... any leading axes, H hidden. Positions are the signed share of the risk budget, before volatility scaling.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

LOG_SCALE_BOUND = 4.0

LossMode = Literal["sharpe", "joint_mle", "joint_quantile", "bce"]


class Forecast(NamedTuple):
    """What the network says at a bar; every tensor (...).

    Attributes:
        position: raw position in [-1, 1].
        mean: of the label, in units of expected risk; None where the loss does not train it.
        log_scale: log standard deviation of the label; None where the loss does not train it.
        logit: of an upward move; None where the loss does not train it.
    """

    position: Tensor
    mean: Tensor | None = None
    log_scale: Tensor | None = None
    logit: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Forecast":
        """The same with `change` applied to every tensor that is there."""
        parts = (None if part is None else change(part) for part in self[1:])
        return Forecast(change(self.position), *parts)

    def probability(self) -> Tensor | None:
        """Of a label above zero: Phi(mean / scale), or sigmoid(logit); None for a network that forecasts neither."""
        if self.logit is not None:
            return torch.sigmoid(self.logit)
        if self.mean is not None and self.log_scale is not None:
            return torch.special.ndtr(self.mean * torch.exp(-self.log_scale))
        return None


class DirectPosition(nn.Module):
    """position = tanh(w h + b), trained by the Sharpe ratio alone: Lim, Zohren, Roberts (2019)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.output = nn.Linear(hidden, 1)

    def forward(self, hidden: Tensor) -> Forecast:
        """hidden (..., H) -> Forecast of (...)."""
        return Forecast(position=torch.tanh(self.output(hidden).squeeze(-1)))


class GaussianPosition(nn.Module):
    """Mean and scale of the label, and a position made of the two: Wood, Kessler, Roberts, Zohren (2023), joint loss.

        position = tanh(m / s + f(m, log s)),   f a small network that starts at zero

    so that training starts from betting in proportion to the expected return in units of its risk. |log s| < 4 smoothly.
    """

    def __init__(self, hidden: int, *, width: int = 8) -> None:
        super().__init__()
        self.output = nn.Linear(hidden, 2)
        self.inner, self.correction = nn.Linear(2, width), nn.Linear(width, 1)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, hidden: Tensor) -> Forecast:
        """hidden (..., H) -> Forecast of (...)."""
        mean, free = self.output(hidden).unbind(-1)
        log_scale = LOG_SCALE_BOUND * torch.tanh(free / LOG_SCALE_BOUND)
        pair = torch.stack((mean, log_scale), dim=-1)
        correction = self.correction(functional.elu(self.inner(pair))).squeeze(-1)
        position = torch.tanh(mean * torch.exp(-log_scale) + correction)
        return Forecast(position=position, mean=mean, log_scale=log_scale)


class DirectionPosition(nn.Module):
    """Probability p of an upward move; position = 2p - 1 = tanh(logit / 2)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.output = nn.Linear(hidden, 1)

    def forward(self, hidden: Tensor) -> Forecast:
        """hidden (..., H) -> Forecast of (...)."""
        logit = self.output(hidden).squeeze(-1)
        return Forecast(position=torch.tanh(logit / 2), logit=logit)


def build_head(hidden: int, loss_mode: LossMode) -> nn.Module:
    """The head a loss trains, and no other parameter."""
    heads = {"sharpe": DirectPosition, "joint_mle": GaussianPosition, "bce": DirectionPosition}
    return heads[loss_mode](hidden)
