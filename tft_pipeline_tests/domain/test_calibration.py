import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from tft_pipeline.domain.calibration import Calibration, calibrate


def overconfident(seed: int, n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 1, n)
    y = (rng.uniform(0, 1, n) < expit(0.4 * score - 0.3)).astype(int)
    return expit(2.0 * score), y


@pytest.mark.parametrize("seed", range(4))
def test_slope_and_intercept_equal_an_unpenalised_logistic_regression(seed):
    p, y = overconfident(seed)
    peer = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(p)[:, None], y)
    found = calibrate(p, y, ridge=1e-9)
    assert (found.slope, found.intercept) == pytest.approx((peer.coef_[0, 0], peer.intercept_[0]), abs=1e-5)


def test_the_true_relation_is_recovered():
    p, y = overconfident(9, 200_000)
    found = calibrate(p, y)
    assert (found.slope, found.intercept) == pytest.approx((0.2, -0.3), abs=0.015)


def test_a_calibrated_mean_is_the_base_rate():
    p, y = overconfident(5)
    assert calibrate(p, y, ridge=1e-9).apply(p).mean() == pytest.approx(y.mean(), abs=1e-8)


def test_the_identity_leaves_probabilities_alone():
    p = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(Calibration(1.0, 0.0).apply(p), p)


def test_labels_that_separate_perfectly_give_finite_values_and_a_larger_ridge_a_smaller_slope():
    p, y = np.array([0.2, 0.3, 0.7, 0.8] * 20), np.array([0, 0, 1, 1] * 20)
    loose, tight = calibrate(p, y, ridge=1e-3), calibrate(p, y, ridge=1.0)
    assert 1.0 < tight.slope < loose.slope < 100.0


def test_certain_probabilities_can_be_calibrated():
    found = calibrate(np.array([0.0, 1.0, 1.0, 0.0, 0.5]), np.array([0, 1, 0, 1, 1]))
    assert np.isfinite([found.slope, found.intercept]).all()


def test_rows_that_cannot_be_calibrated_are_refused():
    with pytest.raises(ValueError, match="join them"):
        calibrate(np.full(3, 0.5), np.array([0, 1]))
    with pytest.raises(ValueError, match="0 and 1"):
        calibrate(np.full(2, 0.5), np.array([0, 3]))
    with pytest.raises(ValueError, match="inside"):
        calibrate(np.array([0.5, np.nan]), np.array([0, 1]))
    with pytest.raises(ValueError, match="ridge"):
        calibrate(np.full(2, 0.5), np.array([0, 1]), ridge=0.0)
