"""The context set of X-Trend: past sequences, with what came of them, that a window may learn from.

    fold's train bars -> pool of at most `POOL_SEQUENCES` sequences, fixed with the fold and stored with its weights
    (symbol, first scored bar) of a window -> C members of the pool, all resolved before that bar

Here: which sequences, and their tensors. Not here: the attention that reads them (`context_attention`).

A fixed pool makes live use and stored folds simple: a prediction needs no training bars, whatever its date. 512 sequences
are enough for windows to differ in what they see, and 3 MB at 21 bars of 73 variables.

Axes: S symbols, N bars of train, P sequences of the pool, L bars of a sequence, V variables, W windows, C context sequences,
K candidates. Source: Wood, Kessler, Roberts, Zohren (2023), arXiv 2310.10500.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tft_pipeline.domain.change_points import closed_segments
from tft_pipeline.domain.folds import Span
from tft_pipeline.model.batch import ContextSet
from tft_pipeline.model.windows import PanelTensors

ContextChoice = Literal["random", "time_equivalent", "change_point"]

POOL_SEQUENCES = 512
SLICES = 64
"""Equal stretches of train that share the pool between them where candidates are change-point segments."""
ROWS_A_CHUNK = 2_048
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LAST = np.uint64(2**64 - 1)


@dataclass(frozen=True, kw_only=True)
class ContextPool:
    """The sequences of one fold, in the order in which their last labels were resolved.

    Attributes:
        choice: how windows choose among them.
        seed: of every choice.
        values: (P, L, V) float32, scaled by the fold's scaler; zero where not observed.
        next_return: (P, L) float32, label of each bar: forward return in units of expected risk; zero where not observed.
        observed: (P, L) bool, inside the sequence, with features and a label.
        symbol: (P,) long, place of the sequence's symbol among those the fold was trained on.
        resolved_at: (P,) long, `time_keys` of the last bar that the last label has seen; ascending.
        identity: (P,) long, hash of symbol and last bar.
    """

    choice: ContextChoice
    seed: int
    values: Tensor
    next_return: Tensor
    observed: Tensor
    symbol: Tensor
    resolved_at: Tensor
    identity: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Everything but `choice` and `seed`, by name, as safetensors stores it."""
        names = ("values", "next_return", "observed", "symbol", "resolved_at", "identity")
        return {name: getattr(self, name).contiguous() for name in names}

    def to(self, device: torch.device) -> "ContextPool":
        """The same with what is gathered on a device; choosing stays on the CPU."""
        return replace(
            self,
            values=self.values.to(device),
            next_return=self.next_return.to(device),
            observed=self.observed.to(device),
        )

    def choose(self, symbols: np.ndarray, first_scored: np.ndarray, n: int) -> np.ndarray:
        """Members for windows, each a function of (seed, symbol, first scored bar) and of nothing else.

            random, change_point   the n of lowest hash(seed, symbol, bar, member) among those resolved before the bar
            time_equivalent        the same among the latest such end; then among the end before it, and so on

        Args:
            symbols: (W,) `symbol_keys` of the windows' symbols; need not be known to the pool.
            first_scored: (W,) `time_keys` of the first bar of each window that is scored.
            n: C.
        Returns:
            (W, C) int64 places in the pool, all different; -1 where fewer than C were resolved in time.
        Raises:
            ValueError: n < 1 or above `POOL_SEQUENCES`.
        """
        if not 1 <= n <= POOL_SEQUENCES:
            raise ValueError(
                f"n_context {n} is not within 1..{POOL_SEQUENCES}, the sequences a fold keeps: windows would see fewer than "
                "asked for; lower network.n_context"
            )
        resolved_at, identity = self.resolved_at.numpy(), self.identity.numpy().view(np.uint64)
        known = np.searchsorted(resolved_at, first_scored, side="left")  # strictly before: (W,)
        _, end = np.unique(resolved_at, return_inverse=True)
        members = np.full((len(symbols), n), -1, dtype=np.int64)
        taken = min(n, len(identity))
        for start in range(0, len(symbols), ROWS_A_CHUNK):
            rows = slice(start, start + ROWS_A_CHUNK)
            windows = _mixed(_mixed(np.uint64(self.seed), symbols[rows]), first_scored[rows].astype(np.uint64))
            order = _mixed(windows[:, None], identity)  # (rows, P)
            if self.choice == "time_equivalent":
                age = end[np.maximum(known[rows], 1) - 1][:, None] - end  # 0: the latest end resolved in time
                order = (age.astype(np.uint64) << np.uint64(44)) | (order >> np.uint64(20))
            order = np.where(np.arange(len(identity)) < known[rows, None], order, LAST)
            nearest = np.argpartition(order, taken - 1, axis=1)[:, :taken]
            nearest = np.take_along_axis(nearest, np.take_along_axis(order, nearest, 1).argsort(1, kind="stable"), 1)
            members[rows, :taken] = np.where(nearest < known[rows, None], nearest, -1)
        return members

    def context_set(self, members: np.ndarray) -> ContextSet:
        """members (W, C) of `choose` -> the sequences that are read, and by whom; the first of the pool is always among them,
        so that no set is empty."""
        used = np.union1d([0], members[members >= 0])
        found = np.where(members >= 0, np.searchsorted(used, members), -1)
        device = self.values.device
        read = torch.from_numpy(used).to(device)
        return ContextSet(
            values=self.values[read],
            next_return=self.next_return[read],
            observed=self.observed[read],
            symbol=self.symbol.to(device)[read] + 1,
            members=torch.from_numpy(found).to(device),
        )


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
    calendar: Sequence[datetime],
    horizon: int,
    n_context: int,
    context_bars: int,
    choice: ContextChoice,
    seed: int,
) -> ContextPool:
    """Draw a fold's pool from its train bars; the last label of every sequence ends inside train.

        random           any symbol, any end, `context_bars` bars
        time_equivalent  ends `context_bars` or more apart, counted back from the last; n_context or more symbols at each
        change_point     segments between change-points of a symbol's returns, cut to their last `context_bars` bars

    A sequence ends on a bar with a label. The draw follows hashes of names and dates, so that it does not depend on the order
    of symbols; a segment enters or not by what was known when it ended.

    Args:
        tensors: holds the bars of `train`, on the CPU.
        symbols: (S,) names, in the order of the tensors.
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
    if not len(drawn.last):
        raise ValueError(
            f"not one context sequence by {choice!r} in {train.n_bars} train bars of {len(symbols)} symbols: every window "
            "would go without; choose another network.context_choice, set network.n_context to 0, or lengthen train"
        )
    identity = _mixed(names[drawn.symbol], times[drawn.last].astype(np.uint64))
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
        symbol=torch.from_numpy(symbol),
        resolved_at=torch.from_numpy(times[last + horizon]),
        identity=torch.from_numpy(identity[in_order].view(np.int64)),
    )


def symbol_keys(names: Sequence[str]) -> np.ndarray:
    """(S,) uint64: 8 bytes of each name's BLAKE2b hash, the same whatever else is in the panel."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def time_keys(calendar: Sequence[datetime]) -> np.ndarray:
    """(N,) int64: microseconds since 1970 UTC."""
    return np.array([(moment - EPOCH) // MICROSECOND for moment in calendar], dtype=np.int64)


def _random(
    present: np.ndarray, ends: np.ndarray, names: np.ndarray, times: np.ndarray, seed: int, length: int
) -> _Candidates:
    """The sequences of lowest hash among all symbols and ends."""
    symbol, place = np.nonzero(present[:, ends])
    last = ends[place]
    order = _mixed(_mixed(np.uint64(seed), names[symbol]), times[last].astype(np.uint64))
    kept = np.argsort(order)[:POOL_SEQUENCES]
    return _Candidates(symbol[kept], last[kept], np.full(len(kept), length))


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
    n_symbols = POOL_SEQUENCES // n_ends
    symbols, lasts = [], []
    for last in ends[::-1][::apart]:
        there = np.flatnonzero(present[:, last])
        order = _mixed(_mixed(np.uint64(seed), names[there]), times[last : last + 1].astype(np.uint64))
        symbols.append(there[np.argsort(order)[:n_symbols]])
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
    order = _mixed(_mixed(np.uint64(seed), names[symbol]), times[last].astype(np.uint64))
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


def _mixed(state: np.ndarray | np.uint64, key: np.ndarray) -> np.ndarray:
    """A 64-bit hash of both: the finaliser of SplitMix64 (Steele, Lea, Flood 2014) over their sum; elementwise."""
    z = np.atleast_1d(state) * np.uint64(0xD1342543DE82EF95) + key + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
