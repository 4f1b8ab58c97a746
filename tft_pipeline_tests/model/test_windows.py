"""Which bars blocks hold, and what a panel becomes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.windows import (
    BlockBatches,
    block_bars,
    covering_starts,
    panel_tensors,
    training_starts,
)
from tft_pipeline_tests.oracles.model_panels import random_panel

ALL = torch.ones(500, dtype=torch.bool)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(n=st.integers(20, 300), lookback=st.integers(8, 20), warmup=st.integers(0, 7), seed=st.integers(0, 99))
def test_an_epoch_scores_no_bar_twice_and_leaves_only_edges_out(n: int, lookback: int, warmup: int, seed: int) -> None:
    starts = training_starts(n, lookback=lookback, warmup=warmup, generator=_generator(seed))
    bars = block_bars(starts, lookback)
    assert bars.min() >= 0
    assert bars.max() < n
    scored = sorted(bars[:, warmup:].flatten().tolist())
    assert scored == list(range(scored[0], scored[-1] + 1))
    stride = lookback - warmup
    assert scored[0] - warmup < stride
    assert n - 1 - scored[-1] < stride


def test_epochs_differ_in_offset_and_order_and_a_seed_repeats_them() -> None:
    def epochs(seed: int) -> list[list[int]]:
        batches = BlockBatches(ALL[:100], lookback=16, warmup=4, batch_blocks=3, seed=seed)
        return [torch.cat(list(batches)).tolist() for _ in range(4)]

    assert epochs(5) == epochs(5)
    assert epochs(5) != epochs(6)
    assert len({min(starts) for starts in epochs(5)}) > 1
    assert any(starts != sorted(starts) for starts in epochs(5))


def test_many_epochs_score_every_bar_behind_the_first_warmup() -> None:
    batches = BlockBatches(ALL[:61], lookback=16, warmup=4, batch_blocks=3, seed=0)
    counts = np.zeros(61)
    for _ in range(200):
        for starts in batches:
            np.add.at(counts, block_bars(starts, 16)[:, 4:].flatten().numpy(), 1)
    assert (counts[:4] == 0).all()
    assert (counts[4:] > 0).all()


def test_batches_of_an_epoch_differ_by_one_block_at_most() -> None:
    sizes = [len(starts) for starts in BlockBatches(ALL[:100], lookback=16, warmup=8, batch_blocks=4, seed=1)]
    assert max(sizes) <= 4
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("lone", [4, 30, 99])
def test_blocks_without_a_scored_bar_are_left_out_and_a_lone_one_is_found(lone: int) -> None:
    scored = torch.zeros(100, dtype=torch.bool)
    scored[lone] = True
    batches = BlockBatches(scored, lookback=16, warmup=4, batch_blocks=3, seed=1)
    for _ in range(20):
        (starts,) = batches
        assert lone in block_bars(starts, 16)[:, 4:].flatten().tolist()


def test_fewer_training_bars_than_a_window_are_refused() -> None:
    with pytest.raises(ValueError, match="15 training bars < lookback 16"):
        training_starts(15, lookback=16, warmup=4, generator=_generator())


@given(first=st.integers(30, 60), n=st.integers(1, 90), lookback=st.integers(8, 20), warmup=st.integers(0, 7))
def test_covering_blocks_score_each_bar_once_behind_a_warmup(first: int, n: int, lookback: int, warmup: int) -> None:
    starts, picked = covering_starts(first, first + n, lookback=lookback, warmup=warmup)
    bars = block_bars(starts, lookback)
    assert bars[picked].tolist() == list(range(first, first + n))
    assert not picked[:, :warmup].any()


def test_tensors_are_scaled_and_what_is_missing_is_the_train_mean() -> None:
    panel = random_panel()
    scaler = Scaler.fit(panel.values[panel.observed], panel.features)
    tensors = panel_tensors(panel, scaler, start=10, stop=60, target_volatility=0.15)
    cut = panel.between(10, 60)
    known = cut.observed[..., None] & np.isfinite(cut.values)
    expected = np.where(known, (cut.values - scaler.mean) / scaler.std, 0.0)
    np.testing.assert_allclose(tensors.values, expected, atol=1e-5)
    assert tensors.values.is_contiguous()
    assert tensors.values.dtype == torch.float32
    absent = cut.observed[..., None] & np.isnan(cut.values)
    assert tensors.missing.tolist() == absent.sum(axis=(0, 1)).tolist()
    assert tensors.missing.sum() > 0
    assert np.array_equal(tensors.outcomes.present, cut.scored)
    leverage = np.where(cut.scored, 0.15 / cut.volatility, 0.0)
    np.testing.assert_allclose(tensors.outcomes.leverage, leverage, rtol=1e-6)


def test_a_negative_start_pads_with_bars_that_are_not_observed() -> None:
    panel = random_panel(gaps=False)
    scaler = Scaler.fit(panel.values[panel.observed], panel.features)
    tensors = panel_tensors(panel, scaler, start=-3, stop=5, target_volatility=0.15)
    assert tensors.values.shape[1] == 8
    assert not tensors.observed[:, :3].any()
    assert tensors.observed[:, 3:].all()
    assert tensors.index(0) == 3


def test_infinite_values_are_refused_by_feature_and_count() -> None:
    panel = random_panel(gaps=False)
    scaler = Scaler.fit(panel.values[panel.observed], panel.features)
    values = panel.values.copy()
    values[0, 3:5, 2] = np.inf
    object.__setattr__(panel, "values", values)
    with pytest.raises(ValueError, match=r"f2 \(2\)"):
        panel_tensors(panel, scaler, start=0, stop=20, target_volatility=0.15)
