"""What formulas are given: one symbol's bars, and all symbols side by side."""

import numpy as np
import pytest

from tft_pipeline.domain.features.history import CrossSection, History, known_count, mean_over_symbols

DAYS = np.arange("2024-01-01", "2024-01-07", dtype="datetime64[D]").astype("datetime64[us]")


def history(days: list[int], close: list[float]) -> History:
    return History(timestamps=DAYS[days], close=np.array(close), bars_per_year=252.0)


def test_symbols_are_laid_on_the_union_of_their_bars_and_read_back_in_order() -> None:
    section = CrossSection(histories=(history([1, 2, 4], [1.0, 2.0, 4.0]), history([0, 2], [7.0, 9.0])))
    matrix = section.matrix(lambda one: one.close)
    assert section.calendar.tolist() == DAYS[[0, 1, 2, 4]].tolist()
    np.testing.assert_array_equal(matrix, [[np.nan, 7.0], [1.0, np.nan], [2.0, 9.0], [4.0, np.nan]])
    assert section.flatten(matrix).tolist() == [1.0, 2.0, 4.0, 7.0, 9.0]
    assert section.flatten(section.broadcast(np.arange(4.0))).tolist() == [1.0, 2.0, 3.0, 0.0, 2.0]
    assert known_count(matrix).tolist() == [1, 1, 2, 1]
    np.testing.assert_array_equal(mean_over_symbols(matrix), [np.nan, np.nan, 5.5, np.nan])


@pytest.mark.parametrize("place", [0, 3, 9])
def test_a_symbol_that_is_absent_changes_no_bit_of_the_mean(place: int) -> None:
    values = np.random.default_rng(0).normal(size=(500, 9))
    with_absent = np.insert(values, place, np.nan, axis=1)
    assert mean_over_symbols(values).tobytes() == mean_over_symbols(with_absent).tobytes()
    np.testing.assert_allclose(mean_over_symbols(values), values.mean(axis=1), rtol=1e-12, atol=1e-15)


def test_returns_count_the_symbols_own_bars() -> None:
    one = history([0, 1, 5], [1.0, 2.0, 8.0])
    np.testing.assert_allclose(one.log_return, [np.nan, np.log(2.0), np.log(4.0)])
    np.testing.assert_allclose(one.log_return_over(2), [np.nan, np.nan, np.log(8.0)])
    assert np.isnan(one.sigma).all()


def test_an_absent_column_is_named() -> None:
    with pytest.raises(ValueError, match="column 'volume' is absent"):
        history([0], [1.0]).column("volume")
