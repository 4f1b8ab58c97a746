"""Which bar of another calendar a bar may look at: the same timestamp, or the newest one that is over and not stale.

Not here: when a bar that is stamped with its date alone is over (`dates`).
"""

import numpy as np
from numpy.typing import NDArray

from tft_pipeline.domain.dates import known_since

NOWHERE = -1
STALE_AFTER_SPACINGS = 5
SPACINGS = 21
"""How many of a symbol's last spacings of bars tell its usual one."""
SHORTEST_DAY = 20 * 3_600e6
"""Bars further apart are of a day or longer, also where clocks change; microseconds."""

Stamps = NDArray[np.datetime64]
Places = NDArray[np.intp]


def same_bar(stamps: Stamps, known: Stamps) -> Places:
    """For each timestamp, its row in `known` (ascending), `NOWHERE` where it is not there."""
    place = np.minimum(np.searchsorted(known, stamps), len(known) - 1)
    return np.where(known[place] == stamps, place, NOWHERE)


def newest_bar(stamps: Stamps, known: Stamps, timezone: str | None = None) -> Places:
    """For each timestamp, the row of the newest bar in `known` (ascending) that is over by then, `NOWHERE` where it is stale.

    A bar is over at its stamp. A bar of a day that is stamped with its date alone, 00:00 in UTC or in `timezone`, says nothing
    of when in that day its market closes, at worst when the day ends (a coin's candle dated D closes at 00:00 of D+1): it
    is over when the day ends, `dates.known_since`. A bar is of a day if the usual spacing at it is 20 hours or more, and so
    is the first one, which has none; a bar of an hour may well close at 00:00.

    Stale: older than `STALE_AFTER_SPACINGS` times the usual spacing at that newest bar, the median of the last
    `SPACINGS` spacings up to it, of as many as there are at first. The first bar has none and counts at its own timestamp
    only, not at all if that is a date. No later bar of either calendar is read.
    """
    usual = usual_spacing(known)
    known = known.astype("datetime64[us]")
    of_a_day = (usual >= SHORTEST_DAY) | (usual == 0.0)
    over = np.where(of_a_day, known_since(known, timezone), known)
    # a bar that is over before the one ahead of it hides that one; what is over later is not read
    over = np.minimum.accumulate(over[::-1])[::-1]
    place = np.searchsorted(over, stamps, side="right") - 1
    found = np.maximum(place, 0)
    age = (stamps - known[found]).astype("timedelta64[us]").astype(np.float64)
    return np.where((place >= 0) & (age <= STALE_AFTER_SPACINGS * usual[found]), place, NOWHERE)


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
