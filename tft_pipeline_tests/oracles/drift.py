"""PSI, Kolmogorov-Smirnov and the null of turned windows by counting one value at a time."""

import math

Rows = list[list[float]]


def shares(values: list[float], edges: list[float]) -> list[int]:
    """Counts a bin, the last one for missing values."""
    counts = [0] * (len(edges) + 2)
    for value in values:
        if math.isnan(value):
            counts[-1] += 1
        else:
            counts[sum(value >= edge for edge in edges)] += 1
    return counts


def psi_of_counts(reference: list[int], recent: list[int], used: list[bool]) -> float:
    """sum (q - p) ln(q/p) with p = (c + 1/2) / (n + B/2) over the bins in use."""
    bins = sum(used)
    total = 0.0
    for c, k, keep in zip(reference, recent, used, strict=True):
        if keep:
            p = (c + 0.5) / (sum(reference) + bins / 2)
            q = (k + 0.5) / (sum(recent) + bins / 2)
            total += (q - p) * math.log(q / p)
    return total


def null_pairs(reference: Rows, recent: Rows) -> list[tuple[list[float], list[float]]]:
    """Values of each window of the recent length and of all other bars, bars closed to a ring; rows are bars.

    The ring is turned by a third of the window at a time, as often as whole thirds fit into it.
    """
    pool, found, window = reference + recent, [], len(recent)
    for thirds in range(1, 3 * len(pool) // window):
        turn = thirds * window // 3
        turned = pool[-turn:] + pool[:-turn]
        inside = [value for bar in turned[len(reference) :] for value in bar]
        outside = [value for bar in turned[: len(reference)] for value in bar]
        found.append((inside, outside))
    return found


def p_of(null: list[float], observed: float, n_reference: int, window: int) -> float:
    """Share of windows as far out, the recent one counted; at least that of whole windows, without it."""
    whole = [far for thirds, far in enumerate(null, 1) if thirds % 3 == 0 and thirds // 3 * window <= n_reference]
    among_all = (1 + sum(far >= observed for far in null)) / (1 + len(null))
    return max(among_all, sum(far >= observed for far in whole) / (1 + len(whole)))


def null_psis(reference: Rows, recent: Rows, edges: list[float]) -> list[float]:
    """PSI of each window of the recent length against all other bars."""
    everything = shares([value for bar in reference + recent for value in bar], edges)
    used = [count > 0 for count in everything]
    return [
        psi_of_counts(shares(outside, edges), shares(inside, edges), used)
        for inside, outside in null_pairs(reference, recent)
    ]


def gap_at(points: list[float], inside: list[float], outside: list[float]) -> float:
    """Largest difference of the shares of known values below one of the points."""
    here, there = ([value for value in side if not math.isnan(value)] for side in (inside, outside))
    return max(
        abs(sum(v < point for v in here) / len(here) - sum(v < point for v in there) / len(there)) for point in points
    )
