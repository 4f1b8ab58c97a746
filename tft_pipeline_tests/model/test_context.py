"""The context set: only the resolved past, the same choice wherever it is made, and the tensors of the fold."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.panel import Panel
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model import context_pool as context_pool_module
from tft_pipeline.model.context import ContextChoice, ContextPool, symbol_keys, time_keys
from tft_pipeline.model.context_pool import context_pool
from tft_pipeline.model.windows import PanelTensors, panel_tensors
from tft_pipeline_tests.oracles import context as oracle
from tft_pipeline_tests.oracles.model_panels import random_panel

CHOICES: tuple[ContextChoice, ...] = get_args(ContextChoice)
LENGTH = 9
TRAIN = Span(20, 300)


def _panel(seed: int = 0, *, n_symbols: int = 8, n_bars: int = 400) -> Panel:
    """Gaps, and regimes of mean and spread in the returns, so that there are change-points."""
    panel = random_panel(n_symbols=n_symbols, n_bars=n_bars, seed=seed)
    random = np.random.default_rng(seed)
    regime = np.cumsum(random.random((n_symbols, n_bars)) < 1 / 25, axis=1) % 5
    change = np.array([0.0, 2.0, -2.0, 1.0, -1.0])[regime] * 0.015
    return replace(panel, next_return=panel.next_return + change)


def _with_horizon(panel: Panel, horizon: int) -> Panel:
    """Labels that are not known for the last `horizon` bars, nor where the symbol has no bar `horizon` bars later."""
    label = panel.label.copy()
    label[:, :-horizon][~panel.observed[:, horizon:]] = np.nan
    label[:, -horizon:] = np.nan
    return replace(panel, label=label)


def _tensors(panel: Panel, *, start: int, stop: int) -> PanelTensors:
    scaler = Scaler.fit(panel.values[panel.observed], panel.features)
    return panel_tensors(panel, scaler, start=start, stop=stop, target_volatility=0.15)


def _pool(
    panel: Panel,
    choice: ContextChoice,
    *,
    train: Span = TRAIN,
    horizon: int = 1,
    n_context: int = 5,
    seed: int = 11,
) -> ContextPool:
    return context_pool(
        _tensors(panel, start=train.start, stop=min(train.stop + 40, panel.n_bars)),
        train,
        symbols=panel.symbols,
        levels=torch.arange(len(panel.symbols)),
        calendar=panel.calendar,
        horizon=horizon,
        n_context=n_context,
        context_bars=LENGTH,
        choice=choice,
        seed=seed,
    )


def _windows(panel: Panel, bars: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every symbol at every one of the bars."""
    names, times = symbol_keys(panel.symbols), time_keys(panel.calendar)[bars]
    return np.repeat(names, len(bars)), np.tile(times, len(names))


def _members(pool: ContextPool, panel: Panel) -> list[tuple[str, int, int]]:
    """(symbol, last bar, bar of resolution) of each member, found again through its hash."""
    of = {
        oracle.mixed(oracle.symbol_key(name), oracle.time_key(moment)): (name, bar)
        for name in panel.symbols
        for bar, moment in enumerate(panel.calendar)
    }
    bar_of = {key: bar for bar, key in enumerate(time_keys(panel.calendar).tolist())}
    pairs = zip(pool.identity.tolist(), pool.resolved_at.tolist(), strict=True)
    return [(*of[identity % 2**64], bar_of[resolved]) for identity, resolved in pairs]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("horizon", [1, 4])
def test_every_label_of_a_context_set_is_resolved_before_the_first_scored_bar(
    choice: ContextChoice, horizon: int
) -> None:
    panel = _with_horizon(_panel(), horizon)
    pool = _pool(panel, choice, horizon=horizon)
    members = _members(pool, panel)
    bars = np.arange(20, 399)
    chosen = pool.choose(*_windows(panel, bars), 5)
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
    panel, bar = _panel(), 160
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
        sets.append(pool.context_set(pool.choose(*_windows(each, np.arange(60, bar + 1)), 5)))
    assert sets[0].observed.any(-1).float().mean() > 0.5
    for name in ("values", "next_return", "observed", "symbol", "members"):
        assert torch.equal(getattr(sets[0], name), getattr(sets[1], name))


