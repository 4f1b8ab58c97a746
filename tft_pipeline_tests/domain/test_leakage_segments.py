"""The guard over segments holds on a forward search and names each way to know later returns; leaky ones are written here."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.change_points import Segments, closed_segments
from tft_pipeline.domain.leakage_segments import segments_know_the_past_only
from tft_pipeline_tests.builders import noise


def returns(seed: int) -> np.ndarray:
    rows = np.stack([noise(300, seed + k) for k in range(3)])
    rows[:, 150:] *= 3.0
    rows[1, :20] = np.nan
    return rows


@settings(max_examples=12)
@given(st.integers(0, 50), st.lists(st.integers(5, 295), min_size=1, max_size=3))
def test_forward_segments_are_no_leak(seed: int, where: list[int]) -> None:
    found = segments_know_the_past_only(closed_segments, returns(seed), where)
    assert found.passed, found


def test_segments_sought_backwards_are_named() -> None:
    def backwards(rows: np.ndarray) -> Segments:
        found, last = closed_segments(rows[:, ::-1]), rows.shape[1] - 1
        return Segments(symbol=found.symbol, first=last - found.last, last=last - found.first)

    found = segments_know_the_past_only(backwards, returns(0), [100, 200])
    assert found.passed is False
    assert found.detail.startswith("the segment of bars")


def test_segments_by_the_mean_of_all_returns_are_named() -> None:
    """A threshold that is taken from the whole series: the length stays, the values betray it."""

    def by_spread(rows: np.ndarray) -> Segments:
        symbol, last = np.nonzero(np.abs(np.nan_to_num(rows)) > 2.5 * np.nanstd(rows))
        return Segments(symbol=symbol, first=last, last=last)

    assert segments_know_the_past_only(by_spread, returns(0), [100, 200]).passed is False


def test_segments_that_depend_on_how_many_bars_there_are_are_named() -> None:
    def halves(rows: np.ndarray) -> Segments:
        middle = np.array([rows.shape[1] // 2])
        return Segments(symbol=np.array([0]), first=np.array([0]), last=middle)

    assert segments_know_the_past_only(halves, returns(0), [200]).passed is False


def test_segments_that_a_later_jump_would_move_are_named() -> None:
    """Without the jump nothing shows: cutting the returns off changes nothing, noise does."""

    def watchful(rows: np.ndarray) -> Segments:
        shift = int((np.nan_to_num(np.abs(rows)) > 0.12).any())
        return Segments(symbol=np.array([0]), first=np.array([0]), last=np.array([50 + shift]))

    assert np.nanmax(np.abs(returns(0))) < 0.12
    assert segments_know_the_past_only(watchful, returns(0), [200]).passed is False


def test_returns_without_a_segment_were_not_tried() -> None:
    found = segments_know_the_past_only(closed_segments, np.zeros((2, 50)), [20])
    assert found.passed is None
