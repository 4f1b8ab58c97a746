"""What a window reads of a pool: only the resolved past, the same choice wherever it is made. Not here: the draw."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model.context import ContextChoice, ContextPool, WindowContext, symbol_keys, time_keys
from tft_pipeline.model.context_pool import context_pool
from tft_pipeline.model.windows import panel_tensors
from tft_pipeline_tests.oracles import context as oracle
from tft_pipeline_tests.oracles.context_pools import (
    CHOICES,
    LENGTH,
    members_of,
    pool_of,
    regime_panel,
    windows_at,
    with_horizon,
)
from tft_pipeline_tests.oracles.model_panels import random_panel


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("horizon", [1, 4])
def test_every_label_of_a_context_set_is_resolved_before_the_first_scored_bar(
    choice: ContextChoice, horizon: int
) -> None:
    panel = with_horizon(regime_panel(), horizon)
    pool = pool_of(panel, choice, horizon=horizon)
    members = members_of(pool, panel)
    bars = np.arange(20, 399)
    chosen = pool.choose(*windows_at(panel, bars), 5)
    for first_scored, row in zip(np.tile(bars, len(panel.symbols)), chosen, strict=True):
        taken = row[row >= 0]
        assert len(set(taken)) == len(taken)
        for _, last, resolved in (members[member] for member in taken):
            assert resolved == last + horizon
            assert resolved < first_scored
            assert resolved < 300
    assert (chosen[bars.tolist().index(250)] >= 0).all()


@pytest.mark.parametrize("choice", CHOICES)
def test_what_comes_after_a_bar_changes_no_context_set_of_a_window_scored_from_it(choice: ContextChoice) -> None:
    panel, bar = regime_panel(), 160
    random = np.random.default_rng(4)
    noise: dict[str, Any] = {}
    for name in ("values", "next_return", "label"):
        changed = getattr(panel, name).copy()
        part = changed[:, bar - 1 :]  # the return behind bar 159 ends on bar 160: not before the first scored bar
        part[...] = np.where(np.isfinite(part), 5.0 * random.standard_normal(part.shape), part)
        noise[name] = changed
    other = replace(panel, **noise)
    train = Span(20, 300)
    scaler = Scaler.fit(panel.values[:, :bar][panel.observed[:, :bar]], panel.features)
    sets = []
    for each in (panel, other):
        pool = context_pool(
            panel_tensors(each, scaler, start=20, stop=300, target_volatility=0.15),
            train,
            symbols=each.symbols,
            levels=torch.arange(len(each.symbols)),
            calendar=each.calendar,
            horizon=1,
            n_context=5,
            context_bars=LENGTH,
            choice=choice,
            seed=3,
        )
        sets.append(pool.context_set(pool.choose(*windows_at(each, np.arange(60, bar + 1)), 5)))
    assert sets[0].observed.any(-1).float().mean() > 0.5
    for name in ("values", "next_return", "observed", "symbol", "members"):
        assert torch.equal(getattr(sets[0], name), getattr(sets[1], name))


@pytest.mark.parametrize("choice", CHOICES)
def test_a_sequence_resolved_at_the_first_scored_bar_is_one_bar_too_late(choice: ContextChoice) -> None:
    panel = regime_panel()
    pool = pool_of(panel, choice, n_context=1)
    earliest = pool.resolved_at[:1].numpy()
    assert pool.choose(symbol_keys(["S1"]), earliest, 5).tolist() == [[-1] * 5]
    assert pool.choose(symbol_keys(["S1"]), earliest + 1, 5)[0, 0] >= 0


@pytest.mark.parametrize("choice", CHOICES)
def test_the_choice_equals_a_loop_over_the_pool_in_python_integers(choice: ContextChoice) -> None:
    panel = regime_panel()
    pool = pool_of(panel, choice, seed=5)
    listed = [
        (name, panel.calendar[last], panel.calendar[resolved]) for name, last, resolved in members_of(pool, panel)
    ]
    for name in ("S2", "S7"):
        for bar in (19, 31, 44, 130, 299, 380):
            ours = pool.choose(symbol_keys([name]), time_keys(panel.calendar[bar : bar + 1]), 6)[0]
            expected = oracle.chosen(
                listed, (name, panel.calendar[bar]), n=6, seed=5, latest_end_first=choice == "time_equivalent"
            )
            assert ours[ours >= 0].tolist() == expected


@pytest.mark.parametrize("choice", CHOICES)
def test_a_window_gets_the_same_set_in_any_company(choice: ContextChoice) -> None:
    panel = regime_panel()
    pool = pool_of(panel, choice)
    names, times = windows_at(panel, np.arange(20, 400))
    together = pool.choose(names, times, 4)
    order = np.random.default_rng(0).permutation(len(names))
    np.testing.assert_array_equal(pool.choose(names[order], times[order], 4), together[order])
    alone = [pool.choose(names[i : i + 1], times[i : i + 1], 4)[0] for i in (0, 700, 2_500)]
    np.testing.assert_array_equal(alone, together[[0, 700, 2_500]])
    np.testing.assert_array_equal(pool.choose(names, times, 2), together[:, :2])


def test_windows_seeds_and_dates_differ_in_what_they_see() -> None:
    panel = regime_panel()
    first, second = (pool_of(panel, "random", seed=seed) for seed in (1, 2))
    names, times = windows_at(panel, np.arange(320, 340))
    chosen = first.choose(names, times, 5)
    assert len({tuple(row) for row in chosen.tolist()}) == len(chosen)
    reseeded = replace(first, seed=2).choose(names, times, 5)
    assert (reseeded != chosen).any(1).all()
    assert not torch.equal(first.identity, second.identity)


def test_every_member_is_as_likely_as_another() -> None:
    panel = regime_panel()
    pool = pool_of(panel, "random")
    n_windows = 20_000
    times = time_keys(panel.calendar)[-1] + 60_000_000 * np.arange(n_windows)
    chosen = pool.choose(np.repeat(symbol_keys(["S1"]), n_windows), times, 8)
    counts = np.bincount(chosen.ravel(), minlength=512)
    expected = n_windows * 8 / 512
    chi_square = ((counts - expected) ** 2 / expected).sum() * 512 / (512 - 8)
    assert abs(chi_square - 511) < 4 * np.sqrt(2 * 511)


def test_a_context_set_is_its_members_and_nothing_where_there_are_none() -> None:
    panel = regime_panel()
    pool = pool_of(panel, "random")
    found = pool.context_set(np.array([[3, -1], [200, 7], [-1, -1]]))
    assert found.members.tolist() == [[1, -1], [3, 2], [-1, -1]]
    for place, member in enumerate((0, 3, 7, 200)):
        for name in ("values", "next_return", "observed"):
            assert torch.equal(getattr(found, name)[place], getattr(pool, name)[member])
        assert found.symbol[place] == pool.symbol[member]
    assert len(found.values) == 4


@pytest.mark.parametrize("choice", CHOICES)
def test_windows_of_a_panel_read_what_each_would_choose_alone_symbol_by_symbol(choice: ContextChoice) -> None:
    panel = regime_panel()
    pool = pool_of(panel, choice)
    bars = np.array([40, 150, 390])
    found = WindowContext(pool, panel.symbols, panel.calendar, 4).of(bars)
    assert found.members.shape == (len(panel.symbols) * len(bars), 4)
    windows = [(name, bar) for name in panel.symbols for bar in bars]
    for (name, bar), members in zip(windows, found.members, strict=True):
        alone = pool.choose(symbol_keys([name]), time_keys([panel.calendar[bar]]), 4)[0]
        assert ((members >= 0).numpy() == (alone >= 0)).all()
        for place, member in zip(members[members >= 0], alone[alone >= 0], strict=True):
            for part in ("values", "next_return", "observed", "symbol"):
                assert torch.equal(getattr(found, part)[place], getattr(pool, part)[member])


def test_windows_need_not_be_of_symbols_that_the_pool_knows() -> None:
    panel = regime_panel()
    pool = pool_of(panel, "random")
    known, unknown = (WindowContext(pool, (name,), panel.calendar, 4).of(np.array([350])) for name in ("S1", "NEW"))
    assert (unknown.members >= 0).all()
    assert not torch.equal(known.values, unknown.values)


def test_the_start_of_the_data_has_no_context_and_the_next_bars_have_some() -> None:
    panel = random_panel(gaps=False)
    pool = pool_of(panel, "random", train=Span(0, 140), n_context=3)
    counts = (pool.choose(*windows_at(panel, np.arange(40)), 3) >= 0).sum(1).reshape(3, 40)
    assert (counts[:, : LENGTH + 1] == 0).all()  # ends at bar 8, resolved at bar 9
    assert (np.diff(counts, axis=1) >= 0).all()
    assert (counts[:, -1] == 3).all()


def test_time_equivalent_sequences_end_together_as_late_as_the_window_allows() -> None:
    panel = random_panel(n_symbols=6, n_bars=300, gaps=False)
    pool = pool_of(panel, "time_equivalent", train=Span(0, 280), n_context=4)
    members = members_of(pool, panel)
    ends = sorted({last for _, last, _ in members})
    assert ends[-1] == 278
    assert min(np.diff(ends)) == max(np.diff(ends)) == LENGTH
    for bar in (60, 150, 279, 290):
        row = pool.choose(symbol_keys(["S0"]), time_keys(panel.calendar[bar : bar + 1]), 4)[0]
        names, lasts = {members[m][0] for m in row}, {members[m][1] for m in row}
        assert lasts == {max(end for end in ends if end + 1 < bar)}
        assert len(names) == 4


def test_time_equivalent_steps_back_when_symbols_run_out() -> None:
    panel = random_panel(n_symbols=3, n_bars=300, gaps=False)
    pool = pool_of(panel, "time_equivalent", train=Span(0, 280), n_context=7)
    members = members_of(pool, panel)
    row = pool.choose(symbol_keys(["S0"]), time_keys(panel.calendar[200:201]), 7)[0]
    ends = sorted({last for _, last, _ in members if last + 1 < 200})
    assert [members[m][1] for m in row] == [ends[-1]] * 3 + [ends[-2]] * 3 + [ends[-3]]


def test_a_pool_comes_back_from_safetensors_as_it_was() -> None:
    panel = regime_panel()
    pool = pool_of(panel, "change_point")
    again = ContextPool(choice=pool.choice, seed=pool.seed, **load(save(pool.tensors())))
    for name, tensor in pool.tensors().items():
        assert torch.equal(getattr(again, name), tensor)
    windows = windows_at(panel, np.arange(100, 380))
    np.testing.assert_array_equal(again.choose(*windows, 3), pool.choose(*windows, 3))


def test_keys_are_those_of_the_oracle_and_tell_names_and_times_apart() -> None:
    panel = regime_panel()
    assert symbol_keys(("A", "ÄB")).tolist() == [oracle.symbol_key("A"), oracle.symbol_key("ÄB")]
    assert time_keys(panel.calendar).tolist() == [oracle.time_key(moment) for moment in panel.calendar]
    moment = panel.calendar[0]
    assert np.diff(time_keys([moment, moment + timedelta(microseconds=1)])).tolist() == [1]


def test_more_members_than_a_pool_holds_are_refused() -> None:
    panel = regime_panel()
    with pytest.raises(ValueError, match=r"n_context 513 is not within 1\.\.512"):
        pool_of(panel, "random").choose(*windows_at(panel, np.arange(3)), 513)
