"""Shadow features: own values, in blocks that moved, in one order for all symbols, within each part."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.folds import Fold, Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.planning import production_folds
from tft_pipeline.domain.shadows import blocks_of, moved_blocks, with_shadow_features
from tft_pipeline_tests.builders import FEATURES, ragged_bars, small, toy_panel
from tft_pipeline_tests.conftest import random_bars
from tft_pipeline_tests.domain.test_planning import panels_equal


def whole(panel: Panel) -> Fold:
    """A fold whose first part is all of a panel but its last two bars."""
    n = panel.n_bars
    return Fold(key="f", train=Span(0, n - 2), validation=Span(n - 2, n - 1), test=Span(n - 1, n))


def of_column(panel: Panel, column: np.ndarray, observed: np.ndarray | None = None) -> Panel:
    """A panel of one feature (S, N), missing where it is not observed."""
    there = panel.observed if observed is None else observed
    values = np.where(there, column, np.nan).astype(np.float32)[..., None]
    return replace(panel, features=("one",), values=values, observed=there)


def autocorrelation(x: np.ndarray, lag: int) -> float:
    return float(np.corrcoef(x[lag:], x[:-lag])[0, 1])


def slow(n: int, n_columns: int, seed: int, persistence: float = 0.95) -> np.ndarray:
    """(n_columns, n) autoregressions of unit variance."""
    steps = np.random.default_rng(seed).standard_normal((n_columns, n))
    out = steps.copy()
    for t in range(1, n):
        out[:, t] = persistence * out[:, t - 1] + np.sqrt(1.0 - persistence**2) * steps[:, t]
    return out


def test_shadow_features_are_the_same_values_in_another_order_for_each_symbol_and_part() -> None:
    panel = toy_panel(ragged_bars(), small())
    fold = production_folds(panel, small())[2]
    shadowed = with_shadow_features(panel, 3, fold, seed=1)
    assert shadowed.features[:3] == FEATURES
    np.testing.assert_array_equal(shadowed.values[..., :3], panel.values)
    parts = [(0, fold.train.stop), (fold.train.stop, fold.validation.stop), (fold.validation.stop, panel.n_bars)]
    sources = set()
    for k, name in enumerate(shadowed.features[3:]):
        assert name.startswith(f"shadow_{k}_")
        source = name.removeprefix(f"shadow_{k}_")
        sources.add(source)
        for s in range(4):
            assert np.isnan(shadowed.values[s, ~panel.observed[s], 3 + k]).all()
            for start, stop in parts:
                seen = start + np.flatnonzero(panel.observed[s, start:stop])
                original = panel.values[s, seen, FEATURES.index(source)]
                shadow = shadowed.values[s, seen, 3 + k]
                np.testing.assert_array_equal(np.sort(shadow), np.sort(original))
                assert (shadow != original).mean() > 0.7
    assert sources == set(FEATURES)


def test_shadow_features_of_training_bars_do_not_depend_on_any_later_value() -> None:
    panel = toy_panel(random_bars(), small())
    fold = production_folds(panel, small())[0]
    later = panel.values.copy()
    later[:, fold.train.stop :] += 7.0
    before, after = (with_shadow_features(p, 3, fold, seed=1).values for p in (panel, replace(panel, values=later)))
    np.testing.assert_array_equal(after[:, : fold.train.stop], before[:, : fold.train.stop])
    assert (after[:, fold.train.stop :, 3:] != before[:, fold.train.stop :, 3:]).any()


def test_shadow_features_have_nothing_to_do_with_the_label() -> None:
    panel = toy_panel(random_bars(3000, seed=5), small())
    leak = panel.values.copy()
    leak[..., 0] = np.nan_to_num(panel.label)
    leaky = replace(panel, values=leak).with_features(("past_return",))
    shadowed = with_shadow_features(leaky, 20, whole(panel), seed=2)
    seen = panel.scored
    label = panel.label[seen]
    assert np.corrcoef(shadowed.values[..., 0][seen], label)[0, 1] > 0.999
    for v in range(1, 21):
        shadow = shadowed.values[..., v][seen]
        assert abs(np.corrcoef(shadow, label)[0, 1]) < 5 / np.sqrt(seen.sum())


def test_a_shadow_of_slow_noise_is_as_slow_as_it() -> None:
    """Bars permuted one by one would leave it an autocorrelation of 0."""
    panel = toy_panel(random_bars(1500), small())
    noise = slow(panel.n_bars, len(panel.symbols), seed=4)
    shadowed = with_shadow_features(of_column(panel, noise), 4, whole(panel), seed=3)
    first = int(np.argmax(panel.observed.all(axis=0)))
    for k in range(1, 5):
        for s in range(len(panel.symbols)):
            own, shadow = (shadowed.values[s, first : panel.n_bars - 2, v] for v in (0, k))
            for lag in (1, 5, 10):  # pairs that a cut between two blocks parts: lag of each block's bars
                kept = 1.0 - lag / np.sqrt(len(own))
                assert autocorrelation(shadow, lag) == pytest.approx(kept * autocorrelation(own, lag), abs=0.12)


def test_a_shadow_of_a_market_wide_feature_is_the_same_for_all_symbols_of_a_bar() -> None:
    panel = toy_panel(random_bars(), small())
    market = np.repeat(slow(panel.n_bars, 1, seed=5), len(panel.symbols), axis=0)
    there = np.ones_like(panel.observed)
    shadow = with_shadow_features(of_column(panel, market, there), 1, whole(panel), seed=3).values[..., 1]
    np.testing.assert_array_equal(shadow, np.repeat(shadow[:1], len(panel.symbols), axis=0))
    assert (shadow[0] != market[0].astype(np.float32)).mean() > 0.95
    # one that symbols share in part is shared as much
    mixed = market + slow(panel.n_bars, len(panel.symbols), seed=6)
    values = with_shadow_features(of_column(panel, mixed, there), 1, whole(panel), seed=3).values[:, :-2]
    own, moved = (np.corrcoef(values[..., v])[0, 1] for v in (0, 1))
    assert moved == pytest.approx(own, abs=1e-5)


def test_symbols_with_holes_and_late_listings_share_a_market_s_shadow_on_nearly_all_bars_they_share() -> None:
    panel = toy_panel(random_bars(1500), small())
    n = panel.n_bars
    market = np.repeat(slow(n, 1, seed=5, persistence=0.99), 4, axis=0)
    there = np.ones((4, n), dtype=bool)
    there[1, 700:705] = False
    there[2, : n // 2] = False
    shadow = with_shadow_features(of_column(panel, market, there), 1, whole(panel), seed=3).values[..., 1]
    both = there[0] & there[1]
    same = [(shadow[0] == shadow[s])[there[0] & there[s]].mean() for s in (1, 2)]
    assert same[0] > 0.95  # the two blocks that the holes lie in, and lie on, and no more
    assert 0.3 < same[1] < 0.8  # half of its history moves to where it was not listed
    for s in range(4):
        np.testing.assert_array_equal(np.sort(shadow[s, there[s]]), np.sort(market[s, there[s]].astype(np.float32)))
        jumps = np.abs(np.diff(shadow[s, there[s]])) > 6 * np.abs(np.diff(market[s])).std()
        assert jumps.mean() < 2.5 / np.sqrt(there[s].sum())  # still blocks, not single bars
    assert both.sum() > 1400


@given(n_bars=st.integers(2, 400), seed=st.integers(0, 2**31))
def test_every_block_lies_its_own_length_or_more_from_where_it_was(n_bars: int, seed: int) -> None:
    order = moved_blocks(n_bars, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.sort(np.concatenate(order)), np.arange(n_bars))
    place = 0
    for block in order:
        np.testing.assert_array_equal(np.diff(block), 1)
        assert abs(place - block[0]) >= len(block)
        place += len(block)
    lengths = [len(block) for block in blocks_of(n_bars)]
    assert len(lengths) >= 2
    assert set(lengths[:-1]) == {min(int(np.ceil(np.sqrt(n_bars))), n_bars // 2)}
    assert lengths[-1] <= lengths[0]


def test_a_part_of_one_bar_stays_and_one_bar_makes_no_blocks() -> None:
    assert [block.tolist() for block in moved_blocks(1, np.random.default_rng(0))] == [[0]]
    with pytest.raises(ValueError, match="1 bars make no two blocks"):
        blocks_of(1)


def test_a_symbol_s_values_are_placed_as_a_loop_places_them() -> None:
    """The rule of the docstring, bar by bar."""
    rng = np.random.default_rng(11)
    panel = toy_panel(random_bars(300), small())
    n = panel.n_bars
    there = rng.random((4, n)) < np.array([1.0, 0.9, 0.5, 0.02])[:, None]
    numbers = np.arange(4 * n, dtype=np.float64).reshape(4, n)
    fold = Fold(key="f", train=Span(0, 200), validation=Span(205, 260), test=Span(265, n))
    shadow = with_shadow_features(of_column(panel, numbers, there), 1, fold, seed=8).values[..., 1]
    draws = np.random.default_rng(8)
    draws.permutation(1)
    for start, stop in ((0, 200), (200, 260), (260, n)):
        order = moved_blocks(stop - start, draws)
        for s in range(4):
            left_bars, left_values, place = [], [], start
            for block in order:
                bars = [t for t in range(place, place + len(block)) if there[s, t]]
                values = [numbers[s, start + b] for b in block if there[s, start + b]]
                fit = min(len(bars), len(values))
                assert shadow[s, bars[:fit]].tolist() == values[:fit]
                left_bars += bars[fit:]
                left_values += values[fit:]
                place += len(block)
            assert shadow[s, left_bars].tolist() == left_values


def test_a_symbol_that_is_listed_later_changes_no_shadow_of_the_others() -> None:
    panel = toy_panel(random_bars(), small())
    three = replace(
        panel, **{name: getattr(panel, name)[:3] for name in ("symbols", "values", "observed", "next_return", "close")}
    )
    fold = production_folds(panel, small())[0]
    every, some = (with_shadow_features(p, 3, fold, seed=1).values for p in (panel, three))
    np.testing.assert_array_equal(every[:3], some)


def test_shadow_features_are_the_same_for_a_seed_and_others_for_another() -> None:
    panel = toy_panel(random_bars(), small())
    first, again, other = (with_shadow_features(panel, 2, whole(panel), seed=seed) for seed in (1, 1, 2))
    assert panels_equal(first, again)
    assert not panels_equal(first, other)
    assert not first.values.flags.writeable


def test_more_shadows_than_features_take_features_again_under_names_of_their_own() -> None:
    panel = toy_panel(random_bars(), small())
    shadowed = with_shadow_features(panel, 7, whole(panel), seed=1)
    assert len(set(shadowed.features)) == 10
    assert {name.split("_", 2)[2] for name in shadowed.features[3:6]} == set(FEATURES)


def test_no_shadows_leave_the_panel_as_it_is() -> None:
    panel = toy_panel(random_bars(), small())
    assert panels_equal(with_shadow_features(panel, 0, whole(panel), seed=1), panel)


def test_a_feature_that_calls_itself_a_shadow_is_refused() -> None:
    panel = replace(toy_panel(random_bars(), small()), features=("a", "shadow_price", "c"))
    with pytest.raises(ValueError, match=r"\['shadow_price'\] start with shadow_"):
        with_shadow_features(panel, 2, whole(panel), seed=1)
