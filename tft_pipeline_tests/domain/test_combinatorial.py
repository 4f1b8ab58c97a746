from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from skfolio.model_selection import CombinatorialPurgedCV

from tft_pipeline.domain.combinatorial import combinatorial_splits, group_spans, n_paths
from tft_pipeline.domain.folds import Span


def bars(spans) -> list[int]:
    return [bar for span in spans for bar in range(*span)]


@settings(max_examples=60)
@given(
    size=st.integers(6, 20),
    remainder=st.integers(0, 3),
    test_groups=st.integers(2, 4),
    more=st.integers(1, 3),
    lost=st.tuples(st.integers(0, 1), st.integers(0, 1)) | st.tuples(st.integers(0, 8), st.integers(0, 8)),
)
def test_bars_and_paths_are_those_of_skfolio(size, remainder, test_groups, more, lost):
    purge, embargo = lost
    groups = test_groups + more
    n_bars = groups * size + min(remainder, groups - 1)
    assume(purge + embargo < size - 1)
    peer = CombinatorialPurgedCV(groups, test_groups, purged_size=purge, embargo_size=embargo)
    expected = list(peer.split(np.zeros((n_bars, 1))))
    assume(all(len(train) for train, _ in expected))
    found = combinatorial_splits(n_bars, groups=groups, test_groups=test_groups, purge=purge, embargo=embargo)
    assert len(found) == len(expected) == peer.n_splits
    assert n_paths(groups, test_groups) == peer.n_test_paths
    for split, (train, tests), paths in zip(found, expected, peer.get_path_ids(), strict=True):
        assert bars(split.train) == train.tolist()
        assert [bars([span]) for span in split.test] == [test.tolist() for test in tests]
        assert split.path_of == tuple(paths)


@settings(max_examples=40)
@given(
    n_bars=st.integers(130, 220),
    test_groups=st.integers(1, 4),
    more=st.integers(1, 2),
    horizon=st.integers(1, 4),
    beyond=st.integers(0, 2),
    embargo=st.integers(0, 5),
)
def test_no_label_of_a_training_bar_touches_one_of_a_scored_bar(n_bars, test_groups, more, horizon, beyond, embargo):
    purge = horizon + beyond
    for split in combinatorial_splits(
        n_bars, groups=test_groups + more, test_groups=test_groups, purge=purge, embargo=embargo
    ):
        scored = {seen for bar in bars(split.test) for seen in range(bar, bar + horizon + 1)}
        for bar in bars(split.train):
            assert scored.isdisjoint(range(bar, bar + horizon + 1))
            assert all(bar - stop >= purge + embargo for _, stop in split.test if bar >= stop)


@settings(max_examples=30)
@given(n_bars=st.integers(12, 160), test_groups=st.integers(1, 5), more=st.integers(1, 2))
def test_every_path_scores_every_bar_once_and_every_choice_is_left_out_once(n_bars, test_groups, more):
    groups = test_groups + more
    splits = combinatorial_splits(n_bars, groups=groups, test_groups=test_groups, purge=0, embargo=0)
    assert [split.left_out for split in splits] == list(combinations(range(groups), test_groups))
    assert len(splits) == comb(groups, test_groups)
    for path in range(n_paths(groups, test_groups)):
        scored = [
            bar
            for split in splits
            for span, own in zip(split.test, split.path_of, strict=True)
            if own == path
            for bar in range(*span)
        ]
        assert sorted(scored) == list(range(n_bars))
    for split in splits:
        assert sorted(bars(split.train) + bars(split.test)) == list(range(n_bars))


def test_the_example_of_the_docstring():
    splits = combinatorial_splits(12, groups=3, test_groups=2, purge=1, embargo=0)
    assert splits[1].left_out == (0, 2)
    assert splits[1].train == (Span(5, 7),)
    assert group_spans(13, 3) == (Span(0, 4), Span(4, 8), Span(8, 13))


def test_neighbouring_groups_that_stay_are_one_run_and_a_run_that_vanishes_is_left_out():
    first = combinatorial_splits(20, groups=4, test_groups=1, purge=1, embargo=2)
    assert [split.train for split in first[:2]] == [(Span(8, 20),), (Span(0, 4), Span(13, 20))]
    between = combinatorial_splits(30, groups=5, test_groups=2, purge=3, embargo=1)[1]
    assert between.left_out == (0, 2)
    assert between.train == (Span(22, 30),)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((50, 1, 1, 0, 0), "one to train on"),
        ((50, 5, 5, 0, 0), "one to train on"),
        ((50, 5, 0, 0, 0), "one to train on"),
        ((50, 5, 2, -1, 0), "not negative"),
        ((50, 5, 2, 0, -1), "not negative"),
        ((4, 5, 2, 0, 0), "4 bars < 5 groups"),
        ((5000, 40, 20, 0, 0), "above 100000"),
        ((20, 4, 3, 3, 2), r"leaving out groups \[0, 1, 2\] of 4 .* none of 20 bars"),
    ],
)
def test_cuts_that_leave_nothing_are_refused(sizes, message):
    n_bars, groups, test_groups, purge, embargo = sizes
    with pytest.raises(ValueError, match=message):
        combinatorial_splits(n_bars, groups=groups, test_groups=test_groups, purge=purge, embargo=embargo)
