"""The equity that drawdowns are told from: no loss between two closes is left out, whatever happened in between."""

import math
from itertools import pairwise

import numpy as np
import pytest

from tft_pipeline.live.equity import fill, mark
from tft_pipeline.live.loop_state import LoopState


def test_with_a_close_of_every_symbol_at_every_bar_it_is_the_product_of_portfolio_returns() -> None:
    random = np.random.default_rng(3)
    closes = np.exp(np.cumsum(random.normal(0.0, 0.02, (40, 3)), axis=0))
    weights = random.uniform(-0.5, 0.5, (40, 3))
    state = LoopState()
    for row, wanted in zip(closes, weights, strict=True):
        mark(state, dict(zip("ABC", row, strict=True)))
        fill(state, dict(zip("ABC", wanted, strict=True)), at="ABC")
    returns = closes[1:] / closes[:-1] - 1.0
    wealth = np.concatenate([[1.0], np.cumprod(1.0 + (weights[:-1] * returns).sum(axis=1))])
    assert math.isclose(state.equity, wealth[-1], rel_tol=1e-12)
    assert math.isclose(state.high_water_mark, wealth.max(), rel_tol=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_one_symbol_with_gaps_halts_and_entries_earns_what_was_first_held_over_each_way_between_two_closes(
    seed: int,
) -> None:
    """The oracle keeps all events and looks back at each close, instead of carrying anything forward."""
    random = np.random.default_rng(seed)
    events: list[tuple[str, float]] = []
    state = LoopState()
    for _ in range(60):
        if random.random() < 0.5:
            close, weight = float(random.uniform(50.0, 150.0)), float(random.choice([0.0, 0.4, -0.3]))
            mark(state, {"A": close})
            events.append(("close", close))
            if random.random() < 0.8:  # else: the bar is late, and what stood stands
                fill(state, {"A": weight}, at=("A",))
                events.append(("at close", weight))
        else:
            weight = float(random.choice([0.0, 0.4]))
            fill(state, {"A": weight})
            events.append(("between", weight))
    equity = 1.0
    closes = [place for place, (kind, _) in enumerate(events) if kind == "close"]
    for first, second in pairwise(closes):
        standing = next((weight for kind, weight in reversed(events[:first]) if kind != "close"), 0.0)
        way = events[first + 1 : second]
        if way and way[0][0] == "at close":
            standing = way.pop(0)[1]
        held = next((weight for weight in [standing, *(weight for _, weight in way)] if weight), 0.0)
        equity *= 1.0 + held * (events[second][1] / events[first][1] - 1.0)
    assert math.isclose(state.equity, equity, rel_tol=1e-12)


def test_a_symbol_that_misses_a_bar_is_marked_at_its_next_close() -> None:
    state = LoopState()
    mark(state, {"A": 100.0, "B": 1.0})
    fill(state, {"A": 1.0, "B": 0.0}, at=("A", "B"))
    mark(state, {"B": 1.0})
    fill(state, {"A": 0.0, "B": 0.0}, at=("B",))
    assert state.equity == 1.0
    mark(state, {"A": 50.0, "B": 1.0})
    assert state.equity == 0.5
    mark(state, {"A": 25.0})
    assert state.equity == 0.5
