"""Who pushed the price inside each bar, and how far trading moved it: statistics of minutes, one value a bar.

There are no quotes in minute bars, so Lee & Ready (1991) cannot be used: a minute's whole volume is signed by the tick
rule, s = the sign of its return, of the last one that was not 0 where it is. Letters as in `sessions`.
"""

from collections.abc import Callable

import numpy as np

from tft_pipeline.domain.sessions import FLAT, LAST_HOUR, OPENING, Array, Sessions, divided, enough

MILLION = 1e6
LONG_RETURN = 5
"""Minutes of the longer return of the variance ratio."""


def signed_volume(sessions: Sessions) -> Array:
    """sum(s v) / sum(v) over the minutes with a return."""
    return _imbalance(sessions, np.where(sessions.inside, sessions.column("volume"), 0.0))


def order_imbalance(sessions: Sessions) -> Array:
    """The same over the last 60 minutes, e > e_n - 60; the whole bar where it is shorter."""
    late = sessions.inside & (sessions.elapsed > sessions.spread(sessions.length - LAST_HOUR))
    return _imbalance(sessions, np.where(late, sessions.column("volume"), 0.0))


def _imbalance(sessions: Sessions, volume: Array) -> Array:
    return divided(sessions.total(sessions.signs * volume), sessions.total(volume))


def amihud(sessions: Sessions) -> Array:
    """1e6 * mean(|r| / (p v)) over the minutes with a return and v > 0. Source: Amihud (2002), J. Fin. Markets 5(1)."""
    value = sessions.close * sessions.column("volume")
    traded = sessions.inside & (value > 0.0)
    impact = np.divide(np.abs(sessions.returns), value, out=np.zeros(len(value)), where=traded)
    return MILLION * divided(sessions.total(impact), sessions.total(traded.astype(np.float64)))


def _lagged_products(sessions: Sessions) -> Array:
    """sum d_i d_{i-1}, d = r - mean(r)."""
    centred = sessions.centred
    return sessions.total(np.where(sessions.paired, centred * np.append(0.0, centred[:-1]), 0.0))


def roll_spread(sessions: Sessions) -> Array:
    """2 sqrt(max(-c, 0)), c = sum d_i d_{i-1} / (m - 1): 0 where neighbours do not bounce. Source: Roll (1984), JF 39(4)."""
    covariance = divided(_lagged_products(sessions), sessions.n_returns - 1.0)
    return enough(sessions, 2.0 * np.sqrt(np.maximum(-covariance, 0.0)))


def autocorrelation(sessions: Sessions) -> Array:
    """sum d_i d_{i-1} / sum d^2; NaN where returns do not differ."""
    squares = sessions.total(sessions.centred**2)
    moving = squares > sessions.n_returns * FLAT**2
    return enough(sessions, divided(_lagged_products(sessions), np.where(moving, squares, 0.0)))


def variance_ratio(sessions: Sessions) -> Array:
    """Variance of overlapping returns over 5 rows / 5 times that over one, both unbiased; 1 for a random walk.

    (sum (R_i - 5 mean)^2 / M) / (sum d^2 / (m - 1)), R_i = r_{i-4} + .. + r_i, M = 5 (m - 4) (1 - 5/m).
    Source: Lo & MacKinlay (1988), RFS 1(1).
    """
    m, k = sessions.n_returns, LONG_RETURN
    lagged = [sessions.centred]
    for _ in range(k - 1):
        lagged.append(np.append(0.0, lagged[-1][:-1]))
    far = np.arange(len(sessions.close)) >= sessions.spread(sessions.starts) + k
    total = lagged[4] + lagged[3] + lagged[2] + lagged[1] + lagged[0]
    long = divided(sessions.total(np.where(far, total**2, 0.0)), k * (m - k + 1) * (1.0 - k / np.maximum(m, 1.0)))
    squares = sessions.total(sessions.centred**2)
    moving = squares > m * FLAT**2
    return enough(sessions, divided(long, np.where(moving, squares / np.maximum(m - 1.0, 1.0), 0.0)))


