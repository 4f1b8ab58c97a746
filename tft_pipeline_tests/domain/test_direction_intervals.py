"""Intervals of a direction's figures against the same draws done row by row, and their coverage."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tft_pipeline.domain.bar_bootstrap import blocks_for, per_bar
from tft_pipeline.domain.classification import brier, expected_calibration_error, log_loss
from tft_pipeline.domain.direction_intervals import FIGURES, direction_intervals
from tft_pipeline.domain.ensemble_draws import row_losses


def rows(n_bars: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and bars of three symbols, too sure of themselves."""
    rng = np.random.default_rng(seed)
    bar = np.repeat(np.arange(n_bars), 3)
    truth = rng.uniform(0.3, 0.7, bar.size)
    y = (rng.uniform(size=bar.size) < truth).astype(int)
    return y, np.clip(0.5 + 1.6 * (truth - 0.5), 0.01, 0.99), bar


def test_each_interval_is_that_of_the_figure_on_the_drawn_rows() -> None:
    y, p, bar = rows(50, 1)
    found = direction_intervals(y, p, bar, horizon=2, seed=4)
    blocks = blocks_for([per_bar(row_losses(y, p), bar)[:, 0]], least=2, seed=4)
    drawn: dict[str, list[float]] = {name: [] for name in ("f1", "log_loss", "brier", "ece")}
    for starts in blocks.starts():
        bars = [(start + k) % 50 for start in starts for k in range(blocks.block_length)][:50]
        at = np.concatenate([np.flatnonzero(bar == one) for one in bars])
        drawn["f1"].append(float(f1_score(y[at], p[at] >= 0.5)))
        drawn["log_loss"].append(log_loss(y[at], p[at]))
        drawn["brier"].append(brier(y[at], p[at]))
        drawn["ece"].append(expected_calibration_error(y[at], p[at]))
    for name, values in drawn.items():
        assert found[name] == pytest.approx(np.quantile(values, [0.025, 0.975])), name
    assert found["block_bars"] == blocks.block_length
    assert found["reasons"] == {}


def test_more_bars_give_narrower_intervals_around_the_truth() -> None:
    few, many = (direction_intervals(*rows(n, 2), horizon=1, seed=1) for n in (60, 1500))
    for name in FIGURES:
        assert many[name][1] - many[name][0] < few[name][1] - few[name][0], name
    gap = float(np.mean(0.6 * np.abs(np.random.default_rng(0).uniform(-0.2, 0.2, 100_000))))
    low, high = many["ece"]
    assert low < gap + 0.02
    assert high > gap


def test_too_few_bars_have_no_interval_and_say_so() -> None:
    found = direction_intervals(*rows(12, 3), horizon=1, seed=1)
    assert all(found[name] is None and "12 bars are too few" in found["reasons"][name] for name in FIGURES)


def test_a_single_class_has_no_area_and_nothing_predicted_no_f1() -> None:
    _, p, bar = rows(60, 5)
    found = direction_intervals(np.zeros(bar.size, int), np.minimum(p, 0.49), bar, horizon=1, seed=1)
    assert found["auc_roc"] is None
    assert "of one class" in found["reasons"]["auc_roc"]
    assert found["f1"] is None
    assert "no row is labelled or predicted 1" in found["reasons"]["f1"]
    assert found["brier"] is not None
