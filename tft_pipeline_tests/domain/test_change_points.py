"""Change-points against a loop, against scipy's distributions, and under changes of the future."""

import numpy as np
import pytest
from scipy import integrate, stats

from tft_pipeline.domain import change_points
from tft_pipeline.domain.change_points import change_alarms, closed_segments
from tft_pipeline_tests.oracles import context as oracle


def _returns(seed: int, *, n_symbols: int = 6, n_bars: int = 300) -> np.ndarray:
    """Regimes of about 40 bars with their own mean and spread, heavy tails, missing bars, a late listing."""
    random = np.random.default_rng(seed)
    shape = (n_symbols, n_bars)
    regime = np.cumsum(random.random(shape) < 1 / 40, axis=1) % 7
    mean, spread = random.normal(0, 0.7, 7)[regime], np.exp(random.normal(0, 0.6, 7))[regime]
    returns = 0.01 * (mean + spread * random.standard_t(4, shape))
    returns[random.random(shape) < 0.05] = np.nan
    returns[0, : n_bars // 4] = np.nan
    return returns


@pytest.mark.parametrize("seed", range(4))
def test_alarms_equal_a_loop_over_bars(seed: int) -> None:
    returns = _returns(seed)
    expected = [oracle.alarms(row.tolist()) for row in returns]
    assert [np.flatnonzero(row).tolist() for row in change_alarms(returns)] == expected
    assert sum(map(len, expected)) > 10


@pytest.mark.parametrize("bar", [40, 151, 222])
def test_what_comes_after_a_bar_changes_no_alarm_and_no_segment_up_to_it(bar: int) -> None:
    returns = _returns(9)
    changed = returns.copy()
    changed[:, bar + 1 :] = 5.0 * np.random.default_rng(1).standard_normal(changed[:, bar + 1 :].shape)
    np.testing.assert_array_equal(change_alarms(changed)[:, : bar + 1], change_alarms(returns)[:, : bar + 1])
    np.testing.assert_array_equal(change_alarms(returns[:, : bar + 1]), change_alarms(returns)[:, : bar + 1])
    before, after = (
        {(s, a, e) for s, a, e in zip(x.symbol, x.first, x.last, strict=True) if e <= bar}
        for x in (closed_segments(returns), closed_segments(changed))
    )
    assert before == after
    assert len(before) > 3


def test_segments_found_backwards_would_know_their_future() -> None:
    """The leak of a backward pass, and that the comparison above sees it."""
    returns = _returns(9)
    changed = returns.copy()
    changed[:, 152:] = 5.0 * np.random.default_rng(1).standard_normal(changed[:, 152:].shape)
    backward, backward_changed = (change_alarms(x[:, ::-1])[:, ::-1][:, :152] for x in (returns, changed))
    assert not np.array_equal(backward, backward_changed)


def test_scores_are_close_to_the_normal_value_of_equal_probability() -> None:
    t = np.linspace(-5.0, 5.0, 41)
    for freedom, tolerance in ((2, 0.05), (5, 0.01), (30, 0.001)):
        exact = np.clip(stats.norm.ppf(stats.t.cdf(t, freedom)), -2.5, 2.5)
        ours = np.clip(change_points._normal_score(t, np.full(41, float(freedom))), -2.5, 2.5)
        np.testing.assert_allclose(ours, exact, atol=tolerance)


def test_constants_are_the_moments_of_the_root_of_a_normal_value() -> None:
    mean, _ = integrate.quad(lambda z: 2.0 * np.sqrt(z) * stats.norm.pdf(z), 0, np.inf)
    square, _ = integrate.quad(lambda z: 2.0 * z * stats.norm.pdf(z), 0, np.inf)
    np.testing.assert_allclose(change_points.ROOT_MEAN, mean, atol=1e-8)
    np.testing.assert_allclose(change_points.ROOT_DEVIATION, np.sqrt(square - mean**2), atol=1e-8)


def test_normal_noise_alarms_once_in_about_115_bars() -> None:
    noise = np.random.default_rng(0).standard_normal((300, 4_000))
    assert 4_000 * 300 / change_alarms(noise).sum() == pytest.approx(115, rel=0.05)


@pytest.mark.parametrize(("shift", "factor"), [(2.0, 1.0), (-2.0, 1.0), (0.0, 4.0), (0.0, 0.1)])
def test_a_change_of_mean_or_spread_is_found_within_twenty_bars(shift: float, factor: float) -> None:
    noise = np.random.default_rng(2).standard_normal((400, 60))
    changed = noise.copy()
    changed[:, 40:] = shift + factor * changed[:, 40:]
    quiet = ~change_alarms(noise)[:, 10:].any(1)
    assert change_alarms(changed)[quiet, 40:].any(1).mean() > 0.9
    assert quiet.mean() > 0.5


def test_the_unit_and_the_level_of_returns_do_not_matter() -> None:
    returns = _returns(3)
    np.testing.assert_array_equal(change_alarms(2.0**-9 * returns), change_alarms(returns))
    np.testing.assert_array_equal(change_alarms(1.5 + returns), change_alarms(returns))


def test_a_missing_return_is_passed_over() -> None:
    returns = _returns(5)
    without = np.array([3, 77, 78, 190])
    gaps = np.insert(returns, without, np.nan, axis=1)
    kept = np.ones(gaps.shape[1], dtype=bool)
    kept[without + np.arange(4)] = False
    alarms = change_alarms(gaps)
    np.testing.assert_array_equal(alarms[:, kept], change_alarms(returns))
    assert not alarms[:, ~kept].any()


def test_one_jump_is_no_change_and_no_spread_is_no_score() -> None:
    noise = np.random.default_rng(7).standard_normal((1, 20)) * np.r_[np.ones(15), np.full(5, 0.8)]
    assert not change_alarms(noise).any()
    noise[0, 15] = 1e6
    assert not change_alarms(noise)[0, :16].any()
    assert not change_alarms(np.full((2, 50), 0.25)).any()


def test_segments_lie_end_to_end_from_the_first_return_to_the_last_alarm() -> None:
    returns = _returns(6)
    found, alarms = closed_segments(returns), change_alarms(returns)
    for s, row in enumerate(returns):
        first, last = found.first[found.symbol == s], found.last[found.symbol == s]
        assert last.tolist() == np.flatnonzero(alarms[s]).tolist()
        assert first[0] == np.flatnonzero(np.isfinite(row))[0]
        np.testing.assert_array_equal(first[1:], last[:-1] + 1)
        assert (last - first >= 5).all()


def test_symbols_without_alarm_or_without_returns_have_no_segment() -> None:
    returns = _returns(6)
    returns[2] = np.nan
    returns[4] = np.arange(returns.shape[1]) % 2
    assert set(closed_segments(returns).symbol) == {0, 1, 3, 5}
    assert not len(closed_segments(np.full((2, 30), np.nan)).last)