def kyle_lambda(sessions: Sessions) -> Array:
    """1000 * slope of r on s sqrt(p v), intercept included: the log return of a signed million, by the square-root law.

    Source: Hasbrouck (2009), JF 64(3), after Kyle (1985).
    """
    pressure = sessions.signs * np.sqrt(sessions.close * sessions.column("volume"))
    x, squares = _centred(sessions, pressure)
    return enough(sessions, np.sqrt(MILLION) * divided(sessions.total(x * sessions.centred), squares))


def volume_concentration(sessions: Sessions) -> Array:
    """sum (v / sum v)^2: 1/n when spread evenly, 1 when one minute holds all. Source: Herfindahl (1950)."""
    volume = sessions.column("volume")
    return divided(sessions.total(volume**2), sessions.total(volume) ** 2)


def opening_volume(sessions: Sessions) -> Array:
    """sum(v at e <= 30) / sum(v); NaN for stretches of less than 30 minutes."""
    return _volume_share(sessions, sessions.elapsed <= OPENING)


def closing_volume(sessions: Sessions) -> Array:
    """sum(v at e > e_n - 30) / sum(v); NaN for stretches of less than 30 minutes."""
    return _volume_share(sessions, sessions.elapsed > sessions.spread(sessions.length - OPENING))


def _volume_share(sessions: Sessions, chosen: np.ndarray) -> Array:
    volume = sessions.column("volume")
    share = divided(sessions.total(np.where(chosen, volume, 0.0)), sessions.total(volume))
    return np.where(sessions.length >= OPENING, share, np.nan)


def volume_move_correlation(sessions: Sessions) -> Array:
    """Pearson correlation of v and |r| over the minutes with a return; NaN where one of them does not differ."""
    x, sxx = _centred(sessions, sessions.column("volume"))
    y, syy = _centred(sessions, np.abs(sessions.returns))
    return enough(sessions, divided(sessions.total(x * y), np.sqrt(sxx) * np.sqrt(syy)))


def _centred(sessions: Sessions, values: Array) -> tuple[Array, Array]:
    """Distances to the mean over the minutes with a return, and the sum of their squares; 0 where it is rounding."""
    values = np.where(sessions.inside, values, 0.0)
    mean = divided(sessions.total(values), sessions.n_returns)
    distance = np.where(sessions.inside, values - sessions.spread(mean), 0.0)
    squares = sessions.total(distance**2)
    return distance, np.where(squares > FLAT**2 * sessions.total(values**2), squares, 0.0)


def still_share(sessions: Sessions) -> Array:
    """Share of returns that are 0. Source: Lesmond, Ogden & Trzcinka (1999), RFS 12(5)."""
    still = sessions.inside & (sessions.returns == 0.0)
    return divided(sessions.total(still.astype(np.float64)), sessions.n_returns)


def sign_persistence(sessions: Sessions) -> Array:
    """Mean of s_i s_{i-1} over neighbouring minutes with a return: 1 when one side trades alone, -1 when sides alternate."""
    signs = sessions.signs
    pairs = sessions.total(np.where(sessions.paired, signs * np.append(0.0, signs[:-1]), 0.0))
    return enough(sessions, divided(pairs, sessions.n_returns - 1.0))


ORDER_FLOW: dict[str, tuple[Callable[[Sessions], Array], tuple[str, ...]]] = {
    "minute_signed_volume": (signed_volume, ("volume",)),
    "minute_order_imbalance": (order_imbalance, ("volume",)),
    "minute_amihud": (amihud, ("volume",)),
    "minute_roll_spread": (roll_spread, ()),
    "minute_autocorrelation": (autocorrelation, ()),
    "minute_variance_ratio": (variance_ratio, ()),
    "minute_kyle_lambda": (kyle_lambda, ("volume",)),
    "minute_volume_concentration": (volume_concentration, ("volume",)),
    "minute_opening_volume": (opening_volume, ("volume",)),
    "minute_closing_volume": (closing_volume, ("volume",)),
    "minute_volume_move_correlation": (volume_move_correlation, ("volume",)),
    "minute_still_share": (still_share, ()),
    "minute_sign_persistence": (sign_persistence, ()),
}
"""Raw column -> its formula and the columns of the minutes it needs beside close."""
