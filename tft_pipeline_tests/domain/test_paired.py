"""The paired difference of two Sharpe ratios against arch, simulation and its own limits."""

import statistics

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap

from tft_pipeline.domain.bootstrap import resample_indices
from tft_pipeline.domain.paired import PairedDifference, paired_sharpe_difference
from tft_pipeline.domain.sharpe import sharpe_ratio


def pair(correlation: float, n: int = 800, *, edge: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two series of 1 % a bar; the first earns `edge` standard deviations a bar more."""
    shared, one, other = np.random.default_rng(seed).standard_normal((3, n))
    mix = np.sqrt(1.0 - correlation)
    return (
        0.01 * (np.sqrt(correlation) * shared + mix * one + 0.03 + edge),
        0.01 * (np.sqrt(correlation) * shared + mix * other + 0.03),
    )


def difference(
    first: np.ndarray, second: np.ndarray, *, n_resamples: int = 999, block_length: float | None = None
) -> PairedDifference:
    return paired_sharpe_difference(
        first, second, bars_per_year=252.0, n_resamples=n_resamples, block_length=block_length, seed=1
    )


def width(found: PairedDifference) -> float:
    return found.high_annual - found.low_annual


def test_the_interval_agrees_with_arch_on_the_pair() -> None:
    first, second = pair(0.5, edge=0.05)
    first[1:] += 0.4 * first[:-1]  # blocks matter
    found = difference(first, second, n_resamples=4000, block_length=12.0)
    peer = StationaryBootstrap(12.0, first, second, seed=2)
    drawn = peer.apply(lambda x, y: np.array([x.mean() / x.std(ddof=1) - y.mean() / y.std(ddof=1)]), reps=4000)
    centre = sharpe_ratio(first) - sharpe_ratio(second)
    distance = np.abs(drawn[:, 0] - centre)
    assert found.difference_annual == pytest.approx(centre * np.sqrt(252.0))
    assert width(found) / 2.0 == pytest.approx(np.quantile(distance, 0.95) * np.sqrt(252.0), rel=0.06)
    assert found.p_value == pytest.approx((distance >= abs(centre)).mean(), abs=0.03)


def test_identical_series_differ_by_exactly_nothing() -> None:
    first, _ = pair(0.0)
    found = difference(first, first.copy())
    assert (found.difference_annual, found.low_annual, found.high_annual, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert found.correlation == pytest.approx(1.0)
    assert found.words() == "Sharpe equal: 0.00 [0.00, 0.00]"


def test_what_the_series_share_cancels() -> None:
    widths = [width(difference(*pair(correlation))) for correlation in (0.0, 0.5, 0.95)]
    assert widths[0] > widths[1] > widths[2]
    # var(SR1 - SR2) is 2 (1 - rho) / n for small Sharpe ratios
    expected = [2.0 * 1.96 * np.sqrt(2.0 * (1.0 - rho) / 800.0 * 252.0) for rho in (0.0, 0.5, 0.95)]
    np.testing.assert_allclose(widths, expected, rtol=0.15)


def test_exchanging_the_series_turns_the_sign() -> None:
    first, second = pair(0.5, edge=0.05)
    one, other = difference(first, second), difference(second, first)
    assert one.difference_annual == -other.difference_annual
    assert (one.low_annual, one.high_annual) == pytest.approx((-other.high_annual, -other.low_annual))
    assert one.p_value == other.p_value


def test_the_p_value_is_below_the_level_when_the_interval_leaves_zero_out() -> None:
    for edge in (0.0, 0.04, 0.06, 0.08, 0.2):
        found = difference(*pair(0.5, edge=edge))
        outside = found.low_annual > 0.0 or found.high_annual < 0.0
        assert outside == (found.p_value < 0.05)


def test_without_a_difference_one_in_twenty_is_found() -> None:
    small = [difference(*pair(0.6, 120, seed=seed), n_resamples=199).p_value < 0.05 for seed in range(300)]
    assert 0.02 < np.mean(small) < 0.10


def test_leverage_changes_nothing() -> None:
    first, second = pair(0.5, edge=0.05)
    assert difference(3.0 * first, second).difference_annual == pytest.approx(
        difference(first, second).difference_annual
    )


def test_words_read_in_the_direction_of_the_difference() -> None:
    first, second = pair(0.9, edge=0.2)
    assert difference(first, second).words().startswith("Sharpe higher by ")
    words = difference(second, first).words()
    found = difference(second, first)
    assert words == (
        f"Sharpe lower by {-found.difference_annual:.2f} [{-found.high_annual:.2f}, {-found.low_annual:.2f}], "
        "more than chance"
    )
    assert difference(*pair(0.0, edge=0.01)).words().endswith("within chance")


def test_equal_seeds_give_equal_intervals() -> None:
    first, second = pair(0.5)
    assert difference(first, second) == difference(first, second)
    other = paired_sharpe_difference(first, second, bars_per_year=252.0, seed=2)
    assert other.high_annual != difference(first, second).high_annual


def test_each_resample_takes_the_same_bars_of_both_and_ratios_of_ddof_1() -> None:
    first, second = pair(0.3, 12, seed=4)
    indices = resample_indices(12, 60, block_length=2.0, generator=np.random.default_rng(1))
    distance = []
    centre = sharpe_ratio(first) - sharpe_ratio(second)
    for row in indices:
        one, other = ([series[i] for i in row] for series in (first, second))
        drawn = statistics.mean(one) / statistics.stdev(one) - statistics.mean(other) / statistics.stdev(other)
        distance.append(abs(drawn - centre))
    found = difference(first, second, n_resamples=60, block_length=2.0)
    assert width(found) / 2.0 == pytest.approx(np.quantile(distance, 0.95) * np.sqrt(252.0))
    assert found.p_value == (1 + sum(d >= abs(centre) for d in distance)) / 61


def test_resamples_without_variance_are_drawn_again() -> None:
    first, second = np.array([0.0] * 9 + [1.0]), np.arange(10.0)
    found = difference(first, second, block_length=3.0, n_resamples=200)
    assert np.isfinite([found.low_annual, found.high_annual]).all()


def test_what_cannot_be_compared_is_refused() -> None:
    first, second = pair(0.0, 50)
    with pytest.raises(ValueError, match="same bars of both"):
        difference(first, second[:-1])
    with pytest.raises(ValueError, match="at least 8"):
        difference(first[:5], second[:5])
    with pytest.raises(ValueError, match="zero variance"):
        difference(first, np.zeros(50))
    with pytest.raises(ValueError, match="at least 8 finite"):
        difference(first, np.where(second == second[3], np.nan, second))
    with pytest.raises(ValueError, match="confidence"):
        paired_sharpe_difference(first, second, bars_per_year=252.0, confidence=95.0, seed=1)
    with pytest.raises(ValueError, match="at least 1"):
        difference(first, second, n_resamples=0)
