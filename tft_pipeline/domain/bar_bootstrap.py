"""How sure a figure over rows is when rows of one bar move together: bars are drawn in blocks, all symbols of a bar at once.

A circular block bootstrap of sums: every draw strings together blocks of consecutive bars, starting at uniformly drawn bars
and going on from the first after the last, until there are as many bars as in the data. What is resampled are terms added up a
bar, so that a draw costs a few additions a block, however many rows there are. Not here: Sharpe ratios (`bootstrap`),
what the intervals are of weights (`ensemble_draws`).

Axes: n rows, T bars, C terms, D draws.
Source: Politis & Romano (1992), "A circular block-resampling procedure for stationary data".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from tft_pipeline.domain.bootstrap import optimal_block_length

CONFIDENCE = 0.95
N_DRAWS = 500
MIN_BARS = 30
"""Bars below which there are no intervals: too few blocks to draw from."""
CIRCULAR = 1.5 ** (1.0 / 3.0)
"""Best length of circular blocks over the best mean length of stationary ones (Patton, Politis & White 2009)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarBlocks:
    """Draws of blocks of bars; the same seed draws the same bars whatever is summed.

    Attributes:
        n_bars: T.
        block_length: bars of a block; the last block of a draw is cut so that the draw has T bars.
        seed: of the draws.
        n_draws: D.
    """

    n_bars: int
    block_length: int
    seed: int
    n_draws: int = N_DRAWS

    def __post_init__(self) -> None:
        if not 1 <= self.block_length <= self.n_bars or self.n_draws < 1:
            raise ValueError(
                f"block_length {self.block_length}, n_bars {self.n_bars}, n_draws {self.n_draws}: need 1 <= block_length <= "
                "n_bars and a draw"
            )

    def starts(self) -> np.ndarray:
        """(D, ceil(T / length)) first bar of every block."""
        shape = (self.n_draws, math.ceil(self.n_bars / self.block_length))
        return np.random.default_rng(self.seed).integers(0, self.n_bars, size=shape)

    def sums(self, terms: np.ndarray) -> np.ndarray:
        """(D, C) sums over the drawn bars of terms (T, C).

        Raises:
            ValueError: not one row a bar.
        """
        if terms.ndim != 2 or terms.shape[0] != self.n_bars:
            raise ValueError(f"terms of shape {terms.shape} for {self.n_bars} bars: give one row a bar")
        starts = self.starts()
        rest = self.n_bars - (starts.shape[1] - 1) * self.block_length
        whole, cut = _block_sums(terms, self.block_length), _block_sums(terms, rest)
        drawn = np.empty((self.n_draws, terms.shape[1]))
        for d, row in enumerate(starts):
            times = np.bincount(row[:-1], minlength=self.n_bars).astype(np.float64)
            drawn[d] = times @ whole + cut[row[-1]]
        return drawn


def _block_sums(terms: np.ndarray, length: int) -> np.ndarray:
    """(T, C) sum of the block that starts at each bar, around the end."""
    around = np.concatenate([np.zeros((1, terms.shape[1])), terms, terms[: length - 1]])
    total = np.cumsum(around, axis=0)
    return np.asarray(total[length:] - total[:-length])


def dense_bars(bars: np.ndarray) -> np.ndarray:
    """(n,) bar of each row as 0 .. T-1, in order of time."""
    return np.asarray(np.unique(bars, return_inverse=True)[1])


def per_bar(values: np.ndarray, bar: np.ndarray) -> np.ndarray:
    """(T, C) sums over the rows of a bar, of values (n,) or (n, C).

    Args:
        bar: (n,) 0 .. T-1.
    """
    columns = np.asarray(values, dtype=np.float64).reshape(len(bar), -1)
    n_bars = int(bar.max()) + 1
    return np.stack([np.bincount(bar, weights=column, minlength=n_bars) for column in columns.T], axis=1)


def blocks_for(series: Sequence[np.ndarray], *, least: int, seed: int, n_draws: int = N_DRAWS) -> BarBlocks:
    """Blocks long enough for every series: the longest of their best lengths, and no shorter than `least`.

    Args:
        series: (T,) each, a figure a bar; one that never changes asks for nothing.
        least: bars that a label looks ahead; labels share bars with as many others.
    Raises:
        ValueError: fewer than `MIN_BARS` bars.
    """
    n_bars = series[0].size
    if n_bars < MIN_BARS:
        raise ValueError(f"{n_bars} bars are too few to draw blocks from: {MIN_BARS} are needed")
    best = [CIRCULAR * optimal_block_length(one) for one in series if np.ptp(one) > 0.0]
    length = min(max(math.ceil(max(best, default=1.0)), least, 1), n_bars)
    return BarBlocks(n_bars=n_bars, block_length=length, seed=seed, n_draws=n_draws)


def percentiles(draws: np.ndarray) -> list[float]:
    """[low, high] of the middle 95 % of (D,) draws."""
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return [float(low), float(high)]


def mean_interval(values: np.ndarray, bar: np.ndarray, blocks: BarBlocks) -> list[float]:
    """[low, high] of the mean over rows: sum of the drawn values over the number of drawn rows.

    Args:
        values: (n,).
        bar: (n,) 0 .. T-1, the bar of each row.
    """
    sums = blocks.sums(per_bar(np.stack([values, np.ones(len(values))], axis=1), bar))
    return percentiles(sums[:, 0] / sums[:, 1])


def auc_interval(y: np.ndarray, score: np.ndarray, bar: np.ndarray, blocks: BarBlocks) -> list[float]:
    """[low, high] of the area under the ROC curve, linear in the drawn rows.

        AUC* = AUC + sum_{i drawn} psi_i,   psi_i = (F0(s_i) - AUC) / n1 for a 1, (1 - F1(s_i) - AUC) / n0 for a 0

    F0(s) is the share of zeros that score below s, ties half, F1 that of ones: the placements of DeLong, DeLong &
    Clarke-Pearson (1988). Sorting once replaces a sort for every draw.

    Raises:
        ValueError: one class only.
    """
    truth = np.asarray(y).astype(bool)
    ones, zeros = int(truth.sum()), int((~truth).sum())
    if not ones or not zeros:
        raise ValueError(f"all {truth.size} labels are of one class: AUC is undefined, score more bars")
    rank = rankdata(score)
    below = np.empty(truth.size)  # zeros below a one, ones below a zero; ties half
    below[truth] = rank[truth] - rankdata(score[truth])
    below[~truth] = rank[~truth] - rankdata(score[~truth])
    area = below[truth].sum() / (ones * zeros)
    influence = np.where(truth, (below / zeros - area) / ones, (1.0 - below / ones - area) / zeros)
    draws = area + blocks.sums(per_bar(influence, bar))[:, 0]
    return percentiles(np.clip(draws, 0.0, 1.0))
