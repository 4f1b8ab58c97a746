"""How sure the weights of a blend are, and whether it is better than its best source. Not here: the weights (`ensemble`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tft_pipeline.domain.bar_bootstrap import BarBlocks, blocks_for, mean_interval, per_bar, percentiles
from tft_pipeline.domain.classification import MARGIN
from tft_pipeline.domain.ensemble import EnsembleFit, Probabilities, present_columns

ROUNDING = 8.0 * float(np.finfo(np.float64).eps)
"""Weighted sums of equal probabilities differ from them by no more."""


def row_losses(y: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(n,) -ln of the probability given to what happened; its mean is `log_loss`."""
    p = np.clip(probability, MARGIN, 1.0 - MARGIN)
    return np.asarray(-np.log(np.where(np.asarray(y) == 1, p, 1.0 - p)))


def weight_draws(
    fit: EnsembleFit, probabilities: Probabilities, y: np.ndarray, bar: np.ndarray, blocks: BarBlocks, *, l2: float
) -> np.ndarray:
    """(D, K) weights of the available sources on drawn bars, one Newton step from the weights of all bars.

        w* = argmin over the simplex of  G*(w - v) + (w - v)' H* (w - v) / 2 + l2 |w - 1/K|^2

    v are the fitted weights, G* and H* gradient and Hessian of the mean log loss at v over the drawn bars: with r_i = P_i v the
    probability of what happened, G = -mean(P_i / r_i), H = mean(P_i P_i' / r_i^2). So a draw costs sums over blocks instead of
    a fit over all rows; as good as a full fit but for terms of order 1/n (Andrews 2002). The calibration is taken as given.

    Args:
        fit: from the same rows.
        bar: (n,) 0 .. T-1, the bar of each row.
    """
    columns, names = present_columns(probabilities, y)
    k = len(names)
    centre = np.array([fit.weights[name] for name in names])
    right = np.where((np.asarray(y) == 1)[:, None], columns, 1.0 - columns)
    ratio = right / (right @ centre)[:, None]  # (n, K)
    upper = np.triu_indices(k)
    products = ratio[:, upper[0]] * ratio[:, upper[1]]
    sums = blocks.sums(per_bar(np.concatenate([ratio, products, np.ones((len(ratio), 1))], axis=1), bar))
    means = sums[:, :-1] / sums[:, -1:]
    hessian = np.empty((len(means), k, k))
    hessian[:, upper[0], upper[1]] = means[:, k:]
    hessian[:, upper[1], upper[0]] = means[:, k:]
    linear = -means[:, :k] - np.einsum("dij,j->di", hessian, centre)
    # on the simplex |w - 1/K|^2 is |w|^2 but for a constant; where sources say the same the tiny term settles for equal weights
    hessian += (2.0 * l2 + 1e-9) * np.eye(k)
    return simplex_minima(hessian, linear)


