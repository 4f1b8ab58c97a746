"""The objective: the Sharpe ratio of held positions net of costs, and the likelihood or pinball loss of the forecast.

Axes: S symbols, B blocks, T bars of a block, Q quantiles; a block's bars are consecutive, blocks are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tft_pipeline.domain.sections import PositionSection, TrainingSection
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline.model.heads import QUANTILES, Forecast, LossMode
from tft_pipeline.model.windows import Outcomes

RELATIVE_EPSILON = 1e-5


def hold(raw: Tensor, observed: Tensor, *, max_position: float, position_smooth: float) -> Tensor:
    """`domain.positions.hold_positions` in tensors, each block from flat: p_t = k p_{t-1} + (1 - k) clip(raw_t).

    Zero where a symbol is not observed; the recursion starts again from there. The recursion is summed by doubling: after
    step j a bar holds the terms of its last 2^j bars.

    Args:
        raw: (S, B, T) positions.
        observed: (S, B, T) bool.
    Returns:
        (S, B, T); never beyond `max_position`, being a weighted mean of clipped values and 0.
    """
    held = raw.clamp(-max_position, max_position) * observed
    if position_smooth == 0.0:
        return held
    held = (1.0 - position_smooth) * held
    carry = position_smooth * observed.to(raw.dtype)  # weight of what stands `reach` bars earlier
    T, reach = raw.shape[-1], 1
    while reach < T:
        held = held + carry * functional.pad(held[..., :-reach], (reach, 0))
        carry = carry * functional.pad(carry[..., :-reach], (reach, 0))
        reach *= 2
    return held


def portfolio_returns(held: Tensor, outcomes: Outcomes, *, terms: BookTerms) -> Tensor:
    """`domain.portfolio.portfolio_returns` in tensors, each block from flat, net of trading and financing.

        w_t = clip(p s_tgt / s, -max_weight, max_weight)
        R_t = mean_i [ w_it r_i,t+1 - c_i |w_it - w_i,t-1| - b max(-w_it, 0) - f w_it ]

    over the symbols present at t; one that leaves pays for closing at its last bar. A position beyond the cap on its weight
    has no gradient: it holds the cap, whatever it says.

    Args:
        held: (S, B, T) positions.
        terms: of these symbols.
    Returns:
        (B, T), zero where no symbol is present.
    """
    weight = (held * outcomes.leverage).clamp(-terms.max_weight, terms.max_weight)  # (S, B, T), zero where absent
    present = outcomes.present
    traded = functional.pad(weight, (1, 0)).diff(dim=-1).abs() * present
    later = present.any(0).flip(-1).cummax(-1).values.flip(-1)[:, 1:]  # (B, T-1): the book goes on
    leaves = present[..., :-1] & ~present[..., 1:] & later
    traded = traded + functional.pad(weight[..., :-1].abs() * leaves, (0, 1))
    cost = weight.new_tensor(terms.trading_shares(len(weight))).view(-1, 1, 1)  # (S, 1, 1)
    net = weight * outcomes.next_return - cost * traded
    if terms.financed:
        net = net - terms.borrow_per_bar * (-weight).clamp(min=0.0) - terms.funding_per_bar * weight
    return net.sum(0) / present.sum(0).clamp(min=1)


def negative_sharpe(returns: Tensor, counted: Tensor, *, scale: Tensor, bars_per_year: float) -> Tensor:
    """-sqrt(A) mean / sqrt(var + 1e-5 scale), population variance over the counted bars.

    The epsilon is relative to what full positions earn, so that minute bars are treated as daily bars are; at a daily
    volatility of 15 % a year it is the 1e-9 of Wood et al. (2021).

    Args:
        returns: (B, T).
        counted: (B, T) bool; at least one.
        scale: (), mean squared return of a full position.
    """
    kept = returns[counted]
    mean = kept.mean()
    variance = (kept - mean).square().mean()
    out: Tensor = -(bars_per_year**0.5) * mean / torch.sqrt(variance + RELATIVE_EPSILON * scale)
    return out


def gaussian_nll(mean: Tensor, log_scale: Tensor, label: Tensor, scored: Tensor) -> Tensor:
    """Mean of log s + ((y - m) / s)^2 / 2 + log(2 pi) / 2 over the scored labels."""
    error = (label - mean) * torch.exp(-log_scale)
    terms = log_scale + 0.5 * error.square() + 0.9189385332046727
    return (terms * scored).sum() / scored.sum()


def pinball_loss(quantiles: Tensor, label: Tensor, scored: Tensor) -> Tensor:
    """Mean of max(l (y - q), (l - 1) (y - q)) over the scored labels y and the levels l = `QUANTILES`.

    The mean over levels, not the sum; 0.23 for standard normal labels forecast as such. Source: Koenker and Bassett (1978),
    Econometrica 46(1).

    Args:
        quantiles: (S, B, T, Q).
        label, scored: (S, B, T).
    """
    error = label.unsqueeze(-1) - quantiles
    level = quantiles.new_tensor(QUANTILES)
    terms = torch.maximum(level * error, (level - 1.0) * error).mean(-1)
    return (terms * scored).sum() / scored.sum()


def direction_loss(logit: Tensor, label: Tensor, scored: Tensor) -> Tensor:
    """Binary cross-entropy of a label above zero, mean over the scored labels."""
    terms = functional.binary_cross_entropy_with_logits(logit, (label > 0).to(logit.dtype), reduction="none")
    return (terms * scored).sum() / scored.sum()


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What training minimises; early stopping reads the same on the validation bars.

    sharpe: negative annual Sharpe ratio. joint_mle: that + mle_weight * negative log likelihood. joint_quantile: that +
    mle_weight * pinball loss. bce: cross-entropy.
    """

    loss_mode: LossMode
    mle_weight: float
    position: PositionSection
    terms: BookTerms
    bars_per_year: float

    @classmethod
    def of(
        cls, training: TrainingSection, position: PositionSection, symbols: Sequence[str], bars_per_year: float
    ) -> "Objective":
        """The objective an experiment's sections describe, for tensors of these symbols in this order."""
        return cls(
            loss_mode=training.loss_mode,
            mle_weight=training.mle_weight,
            position=position,
            terms=BookTerms.of(position, symbols, bars_per_year=bars_per_year),
            bars_per_year=bars_per_year,
        )

    def net_returns(self, forecast: Forecast, observed: Tensor, outcomes: Outcomes) -> Tensor:
        """Portfolio returns (B, T) of a forecast (S, B, T); zero where no symbol is present."""
        section = self.position
        held = hold(
            forecast.position,
            observed,
            max_position=section.max_position,
            position_smooth=section.position_smooth,
        )
        return portfolio_returns(held, outcomes, terms=self.terms)

    def loss(self, forecast: Forecast, observed: Tensor, outcomes: Outcomes, counted: Tensor) -> Tensor:
        """Loss () of a forecast.

        Args:
            forecast, observed, outcomes: of (S, B, T).
            counted: (B, T) bool, bars that are scored; at least one symbol is present in one of them.
        """
        scored = outcomes.present & counted
        if self.loss_mode == "bce":
            assert forecast.logit is not None, "bce needs a network with a logit"
            return direction_loss(forecast.logit, outcomes.label, scored)
        full = (outcomes.leverage.clamp(max=self.terms.max_weight) * outcomes.next_return).square()
        sharpe = negative_sharpe(
            self.net_returns(forecast, observed, outcomes),
            scored.any(0),
            scale=(full * scored).sum() / scored.sum(),
            bars_per_year=self.bars_per_year,
        )
        if self.loss_mode == "sharpe":
            return sharpe
        if self.loss_mode == "joint_quantile":
            assert forecast.quantiles is not None, "joint_quantile needs a network with quantiles"
            return sharpe + self.mle_weight * pinball_loss(forecast.quantiles, outcomes.label, scored)
        assert forecast.mean is not None, "joint_mle needs a network with a mean and a scale"
        assert forecast.log_scale is not None, "joint_mle needs a network with a mean and a scale"
        return sharpe + self.mle_weight * gaussian_nll(forecast.mean, forecast.log_scale, outcomes.label, scored)
