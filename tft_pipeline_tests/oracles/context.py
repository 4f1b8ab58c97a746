"""The context set by loops: alarms a bar at a time, hashes in Python's integers, attention a sequence and a head at a time."""

import hashlib
import math
from datetime import UTC, datetime

import numpy as np

from tft_pipeline.domain.panel import Panel
from tft_pipeline_tests.oracles.network import Weights, gate_add_norm, gated_residual_network, linear, lstm, part

MASK = 2**64 - 1


def alarms(returns: list[float]) -> list[int]:
    """Bars of one symbol at which the self-starting CUSUM rings."""
    segment: list[float] = []
    sums = [0.0] * 4
    found = []
    for bar, value in enumerate(returns):
        if math.isnan(value):
            continue
        n = len(segment)
        if n >= 3 and np.std(segment) > 0:
            t = (value - np.mean(segment)) / (np.std(segment, ddof=1) * math.sqrt(1 + 1 / n))
            z = math.copysign((8 * n - 7) / (8 * n - 5) * math.sqrt((n - 1) * math.log(1 + t * t / (n - 1))), t)
            z = max(-2.5, min(2.5, z))
            v = (math.sqrt(abs(z)) - 0.8221789586) / 0.3491508567
            sums = [max(0.0, total + move - 0.5) for total, move in zip(sums, (z, -z, v, -v), strict=True)]
        segment.append(value)
        if max(sums) > 4.0:
            found.append(bar)
            segment, sums = [], [0.0] * 4
    return found


def mixed(state: int, key: int) -> int:
    """SplitMix64's finaliser of state * odd + key + golden ratio, modulo 2^64."""
    z = (state * 0xD1342543DE82EF95 + key + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def symbol_key(name: str) -> int:
    """Little-endian integer of 8 bytes of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def time_key(moment: datetime) -> int:
    """Microseconds since 1970."""
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000


def random_pool(panel: Panel, *, stop: int, length: int, horizon: int, seed: int, size: int) -> set[tuple[str, int]]:
    """(symbol, last bar): the ends of lowest hash among bars 0 .. stop-1, and the symbols of lowest hash at each."""
    ends = sorted(range(length - 1, stop - horizon), key=lambda last: mixed(seed, time_key(panel.calendar[last])))
    ends = ends[:size]
    found = set()
    for rank, last in enumerate(ends):
        there = [name for s, name in enumerate(panel.symbols) if panel.scored[s, last]]
        there.sort(key=lambda name: mixed(mixed(seed, symbol_key(name)), time_key(panel.calendar[last])))
        found |= {(name, last) for name in there[: size // len(ends) + (rank < size % len(ends))]}
    return found


def chosen(
    pool: list[tuple[str, datetime, datetime]],
    window: tuple[str, datetime],
    *,
    n: int,
    seed: int,
    latest_end_first: bool,
) -> list[int]:
    """Places in a pool of (symbol, last bar, bar of its resolution) for a window of (symbol, first scored bar)."""
    symbol, first_scored = window
    start = mixed(mixed(seed, symbol_key(symbol)), time_key(first_scored))
    ranked = []
    for place, (name, last, resolved) in enumerate(pool):
        if resolved < first_scored:
            order = mixed(start, mixed(symbol_key(name), time_key(last)))
            ranked.append((-time_key(resolved) if latest_end_first else 0, order, place))
    return [place for _, _, place in sorted(ranked)[:n]]


def sequence_attention(
    weights: Weights, query: np.ndarray, keys: list[np.ndarray], values: list[np.ndarray], heads: int
) -> np.ndarray:
    """query (H,) over usable sequences -> (H,): one head after another."""
    D = len(query) // heads
    mixture = []
    for m in range(heads):
        rows = slice(m * D, (m + 1) * D)
        asked = linear(weights, "query", query)[rows]
        scores = np.array([asked @ linear(weights, "key", key)[rows] / math.sqrt(D) for key in keys])
        share = np.exp(scores - scores.max())
        share /= share.sum()
        mixture.append(sum(a * linear(weights, "value", v)[rows] for a, v in zip(share, values, strict=True)))
    return linear(weights, "output", np.concatenate(mixture))


def context_attention(
    weights: Weights,
    hidden: np.ndarray,
    selected: np.ndarray,
    next_return: np.ndarray,
    observed: np.ndarray,
    heads: int,
) -> np.ndarray:
    """One window: hidden (T, H), selected (C, L, H), next_return (C, L), observed (C, L) -> (T, H)."""
    keys, values = [], []
    for rows, returns, seen in zip(selected, next_return, observed, strict=True):
        if not seen.any():
            continue
        last = max(bar for bar, there in enumerate(seen) if there)
        shapes = [row if there else 0.0 * row for row, there in zip(rows, seen, strict=True)]
        outcomes = [
            linear(weights, "return_embedding", np.array([r])) if there else np.zeros(rows.shape[1])
            for r, there in zip(returns, seen, strict=True)
        ]
        both = np.array([np.concatenate(pair) for pair in zip(shapes, outcomes, strict=True)])
        key = lstm(part(weights, "key_lstm"), np.array(shapes), 1)[last]
        value = lstm(part(weights, "value_lstm"), both, 1)[last]
        keys.append(gated_residual_network(part(weights, "key_network"), key))
        values.append(gated_residual_network(part(weights, "value_network"), value))
    if not keys:
        return hidden
    among, after = part(weights, "among"), part(weights, "after_among")
    values = [gate_add_norm(after, sequence_attention(among, v, values, values, heads), v) for v in values]
    across, after = part(weights, "across"), part(weights, "after_across")
    return np.array([gate_add_norm(after, sequence_attention(across, row, keys, values, heads), row) for row in hidden])
