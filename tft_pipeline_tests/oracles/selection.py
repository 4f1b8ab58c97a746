"""Set stability and rank agreement from their pairwise meanings rather than their closed forms."""

from itertools import combinations

import numpy as np
from scipy.stats import spearmanr


def chance_corrected_overlap(chosen: np.ndarray) -> float:
    """1 - mean unbiased variance of membership / its value for sets of the mean size drawn at random."""
    n_features = chosen.shape[1]
    spread = sum(float(np.var(chosen[:, f].astype(float), ddof=1)) for f in range(n_features)) / n_features
    share = float(chosen.mean())
    return 1.0 - spread / (share * (1.0 - share))


def equal_size_overlap(chosen: np.ndarray) -> float:
    """Kuncheva's mean pairwise consistency (|A and B| - k^2/d) / (k - k^2/d); for sets of one size k only."""
    k, d = int(chosen[0].sum()), chosen.shape[1]
    pairs = [(int((a & b).sum()) - k * k / d) / (k - k * k / d) for a, b in combinations(chosen, 2)]
    return float(np.mean(pairs))


def mean_rank_correlation(weights: np.ndarray) -> float:
    """Kendall's W = (1 + (M - 1) mean pairwise Spearman) / M, without ties."""
    m = len(weights)
    pairs = [float(spearmanr(a, b).statistic) for a, b in combinations(weights, 2)]
    return (1.0 + (m - 1) * float(np.mean(pairs))) / m


def interval_width_by_derivative(chosen: np.ndarray, z: float = 1.959964) -> float:
    """Half width of the stability interval: the index as a function of the weight of each set, differentiated numerically."""
    m = len(chosen)

    def index(weight: np.ndarray) -> float:
        p = weight @ chosen.astype(float)
        share = float(p.mean())
        return 1.0 - m / (m - 1) * float((p * (1 - p)).mean()) / (share * (1 - share))

    slopes = []
    for i in range(m):
        towards = np.full(m, 1.0 / m)
        away = towards.copy()
        towards, away = (w * (1 - s) + s * (np.arange(m) == i) for w, s in ((towards, 1e-5), (away, -1e-5)))
        slopes.append((index(towards) - index(away)) / 2e-5)
    return z * float(np.sqrt(np.var(slopes) / m))
