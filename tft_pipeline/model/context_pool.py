"""Drawing a fold's pool of context sequences from its train bars. Not here: which of them a window reads (`context`).

Axes: S symbols, N bars of train, P sequences of the pool, L bars of a sequence, V variables, K candidates.
Source: Wood, Kessler, Roberts, Zohren (2023), arXiv 2310.10500.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tft_pipeline.domain.change_points import closed_segments
from tft_pipeline.domain.folds import Span
from tft_pipeline.model.context import POOL_SEQUENCES, ContextChoice, ContextPool, mixed, symbol_keys, time_keys
from tft_pipeline.model.windows import PanelTensors

SLICES = 64
"""Equal stretches of train that share the pool between them where candidates are change-point segments."""


class _Candidates(NamedTuple):
    """Sequences that could enter the pool; (K,): place of the symbol, index of the last bar, number of bars."""

    symbol: np.ndarray
    last: np.ndarray
    length: np.ndarray


def context_pool(
    tensors: PanelTensors,
    train: Span,
    *,
    symbols: Sequence[str],
    levels: Tensor,
    calendar: Sequence[datetime],
    horizon: int,
    n_context: int,
    context_bars: int,
    choice: ContextChoice,
    seed: int,
) -> ContextPool:
    """Draw a fold's pool from its train bars; the last label of every sequence ends inside train.

        random           ends drawn from all bars, symbols from those there, `context_bars` bars
        time_equivalent  ends `context_bars` or more apart, counted back from the last; n_context or more symbols at each
        change_point     segments between change-points of a symbol's returns, cut to their last `context_bars` bars

    A sequence ends on a bar with a label. The draw follows hashes of names and dates, so that it does not depend on the order
    of symbols; a segment enters or not by what was known when it ended.

    Args:
        tensors: holds the bars of `train`, on the CPU.
        symbols: (S,) names, in the order of the tensors.
        levels: (S,) long, their levels as a static input.
        calendar: timestamps of all panel bars.
        horizon: h; the label of bar t has seen bar t + h.
    Raises:
        ValueError: train holds no whole sequence, no candidate, or n_context is above `POOL_SEQUENCES`.
    """
    if n_context > POOL_SEQUENCES:
        raise ValueError(
            f"n_context {n_context} > {POOL_SEQUENCES}, the sequences a fold keeps: windows would see fewer than asked for; "
            "lower network.n_context"
        )
    if train.n_bars < context_bars + horizon:
        raise ValueError(
            f"{train.n_bars} train bars < context_bars {context_bars} + horizon {horizon}: not one context sequence is "
            "resolved inside train; shorten network.context_bars or lengthen train"
        )
    bars = slice(tensors.index(train.start), tensors.index(train.stop))
    present = (tensors.observed & tensors.outcomes.present)[:, bars].numpy()  # (S, N)
    ends = np.arange(context_bars - 1, train.n_bars - horizon)
    names, times = symbol_keys(symbols), time_keys(calendar[train.start : train.stop])
    if choice == "change_point":
        drawn = _change_point(_past_returns(tensors, bars), present, ends, names, times, seed)
    elif choice == "time_equivalent":
        drawn = _time_equivalent(present, ends, names, times, seed, n_context, context_bars)
    else:
        drawn = _random(present, ends, names, times, seed, context_bars)
    if len(drawn.last) < n_context:
        raise ValueError(
            f"{len(drawn.last)} context sequence(s) by {choice!r} in {train.n_bars} train bars of {len(symbols)} symbols, less "
            f"than n_context {n_context}: no window would see as many as asked for; choose another network.context_choice, "
            "lower network.n_context, or lengthen train"
        )
    identity = mixed(names[drawn.symbol], times[drawn.last].astype(np.uint64))
    in_order = np.lexsort((identity, drawn.last))
    symbol, last, length = (column[in_order] for column in drawn)
    place = np.arange(context_bars)
    index = (
        last[:, None] + place - (context_bars - 1)
    )  # (P, L); below 0 before train, where a short segment has padding
    inside = place >= context_bars - length[:, None]
    index = np.where(inside, index, last[:, None])
    observed = torch.from_numpy(inside & present[symbol[:, None], index])
    at = torch.from_numpy(symbol)[:, None], torch.from_numpy(index + bars.start)
    return ContextPool(
        choice=choice,
        seed=seed,
        values=tensors.values[at] * observed.unsqueeze(-1),
        next_return=tensors.outcomes.label[at] * observed,
        observed=observed,
        symbol=levels[torch.from_numpy(symbol)],
        resolved_at=torch.from_numpy(times[last + horizon]),
        identity=torch.from_numpy(identity[in_order].view(np.int64)),
    )


def _random(
    present: np.ndarray, ends: np.ndarray, names: np.ndarray, times: np.ndarray, seed: int, length: int
) -> _Candidates:
    """The ends of lowest hash, and at each the symbols of lowest hash: what enters at a bar follows from that bar alone, so
    that a later listing pushes nothing out that an early window reads."""
    by_hash = ends[np.argsort(mixed(np.uint64(seed), times[ends].astype(np.uint64)))][:POOL_SEQUENCES]
    n_symbols = np.full(len(by_hash), POOL_SEQUENCES // len(by_hash))
    n_symbols[: POOL_SEQUENCES % len(by_hash)] += 1
    return _at_ends(present, by_hash, names, times, seed, n_symbols, length)


def _time_equivalent(
    present: np.ndarray,
    ends: np.ndarray,
    names: np.ndarray,
    times: np.ndarray,
    seed: int,
    n_context: int,
    length: int,
) -> _Candidates:
    """As many ends as the pool has room for with `n_context` symbols at each; symbols of lowest hash where not all fit."""
    S = len(names)
    n_ends = min(1 + (len(ends) - 1) // length, POOL_SEQUENCES // min(n_context, S))
    apart = max(length, -(-len(ends) // n_ends))
    spaced = ends[::-1][::apart]
    n_symbols = np.full(len(spaced), POOL_SEQUENCES // n_ends)
    return _at_ends(present, spaced, names, times, seed, n_symbols, length)


def _at_ends(
    present: np.ndarray,
    ends: np.ndarray,
    names: np.ndarray,
    times: np.ndarray,
    seed: int,
    n_symbols: np.ndarray,
    length: int,
) -> _Candidates:
    """At each end the n_symbols of lowest hash among those with a label there."""
    symbols, lasts = [], []
    for last, n in zip(ends, n_symbols, strict=True):
        there = np.flatnonzero(present[:, last])
        order = mixed(mixed(np.uint64(seed), names[there]), times[last : last + 1].astype(np.uint64))
        symbols.append(there[np.argsort(order)[:n]])
        lasts.append(np.full(len(symbols[-1]), last))
    symbol = np.concatenate(symbols)
    return _Candidates(symbol, np.concatenate(lasts), np.full(len(symbol), length))


def _change_point(
    returns: np.ndarray, present: np.ndarray, ends: np.ndarray, names: np.ndarray, times: np.ndarray, seed: int
) -> _Candidates:
    """The first segments to end in each of `SLICES` stretches of train.

    The lowest hashes of all would let a segment be pushed out by later ones: what an early window sees would depend on
    prices after it.
    """
    found = closed_segments(returns)
    able = (found.last <= ends[-1]) & present[found.symbol, found.last]
    symbol, first, last = found.symbol[able], found.first[able], found.last[able]
    order = mixed(mixed(np.uint64(seed), names[symbol]), times[last].astype(np.uint64))
    in_order = np.lexsort((order, last))
    symbol, first, last = symbol[in_order], first[in_order], last[in_order]
    stretch = last * SLICES // present.shape[1]
    rank = np.arange(len(stretch)) - np.searchsorted(stretch, stretch)
    kept = rank < POOL_SEQUENCES // SLICES
    length = np.minimum(last - first + 1, ends[0] + 1)
    return _Candidates(symbol[kept], last[kept], length[kept])


def _past_returns(tensors: PanelTensors, bars: slice) -> np.ndarray:
    """(S, N) return that ended at each bar, in units of the volatility known before it; NaN where unknown."""
    outcomes = tensors.outcomes
    ahead = torch.where(outcomes.present, outcomes.next_return * outcomes.leverage, torch.nan)[:, bars].double().numpy()
    return np.concatenate((np.full((len(ahead), 1), np.nan), ahead[:, :-1]), axis=1)
