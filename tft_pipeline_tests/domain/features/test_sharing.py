"""The same question about the same array has one answer, and sharing it changes no bit of any feature."""

from functools import partial

import numpy as np
import pytest

from tft_pipeline.domain.features import windows
from tft_pipeline.domain.features.history import CrossSection, History
from tft_pipeline.domain.features.sharing import once, settled, sharing

DAYS = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]").astype("datetime64[us]")


def series(seed: int = 0, n: int = 500) -> np.ndarray:
    return settled((np.random.default_rng(seed).normal(size=n),))[0]


def counted(values: np.ndarray, asked: list[int]) -> tuple[np.ndarray, ...]:
    def answer() -> tuple[np.ndarray, ...]:
        asked.append(1)
        return (values * 2.0,)

    return once(("twice",), (values,), answer)


def test_a_question_about_a_settled_array_is_answered_once_a_scope() -> None:
    values, asked = series(), []
    with sharing():
        first, second = counted(values, asked)[0], counted(values, asked)[0]
        assert first is second
        assert once(("thrice",), (values,), lambda: (values * 3.0,))[0] is not first
    assert len(asked) == 1
    counted(values, asked)
    with sharing():
        counted(values, asked)
    assert len(asked) == 3


def test_what_may_still_be_written_to_is_never_remembered() -> None:
    values = np.arange(4.0)
    inside = values[1:]
    inside.flags.writeable = False
    with sharing():
        assert windows.window_sum(values, 2)[3] == windows.window_sum(inside, 2)[2] == 5.0
        values[3] = 10.0
        assert windows.window_sum(values, 2)[3] == windows.window_sum(inside, 2)[2] == 12.0


def test_an_answer_cannot_be_spoiled_for_the_next_who_asks() -> None:
    answers = (windows.window_mean(series(), 5), windows.ewm_std(series(), 5), *windows.window_spread(series(), 5))
    for answer in answers:
        with pytest.raises(ValueError, match="read-only"):
            answer[0] = 1.0


def test_memory_is_bounded_and_what_was_asked_for_longest_ago_goes_first() -> None:
    old, new, asked = series(1), series(2), []
    size = 2 * old.nbytes
    with sharing(2 * size):
        counted(old, asked)
        counted(new, asked)
        counted(old, asked)
        counted(series(3), asked)
        assert len(asked) == 3
        counted(old, asked)
        assert len(asked) == 3, "asked for again in between, so it stayed"
        counted(new, asked)
        assert len(asked) == 4, "it had to go"
    with sharing(size - 1):
        counted(old, asked)
        counted(old, asked)
    assert len(asked) == 6, "too large to be remembered at all"


def test_a_new_array_at_an_old_address_is_another_array() -> None:
    with sharing(10_000):
        for seed in range(50):
            values = series(seed, 64)
            assert windows.window_sum(values, 2)[1] == values[0] + values[1]
            del values


def test_scopes_nest_and_do_not_see_each_other() -> None:
    values, asked = series(), []
    with sharing():
        counted(values, asked)
        with sharing():
            counted(values, asked)
        counted(values, asked)
    assert len(asked) == 2


@pytest.mark.parametrize("holes", [False, True])
def test_window_statistics_have_the_same_bits_shared_or_not(holes: bool) -> None:
    x, y = series(5, 900).copy(), series(6, 900).copy()
    x[0] = np.nan
    if holes:
        y[[100, 101, 400]] = np.nan
    settled((x, y))
    one = (
        windows.window_sum, windows.window_mean, windows.window_max, windows.window_min, windows.window_std,
        windows.window_zscore, windows.window_spread, windows.window_moments, windows.window_since_peak, windows.ewm_std,
        windows.wilder_mean,
    )  # fmt: skip
    questions = [partial(statistic, x, window) for window in (252, 2, 21, 63, 5, 21) for statistic in one]
    questions += [partial(windows.window_pair_moments, x, y, window) for window in (63, 2, 21, 252)]
    alone = [np.array(question()) for question in questions]
    with sharing():
        together = [np.array(question()) for question in questions]
    assert [a.tobytes() == b.tobytes() for a, b in zip(alone, together, strict=True)] == [True] * len(questions)


def test_a_matrix_over_all_symbols_is_filled_once_for_equal_formulas() -> None:
    histories = tuple(
        History(timestamps=DAYS, close=np.exp(series(seed, len(DAYS))), bars_per_year=252.0) for seed in (1, 2)
    )
    section, asked = CrossSection(histories=histories), []

    def formula(history: History, *, bars: int) -> np.ndarray:
        asked.append(bars)
        return history.log_return_over(bars)

    with sharing():
        first = section.matrix(partial(formula, bars=3))
        assert section.matrix(partial(formula, bars=3)) is first
        assert not np.array_equal(section.matrix(partial(formula, bars=4)), first, equal_nan=True)
        other = CrossSection(histories=histories[::-1]).matrix(partial(formula, bars=3))
    np.testing.assert_array_equal(other, first[:, ::-1])
    assert asked == [3, 3, 4, 4, 3, 3]
