"""The objective against loops, against the backtest, and its properties."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.portfolio import portfolio_returns as backtest
from tft_pipeline.domain.positions import hold_positions
from tft_pipeline.domain.sections import PositionSection, TrainingSection
from tft_pipeline.domain.terms import BookTerms
from tft_pipeline.model.heads import Forecast, LossMode
from tft_pipeline.model.losses import (
    Objective,
    direction_loss,
    gaussian_nll,
    hold,
    negative_sharpe,
    pinball_loss,
    portfolio_returns,
)
from tft_pipeline.model.windows import Outcomes
from tft_pipeline_tests.oracles import losses as oracle

SYMBOLS = ("A", "B", "C", "D")
POSITION = PositionSection(
    max_position=0.6,
    position_smooth=0.3,
    max_weight=0.4,
    cost_bps=40.0,
    symbol_cost_bps={"B": 5.0},
    slippage_bps=3.0,
    borrow_bps=900.0,
    funding_bps=-400.0,
)


def _case(seed: int = 0, S: int = 4, B: int = 3, T: int = 11) -> tuple[Forecast, torch.Tensor, Outcomes]:
    random = np.random.default_rng(seed)
    shape = (S, B, T)
    observed = random.random(shape) > 0.15
    present = observed & (random.random(shape) > 0.1)
    present[:, 1, 4] = False  # a bar without any symbol
    leverage = np.where(present, random.uniform(0.4, 1.2, shape), 0.0)
    next_return = np.where(present, random.normal(0.0, 0.01, shape), 0.0)
    label = np.where(present, random.normal(0.0, 1.0, shape), 0.0)
    quantiles = np.sort(random.normal(0, 1, (*shape, 13)))
    parts = (np.tanh(random.normal(0, 1, shape)), *random.normal(0, 0.5, (3, *shape)), quantiles)
    forecast = Forecast(*(torch.from_numpy(x) for x in parts))
    tensors = [torch.from_numpy(x) for x in (present, leverage, next_return, label)]
    return forecast, torch.from_numpy(observed), Outcomes(**dict(zip(Outcomes.__annotations__, tensors, strict=True)))


def _oracle_returns(
    forecast: Forecast, observed: torch.Tensor, outcomes: Outcomes, position: PositionSection = POSITION
) -> np.ndarray:
    blocks = [
        oracle.net_returns(
            *(x[:, b].numpy() for x in (forecast.position, observed, outcomes.present)),
            *(x[:, b].numpy() for x in (outcomes.leverage, outcomes.next_return)),
            max_position=position.max_position,
            position_smooth=position.position_smooth,
            cost_bps=list(position.trading_bps(SYMBOLS)),
            max_weight=position.max_weight,
            borrow_bps=position.borrow_bps,
            funding_bps=position.funding_bps,
            bars_per_year=252.0,
        )
        for b in range(observed.shape[1])
    ]
    return np.array(blocks)


def _objective(mode: LossMode, position: PositionSection = POSITION) -> Objective:
    return Objective.of(TrainingSection(loss_mode=mode, mle_weight=0.7), position, SYMBOLS, 252.0)


@given(
    smooth=st.sampled_from([0.0, 0.2, 0.46, 0.97]),
    largest=st.sampled_from([0.3, 1.0]),
    T=st.integers(1, 40),
    seed=st.integers(0, 10_000),
)
@settings(deadline=None)
def test_holding_in_training_equals_holding_in_the_backtest(smooth: float, largest: float, T: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    raw, absent = random.uniform(-1, 1, (3, T)), random.random((3, T)) < 0.2
    expected = hold_positions(np.where(absent, np.nan, raw), max_position=largest, position_smooth=smooth)
    actual = hold(
        torch.from_numpy(raw)[:, None], torch.from_numpy(~absent)[:, None], max_position=largest, position_smooth=smooth
    )
    np.testing.assert_allclose(actual[:, 0], expected, atol=1e-14)


def test_returns_of_a_block_equal_the_loop() -> None:
    forecast, observed, outcomes = _case()
    returns = _objective("sharpe").net_returns(forecast, observed, outcomes)
    expected = _oracle_returns(forecast, observed, outcomes)
    np.testing.assert_allclose(returns, np.nan_to_num(expected, nan=0.0), atol=1e-15)
    assert np.isnan(expected[1, 4])


KNOBS: dict[str, Any] = {
    "max_position": 0.3,
    "position_smooth": 0.7,
    "max_weight": 0.25,
    "cost_bps": 60.0,
    "symbol_cost_bps": {"A": 90.0, "C": 20.0, "elsewhere": 1.0},
    "slippage_bps": 30.0,
    "borrow_bps": 5000.0,
    "funding_bps": -3000.0,
}
"""One line a key of the section: a value that none of the sections here has."""


def test_every_position_knob_has_a_line() -> None:
    assert KNOBS.keys() == PositionSection.model_fields.keys()


@pytest.mark.parametrize("names", [(), *((name,) for name in KNOBS), tuple(KNOBS)])
def test_each_position_knob_alone_and_all_together_equal_the_loop(names: tuple[str, ...]) -> None:
    position = PositionSection(**{"cost_bps": 0.0, **{name: KNOBS[name] for name in names}})
    forecast, observed, outcomes = _case(seed=2)
    expected = np.nan_to_num(_oracle_returns(forecast, observed, outcomes, position), nan=0.0)
    np.testing.assert_allclose(
        _objective("sharpe", position).net_returns(forecast, observed, outcomes), expected, atol=1e-15
    )


def test_a_position_counts_by_the_target_volatility_over_the_symbols_own() -> None:
    """Two symbols at full position, one bar: mean of return * target / volatility, less the cost of both weights."""
    shape, volatility = (2, 1, 1), torch.tensor([0.1, 0.6], dtype=torch.float64).view(2, 1, 1)
    outcomes = Outcomes(
        present=torch.ones(shape, dtype=torch.bool),
        leverage=0.15 / volatility,
        next_return=torch.tensor([0.01, -0.02], dtype=torch.float64).view(shape),
        label=torch.zeros(shape, dtype=torch.float64),
    )
    held = torch.ones(shape, dtype=torch.float64)
    actual = portfolio_returns(held, outcomes, terms=BookTerms(trading_bps=10.0)).item()
    assert actual == pytest.approx((1.5 * 0.01 - 0.25 * 0.02 - 0.001 * (1.5 + 0.25)) / 2, rel=1e-12)


def test_returns_of_one_block_equal_the_backtest() -> None:
    forecast, observed, outcomes = _case(B=2)
    held = hold(forecast.position, observed, max_position=1.0, position_smooth=0.5)
    terms = BookTerms.of(POSITION, SYMBOLS, bars_per_year=252.0)
    for b in range(2):
        present = outcomes.present[:, b].numpy()
        leverage = outcomes.leverage[:, b].numpy()
        volatility = np.where(present, 0.15 / np.where(present, leverage, 1.0), np.nan)
        expected = backtest(
            held[:, b].numpy(),
            volatility,
            np.where(present, outcomes.next_return[:, b], np.nan),
            target_volatility=0.15,
            terms=terms,
        )
        actual = portfolio_returns(held, outcomes, terms=terms)[b]
        np.testing.assert_allclose(actual, np.nan_to_num(expected.net, nan=0.0), atol=1e-15)


@pytest.mark.parametrize("mode", ["sharpe", "joint_mle", "joint_quantile", "bce"])
def test_loss_equals_the_formula_over_the_counted_bars_of_all_blocks(mode: LossMode) -> None:
    forecast, observed, outcomes = _case()
    counted = torch.zeros(3, 11, dtype=torch.bool)
    counted[:, 3:] = True
    loss = _objective(mode).loss(forecast, observed, outcomes, counted)
    scored = (outcomes.present & counted).numpy()
    returns = _oracle_returns(forecast, observed, outcomes)[scored.any(0)]
    full = outcomes.leverage.clamp(max=POSITION.max_weight) * outcomes.next_return  # what a full position earns
    scale = np.mean(full.numpy()[scored] ** 2)
    sharpe = oracle.negative_sharpe(returns, scale, 252.0)
    label = outcomes.label.numpy()
    likelihood = oracle.gaussian_nll(forecast.mean.numpy(), forecast.log_scale.numpy(), label, scored)
    direction = oracle.direction_loss(forecast.logit.numpy(), label, scored)
    pinball = oracle.pinball_loss(forecast.quantiles.numpy(), label, scored)
    expected = {
        "sharpe": sharpe,
        "joint_mle": sharpe + 0.7 * likelihood,
        "joint_quantile": sharpe + 0.7 * pinball,
        "bce": direction,
    }[mode]
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_sharpe_does_not_change_with_the_unit_of_returns() -> None:
    returns, counted = torch.randn(3, 20, dtype=torch.float64), torch.ones(3, 20, dtype=torch.bool)
    one, other = (
        negative_sharpe(unit * returns, counted, scale=torch.tensor(unit**2), bars_per_year=252.0)
        for unit in (1.0, 1e-5)
    )
    assert one.item() == pytest.approx(other.item(), rel=1e-9)


def test_sharpe_is_a_ratio_of_the_pooled_bars_and_not_a_mean_over_blocks() -> None:
    returns = torch.tensor([[0.01, 0.03], [-0.02, 0.01]], dtype=torch.float64)
    counted = torch.ones(2, 2, dtype=torch.bool)
    value = negative_sharpe(returns, counted, scale=torch.tensor(0.0), bars_per_year=1.0)
    assert value.item() == pytest.approx(-np.mean(returns.numpy()) / np.std(returns.numpy()))


@pytest.mark.parametrize("name", KNOBS)
def test_every_position_knob_moves_the_objective(name: str) -> None:
    forecast, observed, outcomes = _case()
    counted = torch.ones(3, 11, dtype=torch.bool)
    losses = [
        _objective("sharpe", POSITION.model_copy(update=change)).loss(forecast, observed, outcomes, counted).item()
        for change in ({}, {name: KNOBS[name]})
    ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_flat_positions_have_a_finite_gradient_towards_what_earns() -> None:
    forecast, observed, outcomes = _case()
    position = torch.zeros_like(forecast.position, requires_grad=True)
    free = PositionSection(cost_bps=0.0)
    counted = torch.ones(3, 11, dtype=torch.bool)
    _objective("sharpe", free).loss(Forecast(position), observed, outcomes, counted).backward()
    assert torch.isfinite(position.grad).all()
    earning = outcomes.present & (outcomes.next_return != 0)
    assert torch.equal(torch.sign(position.grad[earning]), -torch.sign(outcomes.next_return[earning]))


def test_terms_of_other_symbols_are_refused() -> None:
    forecast, observed, outcomes = _case()
    objective = Objective.of(TrainingSection(loss_mode="sharpe"), POSITION, ("A",), 252.0)
    with pytest.raises(ValueError, match="holds 1 symbols and the book 4"):
        objective.net_returns(forecast, observed, outcomes)


def test_a_position_beyond_the_cap_on_its_weight_holds_the_cap_and_has_no_gradient() -> None:
    _, _, outcomes = _case()
    capped = BookTerms(trading_bps=0.0, max_weight=0.3)
    held = torch.full(outcomes.present.shape, 0.9, dtype=torch.float64, requires_grad=True)
    returns = portfolio_returns(held, outcomes, terms=capped)
    beyond = outcomes.leverage * 0.9 > 0.3
    assert beyond.any()
    np.testing.assert_array_equal(
        returns.detach(),
        portfolio_returns(torch.where(beyond, 1.0, held), outcomes, terms=capped).detach(),
    )
    returns.sum().backward()
    assert (held.grad[beyond] == 0.0).all()


def test_absent_symbols_enter_no_term() -> None:
    forecast, observed, outcomes = _case()
    scored = outcomes.present
    for mode in ("sharpe", "joint_mle", "joint_quantile", "bce"):
        objective, counted = _objective(mode), torch.ones(3, 11, dtype=torch.bool)
        before = objective.loss(forecast, observed, outcomes, counted)
        other = forecast.each(lambda part: part.masked_fill(~observed[(..., *[None] * (part.ndim - 3))], 0.9))
        assert objective.loss(other, observed, outcomes, counted).item() == pytest.approx(before.item(), rel=1e-12)
        label = replace(outcomes, label=torch.where(scored, outcomes.label, 5.0))
        assert objective.loss(forecast, observed, label, counted).item() == pytest.approx(before.item(), rel=1e-12)


def test_likelihood_and_cross_entropy_equal_scipy_and_the_definition() -> None:
    forecast, _, outcomes = _case(seed=4)
    scored = outcomes.present
    nll = gaussian_nll(forecast.mean, forecast.log_scale, outcomes.label, scored)
    expected = oracle.gaussian_nll(*(x.numpy() for x in (forecast.mean, forecast.log_scale, outcomes.label, scored)))
    assert nll.item() == pytest.approx(expected, rel=1e-12)
    cross = direction_loss(forecast.logit, outcomes.label, scored)
    assert cross.item() == pytest.approx(
        oracle.direction_loss(forecast.logit.numpy(), outcomes.label.numpy(), scored.numpy()), rel=1e-12
    )


def test_pinball_loss_equals_the_loop_and_half_the_absolute_error_at_the_median() -> None:
    forecast, _, outcomes = _case(seed=5)
    scored, label = outcomes.present, outcomes.label
    expected = oracle.pinball_loss(forecast.quantiles.numpy(), label.numpy(), scored.numpy())
    assert pinball_loss(forecast.quantiles, label, scored).item() == pytest.approx(expected, rel=1e-12)
    # at one value for all levels the levels' mean, one half, is what counts
    flat = torch.full_like(forecast.quantiles, 0.3)
    half = (label - 0.3).abs()[scored].mean() / 2
    assert pinball_loss(flat, label, scored).item() == pytest.approx(half.item(), rel=1e-12)


def test_pinball_loss_is_least_at_the_quantiles_of_the_labels() -> None:
    label = torch.randn(1, 1, 5_000, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    scored = torch.ones_like(label, dtype=torch.bool)
    best = torch.from_numpy(np.quantile(label.numpy(), oracle.LEVELS)).expand(1, 1, 5_000, 13)
    least = pinball_loss(best, label, scored)
    assert least.item() == pytest.approx(0.234, abs=0.01)  # of a standard normal, as the docstring says
    for i in range(13):
        for shift in (-0.2, 0.2):
            moved = best.clone()
            moved[..., i] += shift
            assert pinball_loss(moved, label, scored) > least
