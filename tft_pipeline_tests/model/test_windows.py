"""Which bars blocks hold, and what a panel becomes."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.panel import Panel, rows_a_block
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.inference import predict
from tft_pipeline.model.windows import (
    BlockBatches,
    Outcomes,
    PanelTensors,
    block_bars,
    covering_starts,
    panel_tensors,
    training_starts,
)
from tft_pipeline_tests.oracles.model_panels import random_panel, small_fit, small_fold
from tft_pipeline_tests.oracles.peak_memory import MEASURABLE, measured
from tft_pipeline_tests.oracles.windows import scaled_values

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
    scaler = Scaler.fit(panel.values, panel.features, observed=panel.observed)
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


def hard_panel() -> Panel:
    """More bars than a block of rows, ragged, with missing values, outliers, a flat feature and one without a value."""
    n_features = 600
    panel = random_panel(n_bars=2 * rows_a_block(n_features) + 31, n_features=n_features)
    values = panel.values * 3.0
    values[..., 5] = 0.25
    values[..., 6] = np.nan
    values[1, ::7, 8] = 1e4
    values[~panel.observed] = np.inf
    values.setflags(write=False)
    return replace(panel, values=values)


@pytest.mark.parametrize(("start", "stop"), [(0, 249), (-40, 200), (30, 31), (-5, 1), (100, 220)])
def test_blocks_of_rows_give_the_bits_of_the_whole_array_at_once(start: int, stop: int) -> None:
    panel = hard_panel()
    scaler = Scaler.fit(panel.values, panel.features, observed=panel.observed)
    assert scaler.flat == ("f5", "f6")
    expected, missing = scaled_values(panel.between(max(start, 0), stop), scaler)
    tensors = panel_tensors(panel, scaler, start=start, stop=stop, target_volatility=0.15)
    padding = max(0, -start)
    found = tensors.values.numpy()
    assert found[:, padding:].tobytes() == expected.tobytes()
    assert not found[:, :padding].any()
    assert tensors.missing.tolist() == missing.tolist()
    assert missing[6] == panel.between(max(start, 0), stop).observed.sum()


def _same_tensors(one: PanelTensors, other: PanelTensors) -> bool:
    outcomes = ((getattr(one.outcomes, field.name), getattr(other.outcomes, field.name)) for field in fields(Outcomes))
    pairs = [(one.values, other.values), (one.observed, other.observed), *outcomes]
    return all(torch.equal(a, b) for a, b in pairs) and one.missing.tolist() == other.missing.tolist()


def listed_between(panel: Panel, listings: dict[int, list[tuple[int, int]]]) -> Panel:
    """Symbols observed in the given spans of bars only; what stands elsewhere is absurd."""
    observed = panel.observed.copy()
    for symbol, spans in listings.items():
        observed[symbol] = False
        for first, stop in spans:
            observed[symbol, first:stop] = True
    changed = {"observed": observed}
    for name, absurd in (("values", np.inf), ("volatility", np.nan), ("next_return", 1e9), ("label", -1e9)):
        array = getattr(panel, name).copy()
        array[~observed] = absurd
        changed[name] = array
    return replace(panel, **changed)


# train 0..80, validation 82..106, test 108..138
LISTINGS = {
    "starts in train": [(37, 140)],
    "ends in train": [(0, 41)],
    "starts in validation": [(90, 140)],
    "ends in validation": [(0, 95)],
    "starts in test": [(120, 140)],
    "ends in test": [(0, 121)],
    "test only": [(108, 140)],
    "purged bars only": [(80, 82)],
    "one bar of each": [(40, 41), (90, 91), (120, 121)],
    "holes": [(0, 20), (21, 60), (77, 84), (100, 110), (111, 140)],
    "never": [],
}


@pytest.mark.parametrize("kind", LISTINGS)
def test_a_symbol_counts_where_it_is_listed_and_nothing_else_of_it_is_seen(kind: str) -> None:
    plain = random_panel(gaps=False)
    panel = listed_between(plain, {1: LISTINGS[kind]})
    scaler = Scaler.fit(panel.values[:, :80], panel.features, observed=panel.observed[:, :80])
    tensors = panel_tensors(panel, scaler, start=-10, stop=138, target_volatility=0.15)
    listed = np.zeros(148, dtype=bool)
    for first, stop in LISTINGS[kind]:
        listed[10 + first : 10 + stop] = True
    listed = listed[:148]
    assert tensors.observed[1].tolist() == listed.tolist()
    assert not tensors.values[1, ~listed].any()
    assert (tensors.values[1, listed] != 0.0).all()
    assert tensors.outcomes.present[1].tolist() == listed.tolist()
    for name in ("leverage", "next_return", "label"):
        assert not getattr(tensors.outcomes, name)[1, ~listed].any()
    zeroed = replace(panel, values=np.where(panel.observed[..., None], panel.values, np.float32(0.0)))
    assert _same_tensors(tensors, panel_tensors(zeroed, scaler, start=-10, stop=138, target_volatility=0.15))
    everywhere = panel_tensors(plain, scaler, start=-10, stop=138, target_volatility=0.15)
    assert torch.equal(tensors.values[1, listed], everywhere.values[1, listed])
    assert torch.equal(tensors.values[[0, 2]], everywhere.values[[0, 2]])
    assert not tensors.missing.any()


@pytest.mark.parametrize("kind", LISTINGS)
def test_a_fold_with_a_ragged_listing_trains_and_predicts_where_the_symbol_is_listed(kind: str) -> None:
    panel = listed_between(random_panel(gaps=False), {1: LISTINGS[kind]})
    fold = small_fold()
    fitted = small_fit(panel, epochs=1)
    position = predict(fitted, panel, fold.test).raw_position
    assert np.array_equal(np.isfinite(position), panel.observed[:, fold.test.start : fold.test.stop])
    assert fitted.n_train_labels == panel.scored[:, 5:80].sum()


def test_bars_without_any_symbol_make_no_training_block_and_no_outcome() -> None:
    quiet = [(0, 20), (70, 140)]
    panel = listed_between(random_panel(gaps=False), dict.fromkeys(range(3), quiet))
    scaler = Scaler.fit(panel.values[:, :80], panel.features, observed=panel.observed[:, :80])
    tensors = panel_tensors(panel, scaler, start=0, stop=106, target_volatility=0.15)
    assert not tensors.outcomes.present[:, 20:70].any()
    batches = BlockBatches(tensors.outcomes.present[:, :80].any(0), lookback=16, warmup=4, batch_blocks=3, seed=0)
    seen = set()
    for _ in range(40):
        counted = block_bars(torch.cat(list(batches)), 16)[:, 4:]
        assert tensors.outcomes.present[:, counted].any(0).any(1).all()
        seen.update(counted.flatten().tolist())
    assert seen >= {*range(4, 20), *range(70, 80)}


def test_an_all_missing_observed_bar_is_counted_in_every_feature_and_stays_observed() -> None:
    panel = random_panel(gaps=False)
    scaler = Scaler.fit(panel.values, panel.features, observed=panel.observed)
    values = panel.values.copy()
    values[2, 50] = np.nan
    tensors = panel_tensors(replace(panel, values=values), scaler, start=40, stop=60, target_volatility=0.15)
    assert tensors.missing.tolist() == [1, 1, 1, 1]
    assert tensors.observed[2, 10]
    assert tensors.outcomes.present[2, 10]
    assert not tensors.values[2, 10].any()


def test_a_panel_of_other_features_or_another_order_is_refused() -> None:
    panel = random_panel()
    scaler = Scaler.fit(panel.values, panel.features, observed=panel.observed)
    for names in (("f1", "f0", "f2", "f3"), ("f0", "f1")):
        with pytest.raises(ValueError, match="are not the scaler's 4 in their order"):
            panel_tensors(panel.with_features(names), scaler, start=0, stop=20, target_volatility=0.15)


WINDOWS_PEAK = """
import numpy as np
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.windows import panel_tensors
from tft_pipeline_tests.oracles.windows import scaled_values

