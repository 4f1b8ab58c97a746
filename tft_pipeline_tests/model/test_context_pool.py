"""Drawing a fold's pool: which sequences enter it, and what they carry. Not here: which of them a window reads."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tft_pipeline.domain.folds import Span
from tft_pipeline.domain.scaling import Scaler
from tft_pipeline.model import context_pool as context_pool_module
from tft_pipeline.model.context import ContextChoice, symbol_keys
from tft_pipeline.model.context_pool import context_pool
from tft_pipeline.model.windows import panel_tensors
from tft_pipeline_tests.oracles import context as oracle
from tft_pipeline_tests.oracles.context_pools import (
    CHOICES,
    LENGTH,
    TRAIN,
    members_of,
    pool_of,
    regime_panel,
    tensors_of,
    with_horizon,
)
from tft_pipeline_tests.oracles.model_panels import random_panel


def test_a_random_pool_holds_the_lowest_hashes_of_all_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = with_horizon(regime_panel(), 2)
    monkeypatch.setattr(context_pool_module, "POOL_SEQUENCES", 100)
    pool = pool_of(panel, "random", train=Span(0, 300), horizon=2)
    expected = oracle.random_pool(panel, stop=300, length=LENGTH, horizon=2, seed=11, size=100)
    assert {(name, last) for name, last, _ in members_of(pool, panel)} == expected


@pytest.mark.parametrize("choice", ["random", "change_point"])
@pytest.mark.parametrize("bar", [90, 200])
def test_who_is_there_from_a_bar_on_pushes_out_no_sequence_that_ended_before_it(
    choice: ContextChoice, bar: int
) -> None:
    """Half of the symbols are there throughout, the others from `bar` on, or never."""
    panel = regime_panel()
    late, never = panel.observed.copy(), panel.observed.copy()
    late[4:, :bar] = False
    never[4:] = False
    ended = []
    for observed in (late, never):
        each = replace(panel, observed=observed)
        members = members_of(pool_of(each, choice), each)
        ended.append({(name, last) for name, last, _ in members if last < bar - 1})
        assert ended[-1]
    assert ended[0] == ended[1]


@pytest.mark.parametrize("choice", CHOICES)
def test_members_carry_the_folds_own_scaled_values_and_labels(choice: ContextChoice) -> None:
    panel, train = regime_panel(), Span(20, 300)
    pool = pool_of(panel, choice, train=train)
    tensors = tensors_of(panel, start=20, stop=340)
    present = tensors.observed & tensors.outcomes.present
    short = 0
    for p, (name, last, _) in enumerate(members_of(pool, panel)):
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
    panel = regime_panel()
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


@pytest.mark.parametrize("stop", [11, 28, 29, 60])
def test_time_equivalent_ends_are_never_closer_than_a_sequence_is_long(stop: int) -> None:
    panel = random_panel(gaps=False)
    ends = {
        last for _, last, _ in members_of(pool_of(panel, "time_equivalent", train=Span(0, stop), n_context=1), panel)
    }
    assert ends == set(range(stop - 2, LENGTH - 2, -LENGTH))


def test_a_time_equivalent_pool_has_room_for_every_end_it_keeps() -> None:
    panel = random_panel(n_symbols=40, n_bars=300, gaps=False)
    pool = pool_of(panel, "time_equivalent", train=Span(0, 280), n_context=30)
    _, counts = np.unique(pool.resolved_at.numpy(), return_counts=True)
    assert counts.min() >= 30
    assert 400 < counts.sum() <= 512
    assert len(counts) > 10


def test_change_point_sequences_are_the_ends_of_segments() -> None:
    panel = regime_panel()
    pool = pool_of(panel, "change_point", train=Span(0, 300))
    members = members_of(pool, panel)
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
    panel = regime_panel()
    order = [5, 2, 7, 0]
    mixed = replace(
        panel,
        symbols=tuple(panel.symbols[s] for s in order),
        **{name: getattr(panel, name)[order] for name in ("values", "observed", "next_return", "volatility", "label")},
        close=panel.close[order],
    )
    pools = [pool_of(each, "random", n_context=5) for each in (panel, mixed)]
    everything, few = ({(name, last) for name, last, _ in members_of(p, panel)} for p in pools)
    assert {pair for pair in everything if pair[0] in mixed.symbols} <= few
    assert symbol_keys(mixed.symbols).tolist() == symbol_keys(panel.symbols)[order].tolist()


def test_a_pool_is_small_and_holds_no_view_of_the_fold() -> None:
    panel = regime_panel()
    pool = pool_of(panel, "random")
    stored = sum(tensor.untyped_storage().nbytes() for tensor in pool.tensors().values())
    assert stored == 512 * (LENGTH * (4 * 4 + 4 + 1) + 3 * 8)


def test_more_context_than_a_pool_holds_is_refused() -> None:
    panel = regime_panel()
    with pytest.raises(ValueError, match=r"n_context 513 > 512.*lower network\.n_context"):
        pool_of(panel, "random", n_context=513)


def test_a_train_span_without_a_whole_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="9 train bars < context_bars 9 \\+ horizon 1"):
        pool_of(regime_panel(), "random", train=Span(20, 29))


def test_a_pool_without_a_sequence_is_refused() -> None:
    panel = replace(regime_panel(), next_return=np.zeros((8, 400)))
    with pytest.raises(ValueError, match=r"0 context sequence\(s\) by 'change_point' in 280 train bars of 8 symbols"):
        pool_of(panel, "change_point")
