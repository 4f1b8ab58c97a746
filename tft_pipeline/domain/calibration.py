"""Make probabilities mean what they say: Platt scaling. Not here: blending of sources (`ensemble`), the error measure
(`classification`)."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from tft_pipeline.domain.classification import MARGIN, log_loss


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: p' = 1 / (1 + exp(-(slope * logit(p) + intercept)))."""

    slope: float
    intercept: float

    def apply(self, probability: np.ndarray) -> np.ndarray:
        """(n,) -> (n,)."""
        p = np.clip(np.asarray(probability, dtype=np.float64), MARGIN, 1.0 - MARGIN)
        return np.asarray(expit(self.slope * logit(p) + self.intercept))


def calibrate(probability: np.ndarray, y: np.ndarray, *, ridge: float = 1e-3) -> Calibration:
    """Logistic regression of y on logit(p) by Newton steps.

        min  sum log loss + ridge/2 [ (slope - 1)^2 + intercept^2 ]

    The small ridge pulls to the identity, so that labels the source separates perfectly give finite values.

    Raises:
        ValueError: rows that do not fit, ridge <= 0.
        RuntimeError: no convergence.
    Source: Platt (1999), with the probability's log odds in place of a margin.
    """
    if not ridge > 0.0:
        raise ValueError(f"ridge {ridge} is not positive: separable labels would have no finite slope")
    p = np.asarray(probability, dtype=np.float64)
    log_loss(y, p)  # raises on rows that do not fit, labels that are not 0 and 1, values that are no probabilities
    truth = np.asarray(y, dtype=np.float64)
    design = np.stack([logit(np.clip(p, MARGIN, 1.0 - MARGIN)), np.ones(truth.size)], axis=1)
    identity = np.array([1.0, 0.0])

    def loss(theta: np.ndarray) -> float:
        score = design @ theta
        return float((np.logaddexp(0.0, score) - truth * score).sum() + ridge / 2.0 * ((theta - identity) ** 2).sum())

    theta = identity.copy()
    for _ in range(200):
        p = expit(design @ theta)
        gradient = design.T @ (p - truth) + ridge * (theta - identity)
        hessian = (design * (p * (1.0 - p))[:, None]).T @ design + ridge * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        decrement = float(gradient @ step)
        if decrement < 1e-12 * max(1.0, loss(theta)):
            return Calibration(slope=float(theta[0] - step[0]), intercept=float(theta[1] - step[1]))
        length = 1.0
        while loss(theta - length * step) > loss(theta) - 1e-4 * length * decrement and length > 1e-10:
            length /= 2.0
        theta = theta - length * step
    raise RuntimeError(f"calibration did not converge in 200 Newton steps (slope {theta[0]:g}, intercept {theta[1]:g})")
