"""How sure weights and their gain are, against refits of every draw."""

import numpy as np
import pytest
from scipy.special import expit

from tft_pipeline.domain.bar_bootstrap import BarBlocks
from tft_pipeline.domain.classification import log_loss
from tft_pipeline.domain.ensemble import ensemble_weights
from tft_pipeline.domain.ensemble_draws import (
    LossDifference,
    loss_difference,
    row_losses,
    simplex_minima,
    weight_draws,
    weight_intervals,
)
from tft_pipeline_tests.domain.test_bar_bootstrap import drawn_bars

NAMES = ("lgbm", "tft", "sentiment")


def views(
    n_bars: int, seed: int, spreads: tuple[float, ...] = (0.8, 1.2, 1.5), scale: float = 1.0
) -> tuple[dict[str, np.ndarray | None], np.ndarray, np.ndarray]:
    """Two rows a bar; each source sees the truth through its own noise."""
    rng = np.random.default_rng(seed)
    signal = scale * rng.normal(0.0, 1.0, 2 * n_bars)
    y = (rng.uniform(size=signal.size) < expit(signal)).astype(int)
    seen = {name: expit(signal + scale * rng.normal(0.0, s, y.size)) for name, s in zip(NAMES, spreads, strict=False)}
    return seen, y, np.repeat(np.arange(n_bars), 2)


@pytest.mark.parametrize(("n_bars", "scale", "l2"), [(60, 1.0, 0.0), (300, 1.0, 0.01), (300, 3.0, 0.0)])
def test_one_newton_step_comes_to_the_weights_of_a_refit_of_every_draw(n_bars, scale, l2):
    found, y, bar = views(n_bars, 1, scale=scale)
    fit = ensemble_weights(found, y, l2=l2)
    blocks = BarBlocks(n_bars=n_bars, block_length=5, seed=0, n_draws=80)
    refits = []
    for bars in drawn_bars(blocks):
        rows = (2 * bars[:, None] + np.arange(2)).ravel()
        refits.append(list(ensemble_weights({k: p[rows] for k, p in found.items()}, y[rows], l2=l2).weights.values()))
    draws = weight_draws(fit, found, y, bar, blocks, l2=l2)
    assert np.abs(draws - np.array(refits)).mean() < 0.012
    np.testing.assert_allclose(
        np.quantile(draws, [0.1, 0.9], axis=0), np.quantile(refits, [0.1, 0.9], axis=0), atol=0.04
    )


@pytest.mark.parametrize("seed", range(6))
def test_no_point_of_the_simplex_is_lower_than_the_minimum(seed):
    rng = np.random.default_rng(seed)
    k = 2 + seed % 3
    root = rng.normal(0.0, 1.0, (k, k))
    quadratic, linear = root @ root.T + 0.1 * np.eye(k), rng.normal(0.0, 2.0, k)
    found = simplex_minima(quadratic[None], linear[None])[0]
    assert found.sum() == pytest.approx(1.0)
    assert (found >= 0.0).all()

    def value(w: np.ndarray) -> float:
        return float(w @ quadratic @ w / 2.0 + linear @ w)

    others = rng.dirichlet(np.full(k, 0.5), 20_000)
    assert value(found) <= min(np.einsum("ni,ij,nj->n", others, quadratic, others) / 2.0 + others @ linear) + 1e-12
    corners = np.eye(k)
    assert value(found) <= min(value(corner) for corner in corners) + 1e-12


def test_sources_that_say_the_same_share_the_weight_and_a_single_one_has_it_all():
    found, y, bar = views(100, 3, (0.8,))
    twice = {"a": found["lgbm"], "b": found["lgbm"], "none": None}
    intervals, _ = weight_intervals(ensemble_weights(twice, y), twice, y, bar, l2=0.0, horizon=1, seed=0)
    assert set(intervals) == {"a", "b"}
    for low, high in intervals.values():
        assert (low, high) == pytest.approx((0.5, 0.5), abs=1e-3)
    intervals, length = weight_intervals(ensemble_weights(found, y), found, y, bar, l2=0.0, horizon=6, seed=0)
    assert intervals == {"lgbm": [1.0, 1.0]}
    assert length == 6


def test_the_interval_of_a_weight_holds_the_weights_of_fresh_samples_and_narrows_with_more_bars():
    """95 % intervals of 40 samples hold the weight of a very long one about as often as they say."""
    long, y, _ = views(40_000, 99, (0.8, 1.2))
    best = ensemble_weights(long, y).weights["lgbm"]
    held = 0
    widths = {}
    for n_bars in (300, 1200):
        spans = []
        for seed in range(40):
            found, y, bar = views(n_bars, seed, (0.8, 1.2))
            fit = ensemble_weights(found, y)
            low, high = weight_intervals(fit, found, y, bar, l2=0.0, horizon=1, seed=seed)[0]["lgbm"]
            spans.append(high - low)
            held += low <= best <= high
        widths[n_bars] = np.mean(spans)
    assert 0.86 <= held / 80 <= 1.0
    assert widths[1200] == pytest.approx(widths[300] / 2.0, rel=0.15)


def test_the_loss_of_a_row_averages_to_the_log_loss_and_stays_finite():
    assert row_losses(np.array([1, 0]), np.array([0.25, 0.25])) == pytest.approx([np.log(4.0), np.log(4.0 / 3.0)])
    y, certain = np.array([1, 0, 1, 0]), np.array([0.0, 1.0, 1.0, 0.0])  # two of them wrong
    assert row_losses(y, certain).mean() == pytest.approx(log_loss(y, certain), rel=1e-12)


def compared(alone: np.ndarray, blend: np.ndarray, y: np.ndarray, bar: np.ndarray) -> LossDifference:
    half = y.size // 2
    cut = [(part[:half], part[half:]) for part in (y, alone, blend)]
    return loss_difference("tft", *cut, bar, horizon=1, seed=0)


def test_a_blend_that_adds_knowledge_is_better_and_one_that_adds_noise_is_worse():
    found, y, bar = views(1500, 5, (0.9, 0.9))
    mean = (found["lgbm"] + found["tft"]) / 2.0
    better = compared(found["tft"], mean, y, bar)
    assert better.difference == pytest.approx(row_losses(y, found["tft"]).mean() - row_losses(y, mean).mean())
    assert better.verdict == "better"
    assert "better than tft alone: its log loss is lower by 0.0" in better.sentence()
    worse = compared(mean, found["tft"], y, bar)
    assert worse.verdict == "worse"
    assert worse.difference == pytest.approx(-better.difference)
    assert worse.interval == pytest.approx([-better.interval[1], -better.interval[0]])
    assert "higher by 0.0" in worse.sentence()
    assert "(95 % -" not in worse.sentence()  # the interval reads in the direction of the word


def test_a_small_gain_on_few_bars_is_not_shown_and_none_at_all_is_called_equal():
    found, y, bar = views(60, 6, (0.9, 0.9))
    slight = np.clip(found["tft"] + np.random.default_rng(0).normal(0.0, 0.02, y.size), 0.01, 0.99)
    assert "not shown to be better than tft alone" in compared(found["tft"], slight, y, bar).sentence()
    same = compared(found["tft"], found["tft"], y, bar)
    assert (same.difference, same.interval, same.verdict) == (0.0, [0.0, 0.0], "equal")
    few = compared(found["tft"][:20], found["lgbm"][:20], y[:20], bar[:20])
    assert few.interval is None
    assert few.verdict == "not shown"
    assert "no interval: 10 bars are too few" in few.sentence()
