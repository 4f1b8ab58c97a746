"""Positions and probabilities of the three heads."""

import numpy as np
import pytest
import torch
from scipy import stats

from tft_pipeline.model.heads import LossMode, build_head
from tft_pipeline_tests.oracles import network as oracle
from tft_pipeline_tests.oracles.model_panels import arrays, randomised


@pytest.mark.parametrize("mode", ["sharpe", "joint_mle", "bce"])
def test_positions_stay_inside_one_for_extreme_states(mode: LossMode) -> None:
    forecast = build_head(8, mode)(1e3 * torch.randn(100, 8))
    assert forecast.position.abs().max() <= 1.0
    assert torch.isfinite(forecast.position).all()


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
