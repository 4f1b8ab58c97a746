"""Positions and probabilities of the four heads."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from scipy import stats

from tft_pipeline.model.heads import QUANTILES, Forecast, LossMode, build_head
from tft_pipeline_tests.oracles import losses as loss_oracle
from tft_pipeline_tests.oracles import network as oracle
from tft_pipeline_tests.oracles.model_panels import arrays, randomised


@pytest.mark.parametrize("mode", ["sharpe", "joint_mle", "joint_quantile", "bce"])
def test_positions_stay_inside_one_for_extreme_states(mode: LossMode) -> None:
    hidden = (1e3 * torch.randn(100, 8)).requires_grad_()
    forecast = build_head(8, mode)(hidden)
    assert forecast.position.abs().max() <= 1.0
    assert torch.isfinite(forecast.position).all()
    forecast.position.sum().backward()
    assert torch.isfinite(hidden.grad).all()


def test_gaussian_head_equals_the_formula() -> None:
    head = randomised(build_head(8, "joint_mle"))
    hidden = torch.randn(6, 8, dtype=torch.float64)
    forecast = head(hidden)
    expected = np.array([oracle.gaussian_head(arrays(head), row) for row in hidden.numpy()])
    actual = torch.stack((forecast.position, forecast.mean, forecast.log_scale), dim=-1)
    np.testing.assert_allclose(actual.detach(), expected, atol=1e-12)


def test_gaussian_head_starts_from_the_mean_in_units_of_its_scale() -> None:
    forecast = build_head(8, "joint_mle")(torch.randn(6, 8))
    torch.testing.assert_close(forecast.position, torch.tanh(forecast.mean / forecast.log_scale.exp()))


def test_gaussian_probability_is_the_normal_tail_above_zero() -> None:
    forecast = build_head(8, "joint_mle")(torch.randn(6, 8))
    expected = stats.norm.sf(0.0, loc=forecast.mean.detach(), scale=forecast.log_scale.exp().detach())
    np.testing.assert_allclose(forecast.probability().detach(), expected, atol=1e-6)


def test_direction_position_is_twice_the_probability_less_one() -> None:
    forecast = build_head(8, "bce")(torch.randn(6, 8))
    torch.testing.assert_close(forecast.position, 2 * forecast.probability() - 1)


def test_direct_position_claims_no_forecast() -> None:
    forecast = build_head(8, "sharpe")(torch.randn(6, 8))
    assert forecast.mean is None
    assert forecast.log_scale is None
    assert forecast.probability() is None


def test_quantile_head_equals_the_formula() -> None:
    head = randomised(build_head(8, "joint_quantile"))
    hidden = torch.randn(6, 8, dtype=torch.float64)
    forecast = head(hidden)
    expected = [loss_oracle.quantile_head(arrays(head), row) for row in hidden.numpy()]
    np.testing.assert_allclose(forecast.position.detach(), [position for position, _ in expected], atol=1e-12)
    np.testing.assert_allclose(forecast.quantiles.detach(), [quantiles for _, quantiles in expected], atol=1e-12)


def test_the_levels_are_those_of_the_oracle_and_the_median_is_in_the_middle() -> None:
    assert QUANTILES == loss_oracle.LEVELS
    assert QUANTILES[6] == 0.5


@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_quantiles_never_cross(size: float) -> None:
    """In float32: a step may round to nothing beside a huge median, never to less."""
    head = build_head(8, "joint_quantile")
    with torch.no_grad():
        head.output.weight.normal_(0.0, size)
    steps = head(torch.randn(200, 8)).quantiles.diff(dim=-1)
    assert steps.min() >= 0.0
    if size == 1.0:
        assert steps.min() > 0.0


def test_quantile_head_starts_from_the_standard_normal_about_its_median() -> None:
    head = build_head(8, "joint_quantile")
    forecast = head(torch.zeros(1, 8))
    np.testing.assert_allclose(forecast.quantiles[0].detach(), stats.norm.ppf(QUANTILES), atol=1e-5)
    with torch.no_grad():
        head.output.bias[0] = 0.7
    np.testing.assert_allclose(head(torch.zeros(1, 8)).position.item(), np.tanh(0.7), rtol=1e-5)


@given(
    steps=arrays_of.arrays(np.float64, (5, 12), elements=st.floats(1e-3, 2.0)),
    median=arrays_of.arrays(np.float64, (5, 1), elements=st.floats(-8.0, 8.0)),
)
@settings(deadline=None)
def test_quantile_probability_is_the_interpolated_share_above_zero(steps: np.ndarray, median: np.ndarray) -> None:
    quantiles = (
        median + np.concatenate((np.zeros((5, 1)), steps.cumsum(1)), axis=1) - steps[:, :6].sum(1, keepdims=True)
    )
    forecast = Forecast(torch.zeros(5), quantiles=torch.from_numpy(quantiles))
    expected = [loss_oracle.probability_above_zero(row) for row in quantiles]
    np.testing.assert_allclose(forecast.probability(), expected, atol=1e-10)


def test_quantile_probability_of_the_normal_is_about_the_normal_tail_and_never_certain() -> None:
    median = torch.tensor([[-5.0], [-1.0], [-0.3], [0.0], [0.3], [1.0], [5.0]], dtype=torch.float64)
    quantiles = median + torch.from_numpy(stats.norm.ppf(QUANTILES))
    probability = Forecast(torch.zeros(7), quantiles=quantiles).probability()
    np.testing.assert_allclose(probability[1:-1], stats.norm.cdf(median[1:-1, 0]), atol=0.01)
    np.testing.assert_allclose(probability[[0, -1]], [0.01, 0.99], atol=1e-12)


def test_quantile_probability_of_quantiles_that_rounding_made_equal_is_a_jump() -> None:
    step = torch.cat((torch.full((6,), -1.0), torch.full((7,), 2.0)))
    assert Forecast(torch.zeros(()), quantiles=step).probability().item() == pytest.approx(1 - 0.4 - 0.1 / 3)
    assert Forecast(torch.zeros(()), quantiles=torch.zeros(13)).probability().item() == pytest.approx(0.01)


def test_each_reaches_every_tensor_and_leaves_the_axis_of_the_quantiles() -> None:
    forecast = build_head(8, "joint_quantile")(torch.randn(6, 4, 8))
    parted = forecast.each(lambda part: part.unflatten(0, (3, 2)))
    assert parted.position.shape == (3, 2, 4)
    assert parted.quantiles.shape == (3, 2, 4, 13)
    assert torch.equal(parted.quantiles[1, 1], forecast.quantiles[3])
    assert parted.mean is None
