"""Stationary bootstrap of the Sharpe ratio: block lengths of random size, so that autocorrelation survives resampling.

Not here: the closed-form statistics of a Sharpe ratio (`sharpe`).
"""

import math

import numpy as np

CHUNK_ELEMENTS = 2_000_000


def optimal_block_length(returns: np.ndarray) -> float:
    """Mean block length of the stationary bootstrap that minimises the error of the variance of the mean, in bars.

        b = (2 g^2 / d)^(1/3) * n^(1/3),  g = sum_k lam(k/M) |k| R(k),  d = 2 (sum_k lam(k/M) R(k))^2,  |k| <= M

    lam is the flat-top window (1 up to 1/2, then down to 0 at 1), R the autocovariance (divisor n), M = 2m with m
    the first lag from which K = max(5, log10 n) autocorrelations in a row are below 2 sqrt(log10(n)/n); M =
    ceil(sqrt n) + K when there is none. Bounded to [1, ceil(min(3 sqrt n, n/3))].

    Raises:
        ValueError: fewer than 8 values, a value that is not finite, zero variance.
    Source: Politis & White (2004), Econometric Reviews 23(1), corrected by Patton, Politis & White (2009), 28(4).
    """
    x = np.asarray(returns, dtype=np.float64)
    n = x.size
    if x.ndim != 1 or n < 8 or not np.isfinite(x).all():
        raise ValueError(f"returns {x.shape}: the block length needs at least 8 finite values in one series")
    x = x - x.mean()
    run = max(5, int(math.log10(n)))
    max_lag = min(math.ceil(math.sqrt(n)) + run, n - 1)
    autocovariance = np.array([x[lag:] @ x[: n - lag] for lag in range(max_lag + 1)]) / n
    if autocovariance[0] <= 0.0:
        raise ValueError("the series has zero variance: it has no Sharpe ratio to resample")
    small = np.abs(autocovariance[1:]) / autocovariance[0] < 2.0 * math.sqrt(math.log10(n) / n)
    starts = [lag for lag in range(1, max_lag - run + 1) if small[lag - 1 : lag - 1 + run].all()]
    bandwidth = min(2 * starts[0], max_lag) if starts else max_lag
    lags = np.arange(1, bandwidth + 1)
    window = np.minimum(1.0, 2.0 * (1.0 - lags / bandwidth))
    covariance = window * autocovariance[1 : bandwidth + 1]
    g = 2.0 * float(lags @ covariance)
    long_run = float(autocovariance[0] + 2.0 * covariance.sum())
    longest = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))
    if long_run == 0.0:
        return float(longest)
    return float(min(max((g * g / (long_run * long_run) * n) ** (1.0 / 3.0), 1.0), longest))


def resample_indices(
    n_bars: int, n_resamples: int, *, block_length: float, generator: np.random.Generator
) -> np.ndarray:
    """(n_resamples, n_bars) indices: each bar follows its predecessor (around the end) or, with probability
    1/block_length, starts a block at a uniformly drawn bar.

    Source: Politis & Romano (1994), JASA 89(428).
    """
    fresh = generator.random((n_resamples, n_bars), dtype=np.float32) < 1.0 / block_length
    fresh[:, 0] = True
    drawn = generator.integers(0, n_bars, size=(n_resamples, n_bars), dtype=np.int32)
    bars = np.arange(n_bars, dtype=np.int32)
    block_start = np.maximum.accumulate(np.where(fresh, bars, 0), axis=1)
    indices = np.take_along_axis(drawn, block_start, axis=1) + (bars - block_start)
    return indices % n_bars


def bootstrap_sharpes(
    returns: np.ndarray, *, n_resamples: int = 1000, block_length: float | None = None, seed: int
) -> np.ndarray:
    """(n_resamples,) per-bar Sharpe ratios (ddof 1) of stationary-bootstrap resamples.

    A resample without any variance (possible on very short series) has no Sharpe ratio and is drawn again.

    Args:
        returns: (n,) per-bar returns.
        block_length: Mean block length in bars; `optimal_block_length` when not given.
        seed: Of the draws; equal seeds give equal resamples.
    Raises:
        ValueError: what `optimal_block_length` raises, n_resamples < 1, a block length < 1.
    """
    x = np.asarray(returns, dtype=np.float64)
    length = optimal_block_length(x) if block_length is None else block_length
    if n_resamples < 1 or not length >= 1.0:
        raise ValueError(f"n_resamples {n_resamples}, block_length {length}: both must be at least 1")
    if np.ptp(x) == 0.0:
        raise ValueError("the series has zero variance: it has no Sharpe ratio to resample")
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK_ELEMENTS // x.size)
    done: list[np.ndarray] = []
    missing = n_resamples
    while missing:
        size = min(rows, missing)
        sample = x[resample_indices(x.size, size, block_length=length, generator=generator)]
        moves = np.ptp(sample, axis=1) > 0.0
        sample = sample[moves]
        done.append(sample.mean(axis=1) / sample.std(axis=1, ddof=1))
        missing -= int(moves.sum())
    return np.concatenate(done)


def bootstrap_sharpe_interval(
    returns: np.ndarray,
    *,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    block_length: float | None = None,
    seed: int,
) -> tuple[float, float]:
    """Percentile interval of the per-bar Sharpe ratio, from `bootstrap_sharpes`."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence {confidence} is outside (0, 1)")
    sharpes = bootstrap_sharpes(returns, n_resamples=n_resamples, block_length=block_length, seed=seed)
    low, high = np.quantile(sharpes, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return float(low), float(high)
