"""What autocorrelation does to the mean and the Sharpe ratio of a series, and whether there is any.

Not here: the ratio itself (`sharpe`). Autocorrelations rho_k are sample ones, divisor n.
"""

import math

import numpy as np
from scipy.stats import chi2

LJUNG_BOX_LAGS = 10


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
    x = _series(returns)
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
    return q + 2.0 * float((q - np.arange(1, last + 1)) @ autocorrelations(x, last))


def autocorrelations(x: np.ndarray, last: int) -> np.ndarray:
    """(last,) rho_1 .. rho_last of a finite series that varies."""
    x = x - x.mean()
    size = 1 << (2 * x.size - 1).bit_length()
    autocovariance = np.fft.irfft(np.abs(np.fft.rfft(x, size)) ** 2, size)[: last + 1]
    return np.asarray(autocovariance[1:] / autocovariance[0])


def newey_west_lag(n_bars: int) -> int:
    """Lags of the Bartlett kernel on n bars: floor(4 (n/100)^(2/9)), fewer than n.

    Source: Newey & West (1994), Review of Economic Studies 61(4), the rule of thumb.
    """
    return int(min(math.floor(4.0 * (n_bars / 100.0) ** (2.0 / 9.0)), n_bars - 1))


def newey_west_t(returns: np.ndarray, *, lag: int | None = None) -> float:
    """t statistic of the mean that allows for autocorrelation and changing variance.

        t = mean / sqrt((c_0 + 2 sum_{k=1}^{L} (1 - k/(L+1)) c_k) / n)

    c_k are autocovariances with divisor n; no correction for small samples. Standard normal on a long series whose true
    mean is 0.

    Args:
        lag: L; `newey_west_lag` when not given.
    Raises:
        ValueError: a series that does not vary, a lag outside 0 .. n-1.
    Source: Newey & West (1987), Econometrica 55(3).
    """
    x = _series(returns)
    last = newey_west_lag(x.size) if lag is None else lag
    if not 0 <= last < x.size:
        raise ValueError(f"lag {last} is outside 0..{x.size - 1}: there is no such autocovariance of {x.size} returns")
    centred = x - x.mean()
    autocovariance = np.array([centred[k:] @ centred[: x.size - k] for k in range(last + 1)]) / x.size
    weights = 1.0 - np.arange(1, last + 1) / (last + 1)
    long_run = float(autocovariance[0] + 2.0 * weights @ autocovariance[1:])
    return float(x.mean()) / math.sqrt(long_run / x.size)


def ljung_box_lags(n_bars: int) -> int:
    """Lags to test on n bars: 10, fewer than a fifth of a short series."""
    return max(1, min(LJUNG_BOX_LAGS, n_bars // 5))


def ljung_box_p(returns: np.ndarray, *, lags: int | None = None) -> float:
    """p-value of "no autocorrelation up to `lags`"; near 0 when there is some.

        Q = n (n + 2) sum_{k=1}^{lags} rho_k^2 / (n - k),   p = P(chi2_lags > Q)

    Args:
        lags: `ljung_box_lags` when not given.
    Raises:
        ValueError: a series that does not vary, lags outside 1 .. n-1.
    Source: Ljung & Box (1978), Biometrika 65(2).
    """
    x = _series(returns)
    last = ljung_box_lags(x.size) if lags is None else lags
    if not 1 <= last < x.size:
        raise ValueError(
            f"lags {last} is outside 1..{x.size - 1}: there is no such autocorrelation of {x.size} returns"
        )
    rho = autocorrelations(x, last)
    statistic = x.size * (x.size + 2.0) * float((rho**2 / (x.size - np.arange(1, last + 1))).sum())
    return float(chi2.sf(statistic, last))


def _series(returns: np.ndarray) -> np.ndarray:
    x = np.asarray(returns, dtype=np.float64)
    if x.ndim != 1 or not np.isfinite(x).all() or x.size < 2 or np.ptp(x) == 0.0:
        raise ValueError(
            f"returns {x.shape} must be one finite series that varies: there is no autocorrelation otherwise"
        )
    return x
