"""Which bar of another calendar a bar may look at: the same timestamp, or the newest one that is not stale."""

import numpy as np
from numpy.typing import NDArray

NOWHERE = -1
STALE_AFTER_SPACINGS = 5
SPACINGS = 21
"""How many of a symbol's last spacings of bars tell its usual one."""

Stamps = NDArray[np.datetime64]
Places = NDArray[np.intp]


def same_bar(stamps: Stamps, known: Stamps) -> Places:
    """For each timestamp, its row in `known` (ascending), `NOWHERE` where it is not there."""
    place = np.minimum(np.searchsorted(known, stamps), len(known) - 1)
    return np.where(known[place] == stamps, place, NOWHERE)


def newest_bar(stamps: Stamps, known: Stamps) -> Places:
    """For each timestamp, the row of the newest bar in `known` (ascending) at or before it, `NOWHERE` where it is stale.

    Stale: older than `STALE_AFTER_SPACINGS` times the usual spacing at that newest bar, the median of the last
    `SPACINGS` spacings up to it, of as many as there are at first. The first bar has none and counts at its own timestamp
    only. No later bar of either calendar is read.
    """
    place = np.searchsorted(known, stamps, side="right") - 1
    found = np.maximum(place, 0)
    age = (stamps - known[found]).astype("timedelta64[us]").astype(np.float64)
    return np.where((place >= 0) & (age <= STALE_AFTER_SPACINGS * usual_spacing(known)[found]), place, NOWHERE)


def usual_spacing(known: Stamps) -> NDArray[np.float64]:
    """Median of the last `SPACINGS` spacings up to each bar, in microseconds; 0 on the first bar."""
    spacings = np.diff(known).astype("timedelta64[us]").astype(np.float64)
    out = np.zeros(len(known))
    for row in range(1, min(len(known), SPACINGS)):
        out[row] = np.median(spacings[:row])
    if len(spacings) >= SPACINGS:
        windows = np.lib.stride_tricks.sliding_window_view(spacings, SPACINGS)
        out[SPACINGS:] = np.partition(windows, SPACINGS // 2, axis=1)[:, SPACINGS // 2]
    return out
