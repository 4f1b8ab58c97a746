"""Change-points of return series, forward only: whether a segment ends at a bar depends on the bars up to it alone.

Here: the alarms of a self-starting CUSUM and the segments between them. Not here: what is done with segments.

Wood et al. (2023), arXiv 2310.10500, segment with Gaussian processes, from the end of the data backwards; a segment found
that way knows its future. A CUSUM reads each bar once and needs no fit. Its price is delay: the boundary is the bar of
the alarm, some bars behind the change itself, so that a segment carries the first bars of what follows it.

Axes: S symbols, N bars, K segments.
"""

import math
from dataclasses import dataclass

import numpy as np

ALLOWANCE = 0.5
"""k: half the shift, in standard deviations, that is found fastest."""
THRESHOLD = 4.0
"""h: with k = 0.5 the four sums together alarm once in about 115 bars of normal noise."""
LARGEST_SCORE = 2.5
"""Scores are clipped here, so that one jump is not a regime: an alarm takes three bars or more."""
FEWEST_RETURNS = 3
"""Returns of a segment before the first one is scored against them."""
ROOT_MEAN = 2.0**0.25 * math.gamma(0.75) / math.sqrt(math.pi)
"""E sqrt|Z|, Z standard normal: 0.822 (Hawkins 1981)."""
ROOT_DEVIATION = math.sqrt(math.sqrt(2.0 / math.pi) - ROOT_MEAN**2)
"""Standard deviation of sqrt|Z|: 0.349."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Closed segments, by symbol, then by time; arrays (K,).

    Attributes:
        symbol: place of the symbol.
        first: first bar.
        last: bar of the alarm, the segment's own last bar.
    """

    symbol: np.ndarray
    first: np.ndarray
    last: np.ndarray


def change_alarms(returns: np.ndarray) -> np.ndarray:
    """Bars at which a symbol's returns have changed in mean or spread since its last alarm.

    With n returns since the last alarm, their mean m and standard deviation s (ddof 1), the next return r is scored by

        t = (r - m) / (s sqrt(1 + 1/n))                                          Student, n - 1 degrees of freedom
        z = sign(t) (8n - 7)/(8n - 5) sqrt((n - 1) log(1 + t^2/(n - 1)))         about normal: Wallace (1959)
        v = (sqrt|z| - E sqrt|Z|) / sd sqrt|Z|                                   about normal, moves with the spread

    z clipped to +-`LARGEST_SCORE`; four sums U = max(0, U +- z - k), max(0, U +- v - k), alarm where one exceeds h. Then
    all starts anew. A missing return is passed over. Returns of no spread at all so far score nothing.

    Args:
        returns: (S, N), NaN where missing; the value at a bar must be known at that bar. Any unit, one a symbol.
    Returns:
        (S, N) bool; row s at bar t is a function of returns[s, :t+1].
    Source: Page (1954), Biometrika 41; Hawkins (1987), The Statistician 36; for the spread Hawkins (1981), J. Qual. Tech. 13.
    """
    S, N = returns.shape
    alarms = np.zeros((S, N), dtype=bool)
    count, mean, squares = np.zeros(S), np.zeros(S), np.zeros(S)
    sums = np.zeros((4, S))
    seen = np.isfinite(returns)
    for t in range(N):
        r = np.where(seen[:, t], returns[:, t], mean)
        scored = seen[:, t] & (count >= FEWEST_RETURNS) & (squares > 0.0)
        n = np.where(scored, count, FEWEST_RETURNS)
        deviation = np.sqrt(np.where(scored, squares, 1.0) / (n - 1.0))
        z = _normal_score((r - mean) / (deviation * np.sqrt(1.0 + 1.0 / n)), n - 1.0)
        z = np.clip(z, -LARGEST_SCORE, LARGEST_SCORE)
        v = (np.sqrt(np.abs(z)) - ROOT_MEAN) / ROOT_DEVIATION
        sums = np.where(scored, np.maximum(0.0, sums + np.stack((z, -z, v, -v)) - ALLOWANCE), sums)
        alarm = (sums > THRESHOLD).any(axis=0)
        alarms[:, t] = alarm
        count = count + seen[:, t]
        step = r - mean
        mean = mean + step / np.maximum(count, 1.0)
        squares = squares + step * (r - mean)
        count, mean, squares = (np.where(alarm, 0.0, state) for state in (count, mean, squares))
        sums = np.where(alarm, 0.0, sums)
    return alarms


def closed_segments(returns: np.ndarray) -> Segments:
    """Segments that an alarm has closed: from a symbol's first return, or the bar after an alarm, to the next alarm.

    The bars after the last alarm are left out: nobody knows yet where they end.

    Args:
        returns: as `change_alarms` takes them.
    """
    symbol, last = np.nonzero(change_alarms(returns))
    listed = np.isfinite(returns).argmax(axis=1)
    first = np.empty_like(last)
    first[1:] = last[:-1] + 1
    opens = np.ones(len(symbol), dtype=bool)
    opens[1:] = symbol[1:] != symbol[:-1]
    first[opens] = listed[symbol[opens]]
    return Segments(symbol=symbol, first=first, last=last)


def _normal_score(t: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """The normal value with about the same probability as t of Student's distribution: Wallace (1959)."""
    factor = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0)
    found: np.ndarray = np.sign(t) * factor * np.sqrt(freedom * np.log1p(t * t / freedom))
    return found
