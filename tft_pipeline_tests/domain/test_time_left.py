"""The time that is left: against schedules that are played to their ends, and nothing without a basis."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tft_pipeline.domain.time_left import about, passed, seconds_left


def played(durations: list[float], workers: int) -> list[float]:
    """When each piece ends, ascending: every tick, free workers take the next piece. Slow and plain."""
    waiting, running, ends, now = list(durations), [], [], 0.0
    while waiting or running:
        while waiting and len(running) < workers:
            running.append(now + waiting.pop(0))
        now = min(running)
        running.remove(now)
        ends.append(now)
    return ends


@given(
    piece=st.floats(min_value=1.0, max_value=1e4),
    of=st.integers(min_value=1, max_value=12),
    workers=st.integers(min_value=1, max_value=5),
    at=st.floats(min_value=0.0, max_value=0.999),
)
def test_pieces_of_one_length_are_told_exactly_at_any_moment(piece: float, of: int, workers: int, at: float) -> None:
    ends = played([piece] * of, workers)
    for k, (before, after) in enumerate(pairwise([0.0, *ends])):
        now = before + at * (after - before)
        finished = [end for end in ends if end <= now]
        left = seconds_left(finished, of=of, workers=workers, now=now)
        if not finished:
            assert left is None
        else:
            assert left == pytest.approx(ends[-1] - now, abs=1e-6 * piece), k


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_pieces_of_different_lengths_are_told_about_right_when_half_of_them_are_done(workers: int) -> None:
    errors = []
    for seed in range(40):
        durations = list(np.random.default_rng(seed).lognormal(3.0, 0.3, 12))
        ends = played(durations, workers)
        left = seconds_left(ends[:6], of=12, workers=workers, now=ends[5])
        assert left is not None
        errors.append(math.log(left / (ends[-1] - ends[5])))
    assert abs(np.mean(errors)) < 0.1
    assert np.std(errors) < 0.35


def test_a_piece_that_is_late_is_given_nothing_more_and_no_time_is_made_up() -> None:
    assert seconds_left([10.0], of=2, workers=1, now=25.0) == 0.0
    assert seconds_left([10.0], of=3, workers=1, now=25.0) == 10.0  # the late one now, then one of the usual length
    assert seconds_left([], of=3, workers=1, now=1000.0) is None
    assert seconds_left([5.0, 9.0], of=2, workers=1, now=9.0) == 0.0


def test_more_finished_than_there_are_or_no_workers_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 of 1"):
        seconds_left([1.0, 2.0], of=1, workers=1, now=2.0)
    with pytest.raises(ValueError, match="0 workers"):
        seconds_left([1.0], of=1, workers=0, now=2.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "about 10 s"),
        (44.0, "about 40 s"),
        (94.0, "about 90 s"),
        (96.0, "about 2 min"),
        (250.0, "about 4 min"),
        (5300.0, "about 88 min"),
        (5430.0, "about 1 h 30 min"),
        (7200.0, "about 2 h"),
        (12_100.0, "about 3 h 20 min"),
    ],
)
def test_what_is_expected_is_said_no_more_exactly_than_it_is_known(seconds: float, words: str) -> None:
    assert about(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.9, "0 s"), (59.9, "59 s"), (60.0, "1 min 0 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min")],
)
def test_what_has_passed_is_said_as_it_was_measured(seconds: float, words: str) -> None:
    assert passed(seconds) == words
