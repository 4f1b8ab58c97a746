"""What autocorrelation does to a Sharpe ratio over several bars. Not here: the ratio itself (`sharpe`)."""

import math

import numpy as np


def lo_eta(returns: np.ndarray, q: int, *, max_lag: int | None = None) -> float:
    """Factor from the per-bar Sharpe ratio to that of q bars when returns are autocorrelated; sqrt(q) when they
    are not.

        eta(q) = q / sqrt(q + 2 sum_{k=1}^{q-1} (q - k) rho_k)

    rho_k are sample autocorrelations (divisor n). All q - 1 of them add up to much noise on a short series, so lags
    beyond `max_lag` can be taken as 0.

    Raises:
        ValueError: q < 1, a lag that the series is too short for, an estimated variance of the q-bar sum that is
            not positive.
    Source: Lo (2002), FAJ 58(4), equation 20.
    """
    x = np.asarray(returns, dtype=np.float64)
    if x.ndim != 1 or not np.isfinite(x).all() or x.size < 2 or np.ptp(x) == 0.0:
        raise ValueError(
            f"returns {x.shape} must be one finite series that varies: there is no autocorrelation otherwise"
        )
    last = q - 1 if max_lag is None else min(max_lag, q - 1)
    if q < 1 or last < 0 or last >= x.size:
        raise ValueError(f"q {q} with lags up to {last} on {x.size} returns: need q >= 1 and fewer lags than returns")
    variance = sum_variance(x, q, last)
    if variance <= 0.0:
        raise ValueError(
            f"the variance of the sum over {q} bars is estimated at {variance:g} bar variances: the "
            "autocorrelations are too noisy for this q; use a smaller max_lag or a longer series"
        )
    return q / math.sqrt(variance)


def sum_variance(x: np.ndarray, q: int, last: int) -> float:
    """Variance of a q-bar sum in units of the variance of one bar, from autocorrelations up to lag `last`."""
    x = x - x.mean()
    size = 1 << (2 * x.size - 1).bit_length()
    autocovariance = np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size)[: last + 1]
    rho = autocovariance[1:] / autocovariance[0]
    return q + 2.0 * float((q - np.arange(1, last + 1)) @ rho)
