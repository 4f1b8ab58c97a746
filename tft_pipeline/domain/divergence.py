"""How far two distributions over the same bins are apart. Not here: whether the distance is more than chance
(`drift`).
"""

import numpy as np


def smoothed_proportions(counts: np.ndarray) -> np.ndarray:
    """(..., B) counts -> (..., B) shares p = (c + 1/2) / (n + B/2), none of them 0 (Jeffreys)."""
    counts = np.asarray(counts, dtype=np.float64)
    return np.asarray((counts + 0.5) / (counts.sum(axis=-1, keepdims=True) + counts.shape[-1] / 2.0))


def psi(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Population stability index sum (q - p) ln(q / p) over the last axis: symmetric, nats, 0 when equal.

    Raises:
        ValueError: a share that is not positive (smooth counts first).
    """
    p, q = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if not ((p > 0.0).all() and (q > 0.0).all()):
        raise ValueError("a share is not positive: PSI would be infinite, pass counts through smoothed_proportions")
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divergence in bits, H((p+q)/2) - (H(p) + H(q))/2, and its square root, the distance; both in [0, 1].

    Over the last axis; a share may be 0.
    """
    p, q = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    middle = (p + q) / 2.0
    terms = [
        np.where(x > 0.0, x * np.log2(np.where(x > 0.0, x / np.where(x > 0.0, middle, 1.0), 1.0)), 0.0) for x in (p, q)
    ]
    divergence = np.maximum((terms[0] + terms[1]).sum(axis=-1) / 2.0, 0.0)
    return np.asarray(divergence), np.asarray(np.sqrt(divergence))


def quantile_edges(reference: np.ndarray, n_bins: int) -> np.ndarray:
    """Inner quantiles i/B of the reference's values, deduplicated; bins are open at both ends, [edge, next edge)
    between.

    A value that is several quantiles at once (a constant stretch, a flag) gets a bin of its own, so that mass may
    be seen to leave it in either direction.
    """
    values = np.asarray(reference, dtype=np.float64)
    return edges_of_sorted(np.sort(values[~np.isnan(values)]), n_bins)


def edges_of_sorted(values: np.ndarray, n_bins: int) -> np.ndarray:
    """`quantile_edges` of values that are sorted and none of them missing, in their own dtype.

    Quantile i/B of n values is the one of rank ceil(i n / B), in whole numbers: nothing is rounded.
    """
    if n_bins < 2:
        raise ValueError(f"n_bins {n_bins} < 2: one bin cannot drift")
    if values.size == 0:
        return np.empty(0, dtype=values.dtype)
    ranks = -(-np.arange(1, n_bins, dtype=np.int64) * values.size // n_bins)
    edges, times = np.unique(values[ranks - 1], return_counts=True)
    return np.union1d(edges, np.nextafter(edges[times > 1], values.dtype.type(np.inf)))


def bin_codes(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Bin 0 .. len(edges) of each value; len(edges) + 1 for a missing one (NaN)."""
    values = np.asarray(values, dtype=np.float64)
    codes = np.searchsorted(edges, values, side="right")
    codes[np.isnan(values)] = edges.size + 1
    return codes
