"""Which rows of earlier folds have a label that a later fold may know. Not here: what is learned from them."""

from collections.abc import Sequence

import numpy as np


def checked_bars(
    bars: Sequence[np.ndarray] | None, labels: Sequence[np.ndarray], n_unresolved: int
) -> list[np.ndarray] | None:
    """Bar indices as arrays that fit the labels, each fold's after those of the fold before it; None without bars.

    Args:
        bars: One (n_k,) row of bar indices a fold, on the calendar of all folds.
        labels: One (n_k,) row a fold.
        n_unresolved: Bars before a fold whose labels it cannot know, horizon - 1.
    Raises:
        ValueError: `n_unresolved` is negative, or positive without bars; bars that do not fit or are out of order.
    """
    if n_unresolved < 0:
        raise ValueError(f"n_unresolved {n_unresolved} is negative; it is horizon - 1 bars")
    if bars is None:
        if n_unresolved:
            raise ValueError(
                f"n_unresolved {n_unresolved} without bars: which rows are the last bars of a fold cannot be known, and "
                "labels of the next fold's dates would be learned from; pass the bar index of every row"
            )
        return None
    arrays = [np.asarray(bar) for bar in bars]
    shapes, expected = [bar.shape for bar in arrays], [row.shape for row in labels]
    if shapes != expected:
        raise ValueError(f"bars have shapes {shapes}, the labels {expected}: give one bar index a row")
    for k in range(1, len(arrays)):
        if arrays[k].min() <= arrays[k - 1].max():
            raise ValueError(
                f"bars of fold {k} begin at {arrays[k].min()}, not after those of fold {k - 1}, which end at "
                f"{arrays[k - 1].max()}: count all folds on one calendar, and give them in time order"
            )
    return arrays


def resolved_rows(
    k: int, labels: Sequence[np.ndarray], bars: Sequence[np.ndarray] | None, n_unresolved: int
) -> list[np.ndarray]:
    """One (n_j,) mask for each fold j before k: rows outside the last `n_unresolved` bars before the first bar of k.

    A label over h bars made at bar b is known at b + h, so with `n_unresolved` = h - 1 the rows left are those whose
    label is known at the first decision of fold k.
    """
    if bars is None or not n_unresolved:
        return [np.ones(row.shape, dtype=bool) for row in labels[:k]]
    first = int(bars[k].min())
    return [np.asarray(bar < first - n_unresolved) for bar in bars[:k]]
