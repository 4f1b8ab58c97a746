"""Combinatorial purged cross-validation: every choice of blocks left out once, joined into full-length paths.

Here: which bars a split trains on and scores, and which path a scored block belongs to. Not here: fitting.
Positions count bars from 0; spans are half open.
"""

from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

from tft_pipeline.domain.folds import Span

MAX_SPLITS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinatorialSplit:
    """One fit.

    Attributes:
        left_out: groups that are scored, ascending.
        train: spans of bars to train on, in time order; purged and embargoed, neighbours joined.
        test: one span a group left out, in their order.
        path_of: one path a group left out, in their order.
    """

    left_out: tuple[int, ...]
    train: tuple[Span, ...]
    test: tuple[Span, ...]
    path_of: tuple[int, ...]


def group_spans(n_bars: int, groups: int) -> tuple[Span, ...]:
    """Consecutive groups of n_bars // groups bars; the last takes the remainder too."""
    size = n_bars // groups
    starts = [group * size for group in range(groups)]
    return tuple(Span(start, stop) for start, stop in pairwise([*starts, n_bars]))


def n_paths(groups: int, test_groups: int) -> int:
    """Full-length paths: C(groups, test_groups) * test_groups / groups."""
    return comb(groups, test_groups) * test_groups // groups


def combinatorial_splits(
    n_bars: int, *, groups: int, test_groups: int, purge: int, embargo: int
) -> tuple[CombinatorialSplit, ...]:
    """All C(groups, test_groups) ways to leave groups out, in lexicographic order.

    Of the bars that stay, `purge` before each left-out block, `purge` after it and `embargo` more after that are dropped:
    with purge >= horizon no label of a training bar shares a bar with one of a scored bar; the embargo is for features
    that look back. Path p holds, of each group, the p-th split that leaves it out.

    With 12 bars, groups 3, test_groups 2, purge 1, embargo 0: the second split leaves out 0-3 and 8-11 and trains on 5-6.

    Args:
        n_bars: bars 0 .. n_bars-1.
        groups: G, at least 2.
        test_groups: k, within 1 .. G-1.
        purge: bars, not negative.
        embargo: bars, not negative.
    Raises:
        ValueError: groups that cannot be left out, more than 100,000 splits, fewer bars than groups, a split with
            no bar left to train on.
    Source: Lopez de Prado (2018), Advances in Financial Machine Learning, chapter 12.
    """
    if groups < 2 or not 1 <= test_groups < groups:
        raise ValueError(
            f"groups {groups}, test_groups {test_groups}: need at least one group to leave out and one to train on"
        )
    if purge < 0 or embargo < 0:
        raise ValueError(f"purge {purge}, embargo {embargo}: numbers of bars are not negative")
    if comb(groups, test_groups) > MAX_SPLITS:
        raise ValueError(
            f"groups {groups}, test_groups {test_groups} make {comb(groups, test_groups)} splits, above {MAX_SPLITS}: each is "
            "a fit; use fewer groups"
        )
    if n_bars < groups:
        raise ValueError(f"{n_bars} bars < {groups} groups: a group would be empty; use fewer groups or more bars")
    spans = group_spans(n_bars, groups)
    seen = [0] * groups
    splits = []
    for left_out in combinations(range(groups), test_groups):
        paths = []
        for group in left_out:
            paths.append(seen[group])
            seen[group] += 1
        train = _kept(spans, left_out, purge=purge, embargo=embargo)
        if not train:
            raise ValueError(
                f"leaving out groups {list(left_out)} of {groups} with purge {purge} and embargo {embargo} leaves none of "
                f"{n_bars} bars to train on (a group has {n_bars // groups}); use fewer groups or more bars"
            )
        splits.append(
            CombinatorialSplit(
                left_out=left_out,
                train=train,
                test=tuple(spans[group] for group in left_out),
                path_of=tuple(paths),
            )
        )
    return tuple(splits)


def _kept(spans: tuple[Span, ...], left_out: tuple[int, ...], *, purge: int, embargo: int) -> tuple[Span, ...]:
    """The runs of groups that stay, shortened where a left-out block touches them; those that vanish are left out."""
    n_bars = spans[-1].stop
    edges = [-1, *left_out, len(spans)]
    kept = []
    for before, after in pairwise(edges):
        start = 0 if before == -1 else spans[before].stop + purge + embargo
        stop = n_bars if after == len(spans) else spans[after].start - purge
        if start < stop:
            kept.append(Span(start, stop))
    return tuple(kept)