@pytest.mark.parametrize("choice", CHOICES)
def test_a_sequence_resolved_at_the_first_scored_bar_is_one_bar_too_late(choice: ContextChoice) -> None:
    panel = _panel()
    pool = _pool(panel, choice, n_context=1)
    earliest = pool.resolved_at[:1].numpy()
    assert pool.choose(symbol_keys(["S1"]), earliest, 5).tolist() == [[-1] * 5]
    assert pool.choose(symbol_keys(["S1"]), earliest + 1, 5)[0, 0] >= 0


@pytest.mark.parametrize("choice", CHOICES)
def test_the_choice_equals_a_loop_over_the_pool_in_python_integers(choice: ContextChoice) -> None:
    panel = _panel()
    pool = _pool(panel, choice, seed=5)
    listed = [(name, panel.calendar[last], panel.calendar[resolved]) for name, last, resolved in _members(pool, panel)]
    for name in ("S2", "S7"):
        for bar in (19, 31, 44, 130, 299, 380):
            ours = pool.choose(symbol_keys([name]), time_keys(panel.calendar[bar : bar + 1]), 6)[0]
            expected = oracle.chosen(
                listed, (name, panel.calendar[bar]), n=6, seed=5, latest_end_first=choice == "time_equivalent"
            )
            assert ours[ours >= 0].tolist() == expected


@pytest.mark.parametrize("choice", CHOICES)
def test_a_window_gets_the_same_set_in_any_company(choice: ContextChoice) -> None:
    panel = _panel()
    pool = _pool(panel, choice)
    names, times = _windows(panel, np.arange(20, 400))
    together = pool.choose(names, times, 4)
    order = np.random.default_rng(0).permutation(len(names))
    np.testing.assert_array_equal(pool.choose(names[order], times[order], 4), together[order])
    alone = [pool.choose(names[i : i + 1], times[i : i + 1], 4)[0] for i in (0, 700, 2_500)]
    np.testing.assert_array_equal(alone, together[[0, 700, 2_500]])
    np.testing.assert_array_equal(pool.choose(names, times, 2), together[:, :2])


def test_windows_seeds_and_dates_differ_in_what_they_see() -> None:
    panel = _panel()
    first, second = (_pool(panel, "random", seed=seed) for seed in (1, 2))
    names, times = _windows(panel, np.arange(320, 340))
    chosen = first.choose(names, times, 5)
    assert len({tuple(row) for row in chosen.tolist()}) == len(chosen)
    reseeded = replace(first, seed=2).choose(names, times, 5)
    assert (reseeded != chosen).any(1).all()
    assert not torch.equal(first.identity, second.identity)


def test_every_member_is_as_likely_as_another() -> None:
    panel = _panel()
    pool = _pool(panel, "random")
    n_windows = 20_000
    times = time_keys(panel.calendar)[-1] + 60_000_000 * np.arange(n_windows)
    chosen = pool.choose(np.repeat(symbol_keys(["S1"]), n_windows), times, 8)
    counts = np.bincount(chosen.ravel(), minlength=512)
    expected = n_windows * 8 / 512
    chi_square = ((counts - expected) ** 2 / expected).sum() * 512 / (512 - 8)
    assert abs(chi_square - 511) < 4 * np.sqrt(2 * 511)


def test_a_random_pool_holds_the_lowest_hashes_of_all_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = _with_horizon(_panel(), 2)
    monkeypatch.setattr(context_pool_module, "POOL_SEQUENCES", 100)
    pool = _pool(panel, "random", train=Span(0, 300), horizon=2)
    expected = oracle.random_pool(panel, stop=300, length=LENGTH, horizon=2, seed=11, size=100)
    assert {(name, last) for name, last, _ in _members(pool, panel)} == expected


@pytest.mark.parametrize("choice", CHOICES)
def test_members_carry_the_folds_own_scaled_values_and_labels(choice: ContextChoice) -> None:
    panel, train = _panel(), Span(20, 300)
    pool = _pool(panel, choice, train=train)
    tensors = _tensors(panel, start=20, stop=340)
    present = tensors.observed & tensors.outcomes.present
    short = 0
    for p, (name, last, _) in enumerate(_members(pool, panel)):
        s = panel.symbols.index(name)
        end = tensors.index(last) + 1
        assert pool.symbol[p] == s
        assert pool.observed[p, -1]
        n = LENGTH if choice != "change_point" else LENGTH - int(pool.observed[p].int().argmax())
        short += n < LENGTH
        seen = present[s, end - n : end]
        assert torch.equal(pool.observed[p, LENGTH - n :], seen)
        assert not pool.observed[p, : LENGTH - n].any()
        assert torch.equal(pool.values[p, LENGTH - n :], tensors.values[s, end - n : end] * seen[:, None])
        assert torch.equal(pool.next_return[p, LENGTH - n :], tensors.outcomes.label[s, end - n : end] * seen)
        assert not pool.values[p, : LENGTH - n].any()
    assert (short > 0) == (choice == "change_point")
    assert pool.resolved_at.diff().ge(0).all()
    assert len(pool.identity) <= 512


