"""Intervals from blocks of bars, against draws that are strung together bar by bar."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from tft_pipeline.domain.bar_bootstrap import (
    BarBlocks,
    auc_interval,
    blocks_for,
    dense_bars,
    mean_interval,
    per_bar,
    percentiles,
)


def drawn_bars(blocks: BarBlocks) -> list[np.ndarray]:
    """The bars of each draw, block by block around the end."""
    found = []
    for starts in blocks.starts():
        bars = [(start + k) % blocks.n_bars for start in starts for k in range(blocks.block_length)]
        found.append(np.array(bars[: blocks.n_bars]))
    return found


@settings(max_examples=25)
@given(n_bars=st.integers(1, 40), length=st.integers(1, 40), seed=st.integers(0, 99))
def test_sums_are_those_of_bars_drawn_one_by_one(n_bars, length, seed):
    blocks = BarBlocks(n_bars=n_bars, block_length=min(length, n_bars), seed=seed, n_draws=6)
    terms = np.random.default_rng(seed).normal(0.0, 1.0, (n_bars, 3))
    by_hand = np.array([terms[bars].sum(axis=0) for bars in drawn_bars(blocks)])
    np.testing.assert_allclose(blocks.sums(terms), by_hand, atol=1e-10)
    np.testing.assert_allclose(blocks.sums(np.ones((n_bars, 1))), n_bars)  # every draw has as many bars as the data


def test_rows_are_added_up_by_bar():
    bar = dense_bars(np.array([70, 30, 30, 70, 90]))
    np.testing.assert_array_equal(bar, [1, 0, 0, 1, 2])
    np.testing.assert_array_equal(per_bar(np.array([1.0, 2.0, 4.0, 8.0, 16.0]), bar), [[6.0], [9.0], [16.0]])


def rows(n_bars: int, n_symbols: int, seed: int, shared: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that know a little of labels which share a shock a bar; the bar of each row."""
    rng = np.random.default_rng(seed)
    bar = np.repeat(np.arange(n_bars), n_symbols)
    move = rng.normal(0.0, 1.0, bar.size) + shared * rng.normal(0.0, 1.0, n_bars)[bar]
    return (move > 0.0).astype(int), move + rng.normal(0.0, 2.0, bar.size), bar


def test_the_interval_of_a_mean_is_that_of_the_drawn_rows_even_where_bars_have_unlike_many():
    rng = np.random.default_rng(1)
    bar = np.repeat(np.arange(60), rng.integers(1, 5, 60))
    values = rng.normal(0.0, 1.0, bar.size)
    blocks = BarBlocks(n_bars=60, block_length=4, seed=3)
    by_hand = [np.concatenate([values[bar == b] for b in bars]).mean() for bars in drawn_bars(blocks)]
    assert mean_interval(values, bar, blocks) == pytest.approx(percentiles(np.array(by_hand)))


def test_the_interval_of_an_area_is_that_of_areas_of_drawn_rows():
    y, score, bar = rows(300, 2, 5)
    score = np.round(score, 1)  # ties
    blocks = BarBlocks(n_bars=300, block_length=5, seed=2, n_draws=120)
    pairs = np.stack([np.flatnonzero(bar == b) for b in range(300)])
    by_hand = [metrics.roc_auc_score(y[pairs[bars].ravel()], score[pairs[bars].ravel()]) for bars in drawn_bars(blocks)]
    assert auc_interval(y, score, bar, blocks) == pytest.approx(np.quantile(by_hand, [0.025, 0.975]), abs=0.004)


