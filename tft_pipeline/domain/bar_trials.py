"""How many independent trials a share over rows is worth: rows of one bar move together, and labels of several bars overlap.

Not here: the interval of a share on that many trials (`classification.wilson_interval`), of other figures (`bar_bootstrap`).

Axes: n rows, T bars.
"""

import numpy as np

from tft_pipeline.domain.bar_bootstrap import per_bar

MIN_SPANS = 30
"""Labels end to end below which overlap cannot be measured, and the worst is assumed."""


def effective_trials(right: np.ndarray, bar: np.ndarray, *, horizon: int) -> float:
    """Independent trials with the variance that the share of right rows has; never more than bars, never fewer than 1.

        trials = min(T, s (1 - s) / v),   v = (g_0 + 2 sum_{k < h} g_k) / n^2 / (1 - (2 h - 1) / T)

    s is the share, g_k = sum_t d_t d_{t+k} of d_t = sum over the rows of bar t of (right - s). Labels over h bars that start h
    bars apart share no move, so lags end at h - 1; the last factor is what taking s from the same bars costs v. A
    forecast that stays as it is has long runs of right and wrong bars, one that changes every bar hardly any.

    Below `MIN_SPANS` spans of h bars, and where all rows are right or all wrong, runs cannot be measured: one trial every h
    bars, fewer than overlap alone can leave. With h = 1 nothing overlaps: one trial a bar.

    Args:
        right: (n,) whether the row's direction was right.
        bar: (n,) 0 .. T-1, the bar of each row.
        horizon: h, bars that a label looks ahead.
    Raises:
        ValueError: horizon < 1, rows that do not fit.
    Source: Hansen & Hodrick (1980), JPE 88(5), for overlapping forecasts.
    """
    hits = np.asarray(right, dtype=np.float64)
    if horizon < 1 or hits.ndim != 1 or hits.size == 0 or np.shape(bar) != hits.shape:
        raise ValueError(
            f"horizon {horizon}, rows {hits.shape}, bars {np.shape(bar)}: need a horizon of 1 or more, and a bar a row"
        )
    share = float(hits.mean())
    n_bars = int(np.max(bar)) + 1
    if horizon == 1 or n_bars < MIN_SPANS * horizon or share in (0.0, 1.0):
        return max(n_bars / horizon, 1.0)
    gap = per_bar(hits - share, bar)[:, 0]
    total = float(gap @ gap) + 2.0 * sum(float(gap[k:] @ gap[:-k]) for k in range(1, horizon))
    variance = total / hits.size**2 / (1.0 - (2.0 * horizon - 1.0) / n_bars)
    return max(min(float(n_bars), share * (1.0 - share) / variance), 1.0) if variance > 0.0 else float(n_bars)
