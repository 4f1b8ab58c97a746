"""The trend rule of prices alone that models are held against: a blend of moving-average crossovers.

Axes: S symbols, N bars. Not here: its pieces as features (`features.trend`), time-series momentum (`portfolio`), what
positions earn (`portfolio`).
"""

import numpy as np

from tft_pipeline.domain.features.history import History
from tft_pipeline.domain.features.trend import MACD_SPEEDS, PRICE_WINDOW, SIGNAL_WINDOW, macd

RESPONSE_SCALE = 0.89
"""Of the paper: the largest y exp(-y^2/4) is sqrt(2/e) = 0.858, so phi stays below 0.964."""
MACD_BARS = max(PRICE_WINDOW, *(long for _, long in MACD_SPEEDS)) + SIGNAL_WINDOW - 1
"""Prices of a symbol up to its first position: 347."""


def macd_positions(close: np.ndarray) -> np.ndarray:
    """Baseline: z = clip(mean over the pairs (S, L) of phi(y), -1, 1); 0 until all three are known, and without a price.

        q = (m_S(P) - m_L(P)) / std63(P)        y = q / std252(q)        phi(y) = y exp(-y^2/4) / 0.89

    with the pairs (8, 24), (16, 48), (32, 96). m_S is an EWM mean of half-life ln 0.5 / ln(1 - 1/S) bars, that is alpha = 1/S,
    with weights that sum to one from the first price on; std has ddof 1. phi falls again beyond |y| = sqrt 2: a
    trend that has run far counts less. Each symbol is read on its own bars; a bar knows the prices up to its close.

    Args:
        close: (S, N) prices, positive, NaN where the symbol has no bar.
    Returns:
        (S, N) in [-1, 1]. The first position of a symbol is at its `MACD_BARS`th price; one that did not move has none.
    Raises:
        ValueError: a price that is not positive or infinite.
    Source: Baz et al. (2015), "Dissecting investment strategies in the cross section and time series"; as used by Lim, Zohren
    & Roberts (2019), arXiv 1904.04912, eq. 4-6.
    """
    close = np.asarray(close, dtype=np.float64)
    if close.ndim != 2:
        raise ValueError(f"close has shape {close.shape}: expected (symbols, bars)")
    known = np.isfinite(close)
    if np.isinf(close).any() or (close[known] <= 0.0).any():
        raise ValueError(
            "a price is infinite or not positive: its trend has no meaning; set it to NaN or repair the bars"
        )
    positions = np.zeros(close.shape)
    for s, rows in enumerate(known):
        if not rows.any():
            continue
        bars = np.flatnonzero(rows).astype("datetime64[D]")  # a history wants time stamps; the formula reads none
        history = History(timestamps=bars, close=close[s, rows], bars_per_year=1.0)
        signals = [macd(history, short=short, long=long) for short, long in MACD_SPEEDS]
        blend = np.mean([response(signal) for signal in signals], axis=0)
        positions[s, rows] = np.nan_to_num(np.clip(blend, -1.0, 1.0), nan=0.0)
    return positions


def response(signal: np.ndarray) -> np.ndarray:
    """phi(y) = y exp(-y^2/4) / 0.89, element by element; NaN stays NaN."""
    y = np.asarray(signal, dtype=np.float64)
    return y * np.exp(-(y**2) / 4.0) / RESPONSE_SCALE
