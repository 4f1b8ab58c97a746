"""Is one series of returns better than another on the same bars? The paired difference of their Sharpe ratios.

Not here: one series alone (`sharpe`, `bootstrap`), the best of several (`superiority`).
"""

from dataclasses import dataclass

import numpy as np

from tft_pipeline.domain.bootstrap import CHUNK_ELEMENTS, optimal_block_length, resample_indices
from tft_pipeline.domain.sharpe import annualise, sharpe_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Sharpe ratio of the first series less that of the second, a year.

    Attributes:
        n: common bars.
        difference_annual: SR1 - SR2.
        low_annual, high_annual: its interval.
        p_value: two-sided, of no difference.
        confidence: of the interval.
        correlation: of the two series.
        block_length: mean block of the bootstrap, bars.
    """

    n: int
    difference_annual: float
    low_annual: float
    high_annual: float
    p_value: float
    confidence: float
    correlation: float
    block_length: float

    def words(self) -> str:
        """`Sharpe higher by 0.12 [-0.05, 0.29], within chance`."""
        size = f"{abs(self.difference_annual):.2f} [{self.low_annual:.2f}, {self.high_annual:.2f}]"
        if self.difference_annual == 0.0:
            return f"Sharpe equal: {size}"
        side = "higher" if self.difference_annual > 0.0 else "lower"
        if self.difference_annual < 0.0:  # the interval reads in the direction of the word
            size = f"{-self.difference_annual:.2f} [{-self.high_annual:.2f}, {-self.low_annual:.2f}]"
        beyond = self.low_annual > 0.0 or self.high_annual < 0.0
        return f"Sharpe {side} by {size}, {'more than chance' if beyond else 'within chance'}"


def paired_sharpe_difference(
    first: np.ndarray,
    second: np.ndarray,
    *,
    bars_per_year: float,
    confidence: float = 0.95,
    n_resamples: int = 1999,
    block_length: float | None = None,
    seed: int,
) -> PairedDifference:
    """D = SR1 - SR2 on common bars, with a symmetric interval from a stationary bootstrap of the pairs.

        interval   D -+ q,  q the `confidence` quantile of |D* - D|
        p          (1 + #{|D* - D| >= |D|}) / (1 + M)

    Every resample D* takes the same bars of both series, so that what they share cancels: the difference of two series that
    hardly differ is known far better than either Sharpe ratio. Interval and p-value are symmetric as in the paper, and,
    unlike there, D* is not divided by its standard error. Ratios have ddof 1; the interval is scaled by sqrt(bars_per_year).

    Args:
        first: (n,) per-bar returns.
        second: (n,) of the same bars.
        n_resamples: M.
        block_length: mean block in bars; by default the longer of the two series' optimal ones.
        seed: of the draws.
    Returns:
        For identical series exactly 0 with the interval (0, 0) and p 1.
    Raises:
        ValueError: series of different lengths, fewer than 8 bars, values that are not finite, a series without variance,
            confidence outside (0, 1), no resample, or a block shorter than a bar.
    Source: Ledoit & Wolf (2008), "Robust performance hypothesis testing with the Sharpe ratio", Journal of Empirical
    Finance 15(5).
    """
    x, y = (np.asarray(series, dtype=np.float64) for series in (first, second))
    if x.shape != y.shape:
        raise ValueError(f"series of shapes {x.shape} and {y.shape}: a paired difference needs the same bars of both")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence {confidence} is outside (0, 1)")
    length = max(optimal_block_length(x), optimal_block_length(y)) if block_length is None else block_length
    if n_resamples < 1 or not length >= 1.0:
        raise ValueError(f"n_resamples {n_resamples}, block_length {length}: both must be at least 1")
    difference = sharpe_ratio(x) - sharpe_ratio(y)
    distance = np.abs(_resampled(x, y, n_resamples, length, seed) - difference)
    half = float(np.quantile(distance, confidence))
    return PairedDifference(
        n=x.size,
        difference_annual=annualise(difference, bars_per_year),
        low_annual=annualise(difference - half, bars_per_year),
        high_annual=annualise(difference + half, bars_per_year),
        p_value=(1 + int((distance >= abs(difference)).sum())) / (1 + n_resamples),
        confidence=confidence,
        correlation=float(np.clip(np.corrcoef(x, y)[0, 1], -1.0, 1.0)),
        block_length=float(length),
    )


def _resampled(x: np.ndarray, y: np.ndarray, n_resamples: int, block_length: float, seed: int) -> np.ndarray:
    """(n_resamples,) differences per bar; a resample in which a series does not move is drawn again."""
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK_ELEMENTS // x.size)
    done: list[np.ndarray] = []
    missing = n_resamples
    while missing:
        indices = resample_indices(x.size, min(rows, missing), block_length=block_length, generator=generator)
        pair = x[indices], y[indices]
        moves = (np.ptp(pair[0], axis=1) > 0.0) & (np.ptp(pair[1], axis=1) > 0.0)
        one, other = (sample[moves].mean(axis=1) / sample[moves].std(axis=1, ddof=1) for sample in pair)
        done.append(one - other)
        missing -= int(moves.sum())
    return np.concatenate(done)
