"""From the network's hidden state to a forecast and a raw position. Not here: holding, costs, losses.

Axes: ... any leading axes, H hidden, Q quantiles. Positions are the signed share of the risk budget, before volatility scaling.
"""

from collections.abc import Callable
from itertools import accumulate, pairwise
from statistics import NormalDist
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

LOG_SCALE_BOUND = 4.0
QUANTILES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Levels of the quantile forecast: Wood et al. (2023)."""
SMALLEST_STEP = 1e-3
"""Between neighbouring quantiles, in units of the label: the spread that positions are measured in never becomes zero."""

LossMode = Literal["sharpe", "joint_mle", "joint_quantile", "bce"]


class Forecast(NamedTuple):
    """What the network says at a bar; every tensor (...), quantiles (..., Q).

    Attributes:
        position: raw position in [-1, 1].
        mean: of the label, in units of expected risk; None where the loss does not train it.
        log_scale: log standard deviation of the label; None where the loss does not train it.
        logit: of an upward move; None where the loss does not train it.
        quantiles: of the label at the levels `QUANTILES`, not crossing; None where the loss does not train them.
    """

    position: Tensor
    mean: Tensor | None = None
    log_scale: Tensor | None = None
    logit: Tensor | None = None
    quantiles: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Forecast":
        """The same with `change` applied to every tensor that is there.

        `change` may touch the leading axes only (index, squeeze, unflatten), for quantiles have one axis more at the end.
        """
        parts = (None if part is None else change(part) for part in self[1:])
        return Forecast(change(self.position), *parts)

    def probability(self) -> Tensor | None:
        """Of a label above zero, (...): Phi(mean / scale), sigmoid(logit), or 1 - F(0) of the quantiles; else None."""
        if self.logit is not None:
            return torch.sigmoid(self.logit)
        if self.quantiles is not None:
            return 1.0 - level_of_zero(self.quantiles)
        if self.mean is not None and self.log_scale is not None:
            found: Tensor | None = torch.special.ndtr(self.mean * torch.exp(-self.log_scale))
            return found
        return None


def level_of_zero(quantiles: Tensor) -> Tensor:
    """F(0) by linear interpolation between the quantiles; never below .01 or above .99, beyond which nothing is forecast.

        F(0) = l_1 + sum_i (l_i+1 - l_i) * clip(-q_i / (q_i+1 - q_i), 0, 1)

    Args:
        quantiles: (..., Q), not decreasing, at the levels l = `QUANTILES`.
    Returns:
        (...).
    """
    below, step = quantiles[..., :-1], quantiles.diff(dim=-1)
    # two quantiles that rounding made equal are a jump of F: it lies below zero or not
    share = torch.where(step > 0, -below / torch.where(step > 0, step, 1.0), (below <= 0).to(step.dtype))
    gaps = quantiles.new_tensor([high - low for low, high in pairwise(QUANTILES)])
    return QUANTILES[0] + share.clamp(0.0, 1.0) @ gaps


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


class QuantilePosition(nn.Module):
    """Thirteen quantiles of the label, and a position made of them: X-Trend-Q of Wood, Kessler, Roberts, Zohren (2023).

    Quantiles cannot cross: from the median q_.5 outwards each is the last one plus or minus a positive step,

        q_i+1 = q_i + d_i above,   q_i-1 = q_i - d_i below,   d_i = softplus(.) + 0.001

        position = tanh(q_.5 / s + f(q_.01 .. q_.99)),   s = (q_.9 - q_.1) / 2.563

    where s is the deviation of the normal distribution with that range and f a small network that starts at zero: training
    starts from the normal's steps and from betting in proportion to the median in units of the spread, as `GaussianPosition`.
    """

    def __init__(self, hidden: int, *, width: int = 8) -> None:
        super().__init__()
        Q = len(QUANTILES)
        self.output = nn.Linear(hidden, Q)  # the median, then the Q - 1 steps from the lowest to the highest
        self.inner, self.correction = nn.Linear(Q, width), nn.Linear(width, 1)
        normal = torch.tensor([NormalDist().inv_cdf(level) for level in QUANTILES])
        with torch.no_grad():
            self.output.bias[0] = 0.0
            self.output.bias[1:] = torch.log(torch.expm1(normal.diff() - SMALLEST_STEP))
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, hidden: Tensor) -> Forecast:
        """hidden (..., H) -> Forecast of (...), quantiles (..., Q)."""
        free = self.output(hidden)
        median, steps = free[..., 0], functional.softplus(free[..., 1:]) + SMALLEST_STEP
        down, up = steps.tensor_split(2, dim=-1)  # each (..., (Q-1)/2)
        # sums one by one: a sum of positive terms rounds upwards in order, a product with a triangular matrix may not
        below = [median - reach for reach in accumulate(down.flip(-1).unbind(-1))]
        above = [median + reach for reach in accumulate(up.unbind(-1))]
        quantiles = torch.stack((*reversed(below), median, *above), dim=-1)
        low, high = QUANTILES.index(0.1), QUANTILES.index(0.9)
        scale = steps[..., low:high].sum(-1) / (2.0 * NormalDist().inv_cdf(0.9))  # of q_.9 - q_.1, without its rounding
        correction = self.correction(functional.elu(self.inner(quantiles))).squeeze(-1)
        return Forecast(position=torch.tanh(median / scale + correction), quantiles=quantiles)


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
    heads: dict[LossMode, Callable[[int], nn.Module]] = {
        "sharpe": DirectPosition,
        "joint_mle": GaussianPosition,
        "joint_quantile": QuantilePosition,
        "bce": DirectionPosition,
    }
    return heads[loss_mode](hidden)
