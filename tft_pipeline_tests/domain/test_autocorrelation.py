import math

import numpy as np
import pytest
from scipy.signal import lfilter

from tft_pipeline.domain.autocorrelation import lo_eta


def autoregressive(phi: float, n: int, seed: int = 0) -> np.ndarray:
    return lfilter([1.0], [1.0, -phi], np.random.default_rng(seed).normal(0.001, 0.01, n))


def test_the_factor_equals_its_sum_written_out():
    x = autoregressive(0.3, 400)
    d = x - x.mean()
    q = 21
    total = float(q)
    for k in range(1, q):
        rho = sum(d[t] * d[t - k] for t in range(k, d.size)) / sum(value * value for value in d)
        total += 2.0 * (q - k) * rho
    assert lo_eta(x, q) == pytest.approx(q / math.sqrt(total), rel=1e-10)


def test_one_bar_and_no_lags_give_the_square_root_rule():
    x = autoregressive(0.3, 100)
    assert lo_eta(x, 1) == pytest.approx(1.0)
    assert lo_eta(x, 252, max_lag=0) == pytest.approx(math.sqrt(252.0))


def test_the_factor_turns_the_ratio_of_a_bar_into_that_of_many():
    x = autoregressive(0.5, 400_000, seed=1)
    q = 20
    sums = x.reshape(-1, q).sum(axis=1)
    measured = (sums.mean() / sums.std()) / (x.mean() / x.std())
    assert lo_eta(x, q) == pytest.approx(measured, rel=0.02)
    assert lo_eta(x, q) < 0.7 * math.sqrt(q)  # momentum in returns: the square root rule flatters


def test_impossible_requests_are_refused():
    x = autoregressive(0.0, 50)
    with pytest.raises(ValueError, match="fewer lags than returns"):
        lo_eta(x, 252)
    with pytest.raises(ValueError, match="q 0"):
        lo_eta(x, 0)
    with pytest.raises(ValueError, match="finite series that varies"):
        lo_eta(np.ones(10), 2)
    swing = np.where(np.arange(60) % 2, 1.0, -1.0)
    with pytest.raises(ValueError, match="smaller max_lag"):
        lo_eta(swing, 252, max_lag=1)
