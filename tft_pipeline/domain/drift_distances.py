"""How far two samples are apart, from their sorted values: Kolmogorov-Smirnov and Wasserstein-1.

N reference values and n recent ones, none missing. Not here: distances over bins (`divergence`), whether a distance is more
than chance (`drift`).
"""

import numpy as np

PIECE = 1 << 15
"""Values that are worked on at once where a copy in float64 is needed."""


def kolmogorov_smirnov(reference: np.ndarray, recent: np.ndarray) -> float:
    """Two-sample statistic sup_x |F(x) - G(x)| of the two empirical distribution functions, in [0, 1].

    F - G rises only at a reference value and falls only at a recent one: its extremes lie at or just before recent values,
    and only those are looked up.

    Args:
        reference, recent: sorted, at least one value each.
    """
    upto, before = _ranks(reference, recent)
    N, n = reference.size, recent.size
    at = np.arange(n)
    above = (at + 1) / n - upto / N  # G - F at the value; of equal values the last counts all
    below = before / N - at / n  # F - G just before it; of equal values the first
    return float(max(above.max(), below.max(), 0.0))


def wasserstein(reference: np.ndarray, recent: np.ndarray) -> float | None:
    """Wasserstein-1 distance in standard deviations of the reference (ddof 0), free of units.

        W = integral over u in (0, 1) of |quantile_reference(u) - quantile_recent(u)| / sd

    1 is what a shift of the whole distribution by one standard deviation gives. Value i of the longer side covers the shares
    [i/N, (i+1)/N], and the other side's quantile is constant there but for at most one step inside.

    Args:
        reference, recent: sorted, at least one value each.
    Returns:
        None where it is not defined: a constant reference, or an infinite value on a side.
    Source: in one dimension the distance is that integral, Vallender (1974).
    """
    if not np.isfinite([reference[0], reference[-1], recent[0], recent[-1]]).all():
        return None
    spread = _deviation(reference)
    if spread == 0.0:
        return None
    longer, shorter = (reference, recent) if reference.size >= recent.size else (recent, reference)
    N, n = longer.size, shorter.size
    steps = np.arange(1, n, dtype=np.int64) * N  # n times the rank at which the shorter side steps
    first = np.concatenate([[0], -(-steps // n), [N]])  # first value of the longer side that begins after each step
    apart = np.repeat(shorter, np.diff(first))
    np.subtract(longer, apart, out=apart)
    np.abs(apart, out=apart)
    total = float(apart.sum(dtype=np.float64))
    crossed = longer[steps // n].astype(
        np.float64
    )  # values whose shares hold a step: what lies after it belongs to the next
    behind = 1.0 - (steps % n) / n
    steps_inside = steps % n > 0
    gain = np.abs(crossed - shorter[1:]) - np.abs(crossed - shorter[:-1])
    return (total + float((behind * gain)[steps_inside].sum())) / N / spread


def _deviation(ordered: np.ndarray) -> float:
    """Standard deviation of sorted values, ddof 0, a piece at a time: a float64 copy of all of them would leave the cache."""
    centre = np.float64(ordered[ordered.size // 2])
    total = squares = 0.0
    for start in range(0, ordered.size, PIECE):
        piece = ordered[start : start + PIECE].astype(np.float64)
        piece -= centre
        total += float(piece.sum())
        squares += float(np.square(piece, out=piece).sum())
    mean = total / ordered.size
    return float(np.sqrt(max(squares / ordered.size - mean * mean, 0.0)))


def _ranks(reference: np.ndarray, recent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each recent value, how many reference values are at most it, and how many are less."""
    upto = np.searchsorted(reference, recent, side="right")
    before = upto.copy()
    tied = (upto > 0) & (reference[np.maximum(upto, 1) - 1] == recent)
    before[tied] = np.searchsorted(reference, recent[tied], side="left")
    return upto, before