def test_the_interval_of_an_area_gives_each_class_its_own_weight_where_one_is_rare():
    """One in ten is a 1: the width of a 1's placement and of a 0's differ ninefold, so that neither can stand for the other."""
    rng = np.random.default_rng(11)
    y = (rng.uniform(size=900) < 0.1).astype(int)
    score = np.where(y == 1, rng.normal(0.8, 1.0, 900), rng.normal(0.0, 1.0, 900))
    blocks = BarBlocks(n_bars=900, block_length=4, seed=3, n_draws=300)
    by_hand = np.array([metrics.roc_auc_score(y[bars], score[bars]) for bars in drawn_bars(blocks)])
    low, high = auc_interval(y, score, np.arange(900), blocks)
    assert high - low == pytest.approx(np.ptp(np.quantile(by_hand, [0.025, 0.975])), rel=0.06)
    assert [low, high] == pytest.approx(np.quantile(by_hand, [0.025, 0.975]), abs=0.006)
    mirrored = auc_interval(1 - y, -score, np.arange(900), blocks)  # nine in ten are a 1
    assert mirrored == pytest.approx([low, high])


def test_symbols_that_move_together_widen_the_interval_and_copies_do_not_narrow_it():
    def width(n_symbols: int, shared: float) -> float:
        y, _, bar = rows(2000, n_symbols, 7, shared)
        low, high = mean_interval(y.astype(float), bar, BarBlocks(n_bars=2000, block_length=1, seed=0))
        return high - low

    independent, together = width(10, 0.0), width(10, 5.0)
    assert together > 2.0 * independent
    y, _, bar = rows(500, 1, 8)
    once = mean_interval(y.astype(float), bar, BarBlocks(n_bars=500, block_length=3, seed=0))
    copies = mean_interval(
        np.repeat(y, 4).astype(float), np.repeat(bar, 4), BarBlocks(n_bars=500, block_length=3, seed=0)
    )
    assert copies == pytest.approx(once)


def test_the_interval_covers_the_true_mean_of_autocorrelated_bars_about_as_often_as_it_says():
    """AR(1) of 0.5, where blocks of one bar would cover in 0.75 of the cases."""
    rng = np.random.default_rng(0)
    covered = alone = 0
    for k in range(200):
        shocks = rng.normal(0.0, 1.0, 450)
        series = np.zeros(450)
        for t in range(1, 450):
            series[t] = 0.5 * series[t - 1] + shocks[t]
        series, bar = series[50:], np.arange(400)
        blocks = blocks_for([series], least=1, seed=k, n_draws=200)
        low, high = mean_interval(series, bar, blocks)
        covered += low <= 0.0 <= high
        low, high = mean_interval(series, bar, BarBlocks(n_bars=400, block_length=1, seed=k, n_draws=200))
        alone += low <= 0.0 <= high
    assert 0.86 <= covered / 200 <= 0.98
    assert alone / 200 < 0.82


def test_blocks_are_as_long_as_labels_look_ahead_and_longer_where_bars_remember():
    rng = np.random.default_rng(4)
    noise = rng.normal(0.0, 1.0, 400)
    slow = np.convolve(noise, np.ones(20), mode="same")
    short = blocks_for([noise], least=1, seed=0).block_length
    assert blocks_for([noise], least=17, seed=0).block_length == max(17, short)
    assert blocks_for([noise, slow], least=1, seed=0).block_length > 2 * short
    assert blocks_for([np.ones(40)], least=3, seed=0).block_length == 3
    assert blocks_for([noise], least=9999, seed=0).block_length == 400


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="29 bars are too few to draw blocks from: 30 are needed"):
        blocks_for([np.arange(29.0)], least=1, seed=0)
    with pytest.raises(ValueError, match="block_length 5, n_bars 4"):
        BarBlocks(n_bars=4, block_length=5, seed=0)
    with pytest.raises(ValueError, match=r"shape \(3, 1\) for 4 bars"):
        BarBlocks(n_bars=4, block_length=2, seed=0).sums(np.ones((3, 1)))
    with pytest.raises(ValueError, match="one class"):
        auc_interval(np.ones(40), np.ones(40), np.arange(40), BarBlocks(n_bars=40, block_length=2, seed=0))
