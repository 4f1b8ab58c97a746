"""Ranks over the symbols of a bar, against scipy and against what a rank must satisfy."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from tft_pipeline.domain.features import cross_section
from tft_pipeline.domain.features.cross_section import centred_rank
from tft_pipeline.domain.features.history import CrossSection, History


def section(values: np.ndarray) -> CrossSection:
    """Symbols whose close is the column of a matrix of positive numbers, NaN where they have no bar."""
    start = np.datetime64("2020-01-01T00:00:00", "us")
    stamps = start + np.arange(len(values)) * np.timedelta64(timedelta(days=1))
    known = [np.isfinite(column) for column in values.T]
    return CrossSection(
        histories=tuple(
            History(timestamps=stamps[rows], close=column[rows], bars_per_year=252.0)
            for rows, column in zip(known, values.T, strict=True)
        )
    )


def close(history: History) -> np.ndarray:
    return history.close


def slow_ranks(values: np.ndarray) -> np.ndarray:
    out = np.full(values.shape, np.nan)
    for row in range(len(values)):
        known = np.isfinite(values[row])
        if known.sum() > 1:
            out[row, known] = (rankdata(values[row, known]) - 1) / (known.sum() - 1) - 0.5
    return out


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 40),
    symbols=st.integers(1, 30),
    levels=st.sampled_from((1, 2, 5, 10**6)),
    absent=st.sampled_from((0.0, 0.3, 0.9)),
)
def test_centred_ranks_are_scipys_mean_ranks(seed: int, rows: int, symbols: int, levels: int, absent: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((rows, symbols)) < absent, np.nan, rng.integers(1, levels + 1, (rows, symbols)))
    values = values[np.isfinite(values).any(axis=1)]
    if len(values) and np.isfinite(values).any(axis=0).all():
        found = centred_rank(section(values), of=close)
        np.testing.assert_allclose(found, slow_ranks(values), rtol=0, atol=1e-15)
        assert np.nansum(found) == pytest.approx(0.0, abs=1e-9)


def test_minus_zero_ties_with_zero() -> None:
    values = np.array([[1.0, 1.0, 2.0, 3.0]])

    def signed(history: History) -> np.ndarray:
        zero = -0.0 if history is panel.histories[0] else 0.0
        return np.where(history.close == 1.0, zero, history.close)

    panel = section(values)
    assert centred_rank(panel, of=signed)[0].tolist() == pytest.approx([-1 / 3, -1 / 3, 1 / 6, 0.5])


def test_ranks_do_not_depend_on_how_many_bars_are_ranked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(1, 9, (101, 7)).astype(np.float64)
    at_once = centred_rank(section(values), of=close)
    monkeypatch.setattr(cross_section, "_CELLS", 20)
    assert centred_rank(section(values), of=close).tobytes() == at_once.tobytes()