@pytest.mark.parametrize("choice", CHOICES)
def test_the_pool_is_the_same_whatever_bars_stand_around_train(choice: ContextChoice) -> None:
    panel = _panel()
    scaler = Scaler.fit(panel.values[panel.observed], panel.features)
    pools = [
        context_pool(
            panel_tensors(panel, scaler, start=start, stop=stop, target_volatility=0.15),
            TRAIN,
            symbols=panel.symbols,
            levels=torch.arange(len(panel.symbols)),
            calendar=panel.calendar,
            horizon=1,
            n_context=5,
            context_bars=LENGTH,
            choice=choice,
            seed=11,
        )
        for start, stop in ((20, 300), (3, 380), (-6, 301))
    ]
    for name, tensor in pools[0].tensors().items():
        assert torch.equal(getattr(pools[1], name), tensor)
        assert torch.equal(getattr(pools[2], name), tensor)


def test_a_context_set_is_its_members_and_nothing_where_there_are_none() -> None:
    panel = _panel()
    pool = _pool(panel, "random")
    found = pool.context_set(np.array([[3, -1], [200, 7], [-1, -1]]))
    assert found.members.tolist() == [[1, -1], [3, 2], [-1, -1]]
    for place, member in enumerate((0, 3, 7, 200)):
        for name in ("values", "next_return", "observed"):
            assert torch.equal(getattr(found, name)[place], getattr(pool, name)[member])
        assert found.symbol[place] == pool.symbol[member]
    assert len(found.values) == 4


def test_the_start_of_the_data_has_no_context_and_the_next_bars_have_some() -> None:
    panel = random_panel(gaps=False)
    pool = _pool(panel, "random", train=Span(0, 140), n_context=3)
    counts = (pool.choose(*_windows(panel, np.arange(40)), 3) >= 0).sum(1).reshape(3, 40)
    assert (counts[:, : LENGTH + 1] == 0).all()  # ends at bar 8, resolved at bar 9
    assert (np.diff(counts, axis=1) >= 0).all()
    assert (counts[:, -1] == 3).all()


def test_time_equivalent_sequences_end_together_as_late_as_the_window_allows() -> None:
    panel = random_panel(n_symbols=6, n_bars=300, gaps=False)
    pool = _pool(panel, "time_equivalent", train=Span(0, 280), n_context=4)
    members = _members(pool, panel)
    ends = sorted({last for _, last, _ in members})
    assert ends[-1] == 278
    assert min(np.diff(ends)) == max(np.diff(ends)) == LENGTH
    for bar in (60, 150, 279, 290):
        row = pool.choose(symbol_keys(["S0"]), time_keys(panel.calendar[bar : bar + 1]), 4)[0]
        names, lasts = {members[m][0] for m in row}, {members[m][1] for m in row}
        assert lasts == {max(end for end in ends if end + 1 < bar)}
        assert len(names) == 4


@pytest.mark.parametrize("stop", [11, 28, 29, 60])
def test_time_equivalent_ends_are_never_closer_than_a_sequence_is_long(stop: int) -> None:
    panel = random_panel(gaps=False)
    ends = {last for _, last, _ in _members(_pool(panel, "time_equivalent", train=Span(0, stop), n_context=1), panel)}
    assert ends == set(range(stop - 2, LENGTH - 2, -LENGTH))


def test_time_equivalent_steps_back_when_symbols_run_out() -> None:
    panel = random_panel(n_symbols=3, n_bars=300, gaps=False)
    pool = _pool(panel, "time_equivalent", train=Span(0, 280), n_context=7)
    members = _members(pool, panel)
    row = pool.choose(symbol_keys(["S0"]), time_keys(panel.calendar[200:201]), 7)[0]
    ends = sorted({last for _, last, _ in members if last + 1 < 200})
    assert [members[m][1] for m in row] == [ends[-1]] * 3 + [ends[-2]] * 3 + [ends[-3]]


