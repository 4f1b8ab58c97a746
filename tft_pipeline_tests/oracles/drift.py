"""PSI, Jensen-Shannon and the sliding-window null by counting one value at a time."""

import math


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


def null_psis(reference: list[list[float]], recent: list[list[float]], edges: list[float], step: int) -> list[float]:
    """Each window of the recent length against the rest of the reference; rows are bars with one value a symbol."""
    window = len(recent)
    flat = [value for bar in reference for value in bar]
    everything = shares(flat, edges)
    now = shares([value for bar in recent for value in bar], edges)
    used = [a + b > 0 for a, b in zip(everything, now, strict=True)]
    found = []
    for start in range(0, len(reference) - window + 1, step):
        inside = shares([value for bar in reference[start : start + window] for value in bar], edges)
        rest = [a - b for a, b in zip(everything, inside, strict=True)]
        found.append(psi_of_counts(rest, inside, used))
    return found