def panel_of(S, N, V=73):
    random = np.random.default_rng(0)
    values = random.standard_normal((S, N, V), dtype=np.float32)
    for row in values.reshape(-1, V)[::3]:
        row[random.integers(V)] = np.nan
    observed = random.random((S, N)) < 0.9
    columns = {name: random.random((S, N)) for name in ("next_return", "volatility", "label", "close")}
    names = tuple(f"f{v}" for v in range(V))
    return Panel(calendar=tuple(range(N)), symbols=tuple(range(S)), features=names, values=values, observed=observed, **columns)

def blocks(panel):
    scaler = Scaler.fit(panel.values, panel.features, observed=panel.observed)
    return panel_tensors(panel, scaler, start=0, stop=panel.n_bars, target_volatility=0.15)

def whole(panel):
    return scaled_values(panel, Scaler.fit(panel.values, panel.features, observed=panel.observed))

small, large = panel_of(4, 50), panel_of(40, 5_000)
shares = {}
for way in (blocks, whole):
    way(small)  # loads what is loaded once
    shares[way.__name__] = peak(lambda: way(large)) / large.values.nbytes
print(json.dumps(shares))
"""


@pytest.mark.skipif(not MEASURABLE, reason="the peak is read from Linux's /proc")
def test_ready_windows_take_less_than_a_third_more_than_the_data() -> None:
    shares = measured(WINDOWS_PEAK)
    assert 1.0 < shares["blocks"] <= 1.3
    assert shares["whole"] > 2.0  # the measurement sees copies


def test_a_negative_start_pads_with_bars_that_are_not_observed() -> None:
    panel = random_panel(gaps=False)
    scaler = Scaler.fit(panel.values, panel.features, observed=panel.observed)
    tensors = panel_tensors(panel, scaler, start=-3, stop=5, target_volatility=0.15)
    assert tensors.values.shape[1] == 8
    assert not tensors.observed[:, :3].any()
    assert tensors.observed[:, 3:].all()
    assert tensors.index(0) == 3


def test_infinite_values_are_refused_by_feature_and_count() -> None:
    panel = random_panel(gaps=False)
    scaler = Scaler.fit(panel.values, panel.features, observed=panel.observed)
    values = panel.values.copy()
    values[0, 3:5, 2] = np.inf
    object.__setattr__(panel, "values", values)
    with pytest.raises(ValueError, match=r"f2 \(2\)"):
        panel_tensors(panel, scaler, start=0, stop=20, target_volatility=0.15)
