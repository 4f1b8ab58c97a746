"""Windows that leave missing rows out, against polars on the rows that are left."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tft_pipeline.domain.features.sparse_windows import known_mean, known_zscore


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), window=st.integers(2, 40), absent=st.sampled_from((0.0, 0.2, 0.8)))
def test_mean_and_zscore_are_those_of_the_known_rows(seed: int, window: int, absent: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(80) < absent, np.nan, rng.normal(3.0, 1.0, 80))
    needed = max(window // 2, 2)
    mean, score = (of(values, window, rows_needed=needed) for of in (known_mean, known_zscore))
    for row in range(80):
        part = pl.Series(values[max(row - window + 1, 0) : row + 1]).fill_nan(None).drop_nulls()
        if row < window - 1 or len(part) < needed:
            assert np.isnan(mean[row])
            assert np.isnan(score[row])
        else:
            assert mean[row] == pytest.approx(part.mean(), rel=1e-12)
            expected = (values[row] - part.mean()) / part.std()
            assert score[row] == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)


def test_rows_before_the_window_change_no_bit() -> None:
    values = np.random.default_rng(1).normal(size=200)
    values[[150, 170]] = np.nan
    for of in (known_mean, known_zscore):
        full, part = (of(x, 63, rows_needed=31) for x in (values, values[60:]))
        assert full[122:].tobytes() == part[62:].tobytes()


def test_a_flat_window_has_no_zscore_and_a_single_row_is_refused() -> None:
    assert np.isnan(known_zscore(np.full(50, 0.1), 10, rows_needed=5)).all()
    with pytest.raises(ValueError, match="rows_needed 1 < 2"):
        known_zscore(np.ones(5), 3, rows_needed=1)
