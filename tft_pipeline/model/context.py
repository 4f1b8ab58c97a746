"""The context set of X-Trend: past sequences, with what came of them, that a window may learn from.

    fold's train bars -> pool of at most `POOL_SEQUENCES` sequences, fixed with the fold and stored with its weights
    (symbol, first scored bar) of a window -> C members of the pool, all resolved before that bar

Here: the pool, and what each window reads of it. Not here: how the pool is drawn (`context_pool`), the attention that reads it
(`context_attention`).

A fixed pool makes live use and stored folds simple: a prediction needs no training bars, whatever its date. 512 sequences
are enough for windows to differ in what they see, and 3 MB at 21 bars of 73 variables.

Axes: S symbols, N bars of train, P sequences of the pool, L bars of a sequence, V variables, W windows, C context sequences.
Source: Wood, Kessler, Roberts, Zohren (2023), arXiv 2310.10500.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tft_pipeline.model.batch import ContextSet

ContextChoice = Literal["random", "time_equivalent", "change_point"]

POOL_SEQUENCES = 512
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
        symbol: (P,) long, level of the sequence's symbol, as `WindowBatch.symbol`.
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
            windows = mixed(mixed(np.uint64(self.seed), symbols[rows]), first_scored[rows].astype(np.uint64))
            order = mixed(windows[:, None], identity)  # (rows, P)
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
            symbol=self.symbol.to(device)[read],
            members=torch.from_numpy(found).to(device),
        )


@dataclass(frozen=True)
class WindowContext:
    """What the windows of a panel read of a pool.

    Attributes:
        symbols: (S,) names of the panel's symbols. calendar: its timestamps. n_context: C.
    """

    pool: ContextPool
    symbols: tuple[str, ...]
    calendar: tuple[datetime, ...]
    n_context: int

    def of(self, first_scored: np.ndarray) -> ContextSet:
        """first_scored (B,) panel bars -> sequences of S * B windows, symbol by symbol, all resolved before those bars."""
        names, times = symbol_keys(self.symbols), time_keys([self.calendar[bar] for bar in first_scored])
        members = self.pool.choose(np.repeat(names, len(times)), np.tile(times, len(names)), self.n_context)
        return self.pool.context_set(members)

    def to(self, device: torch.device) -> "WindowContext":
        """The same with what is gathered on a device."""
        return replace(self, pool=self.pool.to(device))


def symbol_keys(names: Sequence[str]) -> np.ndarray:
    """(S,) uint64: 8 bytes of each name's BLAKE2b hash, the same whatever else is in the panel."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def time_keys(calendar: Sequence[datetime]) -> np.ndarray:
    """(N,) int64: microseconds since 1970 UTC."""
    return np.array([(moment - EPOCH) // MICROSECOND for moment in calendar], dtype=np.int64)


def mixed(state: np.ndarray | np.uint64, key: np.ndarray) -> np.ndarray:
    """A 64-bit hash of both: the finaliser of SplitMix64 (Steele, Lea, Flood 2014) over their sum; elementwise."""
    z = np.atleast_1d(state) * np.uint64(0xD1342543DE82EF95) + key + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: np.ndarray = z ^ (z >> np.uint64(31))
    return found