def test_a_time_equivalent_pool_has_room_for_every_end_it_keeps() -> None:
    panel = random_panel(n_symbols=40, n_bars=300, gaps=False)
    pool = _pool(panel, "time_equivalent", train=Span(0, 280), n_context=30)
    _, counts = np.unique(pool.resolved_at.numpy(), return_counts=True)
    assert counts.min() >= 30
    assert 400 < counts.sum() <= 512
    assert len(counts) > 10


def test_change_point_sequences_are_the_ends_of_segments() -> None:
    panel = _panel()
    pool = _pool(panel, "change_point", train=Span(0, 300))
    members = _members(pool, panel)
    past = np.roll(np.where(panel.scored, panel.next_return / panel.volatility, np.nan)[:, :300], 1, axis=1)
    past[:, 0] = np.nan
    for s, name in enumerate(panel.symbols):
        alarms = oracle.alarms(past[s].tolist())
        kept = [last for symbol, last, _ in members if symbol == name]
        assert set(kept) <= set(alarms)
        for p, (symbol, last, _) in enumerate(members):
            if symbol == name and alarms.index(last):
                whole = last - alarms[alarms.index(last) - 1]
                assert int(pool.observed[p].sum()) <= min(whole, LENGTH)
                assert not pool.observed[p, : LENGTH - min(whole, LENGTH)].any()
    assert len(members) > 30


def test_a_panel_in_another_order_and_with_further_symbols_gives_old_windows_the_old_hashes() -> None:
    panel = _panel()
    order = [5, 2, 7, 0]
    mixed = replace(
        panel,
        symbols=tuple(panel.symbols[s] for s in order),
        **{name: getattr(panel, name)[order] for name in ("values", "observed", "next_return", "volatility", "label")},
        close=panel.close[order],
    )
    pools = [_pool(each, "random", n_context=5) for each in (panel, mixed)]
    everything, few = ({(name, last) for name, last, _ in _members(p, panel)} for p in pools)
    assert {pair for pair in everything if pair[0] in mixed.symbols} <= few
    assert symbol_keys(mixed.symbols).tolist() == symbol_keys(panel.symbols)[order].tolist()


def test_a_pool_comes_back_from_safetensors_as_it_was() -> None:
    panel = _panel()
    pool = _pool(panel, "change_point")
    again = ContextPool(choice=pool.choice, seed=pool.seed, **load(save(pool.tensors())))
    for name, tensor in pool.tensors().items():
        assert torch.equal(getattr(again, name), tensor)
    windows = _windows(panel, np.arange(100, 380))
    np.testing.assert_array_equal(again.choose(*windows, 3), pool.choose(*windows, 3))


def test_a_pool_is_small_and_holds_no_view_of_the_fold() -> None:
    panel = _panel()
    pool = _pool(panel, "random")
    stored = sum(tensor.untyped_storage().nbytes() for tensor in pool.tensors().values())
    assert stored == 512 * (LENGTH * (4 * 4 + 4 + 1) + 3 * 8)


def test_keys_are_those_of_the_oracle_and_tell_names_and_times_apart() -> None:
    panel = _panel()
    assert symbol_keys(("A", "ÄB")).tolist() == [oracle.symbol_key("A"), oracle.symbol_key("ÄB")]
    assert time_keys(panel.calendar).tolist() == [oracle.time_key(moment) for moment in panel.calendar]
    moment = panel.calendar[0]
    assert np.diff(time_keys([moment, moment + timedelta(microseconds=1)])).tolist() == [1]


def test_more_context_than_a_pool_holds_is_refused() -> None:
    panel = _panel()
    with pytest.raises(ValueError, match=r"n_context 513 > 512.*lower network\.n_context"):
        _pool(panel, "random", n_context=513)
    with pytest.raises(ValueError, match=r"n_context 513 is not within 1\.\.512"):
        _pool(panel, "random").choose(*_windows(panel, np.arange(3)), 513)


def test_a_train_span_without_a_whole_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="9 train bars < context_bars 9 \\+ horizon 1"):
        _pool(_panel(), "random", train=Span(20, 29))


def test_a_pool_without_a_sequence_is_refused() -> None:
    panel = replace(_panel(), next_return=np.zeros((8, 400)))
    with pytest.raises(ValueError, match=r"0 context sequence\(s\) by 'change_point' in 280 train bars of 8 symbols"):
        _pool(panel, "change_point")
