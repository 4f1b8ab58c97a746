"""What a person looks at when a feature has drifted: its shape on both sides, and its PSI in windows over time.

Not here: whether a change is more than chance (`drift`), drawing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tft_pipeline.domain.divergence import bin_codes, psi, quantile_edges, smoothed_proportions

MOST_WINDOWS = 40
TAIL = 0.005
"""Share of the values beyond each end of a histogram; they are counted in its outermost bins."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of equal length, oldest first, that end with the last reference bar and with the last recent bar.

    Attributes:
        stops: one past the last bar of each, counted from the first reference bar.
        length: bars.
        n_reference: bars before the recent ones.
    """

    stops: np.ndarray
    length: int
    n_reference: int

    @property
    def of_reference(self) -> np.ndarray:
        """Which of them lie within the reference."""
        return self.stops <= self.n_reference


def windows_over(n_reference: int, n_recent: int, *, length: int, most: int = MOST_WINDOWS) -> Windows:
    """Windows of `length` bars, next to each other, thinned evenly to `most`; the newest of both sides always stay.

    Raises:
        ValueError: a length below 1, or that fits into neither side.
    """
    if length < 1 or length > max(n_reference, n_recent):
        raise ValueError(f"windows of {length} bars do not fit into {n_reference} reference or {n_recent} recent bars")
    before = np.arange(n_reference, length - 1, -length)[::-1]
    after = np.arange(n_reference + n_recent, n_reference + length - 1, -length)[::-1]
    after = after[-most // 2 :]
    room = max(1, most - after.size)
    if before.size > room:
        before = before[np.unique(np.linspace(before.size - 1, 0, room).round().astype(int))]
    return Windows(np.concatenate([before, after]), length, n_reference)


def psi_over_time(
    reference: np.ndarray,
    recent: np.ndarray,
    windows: Windows,
    *,
    n_bins: int,
    observed: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """PSI of each window against the reference, a window of the reference against the rest of it.

    Bins, smoothing, missing and unobserved values as in `drift.drift_report`; its null windows are compared with the recent
    bars too.

    Args:
        reference: (N,) or (N, S) of one feature.
        recent: the bars after it.
        observed: of both sides, their shapes; where it is false a value counts nowhere. By default all are observed.
    Returns:
        (W,); NaN where a window has no observed value.
    """
    edges = quantile_edges(reference, n_bins)
    n_codes = edges.size + 2
    bars = np.concatenate([reference, recent])
    codes = bin_codes(bars.reshape(len(bars), -1), edges)  # (N + n, S)
    places = np.arange(len(bars))[:, None] * n_codes + codes
    seen = places.ravel() if observed is None else places[np.concatenate(observed).reshape(places.shape)]
    counts = np.bincount(seen, minlength=len(bars) * n_codes).reshape(-1, n_codes)
    upto = np.concatenate([np.zeros((1, n_codes)), counts.cumsum(axis=0)])
    total = upto[windows.n_reference]
    inside = upto[windows.stops] - upto[windows.stops - windows.length]
    rest = np.where(windows.of_reference[:, None], total - inside, total)
    used = (total > 0) | (upto[-1] > 0)
    sizes = psi(smoothed_proportions(rest[:, used]), smoothed_proportions(inside[:, used]))
    return np.where(inside.any(axis=1), sizes, np.nan)


def histogram(reference: np.ndarray, recent: np.ndarray, *, n_bins: int = 24) -> dict[str, Any] | None:
    """Shares of both sides in bins of equal width; None where a side has no value.

    The bins span all but 0.5 % of the values at each end of both sides together; what lies beyond counts in the last bins.

    Returns:
        edges (n_bins + 1), reference and recent (n_bins): shares of the values that are there, each adding up to 1.
    """
    sides = [side[np.isfinite(side)] for side in (np.asarray(reference, np.float64), np.asarray(recent, np.float64))]
    if not all(side.size for side in sides):
        return None
    limits = np.array([np.quantile(side, (TAIL, 1.0 - TAIL)) for side in sides])
    low, high = float(limits[:, 0].min()), float(limits[:, 1].max())
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, n_bins + 1)
    shares = [np.histogram(np.clip(side, low, high), edges)[0] / side.size for side in sides]
    return {"edges": edges.tolist(), "reference": shares[0].tolist(), "recent": shares[1].tolist()}
