"""Shadow features: copies of features moved in time by blocks, which cannot help. Not here: how their weights are learnt
(`model.exploration`), what they are a threshold for (`selection`).

Axes: S symbols, n bars of a part, k shadows.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from tft_pipeline.domain.folds import Fold
from tft_pipeline.domain.panel import Panel


def with_shadow_features(panel: Panel, n_shadows: int, fold: Fold, *, seed: int) -> Panel:
    """Append time-permuted copies of features: the same values, no relation to any label.

    Each copy takes one feature (drawn without replacement while there are enough) and an order of blocks, see `moved_blocks`,
    in each of three parts: the bars up to the train end, those up to the validation end, and the rest. No value moves to
    another part. One order of calendar blocks holds for all symbols, so that a shadow of a slow feature is slow, and one
    of a feature that symbols share, in whole or in part, is shared as much: what gives noise its weight stays.

    Within a part each symbol keeps its own values and its own observed bars. Where it lacks bars, the values of a block take
    the symbol's bars of the new place in order; values that find no bar there fill the symbol's bars that are left over, oldest
    place first. A shadow of a market's feature therefore differs between symbols near their holes and listings, nowhere
    else. Names start with `shadow_`.

    Raises:
        ValueError: a feature's own name starts with `shadow_`.
    """
    clash = [name for name in panel.features if name.startswith("shadow_")]
    if clash:
        raise ValueError(f"features {clash} start with shadow_, which names shadow features; rename them")
    rng = np.random.default_rng(seed)
    n_features = len(panel.features)
    chosen = rng.permutation(n_features)[:n_shadows]
    if n_shadows > n_features:
        chosen = np.concatenate([chosen, rng.integers(0, n_features, n_shadows - n_features)])
    shadows = np.full((*panel.values.shape[:2], n_shadows), np.nan, dtype=np.float32)
    edges = (0, fold.train.stop, fold.validation.stop, panel.n_bars)
    for start, stop in pairwise(edges):
        for k, v in enumerate(chosen):
            order = moved_blocks(stop - start, rng)
            for s in range(len(panel.symbols)):
                to, of = _own_bars(panel.observed[s, start:stop], order)
                shadows[s, start + to, k] = panel.values[s, start + of, v]
    names = tuple(f"shadow_{k}_{panel.features[v]}" for k, v in enumerate(chosen))
    values = np.concatenate([panel.values, shadows], axis=2)
    values.setflags(write=False)
    return replace(panel, features=(*panel.features, *names), values=values)


def blocks_of(n_bars: int) -> list[np.ndarray]:
    """Bars 0 .. n_bars-1 in blocks of ceil(sqrt(n_bars)) consecutive ones, two blocks at least; the last may be shorter.

    Raises:
        ValueError: fewer than 2 bars.
    """
    if n_bars < 2:
        raise ValueError(f"{n_bars} bars make no two blocks: nothing can move; give a part 2 bars at least")
    length = min(math.ceil(math.sqrt(n_bars)), n_bars // 2)
    return [np.arange(first, min(first + length, n_bars)) for first in range(0, n_bars, length)]


def moved_blocks(n_bars: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`blocks_of` in an order drawn among those in which each block lies its own length or more from where it was.

    A block that stayed, or nearly, would keep the relation to the label that a shadow must not have. Moving every block one
    place forward and the first to the end is such an order, so one is always found. A part of one bar stays as it is.
    """
    if n_bars < 2:
        return [np.arange(n_bars)]
    blocks = blocks_of(n_bars)
    while True:
        order = [blocks[b] for b in rng.permutation(len(blocks))]
        places = np.cumsum([0, *(len(block) for block in order[:-1])])
        if all(abs(place - block[0]) >= len(block) for place, block in zip(places, order, strict=True)):
            return order


def _own_bars(observed: np.ndarray, order: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Which of a symbol's bars (first) takes the value of which (second); both hold each observed bar once.

    Args:
        observed: (n,) bars that the symbol has.
        order: blocks of the bars 0 .. n-1, as they follow each other afterwards.
    """
    of = np.concatenate(order)
    if observed.all():
        return np.arange(len(of)), of
    block = np.repeat(np.arange(len(order)), [len(one) for one in order])
    to_keys, of_keys = _keys(observed, block), _keys(observed[of], block)
    to, of = np.flatnonzero(observed), of[observed[of]]
    to_left, of_left = ~np.isin(to_keys, of_keys), ~np.isin(of_keys, to_keys)
    return np.concatenate([to[~to_left], to[to_left]]), np.concatenate([of[~of_left], of[of_left]])


def _keys(observed: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Of each observed bar: its block, and how many observed bars of the block stand before it, as one number; ascending."""
    count = np.cumsum(observed) - observed  # observed bars before each bar
    first = np.searchsorted(block, block)  # the first bar of each bar's block
    found: np.ndarray = (block * len(block) + count - count[first])[observed]
    return found
