"""The guard over segments of a price: where one ends is decided by the bars up to its end. Not here: how they are sought.

Axes: S symbols, N bars.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tft_pipeline.domain.change_points import Segments
from tft_pipeline.domain.leakage import Finding, judged


def segments_know_the_past_only(
    segments: Callable[[np.ndarray], Segments], returns: np.ndarray, cuts: Sequence[int]
) -> Finding:
    """Segments that had ended by a cut are the same when the later returns (S, N) are cut off, or replaced by noise."""
    whole = segments(returns)
    noise = np.random.default_rng(0).normal(0.0, 3.0 * (np.nanstd(returns) or 1.0), returns.shape)
    wrong = []
    for cut in cuts:
        expected = _ended(whole, cut)
        changed = np.where(np.isfinite(returns), noise, np.nan)
        changed[:, :cut] = returns[:, :cut]
        for what, found in (("cut off", segments(returns[:, :cut])), ("replaced", segments(changed))):
            other = _ended(found, cut) ^ expected
            if other:
                symbol, first, last = min(other, key=lambda row: row[2])
                wrong.append(
                    f"the segment of bars {first}..{last} of symbol {symbol} is another once the bars from {cut} on are {what}"
                )
    count = len(whole.last)
    return judged(
        f"{count} segments at {len(cuts)} cuts, later returns cut off and replaced by noise",
        wrong[:1],
        [] if count else ["these returns close no segment: there is nothing to compare"],
    )


def _ended(found: Segments, cut: int) -> set[tuple[int, int, int]]:
    rows = zip(found.symbol.tolist(), found.first.tolist(), found.last.tolist(), strict=True)
    return {row for row in rows if row[2] < cut}