def simplex_minima(quadratic: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """(D, K) minima of w'Qw/2 + c'w over w >= 0, sum w = 1: the best of the stationary points of every face.

    Args:
        quadratic: (D, K, K), positive definite.
        linear: (D, K).
    """
    n, k = linear.shape
    best, weights = np.full(n, np.inf), np.zeros((n, k))
    for size in range(1, k + 1):
        for face in combinations(range(k), size):
            found = np.zeros((n, k))
            found[:, face] = _on_face(quadratic[:, face][:, :, face], linear[:, face])
            value = np.einsum("di,dij,dj->d", found, quadratic, found) / 2.0 + (linear * found).sum(axis=1)
            better = (found >= -1e-12).all(axis=1) & (value < best)
            best[better], weights[better] = value[better], found[better]
    weights = np.maximum(weights, 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _on_face(quadratic: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """(D, S) stationary points with sum 1, signs aside: the system Q w + m = -c, sum w = 1."""
    n, size = linear.shape
    system = np.zeros((n, size + 1, size + 1))
    system[:, :size, :size] = quadratic
    system[:, :size, size] = system[:, size, :size] = 1.0
    target = np.concatenate([-linear, np.ones((n, 1))], axis=1)
    return np.asarray(np.linalg.solve(system, target[:, :, None])[:, :size, 0])


def weight_intervals(
    fit: EnsembleFit,
    probabilities: Probabilities,
    y: np.ndarray,
    bar: np.ndarray,
    *,
    l2: float,
    horizon: int,
    seed: int,
) -> tuple[dict[str, list[float]], int]:
    """95 % intervals of the available sources' weights, and the block length they rest on.

    Raises:
        ValueError: too few bars.
    """
    names = [name for name, p in probabilities.items() if p is not None]
    columns, _ = present_columns(probabilities, y)
    right = np.where((np.asarray(y) == 1)[:, None], columns, 1.0 - columns)
    pulls = per_bar(right / (right @ np.array([fit.weights[name] for name in names]))[:, None], bar)
    series = [pulls[:, i] - pulls[:, j] for i, j in combinations(range(len(names)), 2)] or [pulls[:, 0]]
    blocks = blocks_for(series, least=horizon, seed=seed)
    draws = weight_draws(fit, probabilities, y, bar, blocks, l2=l2)
    return {name: percentiles(draws[:, i]) for i, name in enumerate(names)}, blocks.block_length


@dataclass(frozen=True, slots=True, kw_only=True)
class LossDifference:
    """Log loss of a single source less that of the blend, on the same rows: above zero where the blend is better.

    Attributes:
        source: the single one.
        difference: nats a row.
        interval: 95 %, from blocks of bars; None with a reason where there are too few bars.
        n, n_bars: rows and bars.
    """

    source: str
    difference: float
    interval: list[float] | None
    n: int
    n_bars: int
    block_length: int | None
    reason: str = ""

    @property
    def verdict(self) -> str:
        """better, worse, equal or not shown: of the blend against the source alone."""
        if self.difference == 0.0 and self.interval in (None, [0.0, 0.0]):
            return "equal"
        if self.interval is None or self.interval[0] <= 0.0 <= self.interval[1]:
            return "not shown"
        return "better" if self.interval[0] > 0.0 else "worse"

    def sentence(self) -> str:
        """In words, with the interval."""
        judged = {
            "better": f"The blend is better than {self.source} alone",
            "worse": f"The blend is worse than {self.source} alone",
            "equal": f"The blend says the same as {self.source} alone",
            "not shown": f"The blend is not shown to be better than {self.source} alone",
        }[self.verdict]
        lower = self.difference >= 0.0
        given = f"no interval: {self.reason}"
        if self.interval is not None:  # it reads in the direction of the word
            low, high = self.interval if lower else (-self.interval[1], -self.interval[0])
            given = f"95 % {low:.5f} to {high:.5f}"
        return (
            f"{judged}: its log loss is {'lower' if lower else 'higher'} by {abs(self.difference):.5f} nats ({given}; "
            f"{self.n} rows of {self.n_bars} bars)."
        )


def loss_difference(
    source: str,
    y: Sequence[np.ndarray],
    alone: Sequence[np.ndarray],
    blend: Sequence[np.ndarray],
    bar: np.ndarray,
    *,
    horizon: int,
    seed: int,
) -> LossDifference:
    """The paired difference over some folds, each row against itself; where both say the same but for rounding it is 0.

    Args:
        y, alone, blend: (n_k,) a fold.
        bar: (n,) 0 .. T-1 over all of them.
    """
    truth = np.concatenate(y)
    single, mixed = (np.clip(np.concatenate(rows), MARGIN, 1.0 - MARGIN) for rows in (alone, blend))
    # next to 0 and 1 the logarithm would make nats of a weighted sum's last digit
    gap = np.where(np.abs(single - mixed) <= ROUNDING, 0.0, row_losses(truth, single) - row_losses(truth, mixed))
    n_bars = int(bar.max()) + 1
    try:
        blocks = blocks_for([per_bar(gap, bar)[:, 0]], least=horizon, seed=seed)
    except ValueError as error:
        interval, length, reason = None, None, str(error)
    else:
        interval, length, reason = mean_interval(gap, bar, blocks), blocks.block_length, ""
    return LossDifference(
        source=source,
        difference=float(gap.mean()),
        interval=interval,
        n=int(gap.size),
        n_bars=n_bars,
        block_length=length,
        reason=reason,
    )
