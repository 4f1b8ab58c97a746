"""How often a drift report alarms: without drift about as often as asked for, with drift nearly always.

The rates of docs and docstrings come from `benchmarks/drift.py --size` and `--power`; here few repeats, wide limits.
"""

import numpy as np
import pytest
from scipy.signal import lfilter

from tft_pipeline.domain.drift import drift_report
from tft_pipeline.domain.drift_outputs import performance_drift

PHIS = (0.0, 0.5, 0.8, 0.95)
POWER_WINDOWS = {0.0: 60, 0.5: 120, 0.8: 250, 0.95: 1000}


def autoregressive(rng: np.random.Generator, bars: int, features: int, phi: float) -> np.ndarray:
    """(bars, features) of unit variance."""
    noise = rng.normal(0, 1, (bars + 200, features))
    return np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=0)[200:] * np.sqrt(1 - phi**2))


def significant(x: np.ndarray, n_reference: int, alpha: float = 0.05) -> bool:
    sides = [{str(v): part[:, v] for v in range(x.shape[1])} for part in (x[:n_reference], x[n_reference:])]
    p = drift_report(*sides).family_p_value
    assert p is not None
    return p <= alpha


def size(repeats: int, phi: float, references: int, window: int = 60, features: int = 4) -> float:
    rng = np.random.default_rng([5, int(100 * phi), references])
    x = (autoregressive(rng, (references + 1) * window, features, phi) for _ in range(repeats))
    return float(np.mean([significant(each, references * window) for each in x]))


def power(repeats: int, phi: float) -> float:
    rng, window = np.random.default_rng([6, int(100 * phi)]), POWER_WINDOWS[phi]
    found = 0
    for _ in range(repeats):
        x = autoregressive(rng, 21 * window, 4, phi)
        x[20 * window :, 0] += 1.0
        found += significant(x, 20 * window)
    return found / repeats


@pytest.mark.parametrize("phi", [0.0, 0.95])
def test_without_drift_alarms_stay_near_the_level_that_was_asked_for(phi):
    assert 0.01 <= size(150, phi, 20) <= 0.10  # 5 % +- 3 standard errors of 1.8 %


@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_a_shift_of_one_deviation_is_found(phi):
    assert power(30, phi) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("phi", PHIS)
@pytest.mark.parametrize("references", [7, 14, 30])
def test_alarms_without_drift_are_five_percent_within_two(phi, references):
    assert 0.03 - 0.014 <= size(1000, phi, references) <= 0.07 + 0.014  # and two standard errors of the simulation


@pytest.mark.slow
@pytest.mark.parametrize("phi", PHIS)
def test_nine_of_ten_shifts_of_one_deviation_are_found(phi):
    assert power(200, phi) >= 0.9


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_a_model_that_stays_as_it_is_is_called_worse_about_as_often_as_asked_for(phi):
    rng = np.random.default_rng([7, int(100 * phi)])
    p = [
        performance_drift(x, measure="portfolio_return", n_recent=60).p_value
        for x in autoregressive(rng, 21 * 60, 400, phi).T
    ]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.085
