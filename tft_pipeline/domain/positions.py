"""From the raw output of a model to the position that is held. Not here: volatility scaling, returns, costs.

Axes: S symbols, N bars of the calendar.
"""

import numpy as np

RAW_ROUNDING = 1e-6
"""How far a raw position may stand outside [-1, 1] and still count as rounding."""


def hold_positions(
    raw: np.ndarray, *, max_position: float, position_smooth: float, previous: np.ndarray | None = None
) -> np.ndarray:
    """Clip, smooth, clip: the position held after each bar.

        c_t = clip(raw_t, -m, m)
        p_t = clip(k * p_{t-1} + (1 - k) * c_t, -m, m)        m = max_position, k = position_smooth

    A symbol without a raw position at a bar (NaN) is flat there: p_t = 0, and the recursion starts again from 0.
    Feeding the bars one at a time with `previous` gives the same bits as one call, so a backtest and a live book agree.

    Args:
        raw: (S, N) signed share of the risk budget in [-1, 1], before volatility scaling; NaN where the symbol is
            absent.
        max_position: Largest |p|, in (0, 1].
        position_smooth: Weight of the last position, in [0, 1); 0 holds the clipped value itself.
        previous: (S,) the p of the bar before the first one; flat when not given.
    Returns:
        (S, N) float64, no NaN.
    Raises:
        ValueError: a knob outside its range, a shape that does not fit, a raw value that is infinite or outside
            [-1, 1], a previous position that is not finite.
    """
    if not 0.0 < max_position <= 1.0:
        raise ValueError(f"max_position {max_position} is outside (0, 1]: a position is a share of the risk budget")
    if not 0.0 <= position_smooth < 1.0:
        raise ValueError(f"position_smooth {position_smooth} is outside [0, 1): at 1 no position would ever change")
    raw = np.asarray(raw, dtype=np.float64)
    if raw.ndim != 2:
        raise ValueError(f"raw has shape {raw.shape}: expected (symbols, bars)")
    largest = np.nanmax(np.abs(raw)) if np.isfinite(raw).any() or np.isinf(raw).any() else 0.0
    if largest > 1.0 + RAW_ROUNDING:
        raise ValueError(
            f"raw position {largest:g} is outside [-1, 1]: clipping would hide its scale; squash it (tanh) or divide it"
        )
    n_symbols, n_bars = raw.shape
    state = np.zeros(n_symbols) if previous is None else np.array(previous, dtype=np.float64)
    if state.shape != (n_symbols,):
        raise ValueError(f"previous has shape {state.shape}: expected one position for each of {n_symbols} symbols")
    if not np.isfinite(state).all():
        raise ValueError("previous holds a position that is not finite: pass 0.0 for a symbol that is flat")
    by_bar = np.ascontiguousarray(raw.T)
    absent = np.isnan(by_bar)
    pull = (1.0 - position_smooth) * np.where(absent, 0.0, np.clip(by_bar, -max_position, max_position))
    held = np.empty_like(by_bar)
    for bar in range(n_bars):
        state = np.clip(position_smooth * state + pull[bar], -max_position, max_position)
        state[absent[bar]] = 0.0
        held[bar] = state
    return np.ascontiguousarray(held.T)
